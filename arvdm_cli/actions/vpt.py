"""Recordings of Minecraft play as VPT and BASALT 2022 publish them, mouse and keyboard, -> the actions of Oasis.

A recording is a .jsonl beside an .mp4 of 20 frames a second, one object per frame. Only mouse, keyboard and the slot
in hand are read; a change of slot from one frame to the next presses its number. While an inventory is open the mouse
moves its cursor, and that stays in the camera's columns, as in the actions that Oasis was published with.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeGuard, TypeVar

import numpy as np

from ..configs import Json
from ..errors import ActionError
from .phrases import MINECRAFT, number_of, shorten

DEGREES = 0.15  # that the camera turns as the mouse moves by one
FULL = 20  # degrees a frame that a column of the camera can say; they are 1 there
BUTTONS = {0: "attack", 1: "use", 2: "pickItem"}
KEYS = {
    "e": "inventory", "escape": "ESC", **{str(slot): f"hotbar.{slot}" for slot in range(1, 10)},
    "w": "forward", "s": "back", "a": "left", "d": "right", "space": "jump", "left.shift": "sneak",
    "left.control": "sprint", "f": "swapHands", "q": "drop",
}  # fmt: skip


def recognise(value: object) -> TypeGuard[Json]:
    """Whether a JSON value is a frame of a recording."""
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in ("mouse", "keyboard"))


def read(frames: Iterable[tuple[str, object]], names: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield a row (a,) for each frame of a recording: what the player did having seen it.

    frames: where each stands, for messages, and its JSON value
    """
    missing = [name for name in MINECRAFT if name not in names]
    slot: int | None = None  # in hand, 0 to 8
    stuck: bool | None = None  # whether attack only seems to be held: the reference takes it for a fault, till a click
    for where, frame in frames:
        if missing:
            raise ActionError(
                f"{where}: this is a recording of Minecraft; among these actions there is no {missing[0]!r}.",
                hint=f"The actions are {', '.join(names)}.",
            )
        if not recognise(frame):
            raise ActionError(f"{where}: {shorten(frame)} is not a frame of a recording: it has no mouse and keyboard.")
        mouse, keyboard = frame["mouse"], frame["keyboard"]
        assert isinstance(mouse, dict) and isinstance(keyboard, dict)
        keys, buttons = _list(keyboard, "keys", str, where), _list(mouse, "buttons", int, where)
        clicked = _list(mouse, "newButtons", int, where)
        stuck = clicked == [0] if stuck is None else stuck and 0 not in clicked
        taken = {KEYS.get(key.removeprefix("key.keyboard.")) for key in keys}
        taken |= {BUTTONS.get(button) for button in buttons if button or not stuck}
        before, slot = slot, _slot(frame, where)
        if before is not None and slot is not None and before != slot:
            # by the wheel, or by a key, which is there already
            taken.add(f"hotbar.{slot + 1}")

        row = np.array([name in taken for name in names], np.float32)
        for name, key in (("cameraX", "dy"), ("cameraY", "dx")):  # pitch, yaw
            turn = number_of(mouse.get(key, math.nan), f"mouse {key}", where) * DEGREES / FULL
            row[names.index(name)] = max(-1, min(1, turn))
        yield row


Kind = TypeVar("Kind")


def _list(holder: Json, key: str, kind: type[Kind], where: str) -> list[Kind]:
    parts = holder.get(key, [])
    if not isinstance(parts, list) or not all(isinstance(part, kind) for part in parts):
        raise ActionError(f"{where}: {key} is {shorten(parts)}, not a list of what is pressed.")
    return parts


def _slot(frame: Json, where: str) -> int | None:
    slot = frame.get("hotbar")
    if slot is None:
        return None
    if not isinstance(slot, int) or isinstance(slot, bool) or not 0 <= slot <= 8:
        raise ActionError(f"{where}: hotbar is {shorten(slot)}, not a slot from 0 to 8.")
    return slot
