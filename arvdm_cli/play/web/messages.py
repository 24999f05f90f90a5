"""What the page of `arvdm play` and its server say to each other.

To the page: text is JSON with a `type`, hello once and status when seats change; bytes are a frame: the length of its
header (4 bytes, little endian), the header in JSON, and its pictures as JPEG, one after another.
From the page: one JSON object of at most `security.MESSAGE` bytes, with one of
  ack: the id of a frame that was drawn            hold: {action: value}, all that is held now, and stamp: a number
  move: {action: value} to add, and stamp          release: true, when the page lost the focus
  command: a name, with value                      seat: take or hand
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...configs import Json
from ..controls import COMMANDS, Command
from ..frame import Frame
from ..keys import COMMAND_KEYS, KeyMap
from ..session import Session

PROTOCOL = 1  # page/link.js has the same number
STAMPS = 2**32  # a viewer's stamps lie below
ALLOWED = frozenset(COMMANDS) - {"screenshot"}  # that one names a file to write


class MessageError(ValueError):
    """A message that the page of this version would not send."""


@dataclass(frozen=True)
class Message:
    """One message of a page; exactly one field beside `stamp` is set."""

    ack: int | None = None
    hold: Mapping[str, float] | None = None
    move: Mapping[str, float] | None = None
    release: bool = False
    command: Command | None = None
    seat: str | None = None  # take or hand
    stamp: int | None = field(default=None, compare=False)


def read(text: str, session: Session) -> Message:
    """Read a message of a page.

    Raises: MessageError
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError("not JSON") from error
    if not isinstance(message, dict):
        raise MessageError("not an object")
    match message:
        case {"ack": int(ack), **rest} if not rest:
            return Message(ack=ack)
        case {"hold": dict(values), "stamp": int(stamp), **rest} if not rest and 0 <= stamp < STAMPS:
            return Message(hold=_values(values, session.names), stamp=stamp)
        case {"move": dict(values), "stamp": int(stamp), **rest} if not rest and 0 <= stamp < STAMPS:
            return Message(move=_values(values, session.names), stamp=stamp)
        case {"release": True, **rest} if not rest:
            return Message(release=True)
        case {"seat": ("take" | "hand") as seat, **rest} if not rest:
            return Message(seat=seat)
        case {"command": str(name), **rest} if rest.keys() <= {"value"} and name in ALLOWED:
            return Message(command=Command(name, _value(name, rest.get("value"), session)))
    raise MessageError("unknown message")


def _values(values: Mapping[str, object], names: Sequence[str]) -> dict[str, float]:
    if not values.keys() <= set(names):
        raise MessageError("unknown action")
    return {name: _number(value) for name, value in values.items()}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MessageError("not a number")
    return float(value)


def _value(name: str, value: object, session: Session) -> float | str | None:
    """The value of a command, if it is one that the page offers."""
    choices: dict[str, tuple[object, ...]] = {
        "pause": (True, False, None),
        "step": (None,),
        "reset": (None,),
        "start": session.starts,
        "policy": (*session.policies, None),
    }
    limits = {"rewind": (1, 10**9), "seed": (0, 2**63 - 1), "speed": (0.25, 4.0)}
    if name in choices:
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices[name]):
            raise MessageError(f"unknown value of {name}")
        return value  # type: ignore[return-value]  # one of the choices
    if name == "seed" and value is None:
        return None
    least, most = limits[name]
    number = _number(value)
    if not least <= number <= most or (name != "speed" and not isinstance(value, int)):
        raise MessageError(f"value of {name} out of range")
    return value if isinstance(value, int) else number


def hello(session: Session, title: str, keys: KeyMap) -> Json:
    """What a page is told of the session when it connects."""
    return {
        "type": "hello",
        "protocol": PROTOCOL,
        "model": title,
        "actions": list(session.names),
        "axes": sorted(axes(keys)),
        "one": session.controls.one,
        "fps": session.fps,
        "starts": list(session.starts),
        "policies": list(session.policies),
        "obeyed_after": session.obeyed_after,
        "keys": {key: dict(actions) for key, actions in keys.keys.items()},
        "mouse": dict(keys.mouse),
        "sensitivity": keys.sensitivity,
        "shortcuts": {key: list(command) for key, command in COMMAND_KEYS.items()},
    }


def axes(keys: KeyMap) -> set[str]:
    """Actions with values between -1 and 1, as far as the keys show it: a mouse moves them, or a key sets a part."""
    parts = {name for held in keys.keys.values() for name, value in held.items() if value != 1}
    return {*keys.mouse.values()} | parts


def pack(header: Json, pictures: Sequence[tuple[str, bytes]]) -> bytes:
    """A frame as the page takes it: its header and its pictures, each with its kind."""
    sizes = [{"kind": kind, "bytes": len(data)} for kind, data in pictures]
    text = json.dumps({**header, "pictures": sizes}, separators=(",", ":")).encode()
    return b"".join((struct.pack("<I", len(text)), text, *(data for _, data in pictures)))


def header(frame: Frame) -> Json:
    """All of a frame but its pictures and its stamp, which is a viewer's own."""
    return {
        "frame": frame.number,
        "held": {name: round(value, 3) for name, value in frame.actions.items()},
        "psnr": _tenth(frame.psnr),
        "other_psnr": _tenth(frame.other_psnr),
        "rate": round(frame.rate, 2),
        "factor": round(frame.factor, 3),
        "speed": frame.speed,
        "paused": frame.paused,
        "policy": frame.policy,
        "seed": str(frame.seed),  # JavaScript knows whole numbers up to 2**53 only
        "start": frame.start,
        "branch": frame.branch,
        "context": list(frame.context),
        "memory": [list(stretch) for stretch in frame.memory],
        "back": frame.back,
        "recorded": frame.recorded,
        "note": frame.note,
        "error": frame.error,
    }


def _tenth(decibels: float | None) -> float | None:
    return None if decibels is None or not math.isfinite(decibels) else round(decibels, 1)


def views(frame: Frame) -> list[tuple[str, np.ndarray]]:
    """The pictures of a frame, each with its kind."""
    shown = (("model", frame.picture), ("truth", frame.truth), ("other", frame.other))
    return [(kind, picture) for kind, picture in shown if picture is not None]
