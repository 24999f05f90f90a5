"""Which key stands for which action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Keys have the names of what is printed on them on a US keyboard, wherever they lie on another: a to z, 0 to 9, and:
NAMED = ("up", "down", "left", "right", "space", "enter", "tab", "backspace", "escape", "shift", "control", "alt",
         "minus", "equal", "comma", "period", "slash", "semicolon", "quote", "backquote", "bracketleft",
         "bracketright", "backslash")  # fmt: skip
COMMAND_KEYS = {  # keys of the session's commands, with the value of each
    "p": ("pause", None), "period": ("step", None), "backspace": ("rewind", 1.0), "r": ("reset", None),
    "n": ("seed", None), "m": ("policy", None), "bracketleft": ("speed", 0.5), "bracketright": ("speed", 2.0),
}  # fmt: skip  # rewind: in seconds; speed: times what it is


@dataclass(frozen=True)
class KeyMap:
    """Keys of one model."""

    keys: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # key -> what it holds: action -> value
    mouse: Mapping[str, str] = field(default_factory=dict)  # x (right) and y (down) -> action that movement adds to
    sensitivity: float = 0.01  # of the action's value, by pixel of the mouse
