"""What a recorder asks of an environment, and what opening one gives."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Protocol

from ..errors import ArvdmError, UsageError
from .actions import Actions

Argument = bool | int | float | str
Step = tuple[object, float, bool, bool, Mapping[str, object]]  # observation, reward, terminated, truncated, info


class Environment(Protocol):
    """Gymnasium's interface, as far as a recorder uses it."""

    def reset(self, *, seed: int | None = None) -> tuple[object, Mapping[str, object]]: ...

    def step(self, action: object) -> Step: ...

    def render(self) -> object: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Wish:
    """Which environment is wanted, and how it is to be set up."""

    name: str  # such as ALE/Pong-v5
    arguments: tuple[tuple[str, Argument], ...] = ()  # of its own
    skip: int | None = None  # frames of the game for each action; None: such that USUAL_RATE frames a second are left
    sticky: bool = False  # whether a quarter of the actions may be ignored, where the environment can do that

    def refuse(self, **flags: str) -> None:
        """Refuse arguments that a flag sets: name of the argument -> flag."""
        for name, flag in flags.items():
            if name in dict(self.arguments):
                raise UsageError(f"--env-arg {name} cannot be set for {self.name}.", hint=f"Use {flag}.")


@dataclass(frozen=True)
class Opened:
    """An environment, and what it does not say in one way."""

    env: Environment
    actions: Actions
    space: object  # its action space, as policies in Python know it
    rate: float  # frames of the game a second
    skip: int  # frames of the game for each action
    repeats: int = 1  # how often an action is to be given to the environment, which does the rest of the skip itself
    keys: tuple[str, ...] = ()  # of an observation that has several parts: those that may be pictures, the best first
    shows_end: bool = True  # whether it shows the frame with which a game ends
    options: Mapping[str, Argument] = field(default_factory=dict)  # what was set beside the arguments


USUAL_RATE = 15  # frames a second that are left where no skip is given


def usual_skip(rate: float) -> int:
    """Give how many frames of a game an action lasts, so that about USUAL_RATE frames a second are left."""
    return max(1, round(rate / USUAL_RATE))


@contextmanager
def blame(what: str) -> Iterator[None]:
    """Say of any error of others' code whose it is.

    Raises: UsageError
    """
    try:
        yield
    except ArvdmError:
        raise
    except Exception as error:  # of any kind
        raise UsageError(f"{what} failed: {type(error).__name__}: {error}", hint="--debug shows where.") from error


def import_package(name: str, needed: str, hint: str) -> ModuleType:
    """Import a package that only some environments need.

    needed: what needs it, for messages; hint: how to install it
    """
    try:
        return import_module(name)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else name
        raise UsageError(f"{needed} needs the package {missing}.", hint=hint) from error
