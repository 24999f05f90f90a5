"""Names of actions as flags give them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import DataError, UsageError
from ..console import say

if TYPE_CHECKING:
    from ...data.formats import SourceClip

VOCABULARIES = ("maze", "minecraft")


def names_of(model: str | None, vocabulary: str | None) -> list[str]:
    """What a model calls its actions, or a vocabulary of its own."""
    from ...actions.phrases import MINECRAFT
    from ...hub.registry import describe

    if vocabulary == "minecraft":
        return [*MINECRAFT]
    names = describe(model or "maze").get("actions")
    if not isinstance(names, list) or not names:
        raise UsageError(
            f"{model} has no actions.", hint="Set action names with --vocabulary maze or --vocabulary minecraft."
        )
    return [str(name) for name in names]


def name_actions(vocabulary: str | None, clips: "Sequence[SourceClip]") -> tuple[str, ...]:
    """What the actions of videos are called: a vocabulary of its own, names joined by commas, or those in their files.

    Raises: DataError where none is given and their files have other names than maze, or none can be found in them
    """
    if vocabulary in ("none", "") or (vocabulary is None and not any(clip.has_actions() for clip in clips)):
        return ()
    if vocabulary == "auto":
        names = dict.fromkeys(name for clip in clips for name in clip.names())
        if not names:
            raise DataError(
                "The action files of the clips contain no action names.", hint="--vocabulary names,with,commas"
            )
        say(f"actions: {', '.join(names)}")
        return tuple(names)
    if vocabulary is None:
        maze = tuple(names_of(None, None))
        first = next(clip for clip in clips if clip.has_actions())
        if others := [name for name in first.names() if name not in maze]:
            raise DataError(
                f"{str(first.files()[-1])!r}: {others[0]!r} is not an action of maze.",
                hint=f"--vocabulary auto uses the names in the files ({', '.join(others[:9])}); "
                "--vocabulary none imports without actions.",
            )
        return maze
    return tuple(names_of(None, vocabulary)) if vocabulary in VOCABULARIES else tuple(vocabulary.split(","))
