"""An environment as the true world: a game that takes the same actions as the model, by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ..data.episode import columns
from ..errors import UsageError
from ..media import Clip, fit
from ..record import policies
from ..record.actions import Choice
from ..record.environment import Wish
from ..record.episode import seed_of
from ..record.game import Game
from .player import Rows, View
from .start import Start

Result = TypeVar("Result")

REPLAYED = 2000  # frames that a rewind plays again, at most


@dataclass(frozen=True)
class Move:
    """Something that was done in a game."""

    row: np.ndarray  # float32 (a,) in the environment's names; zeros: nothing was done, and its picture stayed
    frames: int  # frames there were after it, those before the first new one too


class GamePlayer:
    """An environment in which the same actions are taken; after its end it stands still until a `reset`.

    Its frames are as a recorder would store them. An environment has no state to go back to, so a rewind plays its
    actions again from the last reset, each of which has a seed of its own.

    wish: which environment; without a skip, actions last as long as the model's frames
    names: of the columns of the actions that it is given
    fps, size: frames a second and (h, w) of the model
    chunk: frames that it gives at once
    shown: frames before the first new one, played at random
    Raises: UsageError where it cannot be opened, or an action is not one of its own
    """

    ahead = 0

    def __init__(self, wish: Wish, names: Sequence[str], fps: float, size: tuple[int, int], chunk: int, shown: int):
        self.names, self.chunk, self.shown, self._size = tuple(names), chunk, max(1, shown), size
        self._thread = ThreadPoolExecutor(1, "arvdm-truth")  # some draw with OpenGL, which belongs to one thread
        self._game = self._call(lambda: open_at(wish, fps))
        self.one = isinstance(self._game.actions.part, Choice)  # whether it takes one action at a time
        self.fps = self._game.fps
        self._seed, self._moves = 0, list[Move]()
        self._picture, self._ended, self._repeats = np.zeros((*size, 3), np.uint8), False, True
        known = self._game.actions.names
        if unknown := [name for name in names if name not in known]:
            self.close()
            raise UsageError(f"{wish.name} has no action {unknown[0]!r}.", hint=f"It has: {', '.join(known)}.")

    def _call(self, work: Callable[[], Result]) -> Result:
        return self._thread.submit(work).result()

    @property
    def frames(self) -> int:
        return self._moves[-1].frames - self.shown if self._moves else 0

    def start(self, seed: int) -> Start:
        """The first frames of a game, as a start for a model beside it."""
        before, rows = self._call(lambda: self._enter(seed))
        frames, _ = self._call(lambda: self._enter(seed))
        self._repeats = np.array_equal(before, frames)
        return Start(frames, columns(rows, self._game.actions.names, self.names))

    def begin(self, start: Start, seed: int) -> None:
        if (self._seed, self.frames) != (seed, 0) or not self._moves:
            self._call(lambda: self._enter(seed))

    def advance(self, rows: Rows) -> np.ndarray:
        asked = columns(rows(self.frames, self.chunk), self.names, self._game.actions.names)
        return self._call(lambda: np.stack([self._show(self._nearest(values)) for values in asked]))

    def check_rewind(self, frames: int) -> None:
        """Refuse to go back to the first `frames` new frames.

        Raises: UsageError where it shows other frames under the same seed, or its game has lasted too long
        """
        if not self._repeats:
            raise UsageError(f"{self._game.name} shows other frames under the same seed, so it cannot go back.")
        moves = self._until(frames)
        if (played := moves[-1].frames - moves[last_reset(moves)].frames) > REPLAYED:
            raise UsageError(
                f"The game has lasted {played} frames there, and at most {REPLAYED} are played again; "
                "reset goes to the start."
            )

    def save(self) -> object:
        return self.frames

    def restore(self, state: object) -> None:
        assert isinstance(state, int)
        if state != self.frames:
            self._call(lambda: self._replay(self._until(state)))

    def view(self) -> View:
        return View()

    def close(self) -> None:
        self._thread.submit(self._game.__exit__)
        self._thread.shutdown()

    # In the thread of the environment

    def _enter(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Begin, and play at random for the frames before the first new one: those (f, h, w, 3), and their rows."""
        self._seed, self._moves = seed, []
        game = self._game
        frames, rows = [self._show(game.actions.reset)], [game.actions.unknown]
        act = policies.choose("random").load(game)(seed)
        while len(frames) < self.shown:
            row = game.actions.reset if self._ended else act(game.observation)
            if self._do(row):
                frames.append(self._picture)
                rows.append(row)
            self._moves.append(Move(row, len(frames)))
        return np.stack(frames), np.stack(rows)

    def _show(self, row: np.ndarray) -> np.ndarray:
        """Take an action into the next frame, and give it."""
        self._do(row)
        self._moves.append(Move(row, (self._moves[-1].frames if self._moves else 0) + 1))
        return self._picture

    def _do(self, row: np.ndarray) -> bool:
        """Do what a row says; whether there is a picture of it."""
        if row[-1]:
            picture, self._ended = self._game.reset(seed_of(self._seed, resets(self._moves))), False
        elif self._ended or not (row.any() or self._game.actions.part.idle):
            return True  # it stands still
        else:
            moment = self._game.step(row)
            self._ended = moment.ended
            if moment.picture is None:
                return False
            picture = moment.picture
        self._picture = fit(Clip(picture[None], None, ""), *self._size, fit="stretch").frames[0]
        return True

    def _nearest(self, values: np.ndarray) -> np.ndarray:
        """The row that the environment can take, closest to values (a,) of its names."""
        actions = self._game.actions
        if values[-1] >= 0.5:
            return actions.reset
        part = actions.part.nearest(values[: len(actions.part.names)])
        return np.concatenate((part, np.zeros(len(actions.names) - len(part), np.float32)))

    def _until(self, frames: int) -> list[Move]:
        """What was done for the first `frames` new frames."""
        return [move for move in self._moves if move.frames <= frames + self.shown]

    def _replay(self, moves: list[Move]) -> None:
        first = last_reset(moves)
        self._moves = moves[:first]
        for move in moves[first:]:
            self._do(move.row)
            self._moves.append(move)


def open_at(wish: Wish, fps: float) -> Game:
    """Open an environment with actions that last as long as frames at a rate, as nearly as it can."""
    game = Game(wish)
    skip = max(1, round(game.fps * game.skip / fps))
    if wish.skip is not None or skip == game.skip:
        return game
    game.__exit__()  # some can be open only once
    return Game(replace(wish, skip=skip))


def resets(moves: Sequence[Move]) -> int:
    """Count the games that were begun."""
    return sum(bool(move.row[-1]) for move in moves)


def last_reset(moves: Sequence[Move]) -> int:
    """Where the newest game was begun."""
    return max(at for at, move in enumerate(moves) if move.row[-1])
