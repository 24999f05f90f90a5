"""The needle test: does a model, coming back, draw what it was shown, or what it might have been shown?

A model is fed true frames up to the moment when the needle comes back into view, as context and as memory; what it
makes from there on is compared with every candidate. See `worlds.world.Needle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..reports.records import Record
from ..reports.statistics import wilson
from ..sampling.generation import encode
from ..sampling.model import Model
from ..sampling.plan import Plan
from ..workers import Progress, no_progress
from ..worlds.world import Needle
from .rollout import Task, encode_all, make, one_hot, prompt

CONTROLS = {
    "memory": "the model as it is",
    "none": "no memory: only the context, which does not reach back; chance, or the test leaks",
    "other": "memory of another world; chance, or the test leaks",
    "unseen": "the history begins when the needle has left the view; chance, or the test leaks",
    "context": "a context that reaches back to the needle, instead of memory",
    "free": "the way is made by the model too, from when the needle has left the view",
    "truth": "true frames in place of made ones: all are found, or the score is wrong",
}


@dataclass(frozen=True)
class Score:
    """How one world's frames compare with its candidates, on the pixels in which these differ."""

    correct: bool  # the nearest candidate is the true one
    margin: float  # dB by which the true candidate is nearer than the nearest distractor
    psnr: float  # dB against the truth
    bound: float  # dB of the candidates' mean picture, the best that can be made without having seen
    looped: bool  # another way back than the way out


@dataclass(frozen=True)
class Accuracy(Record):
    """In which share of worlds the true candidate is the nearest, with its 95 % interval."""

    worlds: int
    chance: float
    top1: float
    low: float
    high: float


@dataclass(frozen=True)
class Retrieval(Record):
    """Needle tests of one gap under one control."""

    gap: int
    control: str
    accuracy: Accuracy
    top1_loop: float | None  # by the way back: another one
    top1_inverse: float | None  # or the way out, undone
    margin: float  # dB, mean
    strict: float  # share of worlds with a margin above 3 dB
    psnr: float
    bound: float


@dataclass(frozen=True)
class RetrievalRow(Record):
    """Needle tests of a model: a row of its file."""

    model: str
    sha256: str
    schedule: str | None
    steps: int
    slots: int
    kind: str
    retrieval: Retrieval


def task(
    model: Model,
    needles: Sequence[Needle],
    plan: Plan,
    control: str,
    frames: int,
    latents: Tensor | None = None,
) -> Task:
    """What a model is to make of needle tests of one gap under one control.

    latents: of the last frames of each history, as many as the shortest has, where they are known
    """
    after, gap = len(needles[0].candidates[0]), needles[0].gap
    # as much of the past for every world: its last frames are without the needle, those before show it
    length = gap if control == "unseen" else shortest(needles)
    history = np.stack([needle.history[-length:] for needle in needles])
    numbers = np.stack([needle.actions[-length - after :] for needle in needles])
    actions = one_hot(model, needles[0].names, numbers)[:, : length + frames]
    if latents is not None:
        latents = latents[:, -length:]
    if control == "free":
        history, latents = history[:, :-gap], None if latents is None else latents[:, :-gap]
    if control in ("none", "context"):
        plan = plan.with_sampling(slots=0, history_guidance=1.0)
    if control == "context":
        plan = plan.with_sampling(context=length)
    other = np.roll(np.arange(len(needles)), 1) if control == "other" else None
    return Task(history, actions, plan, latents, other)


def shortest(needles: Sequence[Needle]) -> int:
    """Frames of the shortest history."""
    return min(len(needle.history) for needle in needles)


def score(output: np.ndarray, needle: Needle) -> Score:
    """Compare frames made after a return, uint8 (f, h, w, 3), with what each candidate would have shown."""
    candidates = needle.candidates[:, : len(output)].astype(np.float64) / 255  # (k, f, h, w, 3)
    differ = (candidates != candidates[:1]).any((0, -1))  # (f, h, w)
    pictures = candidates[:, differ]  # (k, pixels, 3)
    errors = np.square(output[differ] / 255 - pictures).mean((1, 2))  # (k,)
    levels = -10 * np.log10(np.maximum(errors, 1e-10))
    distractors = np.delete(levels, needle.truth)
    bound = np.square(pictures.mean(0) - pictures[needle.truth]).mean()
    return Score(
        correct=bool(levels.argmax() == needle.truth),
        margin=float(levels[needle.truth] - distractors.max()),
        psnr=float(levels[needle.truth]),
        bound=float(-10 * np.log10(bound)),
        looped=needle.looped,
    )


def measure(
    model: Model,
    needles: Sequence[Needle],
    plan: Plan,
    controls: Sequence[str] = ("memory", "none", "other", "unseen", "context", "truth"),
    frames: int = 8,
    seed: int = 0,
    progress: Progress = no_progress,
) -> tuple[list[Retrieval], dict[str, np.ndarray]]:
    """Take needle tests of one kind and gap; figures, and the frames made.

    frames: made in each world after the return
    Returns a row for each control, and frames uint8 (worlds, frames, h, w, 3) by control
    """
    latents = encode_all(model, np.stack([needle.history[-shortest(needles) :] for needle in needles]))
    tasks = {
        control: task(model, needles, plan, control, frames, latents) for control in controls if control != "truth"
    }
    output = {control: clips[:, -frames:] for control, clips in make(model, tasks, seed, progress).items()}
    rows = []
    for control in controls:
        truth = np.stack([needle.candidates[needle.truth, :frames] for needle in needles])
        clips = output.get(control, truth)
        scores = [score(*pair) for pair in zip(clips, needles, strict=True)]
        rows.append(summary(control, scores, needles))
    return rows, output


def summary(control: str, scores: Sequence[Score], needles: Sequence[Needle]) -> Retrieval:
    """Retrieval accuracy over worlds, also by way back, and the margins."""
    correct = np.array([each.correct for each in scores])
    looped = np.array([each.looped for each in scores])
    margins = np.array([each.margin for each in scores])
    return Retrieval(
        gap=needles[0].gap,
        control=control,
        accuracy=accuracy(int(correct.sum()), len(scores), needles),
        top1_loop=round(float(correct[looped].mean()), 4) if looped.any() else None,
        top1_inverse=round(float(correct[~looped].mean()), 4) if (~looped).any() else None,
        margin=round(float(margins.mean()), 2),
        strict=round(float((margins > 3).mean()), 4),
        psnr=round(float(np.mean([each.psnr for each in scores])), 2),
        bound=round(float(np.mean([each.bound for each in scores])), 2),
    )


def accuracy(correct: int, total: int, needles: Sequence[Needle]) -> Accuracy:
    """The share of worlds whose true candidate is the nearest."""
    low, high = wilson(correct, total)
    chance = round(1 / len(needles[0].candidates), 4)
    return Accuracy(total, chance, round(correct / total, 4), round(low, 4), round(high, 4))


def at_chance(accuracy: Accuracy) -> bool:
    """Whether a control's interval holds what guessing would find."""
    return accuracy.low <= accuracy.chance <= accuracy.high


@torch.no_grad()
def probe(model: Model, needles: Sequence[Needle], share: float = 0.5) -> Accuracy:
    """Retrieval accuracy of a linear map from what memory keeps of a needle.

    The map reads a place of a group's mean latent off the token at that place; it is fitted by least squares to the
    groups of a share of the worlds, and asked which candidate the first group of each other world shows.

    share: of the worlds, those that the map is fitted to
    """
    network, group = model.network, model.network.config.group
    patchify, side = network.config.patchify, network.config.memory_side
    assert network.compression is not None and side == network.config.grid[0], "a token for each place of a frame"
    assert network.config.instants == 1, "a group is one instant"
    tokens, patches = [], []
    for needle in needles:
        whole = len(needle.history) // group * group
        latents = encode(model, prompt(needle.history[None, :whole]))
        actions = one_hot(model, needle.names, needle.actions[None, :whole]).to(latents.device)
        poses = network.integrate_actions(actions, latents.new_zeros(1, 3))
        parts = (part.unflatten(1, (-1, group))[0] for part in (latents, actions, poses))  # (groups, g, ...)
        first, *rest = parts
        tokens.append(network.compress(first, *rest).float())  # (groups, n, d)
        patches.append(patchify(first.mean(1, keepdim=True))[:, 0].float())  # (groups, n, c * p * p)
    split = max(1, int(share * len(needles)))
    x, y = (torch.cat(parts[:split]).flatten(0, 1).double() for parts in (tokens, patches))
    x = functional.pad(x, (0, 1), value=1.0)
    ridge = 1e-3 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    correct = 0
    for needle, memory in zip(needles[split:], tokens[split:], strict=True):
        candidates = patchify(encode(model, prompt(needle.candidates[:, -1:])))[:, 0].double()  # (k, n, c * p * p)
        read = functional.pad(memory[0].double(), (0, 1), value=1.0) @ weights  # (n, c * p * p)
        differ = (candidates - candidates[:1]).abs().amax((0, 2)) > 0.1
        errors = (candidates - read)[:, differ].square().mean((1, 2))
        correct += int(errors.argmin()) == needle.truth
    return accuracy(correct, len(needles) - split, needles)
