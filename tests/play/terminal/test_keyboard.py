"""Bytes of a terminal as keys, and how long they are held."""

import pytest

from arvdm_cli.play.keys import KEYS
from arvdm_cli.play.terminal.keyboard import HOLD, Held, Press, parse


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"wasd", ["w", "a", "s", "d"]),
        (b"W", ["w"]),
        (b"\x1b[A\x1b[D\x1bOC", ["up", "left", "right"]),
        (b" \r\t\x7f.[]", ["space", "enter", "tab", "backspace", "period", "bracketleft", "bracketright"]),
        (b"\x1b", ["escape"]),
        (b"a\x1b", ["a", "escape"]),
        (b"\x1b[3~\x1b[15;2~", []),  # delete, a function key
        (b"\x1b[?62;4c\x1b_Gi=31;OK\x1b\\", []),  # a late answer
        ("é→".encode(), []),
        (b"\xff\xfe", []),
    ],
)
def test_bytes_are_read_as_names_of_keys(data, keys):
    assert [press.key for press in parse(data)] == keys
    assert set(keys) <= set(KEYS)


def test_the_protocol_of_kitty_reports_presses_repeats_and_releases():
    data = b"\x1b[119u\x1b[119;1:2u\x1b[119;1:3u\x1b[1;1:1A\x1b[1;1:3A\x1b[57441;2u\x1b[27u"
    assert parse(data) == [
        Press("w"),
        Press("w", repeated=True),
        Press("w", down=False),
        Press("up"),
        Press("up", down=False),
        Press("shift"),
        Press("escape"),
    ]


def test_a_key_is_held_until_some_time_after_its_last_repeat():
    now = [0.0]
    held = Held(False, lambda: now[0])
    assert held.take(Press("w")) and not held.take(Press("w"))
    now[0] = 0.2
    held.take(Press("w"))
    held.take(Press("a"))
    assert held.rest == pytest.approx(HOLD)
    now[0] = 0.4
    assert not held.expire() and held.keys == ["w", "a"]
    now[0] = 0.2 + HOLD
    assert held.expire() and held.keys == []
    assert held.rest is None


def test_a_key_whose_release_is_reported_is_held_until_then():
    held = Held(True, lambda: 0.0)
    held.take(Press("w"))
    assert not held.take(Press("w", repeated=True))
    assert held.keys == ["w"] and held.rest is None
    held.take(Press("w", down=False))
    assert held.keys == []
