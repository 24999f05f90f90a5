"""Training by frames: each of a clip's last frames has a level of its own, and all before them are clean memory.

Source: Gu et al., "Long-Context Autoregressive Video Modeling with Next-Frame Prediction", arXiv 2503.19325.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.batches import Episodes
from ...sampling.diffusion import Diffusion, logit_normal
from ...sampling.network import Past, labels_follow
from ..config import TrainConfig
from ..network import FrameNetwork
from ..optimizers import autocast
from .windows import StepBatch

LEVELS = 1000  # of noise, evenly spaced from 1 / LEVELS to 1


def draw_batch(config: TrainConfig, episodes: Episodes, step: int, place: float | None = None) -> StepBatch:
    """Draw the clips of a step, counted from 1: all have equally many frames of memory, each right before the clip's.

    place: where the step stands in the run, from 0 to `steps`; None: at its number
    """
    draw = np.random.default_rng((config.seed, 1, step))
    seed = int(draw.integers(2**62))
    early = (step if place is None else place) < config.early * config.steps
    old = 0 if early else int(draw.integers(config.memory_frames + 1))
    count = max(1, config.frames // config.clip_frames)
    clips = episodes.draw(draw, count, old, 0, config.clip_frames, groups=0, group=1, revisit=0.0)
    return StepBatch(step, seed, clips, context=old, window=config.clip_frames)


def draw_levels(config: TrainConfig, count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Levels (b, f), each frame its own, and 0 where a frame is clean context."""
    index = (LEVELS * logit_normal((count, frames), 0.0, 1.0, generator)).floor().clamp(max=LEVELS - 1)
    clean = torch.rand(count, frames, generator=generator) < config.clean_context
    return torch.where(clean, 0.0, (LEVELS - index) / LEVELS)


def draw_actions(
    config: TrainConfig, batch: StepBatch, frames: int, follow: bool, generator: torch.Generator
) -> Tensor:
    """Actions (b, f, a) of all frames of a step's clips, of which some are unknown, each by itself.

    follow: whether a frame carries the action taken after it; that of an episode's last frame is unknown
    """
    first = batch.clips.first.unsqueeze(1)
    row = torch.arange(len(first), device=first.device).unsqueeze(1)
    times = first + torch.arange(frames, device=first.device) + follow
    actions = F.pad(batch.clips.actions, (0, 0, 0, 1))[row, times]
    keep = torch.rand(*times.shape, 1, generator=generator) >= config.drop_actions
    return actions * keep.to(actions.device)


def clip_loss(
    network: FrameNetwork[Past], diffusion: Diffusion, clip: Tensor, noise: Tensor, levels: Tensor, actions: Tensor
) -> Tensor:
    """The squared error of the velocity, over the noisy frames of each clip, then over clips.

    clip: (b, f, c, h, w), clean; noise: (b, w, c, h, w), of its last frames, at levels (b, w); actions: (b, f, a)
    """
    window = noise.shape[1]
    clean = clip[:, -window:]
    noisy = diffusion.add_noise(clean, noise, levels)
    shown = torch.cat((clip[:, :-window], noisy), 1)
    velocity = network.forward_clip(shown, levels, actions, window).float()
    error = (velocity - (noise - clean)).square().mean((2, 3, 4))  # (b, w)
    noised = levels > 0
    return ((error * noised).sum(1) / (noised.sum(1) + 1e-9)).mean()  # a clip without a noisy frame counts 0


def step_loss(network: FrameNetwork[Past], config: TrainConfig, batch: StepBatch, device: torch.device) -> Tensor:
    """The loss of one step."""
    batch, generator = batch.to(device), torch.Generator().manual_seed(batch.seed)
    clip = batch.clips.clip
    levels = draw_levels(config, len(clip), batch.window, generator).to(device)
    actions = draw_actions(config, batch, clip.shape[1], labels_follow(network), generator)
    noise = torch.randn(clip[:, -batch.window :].shape, generator=generator).to(device)
    with autocast(config, device):
        return clip_loss(network, config.diffusion, clip, noise, levels, actions)
