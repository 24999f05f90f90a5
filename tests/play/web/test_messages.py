"""What a page may say, and what it is told."""

import json
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arvdm_cli.play.controls import Command
from arvdm_cli.play.frame import Frame
from arvdm_cli.play.web import messages
from arvdm_cli.play.web.messages import Message, MessageError
from support.paths import ROOT
from support.play import KEYS, Landscape

SESSION = Landscape()


def read(message):
    return messages.read(json.dumps(message), SESSION)


@pytest.mark.parametrize(
    ("message", "read_as"),
    [
        ({"ack": 3}, Message(ack=3)),
        ({"hold": {"forward": 1, "cameraX": -0.5}, "stamp": 7}, Message(hold={"forward": 1.0, "cameraX": -0.5})),
        ({"hold": {}, "stamp": 8}, Message(hold={})),
        ({"move": {"cameraX": 0.25}, "stamp": 9}, Message(move={"cameraX": 0.25})),
        ({"release": True}, Message(release=True)),
        ({"seat": "take"}, Message(seat="take")),
        ({"command": "pause"}, Message(command=Command("pause"))),
        ({"command": "pause", "value": True}, Message(command=Command("pause", True))),
        ({"command": "rewind", "value": 15}, Message(command=Command("rewind", 15))),
        ({"command": "seed", "value": 5}, Message(command=Command("seed", 5))),
        ({"command": "seed"}, Message(command=Command("seed"))),
        ({"command": "speed", "value": 0.5}, Message(command=Command("speed", 0.5))),
        ({"command": "start", "value": "nothing"}, Message(command=Command("start", "nothing"))),
        ({"command": "policy", "value": "random"}, Message(command=Command("policy", "random"))),
    ],
)
def test_every_message_of_the_page_is_understood(message, read_as):
    assert read(message) == read_as


@pytest.mark.parametrize(
    "message",
    [
        [], 3, None, {}, {"ack": "1"}, {"ack": 1, "more": 2}, {"hold": {"fly": 1}, "stamp": 1},
        {"hold": {"forward": 1}},
        {"hold": {"forward": "1"}, "stamp": 1}, {"hold": {"forward": True}, "stamp": 1}, {"hold": [], "stamp": 1},
        {"hold": {"forward": float("nan")}, "stamp": 1}, {"move": {"cameraX": float("inf")}, "stamp": 1},
        {"hold": {}, "stamp": -1}, {"hold": {}, "stamp": 2**32}, {"release": False}, {"seat": "all"},
        {"command": "format"}, {"command": "pause", "value": 1}, {"command": "pause", "value": "no"},
        {"command": "rewind"}, {"command": "rewind", "value": 0}, {"command": "rewind", "value": 1.5},
        {"command": "rewind", "value": True}, {"command": "seed", "value": -1}, {"command": "seed", "value": 2**63},
        {"command": "speed", "value": 8}, {"command": "speed", "value": None},
        {"command": "start", "value": "/etc/passwd"},
        {"command": "start"}, {"command": "policy", "value": "file:///x"}, {"command": "step", "value": 2},
        {"command": "reset", "value": [1]}, {"command": ["pause"]},
    ],
)  # fmt: skip
def test_what_the_page_would_not_say_is_refused(message):
    with pytest.raises(MessageError):
        read(message)


def test_a_page_cannot_have_a_file_written():
    with pytest.raises(MessageError):
        read({"command": "screenshot", "value": "/tmp/x.png"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("ack", "hold", "move", "release", "command", "seat", "stamp", "value")


@given(st.text() | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(json.dumps) | st.just("[" * 4000))
def test_any_text_is_a_message_or_refused(text):
    with suppress(MessageError):
        assert isinstance(messages.read(text, SESSION), Message)


def test_a_packed_frame_is_read_back():
    packed = messages.pack({"frame": 3}, [("model", b"abc"), ("truth", b"")])
    (length,) = struct.unpack_from("<I", packed)
    header = json.loads(packed[4 : 4 + length])
    assert header == {"frame": 3, "pictures": [{"kind": "model", "bytes": 3}, {"kind": "truth", "bytes": 0}]}
    assert packed[4 + length :] == b"abc"


def test_a_header_is_json_that_a_browser_reads():
    picture = np.zeros((4, 4, 3), np.uint8)
    frame = Frame(5, picture, psnr=float("inf"), seed=2**60, memory=((1, 4),), context=(5, 9))
    header = json.loads(json.dumps(messages.header(frame), allow_nan=False))
    assert header["psnr"] is None and header["seed"] == str(2**60)
    assert (header["memory"], header["context"]) == ([[1, 4]], [5, 9])


def test_the_views_of_a_frame_are_those_that_it_has():
    picture, other = np.zeros((4, 4, 3), np.uint8), np.ones((8, 8, 3), np.uint8)
    assert [kind for kind, _ in messages.views(Frame(1, picture))] == ["model"]
    assert [kind for kind, _ in messages.views(Frame(1, picture, truth=other, other=other))] == [
        "model",
        "truth",
        "other",
    ]


def test_what_a_mouse_or_part_of_a_key_moves_is_an_axis():
    assert messages.axes(KEYS) == {"cameraX"}
    assert messages.hello(SESSION, "maze", KEYS)["axes"] == ["cameraX"]


def test_page_and_server_have_the_same_protocol():
    script = (ROOT / "arvdm_cli" / "play" / "web" / "page" / "link.js").read_text()
    assert f"PROTOCOL = {messages.PROTOCOL};" in script
    from arvdm_cli.play.web import server

    assert (
        f"ENDED = {server.ENDED}, OLD_PAGE = {server.OLD_PAGE}, TOO_MUCH = {server.TOO_MUCH}, FULL = {server.FULL};"
        in script
    )
