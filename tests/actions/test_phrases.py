"""Phrases and streams say the actions they seem to say, and what is wrong is named with its word or line."""

import subprocess
import sys

import numpy as np
import pytest

from arvdm_cli.actions import phrases
from arvdm_cli.actions.phrases import MINECRAFT, names_of_rows, parse, stream
from arvdm_cli.actions.sources import live
from arvdm_cli.errors import ActionError

MAZE = ("stay", "forward", "backward", "left", "right")
CRAFT = ("inventory", "hotbar.1", "forward", "left", "jump", "cameraX", "cameraY")
ROWS = np.array(
    [
        [0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0.5, 0],
        [0, 0, 0, 0, 0, 0, -0.25],
        [0, 1, 0, 0, 0, 0, 0],
    ],
    np.float32,
)


def test_a_phrase_is_read_word_by_word():
    expected = ROWS[[0, 0, 0, 1, 2, 3, 3]]
    np.testing.assert_array_equal(parse("forward*3 ? jump+forward  cameraX=0.5+jump*2\n", CRAFT), expected)
    np.testing.assert_array_equal(parse("forward*0 left", MAZE), parse("left", MAZE))
    assert parse("", MAZE).shape == (0, 5)


def test_the_actions_of_minecraft_have_the_order_of_oasis():
    assert len(MINECRAFT) == len(set(MINECRAFT)) == 25
    places = {0: "inventory", 1: "ESC", 2: "hotbar.1", 10: "hotbar.9", 11: "forward", 14: "right", 24: "drop"}
    places |= {15: "cameraX", 16: "cameraY", 17: "jump", 20: "swapHands", 21: "attack", 22: "use", 23: "pickItem"}
    assert {place: MINECRAFT[place] for place in places} == places


def test_a_phrase_may_drive_minecraft():
    track = parse("forward*40 cameraY=0.3*10 jump+forward*5 cameraX=-0.025+hotbar.2", MINECRAFT)
    assert track.shape == (56, 25)
    expected = np.zeros((56, 25), np.float32)
    expected[:40, 11] = expected[50:55, 11] = expected[50:55, 17] = expected[55, 3] = 1
    expected[40:50, 16], expected[55, 15] = np.float32(0.3), np.float32(-0.025)
    np.testing.assert_array_equal(track, expected)
    np.testing.assert_array_equal(parse(" ".join(names_of_rows(track, MINECRAFT)), MINECRAFT), track)


def test_a_track_written_as_words_reads_back_the_same():
    assert names_of_rows(ROWS, CRAFT) == [
        "forward",
        "?",
        "forward+jump",
        "jump+cameraX=0.5",
        "cameraY=-0.25",
        "hotbar.1",
    ]
    track = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * np.float32(1e-3)
    track[::2, ::2] = 0
    np.testing.assert_array_equal(parse(" ".join(names_of_rows(track, CRAFT)), CRAFT), track)


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("forward lft*3", ("Word 2", "lft")),
        ("forward*", ("Word 1", "whole number")),
        ("forward*x", ("Word 1", "whole number")),
        ("forward*-1", ("Word 1", "whole number")),
        ("forward*1.5", ("Word 1", "whole number")),
        ("forward*2*3", ("Word 1", "whole number")),
        ("left++right", ("Word 1", "''")),
        ("left= right", ("Word 1", "left")),
        ("left=x", ("Word 1", "x")),
        ("left=nan", ("Word 1", "nan")),
        ("left*999999999", ("Word 1", "more than")),
    ],
)
def test_a_phrase_that_cannot_be_read_names_the_word(phrase, words):
    with pytest.raises(ActionError) as caught:
        parse(phrase, MAZE)
    for word in words:
        assert word in str(caught.value)


def test_a_misspelt_name_brings_the_nearest_one():
    for word, near in {"forwrd": "forward", "Left": "left", "backwards": "backward"}.items():
        with pytest.raises(ActionError) as caught:
            parse(word, MAZE)
        assert f"Did you mean {near!r}?" in caught.value.hint


@pytest.mark.parametrize("names", [MAZE, CRAFT, MINECRAFT, ("a", "b")])
def test_a_longer_random_walk_begins_with_a_shorter_one(names):
    long = phrases.random(names, 500, seed=3)
    for count in (0, 1, 7, 100, 499):
        np.testing.assert_array_equal(phrases.random(names, count, seed=3), long[:count])
    assert (long != phrases.random(names, 500, seed=4)).any()
    assert long.any(1).all()  # never the null action
    changes = (np.diff(long, axis=0) != 0).any(1).sum()
    assert 10 < changes < 250  # in runs


def test_a_random_walk_in_the_maze_goes_forward_and_turns():
    track = phrases.random(MAZE, 5000, seed=0)
    shares = dict(zip(MAZE, track.mean(0), strict=True))
    assert set(track.sum(1)) == {1}
    assert shares["forward"] > max(shares["left"], shares["right"]) > shares["backward"] > 0
    assert shares["left"] == pytest.approx(shares["right"], abs=0.05)


@pytest.mark.parametrize("names", [CRAFT, MINECRAFT])
def test_a_random_walk_presses_no_key_that_opens_a_menu(names):
    track = phrases.random(names, 2000, seed=0)
    assert not track[:, names.index("inventory")].any()
    assert track[:, names.index("cameraY")].any()


def test_a_random_walk_may_be_made_of_given_phrases():
    walk = {"forward*3 left*2": 1, "right": 0}
    track = phrases.random(MAZE, 13, seed=0, walk=walk)
    np.testing.assert_array_equal(track, parse("forward*3 left*2 forward*3 left*2 forward*3", MAZE))


def test_a_stream_gives_each_row_before_the_next_line_is_there():
    taken = []

    def typed():
        for line in ('"left"\n', b"\n", '{"forward": 1}\n', b'"lft"\n'):
            taken.append(line)
            yield line

    rows = stream(typed(), MAZE)
    np.testing.assert_array_equal(next(rows), parse("left", MAZE)[0])
    assert len(taken) == 1
    np.testing.assert_array_equal(next(rows), parse("forward", MAZE)[0])
    with pytest.raises(ActionError, match="stdin, line 4"):
        next(rows)


def test_minecraft_is_driven_live_one_line_for_one_frame():
    taken = []

    def typed():
        for line in (b'{"forward": 1, "cameraX": -0.025}\n', b'{"hotbar.9": 1}\n', b"[" + b"0, " * 24 + b"1]\n"):
            taken.append(line)
            yield line

    rows = live(stream(typed(), MINECRAFT), len(MINECRAFT), keep_on=True)
    for frame, phrase in enumerate(["forward+cameraX=-0.025", "hotbar.9", "drop", "?"]):
        np.testing.assert_array_equal(rows(frame, 1)[0], parse(phrase, MINECRAFT))
        assert len(taken) == min(frame + 1, 3)
    with pytest.raises(ActionError, match="stdin, line 1"):
        next(stream([b'{"mouse": {}, "keyboard": {}}'], MINECRAFT))


def test_a_pipe_is_streamed_line_by_line():
    code = """
import sys
from arvdm_cli.actions.phrases import names_of_rows, stream
for row in stream(getattr(sys.stdin, sys.argv[1], sys.stdin), ("left", "right")):
    print(*names_of_rows(row[None], ("left", "right")), flush=True)
"""
    for how in ("buffer", "text"):
        command = [sys.executable, "-c", code, how]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for word in ("left", "right", "?"):
                process.stdin.write(f'"{word}"\n'.encode())
                process.stdin.flush()
                assert process.stdout.readline().decode().strip() == word
            process.stdin.close()
            assert process.stdout.read() == b""


def test_a_name_twice_in_one_row_is_refused_as_a_list_of_rows_in_one_line():
    with pytest.raises(ActionError, match="left occurs twice"):
        phrases.read_row(["left", "forward", "left"], ["forward", "left"], "line 1")
