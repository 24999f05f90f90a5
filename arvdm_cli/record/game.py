"""An environment as a recorder plays it: rows of actions in, pictures out."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from .actions import Actions
from .environment import Opened, Wish, blame
from .families import open_environment

SMALLEST = 32  # pixels of a side; what is smaller is a code of what is seen, such as MiniGrid's 7x7 cells


class Game:
    """An open environment; use it as a context, and call `reset` first."""

    def __init__(self, wish: Wish):
        self.name = wish.name
        self._opened: Opened = open_environment(wish)
        self.actions: Actions = self._opened.actions
        self.space = self._opened.space
        self.skip = self._opened.skip
        self.fps = self._opened.rate / self._opened.skip  # of the frames that `step` gives
        self.options = dict(self._opened.options)
        self.observation: object = None  # the newest, for policies
        self._shown: str | None = None  # where pictures come from, once known: observation, a key of it, or render

    def __enter__(self) -> "Game":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.env.close()

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin a game and give its first picture, uint8 (h, w, 3); a seed makes all that follows repeatable."""
        with blame(self.name), redirect_stdout(sys.stderr):  # some packages print
            self.observation, _ = self._opened.env.reset(seed=seed)
        return self._picture()

    def step(self, row: np.ndarray) -> "Moment":
        """Do the action of a row for as many frames as are skipped, or until the game ends."""
        action = self.actions.action(row)
        with blame(self.name):
            for _ in range(self._opened.repeats):
                self.observation, _, terminated, truncated, _ = self._opened.env.step(action)
                if terminated or truncated:
                    break
        ended = bool(terminated or truncated)
        return Moment(None if ended and not self._opened.shows_end else self._picture(), ended)

    def _picture(self) -> np.ndarray:
        if self._shown is None:
            self._shown = self._find()
        if self._shown == "render":
            with blame(self.name):
                picture = as_picture(self._opened.env.render(), 1)
            if picture is None:
                raise UsageError(f"{self.name} shows no picture.", hint="It must observe or render uint8 (h, w, 3).")
            return picture
        seen = self.observation[self._shown] if isinstance(self.observation, dict) else self.observation
        picture = as_picture(seen, SMALLEST)
        assert picture is not None
        return picture

    def _find(self) -> str:
        """Say where pictures come from: what is observed, as drawing it again takes many times as long."""
        if not isinstance(self.observation, dict):
            return "render" if as_picture(self.observation, SMALLEST) is None else "observation"
        keys = (*self._opened.keys, "pixels", "rgb", "image", "screen")
        return next((key for key in keys if as_picture(self.observation.get(key), SMALLEST) is not None), "render")


@dataclass(frozen=True)
class Moment:
    """What follows from an action."""

    picture: np.ndarray | None  # uint8 (h, w, 3); None where a game has ended without showing it
    ended: bool


def as_picture(seen: object, smallest: int) -> np.ndarray | None:
    """Give a copy of a picture as uint8 (h, w, 3), a grey one with three equal channels; None where it is not one."""
    if not isinstance(seen, np.ndarray) or seen.dtype != np.uint8 or seen.ndim not in (2, 3):
        return None
    picture = seen if seen.ndim == 3 else seen[..., None]
    if picture.shape[2] not in (1, 3) or min(picture.shape[:2]) < smallest:
        return None
    return np.array(np.broadcast_to(picture, (*picture.shape[:2], 3)))
