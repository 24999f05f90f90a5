"""Who makes frames: a model, or the true world that moves by the same actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from ..data.episode import columns
from ..errors import UsageError
from ..media import to_bytes, to_tensor
from ..sampling import generation
from ..sampling.config import Plan
from ..sampling.generation import Chunk
from ..sampling.model import Model
from ..sampling.schedules import TOLERANCE, Schedule
from ..sampling.state import State
from ..sampling.timing import Timing
from ..worlds.world import Place, RestorablePlace, World
from .controls import IDLE
from .start import Start, refit, walk

Rows = Callable[[int, int], np.ndarray]  # (first, count) -> actions float32 (count, a) that lead into those new frames


def obeyed_after(schedule: Schedule) -> int:
    """Frames between an AR step that reads a key and the first frame that obeys it in full.

    An action is read when its frame enters the window, as pure noise, so that every denoising step of it follows the
    action. Frames before it in the window, which are cleaner by then, leave under actions that were read earlier.
    """
    return sum(level < 1 - TOLERANCE for level in schedule.levels[0])


@dataclass(frozen=True)
class View:
    """What a player's network sees: numbers of new frames from 1; those of the prompt are 0 and below."""

    context: tuple[int, int] = (0, -1)  # first and last frame that it sees as they are
    memory: tuple[tuple[int, int], ...] = ()  # first and last frame of each stretch that it remembers, oldest first


class Player(Protocol):
    """Someone who makes frames one AR step after another; called from one thread."""

    @property
    def chunk(self) -> int:
        """Frames of an AR step."""

    @property
    def ahead(self) -> int:
        """Frames after those of an AR step whose actions it asks for too."""

    @property
    def frames(self) -> int:
        """New frames made since the start."""

    def begin(self, start: Start, seed: int) -> None:
        """Go to the start, before the first new frame."""

    def advance(self, rows: Rows) -> np.ndarray:
        """Take one AR step: its frames, uint8 (chunk, h, w, 3)."""

    def save(self) -> object:
        """Where it stands, which nothing writes into."""

    def restore(self, state: object) -> None:
        """Go back to where it stood, under the same start and seed."""

    def view(self) -> View:
        """What it sees now."""

    def close(self) -> None:
        """Let go of what it holds beside memory."""


@runtime_checkable
class OneWay(Player, Protocol):
    """A player that cannot always go back."""

    def check_rewind(self, frames: int) -> None:
        """Refuse to go back to the first `frames` new frames; raises a UsageError."""


class TruePlayer(Player, Protocol):
    """A player whose frames are true, and from whose first ones a play begins."""

    def start(self, seed: int) -> Start:
        """Its frames before the first new one, as a start for a model beside it."""


class ModelPlayer:
    """A model that makes frames under a plan.

    names: of the columns of the actions that it is given; None: the model's own
    Raises: UsageError where the model's latents stand for several frames
    """

    def __init__(self, model: Model, plan: Plan, names: tuple[str, ...] | None = None):
        if (frames := Timing.of(model.codec).per_latent) > 1:
            raise UsageError(
                f"A latent of this model is {frames} frames, so it cannot be played frame by frame.",
                hint="`arvdm generate --preview` shows its frames while they are generated.",
            )
        self.model, self.plan = model, plan
        self.names = model.actions if names is None else names
        self.chunk = plan.schedule.chunk
        self.ahead = plan.schedule.window - plan.schedule.chunk
        self._seed, self._shown = 0, 0
        self._state: State | None = None
        self._steps: Iterator[Chunk] | None = None
        self._rows: Rows | None = None

    @property
    def frames(self) -> int:
        return 0 if self._state is None else self._state.frame

    def begin(self, start: Start, seed: int) -> None:
        config = self.model.codec.config
        led = columns(start.actions, self.names, self.model.actions)
        prompt = to_tensor(refit(start, config.height, config.width).frames).unsqueeze(0)
        self._seed, self._shown = seed, len(start.frames)
        self.restore(generation.begin(self.model, self.plan, prompt, torch.from_numpy(led).unsqueeze(0)))

    def restore(self, state: object) -> None:
        assert isinstance(state, State)
        self._state = state
        self._steps = generation.generate_states(self.model, self.plan, state, self._actions, self._seed, live=True)

    def save(self) -> object:
        return self._state

    def advance(self, rows: Rows) -> np.ndarray:
        assert self._steps is not None
        self._rows = rows
        chunk = next(self._steps)
        self._state = chunk.state
        return to_bytes(chunk.frames[0])

    def _actions(self, first: int, count: int) -> torch.Tensor:
        assert self._rows is not None
        rows = columns(self._rows(first, count), self.names, self.model.actions)
        return torch.from_numpy(rows).unsqueeze(0)

    def view(self) -> View:
        if self._state is None:
            return View()
        memory, frames, group = self._state.memory, self._state.frame, self.plan.sampling.group
        numbers = memory.numbers if memory.numbers.ndim == 1 else memory.numbers[0]
        stretches: list[tuple[int, int]] = []
        for number in numbers.tolist():
            first = number * group - self._shown + 1
            if stretches and stretches[-1][1] == first - 1:
                first = stretches.pop()[0]
            stretches.append((first, (number + 1) * group - self._shown))
        return View((frames - self._state.context.shape[1] + 1, frames), tuple(stretches))

    def close(self) -> None:
        self._steps = None


class WorldPlayer:
    """The true world, in which the same actions are taken; one that a wall stops leads nowhere.

    names: of the columns of the actions that it is given
    chunk: frames that it gives at once
    shown: frames of a walk that come before the first new frame
    Raises: UsageError where an action is not one of the world's
    """

    ahead = 0

    def __init__(self, world: World, names: Sequence[str], chunk: int, shown: int):
        if unknown := [name for name in names if name not in world.actions]:
            raise UsageError(
                f"The true world has no action {unknown[0]!r}.", hint=f"It has: {', '.join(world.actions)}."
            )
        self.world, self.names, self.chunk, self.shown = world, tuple(names), chunk, shown
        idle = next((name for name in IDLE if name in world.actions), None)
        self._idle = world.actions.index(idle) if idle else len(world.actions)  # none of them
        self._stack = ExitStack()
        self._place: Place | None = None
        self._seed = 0
        self._taken: list[int] = []  # actions of the new frames

    @property
    def frames(self) -> int:
        return len(self._taken)

    def start(self, seed: int) -> Start:
        """The walk before the first new frame, as a start for a model beside it."""
        actions = walk(self.world, seed, self.shown)
        rows = np.zeros((len(actions), len(self.names)), np.float32)
        for row, action in zip(rows, actions, strict=True):
            if action < len(self.world.actions) and self.world.actions[action] in self.names:
                row[self.names.index(self.world.actions[action])] = 1
        return Start(np.stack(self._enter(seed)), rows)

    def begin(self, start: Start, seed: int) -> None:
        self._enter(seed)

    def _enter(self, seed: int) -> list[np.ndarray]:
        """Enter the place of a seed and take its walk: the frames that are seen."""
        self.close()
        self._seed, self._taken = seed, []
        place = self._place = self._stack.enter_context(self.world.reset(seed))
        actions = next(iter(place.walks("drift", self.shown, 1).values()))[: self.shown]
        return [place.observe(), *(place.step(action) for action in actions[1:])]

    def advance(self, rows: Rows) -> np.ndarray:
        assert self._place is not None
        actions = [self._number(row) for row in rows(self.frames, self.chunk)]
        frames = np.stack([self._place.step(action) for action in actions])
        self._taken += actions
        return frames

    def _number(self, row: np.ndarray) -> int:
        """The world's number of the action that is strongest in a row."""
        at = int(np.abs(row).argmax())
        return self.world.actions.index(self.names[at]) if row[at] else self._idle

    def save(self) -> object:
        place = self._place
        return len(self._taken), place.save() if isinstance(place, RestorablePlace) else None

    def restore(self, state: object) -> None:
        assert isinstance(state, tuple)
        frames, saved = state
        taken = self._taken[:frames]
        if isinstance(self._place, RestorablePlace):
            self._place.restore(saved)
        else:  # it has only one way
            self._enter(self._seed)
            assert self._place is not None
            for action in taken:
                self._place.step(action)
        self._taken = taken

    def view(self) -> View:
        return View()

    def close(self) -> None:
        self._stack.close()
        self._place = None
