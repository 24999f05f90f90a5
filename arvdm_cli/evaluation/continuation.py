"""How well a model continues recorded episodes: from several starts, with their own actions, against their own frames.

Beside every figure stands what repeating the last frame and the mean of the context score. Any folder of episodes
will do, rendered or imported, whose actions the model has: so a model trained in rendered mazes is measured on what
another engine recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Episodes, read_all
from ..errors import CheckpointError, DataError, UsageError
from ..sampling.model import Model
from ..sampling.plan import Plan
from ..workers import Progress, no_progress
from . import drift, metrics, rollout
from .drift import DriftRow, Figures
from .ranges import Span, ranges, singles
from .rollout import Task


@dataclass(frozen=True)
class Cuts:
    """Stretches of episodes: frames that are shown, and those to be made after them."""

    shown: int
    places: list[tuple[int, int]]  # of each stretch: its episode, and the frame of it that is shown first
    frames: np.ndarray  # uint8 (n, shown + new, h, w, 3)
    actions: Tensor  # (n, shown + new, a); row t leads into frame t
    names: tuple[str, ...]  # what the actions are called

    @property
    def truth(self) -> np.ndarray:
        """What is to be made: uint8 (n, new, h, w, 3)."""
        return self.frames[:, self.shown :]

    def turned(self) -> np.ndarray:
        """Which turn led into each new frame: 1 to the left, -1 to the right, 0 for none, (n, new)."""
        turns = np.zeros(self.truth.shape[:2], int)
        for name, sign in (("left", 1), ("right", -1)):
            if name in self.names:
                turns[self.actions[:, self.shown :, self.names.index(name)].numpy() == 1] = sign
        return turns


def cut(folder: Path, starts: int, shown: int, length: int) -> Cuts:
    """Cut stretches of `shown` + `length` frames, their starts spread evenly over all episodes of a folder.

    Raises: DataError where the episodes are too short
    """
    if min(starts, shown, length) < 1:
        raise UsageError(
            f"{starts} starts, {shown} context frames and {length} new frames.", hint="Each must be at least 1."
        )
    episodes = Episodes(read_all([folder]), 0)
    count, f = episodes.pictures.shape[:2]
    room = f - shown - length + 1  # starts in an episode
    if room < 1:
        raise DataError(f"{folder} has episodes of {f} frames; {shown} context frames and {length} new ones are more.")
    at = np.linspace(0, count * room - 1, starts).round().astype(int)
    places = [(int(place) // room, int(place) % room) for place in at]
    frames = np.stack([episodes.pictures[episode, first : first + shown + length] for episode, first in places])
    rows = [episodes.one_hot(np.array([episode]))[0, first : first + shown + length] for episode, first in places]
    return Cuts(shown, places, frames, torch.stack(rows), tuple(episodes.names))


def task(model: Model, cuts: Cuts, plan: Plan) -> Task:
    """What there is to make.

    Raises: CheckpointError where the model has not all actions of the episodes, or makes frames of another size
    """
    if missing := [name for name in cuts.names if name not in model.actions]:
        raise CheckpointError(
            f"The checkpoint's actions are {', '.join(model.actions) or 'unknown'}; it lacks {', '.join(missing)}.",
            hint=f"The episodes have {', '.join(cuts.names)}.",
        )
    size, ours = cuts.frames.shape[2:4], (model.codec.config.height, model.codec.config.width)
    if size != ours:
        raise CheckpointError(
            f"The checkpoint makes frames of {ours[1]}x{ours[0]}; the episodes have {size[1]}x{size[0]}.",
            hint="Import the clips in another size with `arvdm data import --size`.",
        )
    actions = torch.zeros(*cuts.actions.shape[:2], len(model.actions))
    actions[..., [model.actions.index(name) for name in cuts.names]] = cuts.actions
    return Task(cuts.frames[:, : cuts.shown], actions, plan)


def roll_out(model: Model, cuts: Cuts, plan: Plan, seed: int, progress: Progress = no_progress) -> np.ndarray:
    """Let a model continue every stretch: uint8 (n, new, h, w, 3)."""
    return rollout.make(model, {"episodes": task(model, cuts, plan)}, seed, progress)["episodes"]


def measure(output: np.ndarray, cuts: Cuts, context: int) -> tuple[list[DriftRow], list[DriftRow]]:
    """Measure made frames uint8 (n, new, h, w, 3): rows by range, the last over all of them, and rows by frame.

    context: true frames that the model saw right before them
    """
    each: list[Figures] = []
    compared = metrics.comparisons(slow=False)
    for frames, true, turns in zip(output, cuts.frames, cuts.turned(), strict=True):
        before, truth = true[max(0, cuts.shown - max(1, context)) : cuts.shown], true[cuts.shown :]
        figures = drift.figures_of(frames, truth, before, compared)
        each.append(figures | drift.motion_of(frames, truth, before[-1], turns))
    figures = {name: np.stack([figures[name] for figures in each]) for name in each[0]}
    length = output.shape[1]
    every, spans = np.ones((len(output), length), bool), ranges(length)
    if length > 1:
        spans.append(Span(1, length))
    by_range = [drift.average(figures, every, span) for span in spans]
    return by_range, [drift.average(figures, every, span, single=True) for span in singles(length)]
