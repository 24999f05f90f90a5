"""Held-out episodes, continued and compared."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..data.batches import Episodes
from ..media import contact_sheet, to_bytes
from ..sampling.generation import begin, choose, generate, given
from ..sampling.model import Model
from .events import Validated

SPANS = ((0, 1), (1, 4), (4, 8), (8, 16), (16, 32))  # new frames whose PSNR is reported together


def decibels(made: Tensor, truth: Tensor) -> Tensor:
    """PSNR of each frame, (b, f), for frames (b, f, 3, h, w) in [-1, 1]."""
    return -10 * (made - truth).div(2).square().mean((2, 3, 4)).clamp_min(1e-10).log10()


@torch.no_grad()
def validate(model: Model, episodes: Episodes, step: int, sheet: Path, prompt: int = 64, length: int = 32) -> Validated:
    """Continue held-out episodes with their true actions: PSNR by frame, and a sheet of truth above made.

    step: after which the model is validated
    """
    model.network.eval()
    device = next(model.codec.parameters()).device
    rows = episodes.held_out
    frames = episodes.pictures.shape[1]
    middle = frames // 2
    prompt, length = min(prompt, middle), min(length, frames - middle)
    clip = episodes.frames(rows, slice(middle - prompt, middle + length))
    actions = episodes.one_hot(rows)[:, middle - prompt : middle + length].to(device)
    plan = choose(model.sampling)
    state = begin(model, plan, clip[:, :prompt], actions[:, :prompt])
    made = torch.cat(list(generate(model, plan, state, given(actions[:, prompt:]), seed=0, length=length)), 1).cpu()
    truth = clip[:, prompt:]

    def psnr(frames: Tensor) -> list[float]:
        scores = decibels(frames, truth).mean(0)
        return [round(scores[a:b].mean().item(), 2) for a, b in SPANS if a < length]

    pairs = torch.stack((truth[:, ::2], made[:, ::2]), 1).flatten(0, 1)  # (2 b, f, 3, h, w)
    contact_sheet(to_bytes(pairs.flatten(0, 1)), pairs.shape[1], sheet)
    model.network.train()
    return Validated(step, psnr(made), psnr(clip[:, prompt - 1 : prompt].expand_as(truth)))
