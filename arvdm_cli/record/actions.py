"""Actions of an environment <-> rows of numbers, one column for each name.

Discrete actions are one-hot, buttons several ones, continuous ones numbers in the environment's units. Elsewhere a row
of zeros is an unknown action, so an action whose columns would all be zero sets a further one, `none`. The last column
is `reset`: what leads from the end of a game into the first frame of the next one.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..actions.statistics import IDLE
from ..errors import ActionError, UsageError

NONE, RESET = "none", "reset"
RARELY = {"brake": 0.1}  # axes that begin at zero -> share of its draws in which random play uses them; else USED
USED = 0.5
Names = Sequence[str] | dict[str, Sequence[str]]  # of an action space; of each part of one that has parts


class Part(ABC):
    """One kind of action; its names stand for the columns of its rows."""

    names: tuple[str, ...]
    idle: bool  # whether there is an action whose row is all zeros

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> object:
        """Draw an action for random play."""

    @abstractmethod
    def row(self, action: object) -> np.ndarray:
        """Write an action as float32 (a,); raises an ActionError where the environment cannot take it."""

    @abstractmethod
    def action(self, row: np.ndarray) -> object:
        """Give the action of a row, as the environment takes it."""

    @abstractmethod
    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Give the row, float32 (a,), closest to any values (a,); zeros where nothing is done and no row says so."""


class Choice(Part):
    """One of several actions, given by its number from `start` on."""

    idle = False

    def __init__(self, names: Sequence[str], start: int = 0):
        self.names = tuple(names)
        self.start = start

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.names))) + self.start

    def row(self, action: object) -> np.ndarray:
        number = int(np.asarray(action).item()) - self.start
        if not 0 <= number < len(self.names):
            raise ActionError(f"Action {action} is not one of the {len(self.names)} from {self.start} on.")
        return np.eye(len(self.names), dtype=np.float32)[number]

    def action(self, row: np.ndarray) -> int:
        if np.count_nonzero(row) != 1:
            raise ActionError(f"Exactly one of {', '.join(self.names[:9])} must be taken, not {np.count_nonzero(row)}.")
        return int(np.argmax(row != 0)) + self.start

    def nearest(self, values: np.ndarray) -> np.ndarray:
        if (values > 0).any():
            return np.eye(len(self.names), dtype=np.float32)[int(np.argmax(values))]
        return np.array([clean(name) in IDLE for name in self.names], np.float32)


class Buttons(Part):
    """Several buttons, each held or not."""

    idle = True

    def __init__(self, names: Sequence[str], unused: Sequence[str] = ()):
        """unused: buttons that random play leaves alone, such as that of the pause."""
        self.names = tuple(names)
        self.drawn = [number for number, name in enumerate(names) if name not in unused] or [*range(len(names))]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Hold no button, one or two: with more of them, most games hardly move."""
        held = np.zeros(len(self.names), np.int8)
        count = min(int(rng.choice(3, p=(0.2, 0.5, 0.3))), len(self.drawn))
        held[rng.choice(self.drawn, count, replace=False)] = 1
        return held

    def row(self, action: object) -> np.ndarray:
        held = np.asarray(action, np.float32).ravel()
        if held.shape != (len(self.names),) or not np.isin(held, (0, 1)).all():
            raise ActionError(f"An action must be {len(self.names)} zeros and ones, not {action!r}.")
        return held

    def action(self, row: np.ndarray) -> np.ndarray:
        return (row != 0).astype(np.int8)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        return (values >= 0.5).astype(np.float32)


class Axes(Part):
    """Numbers, each within its limits; what is given beyond them is clipped, as the row must be what was done."""

    def __init__(self, names: Sequence[str], low: np.ndarray, high: np.ndarray, dtype: np.dtype):
        """low, high: of the shape in which the environment takes an action."""
        self.names, self.shape, self.dtype = tuple(names), low.shape, dtype
        self.low, self.high = (np.asarray(limit, np.float32).ravel() for limit in (low, high))
        self.idle = bool(((self.low <= 0) & (self.high >= 0)).all())

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw each axis alike within its limits; one that begins at zero rests for a share of them."""
        bounded = (self.low > -1e6) & (self.high < 1e6)
        values = np.where(
            bounded,
            rng.uniform(np.where(bounded, self.low, 0), np.where(bounded, self.high, 1)),
            rng.normal(size=len(self.names)),
        )
        used = rng.random(len(self.names)) < [RARELY.get(name, USED) for name in self.names]
        return np.where((self.low == 0) & ~used, 0, values).astype(np.float32)

    def row(self, action: object) -> np.ndarray:
        values = np.asarray(action, np.float32).ravel()
        if values.shape != self.low.shape or not np.isfinite(values).all():
            raise ActionError(f"An action must be {len(self.names)} numbers, not {action!r}.")
        return values.clip(self.low, self.high)

    def action(self, row: np.ndarray) -> np.ndarray:
        return row.reshape(self.shape).astype(self.dtype)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        return values.clip(self.low, self.high).astype(np.float32)


class Joint(Part):
    """Several kinds of action at once."""

    def __init__(
        self,
        parts: Sequence[Part],
        split: Callable[..., Sequence[object]],
        join: Callable[[list[object]], object],
    ):
        """split, join: from what the environment takes to the actions of the parts, and back."""
        self.parts, self.split, self.join = parts, split, join
        self.names = tuple(name for part in parts for name in part.names)
        self.idle = all(part.idle for part in parts)

    def draw(self, rng: np.random.Generator) -> object:
        return self.join([part.draw(rng) for part in self.parts])

    def row(self, action: object) -> np.ndarray:
        pairs = zip(self.parts, self.split(action), strict=True)
        return np.concatenate([part.row(each) for part, each in pairs])

    def action(self, row: np.ndarray) -> object:
        return self.join([part.action(each) for part, each in self._pairs(row)])

    def nearest(self, values: np.ndarray) -> np.ndarray:
        rows = [part.nearest(each) for part, each in self._pairs(values)]
        for part, row in zip(self.parts, rows, strict=True):
            if isinstance(part, Choice) and not row.any():
                row[0] = 1  # one of them must be taken
        return np.concatenate(rows)

    def _pairs(self, row: np.ndarray) -> Iterator[tuple[Part, np.ndarray]]:
        ends = np.cumsum([len(part.names) for part in self.parts])[:-1]
        return zip(self.parts, np.split(row, ends), strict=True)


@dataclass(frozen=True)
class Actions:
    """All actions of an environment, with `none` where an action may be nothing, and `reset`."""

    part: Part

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of a row are called; no name is there twice."""
        names: list[str] = []
        for name in (*map(clean, self.part.names), *([NONE] if self.part.idle else [])):
            names.append(name if name not in (*names, RESET) else f"{name}.{len(names)}")
        return (*names, RESET)

    @property
    def reset(self) -> np.ndarray:
        """The row of `reset`: float32 (a,)."""
        return np.eye(len(self.names), dtype=np.float32)[-1]

    @property
    def unknown(self) -> np.ndarray:
        """The row of what led into a first frame: float32 (a,)."""
        return np.zeros(len(self.names), np.float32)

    def row(self, action: object) -> np.ndarray:
        """Write an action as a row: float32 (a,)."""
        try:
            row = self.part.row(action)
        except (TypeError, ValueError, KeyError) as error:
            raise ActionError(f"The environment cannot take {action!r} as an action: {error}") from error
        extra = [not row.any(), False] if self.part.idle else [False]
        return np.concatenate([row, np.array(extra, np.float32)])

    def action(self, row: np.ndarray) -> object:
        """Give the action of a row that is not `reset`, as the environment takes it."""
        return self.part.action(row[: len(self.part.names)])


def clean(name: str) -> str:
    """Give a name that phrases of actions can hold: lower case, no space or sign of theirs."""
    return re.sub(r"[^a-z0-9._-]+", "_", name.lower()).strip("_") or "unnamed"


def of_space(space: object, names: Names | None = None) -> Part:
    """Read a space of Gymnasium, or of the older Gym; without names they are a0, a1, ...

    Raises: UsageError where it is of another kind
    """
    return _KINDS[kind](space, names) if (kind := type(space).__name__) in _KINDS else _refuse(space)


# Spaces are read by what they hold, as their classes come from packages that may be absent: `space` has no type here.


def _refuse(space: object) -> Part:
    raise UsageError(f"Actions of the kind {space} cannot be recorded.", hint=f"Known kinds: {', '.join(_KINDS)}.")


def _listed(names: Names | None, count: int, prefix: str = "a") -> list[str]:
    """Give the names where they fit, else numbers."""
    fits = names is not None and not isinstance(names, dict) and len(names) == count
    return [*names] if fits and names is not None else [f"{prefix}{number}" for number in range(count)]


def _discrete(space, names: Names | None) -> Part:
    return Choice(_listed(names, int(space.n)), int(getattr(space, "start", 0)))


def _multi_binary(space, names: Names | None) -> Part:
    return Buttons(_listed(names, int(np.prod(space.n))))


def _multi_discrete(space, names: Names | None) -> Part:
    counts = np.asarray(space.nvec).ravel()
    first = np.asarray(getattr(space, "start", np.zeros_like(counts))).ravel()
    each = _listed(names, len(counts))
    parts = [Choice([f"{name}.{k}" for k in range(n)], int(s)) for name, n, s in zip(each, counts, first, strict=True)]
    return Joint(parts, lambda action: np.asarray(action).ravel().tolist(), lambda taken: np.array(taken, space.dtype))


def _box(space, names: Names | None) -> Part:
    return Axes(_listed(names, int(np.prod(space.shape))), space.low, space.high, space.dtype)


def _dict(space, names: Names | None) -> Part:
    keys = [*space.spaces]
    known = names if isinstance(names, dict) else {}
    parts = [of_space(space.spaces[key], known.get(key)) for key in keys]
    return Joint(parts, lambda action: [action[key] for key in keys], lambda taken: dict(zip(keys, taken, strict=True)))


def _tuple(space, names: Names | None) -> Part:
    return Joint([of_space(each) for each in space.spaces], lambda action: action, tuple)


_KINDS: dict[str, Callable[..., Part]] = {
    "Discrete": _discrete,
    "MultiBinary": _multi_binary,
    "MultiDiscrete": _multi_discrete,
    "Box": _box,
    "Dict": _dict,
    "Tuple": _tuple,
}
