"""Recordings of Minecraft play as VPT and BASALT 2022 publish them, mouse and keyboard, -> the actions of Oasis.

A recording is a .jsonl beside an .mp4 of 20 frames a second, one object per frame. Only mouse, keyboard and the slot
in hand are read; a change of slot from one frame to the next presses its number. While an inventory is open the mouse
moves its cursor, and that stays in the camera's columns, as in the actions that Oasis was published with.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeGuard, TypeVar

import numpy as np

from ..configs import Json
from ..errors import ActionError
from .phrases import MINECRAFT, number_of, shorten

DEGREES = 0.15  # that the camera turns as the mouse moves by one
FULL = 20  # degrees a frame that a column of the camera can say; they are 1 there
BUTTONS = {0: "attack", 1: "use", 2: "pickItem"}
CAMERA = ("cameraX", "cameraY")  # pitch, yaw
KEYS = {
    "e": "inventory", "escape": "ESC", **{str(slot): f"hotbar.{slot}" for slot in range(1, 10)},
    "w": "forward", "s": "back", "a": "left", "d": "right", "space": "jump", "left.shift": "sneak",
    "left.control": "sprint", "f": "swapHands", "q": "drop",
}  # fmt: skip

Part = TypeVar("Part")


def beyond_full(track: np.ndarray, names: Sequence[str]) -> list[str]:
    """Say which columns of the camera turn further than Oasis was shown, in rows (f, a): they may be in degrees."""
    most = {name: float(abs(track[:, names.index(name)]).max(initial=0)) for name in CAMERA if name in names}
    return [
        f"{name} is up to {value:g}; the model knows -1 to 1, where 1 turns by {FULL} degrees a frame"
        for name, value in most.items()
        if value > 1
    ]


def recognise(value: object) -> TypeGuard[Json]:
    """Whether a JSON value is a frame of a recording."""
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in ("mouse", "keyboard"))


def read(
    frames: Iterable[tuple[str, object]], names: Sequence[str], excuse: Callable[[ActionError], None] | None = None
) -> Iterator[np.ndarray]:
    """Yield a row (a,) for each frame of a recording: what the player did having seen it.

    frames: where each stands, for messages, and its JSON value
    excuse: told of each frame that cannot be read, whose row is then unknown
    """
    missing = [name for name in MINECRAFT if name not in names]
    reader = _Reader(names)
    for where, frame in frames:
        if missing:
            raise ActionError(
                f"{where}: this is a recording of Minecraft, but {missing[0]!r} is not among the model's actions.",
                hint=f"The actions are {', '.join(names)}.",
            )
        try:
            row = reader.row(where, frame)
        except ActionError as error:
            if excuse is None:
                raise
            if frame is not None:  # of a line that is not JSON it was told already
                excuse(error)
            row = np.zeros(len(names), np.float32)
        yield row


class _Reader:
    """What is read of one frame after the other."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self.slot: int | None = None  # in hand, 0 to 8
        # whether attack only seems to be held: the reference takes it for a fault, till a click
        self.stuck: bool | None = None

    def row(self, where: str, frame: object) -> np.ndarray:
        """Read a frame."""
        if not recognise(frame):
            raise ActionError(f"{where}: {shorten(frame)} is not a frame of a recording: it has no mouse or keyboard.")
        mouse, keyboard = frame["mouse"], frame["keyboard"]
        assert isinstance(mouse, dict) and isinstance(keyboard, dict)
        keys, buttons = _list(keyboard, "keys", str, where), _list(mouse, "buttons", int, where)
        clicked = _list(mouse, "newButtons", int, where)
        self.stuck = clicked == [0] if self.stuck is None else self.stuck and 0 not in clicked
        taken = {KEYS.get(key.removeprefix("key.keyboard.")) for key in keys}
        taken |= {BUTTONS.get(button) for button in buttons if button or not self.stuck}
        before, self.slot = self.slot, _slot(frame, where)
        if before is not None and self.slot is not None and before != self.slot:
            taken.add(f"hotbar.{self.slot + 1}")  # by the wheel, or by a key, which is there already

        row = np.array([name in taken for name in self.names], np.float32)
        for name, key in zip(CAMERA, ("dy", "dx"), strict=True):
            turn = number_of(mouse.get(key, math.nan), f"mouse {key}", where) * DEGREES / FULL
            row[self.names.index(name)] = max(-1, min(1, turn))
        return row


def _list(holder: Json, key: str, kind: type[Part], where: str) -> list[Part]:
    parts = holder.get(key, [])
    if not isinstance(parts, list) or not all(isinstance(part, kind) for part in parts):
        raise ActionError(f"{where}: {key} is {shorten(parts)}, not a list of pressed keys or buttons.")
    return parts


def _slot(frame: Json, where: str) -> int | None:
    slot = frame.get("hotbar")
    if slot is None:
        return None
    if isinstance(slot, bool) or not isinstance(slot, int) or not 0 <= slot <= 8:
        raise ActionError(f"{where}: hotbar is {shorten(slot)}, not a slot from 0 to 8.")
    return slot
