"""Keys of a terminal: bytes as names of keys, and which of them are held."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

HOLD = 0.3  # seconds for which a key counts as held after its last repeat, where the terminal reports no release
PUNCTUATION = {
    " ": "space", "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\b": "backspace", "\x1b": "escape",
    "-": "minus", "=": "equal", ",": "comma", ".": "period", "/": "slash", ";": "semicolon", "'": "quote",
    "`": "backquote", "[": "bracketleft", "]": "bracketright", "\\": "backslash",
}  # fmt: skip
ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
MODIFIERS = {57441: "shift", 57447: "shift", 57442: "control", 57448: "control", 57443: "alt", 57449: "alt"}
# ESC [ A, ESC O A; ESC [ 1 ; modifiers : event A; ESC [ key : others ; modifiers : event u; other sequences
SEQUENCE = re.compile(
    r"\x1b(?:O(?P<arrow>[A-D])|\[[?<]?(?P<numbers>[\d;:]*)(?P<end>[A-Za-z~])|[_P\]][^\x1b]*(?:\x1b\\)?)|(?P<plain>.)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Press:
    """A key that went down, was repeated, or went up."""

    key: str  # a name in `keys.KEYS`
    down: bool = True
    repeated: bool = False


def parse(data: bytes) -> list[Press]:
    """Read what a terminal has sent; what is not a key is passed over."""
    presses = []
    for match in SEQUENCE.finditer(data.decode("utf-8", "replace")):
        plain, event = match["plain"], 1
        key: str | None = None
        if plain is not None:
            key = name(plain)
        elif match["arrow"]:
            key = ARROWS[match["arrow"]]
        elif match["end"]:
            numbers = [[int(part or 0) for part in each.split(":")] for each in match["numbers"].split(";")]
            event = numbers[1][1] if len(numbers) > 1 and len(numbers[1]) > 1 else 1
            code = numbers[0][0]
            if match["end"] == "u":
                key = MODIFIERS.get(code) or (name(chr(code)) if 0 < code < 0x110000 else None)
            else:
                key = ARROWS.get(match["end"])
        if key is not None:
            presses.append(Press(key, event != 3, event == 2))
    return presses


def name(letter: str) -> str | None:
    """The name of the key that gives a letter; None where none is known."""
    if letter in PUNCTUATION:
        return PUNCTUATION[letter]
    lower = letter.lower()
    return lower if len(lower) == 1 and lower.isascii() and lower.isalnum() else None


class Held:
    """Keys that are held, in the order in which they were pressed.

    releases: whether the terminal reports them; otherwise a key is held for HOLD after it was last sent
    clock: gives seconds
    """

    def __init__(self, releases: bool, clock: Callable[[], float]):
        self.releases, self.clock = releases, clock
        self._until: dict[str, float] = {}

    def take(self, press: Press) -> bool:
        """Take what a key did; whether it has just gone down."""
        if not press.down:
            self._until.pop(press.key, None)
            return False
        new = press.key not in self._until
        self._until[press.key] = float("inf") if self.releases else self.clock() + HOLD
        return new and not press.repeated

    def expire(self) -> bool:
        """Let go of keys that were not sent again in time; whether there were any."""
        now = self.clock()
        gone = [key for key, until in self._until.items() if until <= now]
        for key in gone:
            del self._until[key]
        return bool(gone)

    @property
    def keys(self) -> list[str]:
        """Keys that are held."""
        return list(self._until)

    @property
    def rest(self) -> float | None:
        """Seconds until the next key is let go of; None where none will."""
        ends = [until for until in self._until.values() if until != float("inf")]
        return max(0.0, min(ends) - self.clock()) if ends else None
