"""A play in a pseudo terminal: drawn, steered, and given back as it was."""

import os
import signal

import pytest

from support.terminal import Terminal, termios

PLAYING = rb"frame ([3-9]|\d\d+) "  # not every frame is drawn


def play(tiny, *more, **options):
    return Terminal("play", tiny, "--terminal", "--seed", 1, *more, **options)


def test_a_play_is_drawn_and_ends_at_escape_with_the_terminal_as_it_was(tiny):
    with play(tiny) as terminal:
        terminal.until(PLAYING)
        assert "▀".encode() in terminal.seen and b"memory " in terminal.seen
        assert termios.tcgetattr(terminal.slave) != terminal.before
        terminal.send(b"\x1b")
        code, error = terminal.end()
        assert code == 0, error
        assert terminal.restored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_terminal_is_as_it_was_after_a_signal(tiny, number):
    with play(tiny) as terminal:
        terminal.until(PLAYING)
        terminal.process.send_signal(number)
        code, _ = terminal.end()
        assert code == (130 if number == signal.SIGINT else 128 + number)
        assert terminal.restored


def test_ctrl_c_ends_a_play_with_the_terminal_as_it_was(tiny):
    with Terminal("play", tiny, "--terminal") as terminal:
        terminal.until(PLAYING)
        os.killpg(terminal.process.pid, signal.SIGINT)  # as a terminal does that controls it
        terminal.end()
        assert terminal.restored


def test_the_terminal_is_as_it_was_after_an_error(tiny, tmp_path):
    folder = tmp_path / "walk"
    with play(tiny, "--record", folder) as terminal:
        terminal.until(PLAYING)
        (folder / "play.jsonl").unlink()
        (folder / "play.jsonl").mkdir()
        code, error = terminal.end()
        assert code == 7 and "cannot be written" in error
        assert terminal.restored


def test_keys_steer_and_commands_are_obeyed(tiny):
    with play(tiny) as terminal:
        terminal.until(PLAYING)
        terminal.until(rb"human  left  seed", hold=b"a")
        terminal.send(b"p")
        terminal.until(rb"paused")
        terminal.send(b"r")
        terminal.until(rb"frame 0 .*branch 1")
        terminal.send(b"\x1b")
        assert terminal.end()[0] == 0


def test_keys_whose_release_is_reported_are_held_until_it(tiny):
    answer = b"\x1b[?0u\x1b[?62;c"
    with play(tiny, answer=answer) as terminal:
        terminal.until(PLAYING)
        assert b"\x1b[>11u" in terminal.seen
        terminal.send(b"\x1b[97u")
        terminal.until(rb"human  left  seed")
        terminal.send(b"\x1b[97;1:3u")
        terminal.until(rb"human  stay  seed")
        terminal.send(b"\x1b[27u")
        assert terminal.end()[0] == 0
        assert b"\x1b[<u" in terminal.seen and terminal.restored


@pytest.mark.parametrize(("answer", "sign"), [(b"\x1b[?62;4c", b"\x1bPq"), (b"", None)], ids=["sixel", "silent"])
def test_graphics_are_used_only_where_the_terminal_answers_to_them(tiny, answer, sign):
    with play(tiny, answer=answer) as terminal:
        terminal.until(PLAYING)
        found = [each for each in (b"\x1bPq", b"\x1b_Ga=T") if each in terminal.seen]
        assert found == ([sign] if sign else [])


@pytest.mark.parametrize("words", [("--terminal",), ("--terminal", "--measure", "1")])
def test_without_a_terminal_nothing_is_drawn_and_a_hint_says_what_to_do(arvdm, tiny, words):
    done = arvdm("play", tiny, *words)
    assert done.exit_code == 2 and "needs a terminal" in done.stderr and "hint:" in done.stderr
    assert "\x1b" not in done.stdout
