"""One training example: clips drawn, noised and shown to the network. Every function gives a new example."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ...data.batches import Batch, Episodes
from ...sampling.diffusion import Diffusion, logit_normal
from ...sampling.memory import Memory, mean_pool
from ...sampling.network import MemoryNetwork, MemoryPast, Past, has_memory
from ...sampling.solvers import Predict, euler
from ..config import TrainConfig
from ..distillation import Teacher
from ..network import TrainableNetwork
from ..optimizers import autocast

OWN = (4, 8)  # frames that the network generates for its own context, drawn evenly, as far as the context holds them
OWN_STEPS = (1, 2)  # denoising steps it takes for them, drawn evenly


@dataclass(frozen=True)
class StepBatch:
    """What one step is taken on; all its chance comes from the run's seed and the step."""

    step: int  # counted from 1
    seed: int  # of noise and levels
    clips: Batch  # context, own frames and windows of each clip
    context: int  # frames before the first window
    window: int  # frames
    own: int = 0  # frames after the context that the network generates itself, 0 for none
    own_steps: int = 1  # denoising steps it takes for them

    def to(self, device: torch.device) -> StepBatch:
        """The same on a device."""
        clips = Batch(*(getattr(self.clips, f.name).to(device) for f in fields(Batch)))
        return replace(self, clips=clips)


def spans(config: TrainConfig, context: int, window: int) -> int:
    """Frames of all windows of a clip after a context: as many windows as fit, at least one."""
    return window * max(1, (config.clip_frames - context) // window)


def draw_batch(
    config: TrainConfig,
    episodes: Episodes,
    step: int,
    place: float | None = None,
    group: int = 0,
    window: int | None = None,
) -> StepBatch:
    """Draw the clips of a step, counted from 1; where several processes share a step, each draws its own here.

    place: where the step stands in the run, from 0 to `steps`; None: at its number
    group: frames that the network compresses together; 0 for a network without memory
    window: frames of a window; None: drawn from `windows`
    """
    draw = np.random.default_rng((config.seed, 1, step))
    seed = int(draw.integers(2**62))
    early = (step if place is None else place) < config.early * config.steps
    if window is None:
        window = int(draw.choice(config.windows))
    context = int(draw.choice(config.contexts))
    groups, own = 0, 0
    if not early:
        if group:
            groups = int(draw.choice(config.groups))
        if draw.random() < config.own_frames:
            context = config.sampling.context
            own = min(context, int(draw.choice(OWN)))
    length = spans(config, context, window)
    count = max(1, config.frames // (context + length))
    clips = episodes.draw(draw, count, context, own, length, groups, max(1, group), config.revisit, config.turn)
    own_steps = int(draw.choice(OWN_STEPS)) if own else 1
    return StepBatch(step, seed, clips, context, window, own, own_steps)


def draw_levels(config: TrainConfig, count: int, window: int, generator: torch.Generator) -> Tensor:
    """Levels (b, window): each frame its own, all alike, or rising along the window, as presets ask for."""
    levels = logit_normal((count, window), config.level_mean, config.level_std, generator)
    kind = torch.rand(count, 1, generator=generator)
    levels = torch.where(kind < 0.5, levels[:, :1], torch.where(kind < 0.75, levels.sort(1).values, levels))
    pure = torch.rand(count, 1, generator=generator) < config.pure_noise
    return torch.where(pure, 1.0, levels)


@dataclass(frozen=True)
class TrainingExample:
    """One step's clips as the network sees them."""

    clip: Tensor  # (b, f, c, h, w), context and windows
    context: int  # frames before the first window
    actions: Tensor  # (b, f, a), that lead into them; zeros where they are unknown
    origin: Tensor  # (b, 3), the pose before the first of them
    batch: Batch  # what it was cut from
    all_actions: Tensor  # (b, episode, a)
    poses: Tensor  # (b, episode, 3), that they lead to
    shown: Tensor  # (b, f, c, h, w), the clip as the past of its windows
    reported: Tensor  # (b, f), the levels reported for it
    noise: Tensor  # (b, 1), level of the noise in `shown`

    def memory(self, network: MemoryNetwork[Past, MemoryPast]) -> Memory:
        """Every group as a network compresses it; gradients flow through it."""
        latents, frames = self.batch.groups, self.batch.frames
        b, groups, group = frames.shape
        memory = network.empty_memory(b, self.clip.device)
        if groups == 0:
            return memory
        row = torch.arange(b, device=self.clip.device).view(b, 1, 1)
        actions, poses = self.all_actions[row, frames], self.poses[row, frames]  # (b, G, g, .)
        tokens = network.compress(latents.flatten(0, 1), actions.flatten(0, 1), poses.flatten(0, 1))
        # numbered backwards from the context: -1 is the group that left it last
        numbers = (frames[..., 0] - self.batch.reach.view(b, 1)) // group  # (b, G)
        instants = groups * memory.instants
        return replace(
            memory,
            tokens=tokens.unflatten(0, (b, groups)),
            actions=mean_pool(actions.flatten(1, 2), instants),
            poses=mean_pool(poses.flatten(1, 2), instants),
            numbers=numbers,
        )

    def predictor(self, network: TrainableNetwork[Past], window: int) -> Predict:
        """What a network says of noisy windows (b, k * window, c, h, w) after the clip as it is shown."""
        memory = network.encode_memory(self.memory(network)) if has_memory(network) else None

        def predict(noisy: Tensor, levels: Tensor) -> Tensor:
            predicted = network.forward_windows(
                self.shown, self.reported, noisy, levels, self.actions, self.origin, memory, window
            )
            return predicted.float()

        return predict


def cut(
    network: TrainableNetwork[Past], config: TrainConfig, batch: Batch, context: int, generator: torch.Generator
) -> TrainingExample:
    """The example of a batch: actions dropped, poses integrated, the clip shown as it is."""
    b, device, length = len(batch.first), batch.clip.device, batch.clip.shape[1]
    keep = (torch.rand(b, 1, 1, generator=generator) >= config.drop_actions).to(device)
    actions = batch.actions * keep
    poses = network.integrate_actions(actions, torch.zeros(b, 3, device=device))  # (b, episode, 3)
    row = torch.arange(b, device=device).unsqueeze(1)
    times = batch.first.unsqueeze(1) + torch.arange(length, device=device)
    before = (batch.first - 1).clamp_min(0)
    return TrainingExample(
        clip=batch.clip,
        context=context,
        actions=actions[row, times],
        # frames before the clip's first: an episode's own first frame was led into by no action
        origin=poses[row[:, 0], before] * (batch.first > 0).unsqueeze(1),
        batch=batch,
        all_actions=actions,
        poses=poses,
        shown=batch.clip,
        reported=torch.full((b, length), config.sampling.stabilization, device=device),
        noise=torch.zeros(b, 1, device=device),
    )


def with_context_noise(example: TrainingExample, config: TrainConfig, generator: torch.Generator) -> TrainingExample:
    """The same, half of the clips shown with noise of a drawn level, and that level reported."""
    b, length = example.clip.shape[:2]
    noised = torch.rand(b, 1, generator=generator) < 0.5
    level = config.context_noise * torch.rand(b, 1, generator=generator) * noised
    reported = torch.where(noised, level.clamp_min(1e-3), config.sampling.stabilization)
    device = example.clip.device
    example = replace(example, noise=level.to(device), reported=reported.to(device).expand(-1, length))
    return shown_anew(example, config.diffusion, generator)


def shown_anew(example: TrainingExample, diffusion: Diffusion, generator: torch.Generator) -> TrainingExample:
    """The same, the clip shown with other noise of the same level."""
    clip = example.clip
    noise = torch.randn(clip.shape, generator=generator).to(clip.device)
    return replace(example, shown=diffusion.add_noise(clip, noise, example.noise.expand(-1, clip.shape[1])))


@torch.no_grad()
def with_own_frames(
    example: TrainingExample,
    network: TrainableNetwork[Past],
    diffusion: Diffusion,
    frames: int,
    steps: int,
    generator: torch.Generator,
) -> TrainingExample:
    """The same `frames` later: those after the context are generated by the network, and the newest are its context.

    frames: at most as many as the context holds
    steps: denoising steps
    """
    context, end = example.context, example.context + frames
    assert frames <= context, "a context does not grow"
    shown, reported, actions = (x[:, :context] for x in (example.shown, example.reported, example.actions))
    if has_memory(network):
        memory = network.encode_memory(example.memory(network))
        past = network.encode_context(shown, reported, actions, example.origin, memory)
    else:
        past = network.encode_context(shown, reported, actions, example.origin)
    window = torch.randn(example.clip[:, :frames].shape, generator=generator).to(example.clip.device)
    driven = example.actions[:, context:end]

    def predict(noisy: Tensor, levels: Tensor) -> Tensor:
        return network(noisy, levels, driven, past).float()

    for m in range(steps):
        now = torch.full(window.shape[:2], 1 - m / steps, device=window.device)
        window = euler(diffusion, predict, window, now, now - 1 / steps)
    later = replace(
        example,
        clip=torch.cat((example.clip[:, frames:context], window, example.clip[:, end:]), 1),
        origin=network.integrate_actions(example.actions[:, :frames], example.origin)[:, -1],
        actions=example.actions[:, frames:],
        reported=example.reported[:, frames:],
    )
    return shown_anew(later, diffusion, generator)


def step_loss(
    network: TrainableNetwork[Past],
    config: TrainConfig,
    batch: StepBatch,
    device: torch.device,
    teacher: Teacher | None = None,
) -> Tensor:
    """The loss of one step."""
    batch, generator = batch.to(device), torch.Generator().manual_seed(batch.seed)
    count, own = len(batch.clips.first), batch.own
    windows = (batch.clips.clip.shape[1] - batch.context - own) // batch.window
    if teacher:
        levels, after = teacher.draw(count * windows, generator)
    else:
        levels = after = draw_levels(config, count * windows, batch.window, generator)
    levels, after = (part.to(device).reshape(count, -1) for part in (levels, after))
    with autocast(config, device):
        example = cut(network, config, batch.clips, batch.context, generator)
        example = with_context_noise(example, config, generator)
        if own:
            example = with_own_frames(example, network, config.diffusion, own, batch.own_steps, generator)
        clean = example.clip[:, batch.context :]
        noise = torch.randn(clean.shape, generator=generator).to(device)
        noisy = config.diffusion.add_noise(clean, noise, levels)
        prediction = example.predictor(network, batch.window)(noisy, levels)
        if teacher:
            with torch.no_grad():
                predict = example.predictor(teacher.model.network, batch.window)
                clean = teacher.estimate(predict, noisy, levels, after)
    return config.diffusion.loss(prediction, noisy, clean, levels).mean()
