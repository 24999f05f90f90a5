"""Which key stands for which action: by the names of the actions, or from a file."""

from __future__ import annotations

import json
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..actions import phrases
from ..configs import table
from ..errors import ConfigError, InputError
from ..files import replacing
from ..record.actions import NONE
from .controls import IDLE

# Keys are called by what is printed on them on a US keyboard, wherever they lie on another: a to z, 0 to 9, and these;
# mouse1 is the left button, mouse2 the middle one, mouse3 the right one.
NAMED = (
    "up", "down", "left", "right", "space", "enter", "tab", "backspace", "escape", "shift", "control", "alt", "minus",
    "equal", "comma", "period", "slash", "semicolon", "quote", "backquote", "bracketleft", "bracketright", "backslash",
    "mouse1", "mouse2", "mouse3",
)  # fmt: skip
KEYS = (*string.ascii_lowercase, *string.digits, *NAMED)
COMMAND_KEYS: dict[str, tuple[str, float | None]] = {  # rewind: seconds; speed: times what it is
    "p": ("pause", None), "period": ("step", None), "backspace": ("rewind", 1.0), "r": ("reset", None),
    "n": ("seed", None), "m": ("policy", None), "bracketleft": ("speed", 0.5), "bracketright": ("speed", 2.0),
    "o": ("screenshot", None),
}  # fmt: skip
USUAL = {  # what an action is mostly called, in lower case, and its keys; the first that is free counts for one more
    "forward": ("w", "up"), "back": ("s", "down"), "backward": ("s", "down"), "up": ("w", "up"), "down": ("s", "down"),
    "left": ("a", "left"), "right": ("d", "right"), "jump": ("space",), "fire": ("space",), "sneak": ("shift",),
    "sprint": ("control",), "attack": ("mouse1", "j"), "use": ("mouse3", "k"), "pickitem": ("mouse2", "i"),
    "inventory": ("e",), "drop": ("q",), "swaphands": ("f",), "esc": ("tab",),
    "gas": ("w", "up"), "main": ("w", "up"), "brake": ("s", "down"),
    **{f"hotbar.{slot}": (str(slot),) for slot in range(1, 10)},
}  # fmt: skip
CAMERA = {"up": {"cameraX": -0.2}, "down": {"cameraX": 0.2}, "left": {"cameraY": -0.2}, "right": {"cameraY": 0.2}}
SIDEWAYS = ("steer", "lateral", "torque", "push")  # actions that are -1 to one side and 1 to the other
SIDES = {"a": -1.0, "left": -1.0, "d": 1.0, "right": 1.0}
FREE = (*string.digits, *(letter for letter in string.ascii_lowercase if letter not in COMMAND_KEYS))


@dataclass(frozen=True)
class KeyMap:
    """Keys of one model."""

    keys: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # key -> what it holds: action -> value
    mouse: Mapping[str, str] = field(default_factory=dict)  # x (right) and y (down) -> action that movement adds to
    sensitivity: float = 0.01  # of the action's value, for a pixel of the mouse

    def values(self, held: Sequence[str]) -> dict[str, float]:
        """What keys hold together, in the order in which they were pressed; the last one decides about an action."""
        values: dict[str, float] = {}
        for key in held:
            for name, value in self.keys.get(key, {}).items():
                values.pop(name, None)
                values[name] = value
        return values

    @property
    def commands(self) -> dict[str, tuple[str, float | None]]:
        """Keys of commands, with the value of each: those that hold no action."""
        return {key: command for key, command in COMMAND_KEYS.items() if key not in self.keys}

    def to_toml(self) -> str:
        """The text of a file that `read` gives the same keys from."""
        lines = [f"# Keys: a to z, 0 to 9, {', '.join(NAMED)}.", "[keys]"]
        lines += [f"{json.dumps(key)} = {word(values)}" for key, values in self.keys.items()]
        lines += ["", "[mouse]", f"sensitivity = {self.sensitivity!r}"]
        lines += [f"{axis} = {json.dumps(name)}" for axis, name in self.mouse.items()]
        return "\n".join(lines) + "\n"


def word(values: Mapping[str, float]) -> str:
    """What a key holds, as TOML: a word of a phrase, "forward+cameraX=0.2", or a table where names cannot be in one."""
    if any(set(name) & UNSAFE or not name for name in values):
        return "{ " + ", ".join(f"{json.dumps(name)} = {value!r}" for name, value in values.items()) + " }"
    return json.dumps("+".join(name if value == 1 else f"{name}={value!r}" for name, value in values.items()))


UNSAFE = set(string.whitespace + "+=*?")  # what separates the names of a phrase


def default(names: Sequence[str]) -> KeyMap:
    """Keys for a model's actions, by what they are called; those of other names have digits and letters in order."""
    keys: dict[str, dict[str, float]] = {}
    camera = {key: values for key, values in CAMERA.items() if set(values) <= set(names)}
    keys |= camera
    others: list[str] = []
    for name in names:
        if name.lower() in SIDEWAYS:
            keys |= {key: {name: value} for key, value in SIDES.items() if key not in keys}
            continue
        usual = [key for key in USUAL.get(name.lower(), ()) if key not in keys]
        for key in usual:
            keys[key] = {name: 1.0}
        if not usual and name not in (*IDLE, NONE) and not any(name in values for values in camera.values()):
            others.append(name)
    free: Iterator[str] = (key for key in FREE if key not in keys)
    keys |= {key: {name: 1.0} for name, key in zip(others, [*free], strict=False)}
    mouse = {axis: name for axis, name in (("x", "cameraY"), ("y", "cameraX")) if name in names}
    return KeyMap(keys, mouse)


def read(path: Path, names: Sequence[str]) -> KeyMap:
    """Read a file of keys.

    Raises: InputError where it cannot be read, ConfigError for an unknown key, ActionError for an unknown action
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # also text that is not UTF-8
        raise InputError(f"{path} is not a file of keys: {error}.") from error
    if unknown := sorted(content.keys() - {"keys", "mouse"}):
        raise ConfigError(f"{path} has an unknown table {unknown[0]!r}.", hint="It can have [keys] and [mouse].")
    try:
        rows = table(content, "keys")
        mouse = table(content, "mouse") if "mouse" in content else {}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}.", hint='Write [keys], and lines such as w = "forward".') from error
    keys: dict[str, dict[str, float]] = {}
    for key, phrase in rows.items():
        if key not in KEYS:
            raise ConfigError(f"{path}: no key is called {key!r}.", hint=f"Known: a to z, 0 to 9, {', '.join(NAMED)}.")
        keys[key] = held_by(phrase, names, f"{path}: {key}")
    sensitivity = mouse.pop("sensitivity", KeyMap.sensitivity)
    if not isinstance(sensitivity, int | float) or not 0 < sensitivity <= 1:
        raise ConfigError(f"{path}: sensitivity is {sensitivity!r}; it must be a number above 0, at most 1.")
    for axis, name in mouse.items():
        if axis not in ("x", "y"):
            raise ConfigError(f"{path}: [mouse] has an unknown key {axis!r}.", hint="It can have x, y, sensitivity.")
        phrases.index_of(str(name), names, f"{path}: {axis}")
    return KeyMap(keys, {axis: str(name) for axis, name in mouse.items()}, float(sensitivity))


def held_by(value: object, names: Sequence[str], where: str) -> dict[str, float]:
    """What a key holds, action -> value: the word of a phrase, or a table."""
    if not isinstance(value, dict) and (not isinstance(value, str) or len(value.split()) != 1 or "*" in value):
        raise ConfigError(f"{where} is {value!r}, not the name of an action.", hint='Write w = "forward".')
    row = phrases.read_row(value, names, where)
    return {name: float(str(number)) for name, number in zip(names, row, strict=True) if number}


def read_or_write(path: Path, names: Sequence[str]) -> tuple[KeyMap, bool]:
    """Read a file of keys, or write it with the default ones where there is none: the keys, and whether it was written.

    Raises: as `read`; OutputError where it cannot be written
    """
    if path.exists():
        return read(path, names), False
    keys = default(names)
    with replacing(path) as part:
        part.write_text(keys.to_toml())
    return keys, True
