"""One training example: clips cut, noised and shown to the network."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Batch, Episodes
from ..models.dit import VideoDiT
from ..sampling.diffusion import FlowMatching, logit_normal
from ..sampling.memory import Memory, mean_pool
from ..sampling.solvers import Predict, euler
from .config import TrainConfig
from .distillation import Teacher
from .optimizers import autocast


def draw_levels(config: TrainConfig, count: int, window: int, generator: torch.Generator) -> Tensor:
    """Levels (b, window): each frame its own, all alike, or rising along the window, as presets ask for."""
    levels = logit_normal((count, window), config.level_mean, config.level_std, generator)
    kind = torch.rand(count, 1, generator=generator)
    levels = torch.where(kind < 0.5, levels[:, :1], torch.where(kind < 0.75, levels.sort(1).values, levels))
    pure = torch.rand(count, 1, generator=generator) < config.pure_noise
    return torch.where(pure, 1.0, levels)


class TrainingExample:
    """One step's clips as the network sees them: places known, memory compressed, context noised."""

    def __init__(self, network: VideoDiT, config: TrainConfig, batch: Batch, context: int, generator: torch.Generator):
        b, device = len(batch.first), batch.clip.device
        keep = (torch.rand(b, 1, 1, generator=generator) >= config.drop_actions).to(device)
        actions = batch.actions * keep
        places = network.integrate_actions(actions, torch.zeros(b, 3, device=device))  # (b, episode, 3)
        row = torch.arange(b, device=device).unsqueeze(1)
        times = batch.first.unsqueeze(1) + torch.arange(batch.clip.shape[1], device=device)
        self.network, self.context = network, context
        self.reach = batch.reach.view(b, 1)
        self.clip, self.actions = batch.clip, actions[row, times]
        before = (batch.first - 1).clamp_min(0)
        # frames before the clip's first: an episode's own first frame was led into by no action
        self.origin = places[row[:, 0], before] * (batch.first > 0).unsqueeze(1)
        self.groups, self.frames, self.all_actions, self.places = batch.groups, batch.frames, actions, places
        noised = torch.rand(b, 1, generator=generator) < 0.5
        level = config.context_noise * torch.rand(b, 1, generator=generator) * noised
        self.noise_level = level.to(device)
        self.reported = torch.where(noised, level.clamp_min(1e-3), config.sampling.stabilization).to(device)

    def predictor(self, network: VideoDiT, shown: Tensor, reported: Tensor, window: int) -> Predict:
        """What a network says of noisy windows (b, k * window, c, h, w) after the clip as it is shown."""
        remembered = network.encode_memory(self.memory(network))

        def predict(noisy: Tensor, levels: Tensor) -> Tensor:
            made = network.forward_windows(
                shown, reported, noisy, levels, self.actions, self.origin, remembered, window
            )
            return made.float()

        return predict

    def memory(self, network: VideoDiT) -> Memory:
        """Every group as a network compresses it; gradients flow through it."""
        b, groups = self.frames.shape[:2]
        memory = network.empty_memory(b, self.clip.device)
        if groups == 0:
            return memory
        row = torch.arange(b, device=self.clip.device).view(b, 1, 1)
        actions, places = self.all_actions[row, self.frames], self.places[row, self.frames]  # (b, G, g, .)
        tokens = network.compress(self.groups.flatten(0, 1), actions.flatten(0, 1), places.flatten(0, 1))
        # numbered backwards from the context: -1 is the group that left it last
        numbers = (self.frames[..., 0] - self.reach) // network.config.group  # (b, G)
        instants = groups * memory.instants
        return replace(
            memory,
            tokens=tokens.unflatten(0, (b, groups)),
            actions=mean_pool(actions.flatten(1, 2), instants),
            poses=mean_pool(places.flatten(1, 2), instants),
            numbers=numbers,
        )

    def show(self, diffusion: FlowMatching, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The clip as the past of its windows, slightly noised, and the levels (b, f) reported for it."""
        noise = torch.randn(self.clip.shape, generator=generator).to(self.clip.device)
        f = self.clip.shape[1]
        return diffusion.add_noise(self.clip, noise, self.noise_level.expand(-1, f)), self.reported.expand(-1, f)

    @torch.no_grad()
    def replace_by_own(self, diffusion: FlowMatching, frames: int, steps: int, generator: torch.Generator) -> None:
        """Exchange `frames` frames after the context for what the network makes of them, and slide past them."""
        f, remembered = self.context, self.network.encode_memory(self.memory(self.network))
        shown, reported = (part[:, :f] for part in self.show(diffusion, generator))
        past = self.network.encode_context(shown, reported, self.actions[:, :f], self.origin, remembered)
        window = torch.randn(self.clip[:, :frames].shape, generator=generator).to(self.clip.device)
        driven = self.actions[:, self.context : self.context + frames]

        def predict(noisy: Tensor, levels: Tensor) -> Tensor:
            return self.network(noisy, levels, driven, past).float()

        for m in range(steps):
            now = torch.full(window.shape[:2], 1 - m / steps, device=window.device)
            window = euler(diffusion, predict, window, now, now - 1 / steps)
        end = self.context + frames
        self.clip = torch.cat((self.clip[:, frames : self.context], window, self.clip[:, end:]), 1)
        slid = self.network.integrate_actions(self.actions[:, :frames], self.origin)
        self.origin, self.actions = slid[:, -1], self.actions[:, frames:]


def step_loss(
    network: VideoDiT,
    config: TrainConfig,
    episodes: Episodes,
    step: int,
    device: torch.device,
    teacher: Teacher | None = None,
    place: float | None = None,
) -> Tensor:
    """The loss of one step; all its randomness comes from the seed and the step.

    place: where the step stands in the run, from 0 to `steps`; None: at its number
    """
    draw = np.random.default_rng((config.seed, 1, step))
    generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
    early = (step if place is None else place) < config.early * config.steps
    window = teacher.schedule.window if teacher else int(draw.choice(config.windows))
    context = int(draw.choice(config.contexts))
    groups, own = 0, 0
    if not early:
        if config.network.fusion != "none":
            groups = int(draw.choice(config.groups))
        if draw.random() < config.own_frames:
            context = config.sampling.context
            own = min(context, int(draw.choice((4, 8))))
    windows = max(1, (config.clip_frames - context) // window)
    count = max(1, config.frames // (context + windows * window))
    batch = episodes.draw(
        draw, count, context, own, windows * window, groups, config.network.group, config.revisit, config.turn
    )
    batch = Batch(*(getattr(batch, f.name).to(device) for f in fields(Batch)))

    diffusion = config.diffusion
    if teacher:
        levels, after = teacher.draw(count * windows, generator)
    else:
        levels = after = draw_levels(config, count * windows, window, generator)
    levels, after = (part.to(device).reshape(count, -1) for part in (levels, after))
    with autocast(config, device):
        cut = TrainingExample(network, config, batch, context, generator)
        if own:
            cut.replace_by_own(diffusion, own, int(draw.choice((1, 2))), generator)
        shown, reported = cut.show(diffusion, generator)
        clean = cut.clip[:, context:]
        noisy = diffusion.add_noise(clean, torch.randn(clean.shape, generator=generator).to(device), levels)
        prediction = cut.predictor(network, shown, reported, window)(noisy, levels)
        if teacher:
            with torch.no_grad():
                predict = cut.predictor(teacher.model.network, shown, reported, window)
                clean = teacher.estimate(predict, noisy, levels, after)
    return diffusion.loss(prediction, noisy, clean, levels).mean()
