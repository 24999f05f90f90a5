"""Who acts: a human at the controls, a random walk, or a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..actions import files, phrases
from ..errors import UsageError
from ..sampling.model import Model
from .controls import Controls, Keys

HUMAN, RANDOM, FILE = "human", "random", "file"
Draw = Callable[[int, int], np.ndarray]  # (seed, frames) -> rows (f, a); longer ones begin with shorter ones


def random_walk(model: Model) -> Draw:
    """Walks as `arvdm generate --actions random` draws them."""
    walk = model.card.get("walk")
    return lambda seed, frames: phrases.random(model.actions, frames, seed, walk)


def read_file(source: str, model: Model) -> np.ndarray:
    """Actions of a file or a phrase (f, a); raises ActionError."""
    if not model.actions:
        raise UsageError("The model has no actions, so a policy from a file has no effect.")
    return files.read(source, model.actions, fps=model.fps)


class Driver:
    """Gives the actions that lead into new frames, under the policy of the moment; human where a file has ended.

    rows: those of the file (f, a), None where there is none
    """

    def __init__(
        self,
        controls: Controls,
        names: tuple[str, ...],
        draw: Draw | None = None,
        rows: np.ndarray | None = None,
        policy: str = HUMAN,
    ):
        self.controls, self.names, self.draw, self.rows = controls, names, draw, rows
        self.seed = 0  # of the random walk
        self.policy = policy

    @property
    def policies(self) -> tuple[str, ...]:
        """Policies to choose from."""
        known = {HUMAN: True, RANDOM: bool(self.draw and self.names), FILE: self.rows is not None}
        return tuple(name for name, there in known.items() if there)

    def choose(self, name: str | None) -> bool:
        """Take another policy, None for the next one; false where there is none of that name."""
        policies = self.policies
        if name is None:
            name = policies[(policies.index(self.policy) + 1) % len(policies)]
        if name in policies:
            self.policy = name
        return name in policies

    def read(self, first: int, count: int) -> Keys:
        """The actions that lead into new frames, counted from 0."""
        keys = self.controls.read(self.names, count)
        if self.policy == FILE and self.rows is not None and first >= len(self.rows):
            self.policy = HUMAN
        if self.policy == HUMAN:
            return keys
        track = self.rows if self.policy == FILE else None
        if track is None:
            assert self.draw is not None
            track = self.draw(self.seed, first + count)
        rows = keys.rows.copy()
        part = track[first : first + count]
        rows[: len(part)] = part
        return Keys(rows, None, keys.stamp)
