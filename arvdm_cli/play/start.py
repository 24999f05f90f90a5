"""What a play begins from: a clip, an image, nothing, a held-out episode, or a walk through the true world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data.episode import read_episode, unseen
from ..media import Clip, fit
from ..runs.events import OnEvent, ignore
from ..runs.inputs import read_prompt, usable
from ..runs.request import PromptSource
from ..sampling.config import Plan
from ..sampling.model import Model
from ..worlds.world import World

NOTHING = "nothing"
EPISODES = 8  # of a data folder, that are offered


@dataclass(frozen=True)
class Start:
    """Frames before the first new one, and the actions that led into them."""

    frames: np.ndarray  # uint8 (f, h, w, 3), f from 0 on
    actions: np.ndarray  # float32 (f, a); a row of zeros is unknown


Load = Callable[[int], Start]  # of the seed of the play
Starts = Mapping[str, Load]  # by name, the first of them is taken first


def nothing(model: Model) -> Start:
    """No frame at all."""
    config = model.codec.config
    return Start(np.empty((0, config.height, config.width, 3), np.uint8), np.zeros((0, len(model.actions)), np.float32))


def from_file(source: PromptSource, model: Model, plan: Plan, on_event: OnEvent = ignore) -> Start:
    """The last frames of a clip, or an image, as `arvdm generate` reads them.

    Raises: VideoError, ActionError
    """
    frames, led = read_prompt(source, model, plan.sampling, on_event)
    return Start(frames, led[0].numpy())


def from_episodes(folder: Path, model: Model, plan: Plan) -> Starts:
    """The beginnings of the last episodes of a data folder, which training holds out.

    Raises: DataError where it is not one; UsageError where its frames have another size
    """
    config = model.codec.config
    numbers = unseen(folder, model.card)[-EPISODES:]

    def load(number: int) -> Start:
        episode = read_episode(folder, number, model.actions, (config.height, config.width))
        count = usable(model, plan.sampling)
        return Start(episode.frames[:count], episode.actions[:count])

    load(numbers[0])  # what is wrong with a folder shows now

    def loader(number: int) -> Load:
        return lambda seed: load(number)

    return {f"episode {number}": loader(number) for number in numbers}


def walk(world: World, seed: int, frames: int) -> list[int]:
    """The actions of a walk from the beginning of a place, the first of which leads into the first frame."""
    with world.reset(seed) as place:
        return next(iter(place.walks("drift", frames, 1).values()))[:frames]


def refit(start: Start, height: int, width: int) -> Start:
    """The same start in frames of another size."""
    if start.frames.shape[1:3] == (height, width):
        return start
    if not len(start.frames):
        return replace(start, frames=np.empty((0, height, width, 3), np.uint8))
    return replace(start, frames=fit(Clip(start.frames, None, "the start"), height, width).frames)
