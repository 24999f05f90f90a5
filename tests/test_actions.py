"""The same actions are read from every kind of file, and what is wrong is named with its row."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from arvdm_cli import actions
from arvdm_cli.actions import names_of_rows, parse, read, stream
from arvdm_cli.errors import ActionError

MAZE = ("stay", "forward", "backward", "left", "right")
CRAFT = ("inventory", "hotbar.1", "forward", "left", "jump", "cameraX", "cameraY")
WORDS = ["forward", "?", "jump+forward", "cameraX=0.5+jump", "cameraY=-0.25", "hotbar.1"]
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
DICTS = [{name: float(value) for name, value in zip(CRAFT, row, strict=True) if value} for row in ROWS]


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def table(rows, header=CRAFT, between=",", end="\n"):
    return end.join(between.join(str(field) for field in row) for row in [header, *rows]) + end


def packed(name, array, **more):
    file = io.BytesIO()
    np.savez_compressed(file, **{name: array}, **more)
    return file.getvalue()


def plain(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


SAME = {
    "words.jsonl": lines(WORDS),
    "objects.jsonl": lines(DICTS),
    "numbers.jsonl": lines(ROWS.tolist()),
    "lists.jsonl": lines([None if word == "?" else word.split("+") for word in WORDS]),
    "action.jsonl": lines({"action": word, "frame": i} for i, word in enumerate(WORDS)),
    "spaced.JSONL": "\ufeff\r\n" + lines(WORDS).replace("\n", "\r\n\r\n"),
    "true.jsonl": lines({name: True if value == 1 else value for name, value in row.items()} for row in DICTS),
    "table.csv": table(ROWS),
    "windows.csv": "\ufeff" + table(ROWS, end="\r\n"),
    "semicolons.csv": table(ROWS, between=";"),
    "tabs.csv": table(ROWS, between="\t"),
    "frames.csv": table([(i, *row) for i, row in enumerate(ROWS)], ("frame", *CRAFT)),
    "order.csv": table(ROWS[:, ::-1], CRAFT[::-1]),
    "empty.csv": table([["" if value == 0 else value for value in row] for row in ROWS]),
    "quoted.csv": table([[f'"{value}"' for value in row] for row in ROWS]),
    "action.csv": table([[word] for word in WORDS], ["action"]),
    "floats.npy": plain(ROWS),
    "doubles.npy": plain(ROWS.astype(">f8")),
    "fortran.npy": plain(np.asfortranarray(ROWS)),
    "floats.npz": packed("actions", ROWS, video=np.zeros((6, 2, 2, 3), np.uint8)),
    "alone.npz": packed("other", ROWS),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_actions_are_read_from_every_kind_of_file(name, tmp_path):
    text = SAME[name]
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    track = read(tmp_path / name, CRAFT, frames=6)
    assert track.dtype == np.float32
    np.testing.assert_array_equal(track, ROWS)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.int8, np.uint64])
def test_an_index_stands_for_a_name_in_every_kind_of_file(kind, tmp_path):
    indices = np.array([1, 1, 3, 0], kind)
    np.save(tmp_path / "a.npy", indices)
    np.savez(tmp_path / "a.npz", actions=indices)
    (tmp_path / "a.jsonl").write_text(lines(indices.tolist()))
    (tmp_path / "b.jsonl").write_text(lines({"action": i} for i in indices.tolist()))
    (tmp_path / "a.csv").write_text(table([[i] for i in indices], ["action"]))
    for name in ("a.npy", "a.npz", "a.jsonl", "b.jsonl", "a.csv"):
        np.testing.assert_array_equal(read(tmp_path / name, MAZE), parse("forward*2 left stay", MAZE))


def test_minus_one_is_the_null_action(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1, -1]))
    (tmp_path / "a.jsonl").write_text("1\n-1\n")
    (tmp_path / "a.csv").write_text("action\n1\n-1\n")
    for name in ("a.npy", "a.jsonl", "a.csv"):
        np.testing.assert_array_equal(read(tmp_path / name, MAZE), parse("forward ?", MAZE))


def test_a_phrase_is_read_word_by_word():
    expected = ROWS[[0, 0, 0, 1, 2, 3, 3]]
    np.testing.assert_array_equal(parse("forward*3 ? jump+forward  cameraX=0.5+jump*2\n", CRAFT), expected)
    np.testing.assert_array_equal(parse("forward*0 left", MAZE), parse("left", MAZE))
    assert parse("", MAZE).shape == (0, 5)


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


def test_a_file_goes_before_a_phrase_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "left").mkdir()
    np.testing.assert_array_equal(read("left", MAZE), parse("left", MAZE))
    (tmp_path / "left.csv").write_text("action\nright\n")
    np.testing.assert_array_equal(read("left.csv", MAZE), parse("right", MAZE))
    (tmp_path / "right").write_text("x")
    with pytest.raises(ActionError, match="not a file of actions"):
        read("right", MAZE)


def cut_zip():
    return packed("actions", ROWS)[:-40]


def header(shape, descr="<f4"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def other_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return file.getvalue()


BAD = {  # name -> what is in the file, and words of the message
    "name.jsonl": ('"left"\n"lft"\n', "line 2", "lft"),
    "key.jsonl": ('{"forwards": 1}\n', "line 1", "forwards"),
    "two.jsonl": ('{"action": "left", "forward": 1}\n', "line 1", "'action'"),
    "nan.jsonl": ('"left"\n{"left": NaN}\n', "line 2", "nan"),
    "inf.jsonl": ('{"left": 1e300}\n', "line 1", "left"),
    "text.jsonl": ('{"left": "much"}\n', "line 1", "much"),
    "deep.jsonl": ('{"left": {"left": 1}}\n', "line 1", "left"),
    "width.jsonl": ("[0, 1]\n", "line 1", "2 numbers for 5"),
    "index.jsonl": ("5\n", "line 1", "5"),
    "bool.jsonl": ("true\n", "line 1", "True"),
    "json.jsonl": ("left\n", "line 1", "JSON"),
    "nested.jsonl": ("[" * 100_000 + "\n", "line 1", "JSON"),
    "bytes.jsonl": (b'"left"\n"\xff"\n', "line 2", "UTF-8"),
    "wide.jsonl": ('"' + "x" * (2 << 20) + '"\n', "line 1", "longer"),
    "none.jsonl": ("\n\n", "no action"),
    "name.csv": ("forward,lft\n1,0\n", "line 1", "lft"),
    "pipe.csv": ("forward|left\n1|0\n", "line 1", "forward|left"),
    "nan.csv": ("forward,left\n1,0\nnan,1\n", "line 3", "nan"),
    "comma.csv": ("forward;left\n0,5;1\n", "line 2", "0,5"),
    "width.csv": ("forward,left\n1,0,1\n", "line 2", "3 fields"),
    "twice.csv": ("left,left\n1,0\n", "twice"),
    "header.csv": ("", "header"),
    "only.csv": ("forward,left\n", "no action"),
    "action.csv": ("action\nleft\nlft\n", "line 3", "lft"),
    "void.csv": ("frame,action\n0,\n", "line 2", "''"),
    "field.csv": ("action\n" + "x" * 200_000 + "\n", "line 2", "limit"),
    "wide.csv": ("x" * (2 << 20), "line 1", "longer"),
    "utf16.csv": ("action\nleft\n".encode("utf-16"), "line 1", "UTF-8"),
    "width.npy": (plain(np.zeros((3, 4))), "(3, 4)"),
    "nan.npy": (plain(np.array([[0, 0, 0, 0, 1], [0, np.nan, 0, 0, 0]])), "row 1"),
    "inf.npy": (plain(np.array([[0, 0, 0, 0, 1e300]])), "row 0"),
    "index.npy": (plain(np.array([0, 4, 5])), "row 2", "5"),
    "minus.npy": (plain(np.array([0, -2])), "row 1", "-2"),
    "float.npy": (plain(np.array([0.5])), "(1,)"),
    "scalar.npy": (plain(np.array(1)), "int64 ()"),
    "text.npy": (plain(np.array(["left"])), "<U4"),
    "pickle.npy": (plain(np.array([{}], object), allow_pickle=True), "Python objects"),
    "cut.npy": (plain(np.zeros((9, 5)))[:-8], "cut"),
    "huge.npy": (header("(1000000000000, 5)"), "promises"),
    "long.npy": (header("(2000000,)", "|i1") + bytes(2_000_000), "more than"),
    "negative.npy": (header("(-1, 5)"), "promises"),
    "garbage.npy": (b"garbage", "not an array"),
    "evil.npy": (header("__import__('os')"), "not an array"),
    "garbage.npz": (b"garbage", "not an archive"),
    "cut.npz": (cut_zip(), "not an archive"),
    "keys.npz": (packed("video", ROWS, other=ROWS), "no array `actions`"),
    "other.npz": (other_zip(), "not an archive"),
    "a.pt": (b"PK", "PyTorch"),
    "a.txt": ("left", "not a file of actions"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_with_its_file_and_row(name, tmp_path):
    text, *words = BAD[name]
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ActionError) as caught:
        read(tmp_path / name, MAZE)
    assert caught.value.code == 3
    for word in (name, *words):
        assert word in str(caught.value)
    assert len(str(caught.value)) < 500


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
        ("", ("no action",)),
        ("none.csv", ("no file",)),
        ("some/where", ("no file",)),
    ],
)
def test_a_phrase_that_cannot_be_read_names_the_word(phrase, words):
    with pytest.raises(ActionError) as caught:
        read(phrase, MAZE)
    for word in words:
        assert word in str(caught.value)


def test_a_misspelt_name_brings_the_nearest_one():
    for word, near in {"forwrd": "forward", "Left": "left", "backwards": "backward"}.items():
        with pytest.raises(ActionError) as caught:
            parse(word, MAZE)
        assert f"Did you mean {near!r}?" in caught.value.hint


def test_too_few_actions_are_refused_with_both_numbers():
    assert len(read("forward*30", MAZE, frames=20)) == 30
    with pytest.raises(ActionError, match=r"20 actions; 30 frames"):
        read("forward*20", MAZE, frames=30)


def test_a_line_without_an_end_takes_little_memory(tmp_path):
    for name in ("a.jsonl", "a.csv"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 30)
    code = """
import resource, sys
from arvdm_cli.actions import read
from arvdm_cli.errors import ActionError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        read(name, ("left",))
    except ActionError as error:
        assert "longer" in str(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = subprocess.check_output([sys.executable, "-c", code, tmp_path / "a.jsonl", tmp_path / "a.csv"])
    assert int(out) < 50_000  # kB


@pytest.mark.parametrize("names", [MAZE, CRAFT, ("a", "b")])
def test_a_longer_random_walk_begins_with_a_shorter_one(names):
    long = actions.random(names, 500, seed=3)
    for count in (0, 1, 7, 100, 499):
        np.testing.assert_array_equal(actions.random(names, count, seed=3), long[:count])
    assert (long != actions.random(names, 500, seed=4)).any()
    assert long.any(1).all()  # never the null action
    changes = (np.diff(long, axis=0) != 0).any(1).sum()
    assert 10 < changes < 250  # in runs


def test_a_random_walk_in_the_maze_goes_forward_and_turns():
    track = actions.random(MAZE, 5000, seed=0)
    shares = dict(zip(MAZE, track.mean(0), strict=True))
    assert set(track.sum(1)) == {1}
    assert shares["forward"] > max(shares["left"], shares["right"]) > shares["backward"] > 0
    assert shares["left"] == pytest.approx(shares["right"], abs=0.05)


def test_a_random_walk_presses_no_key_that_opens_a_menu():
    track = actions.random(CRAFT, 2000, seed=0)
    assert not track[:, CRAFT.index("inventory")].any()
    assert track[:, CRAFT.index("cameraY")].any()


def test_a_random_walk_may_be_made_of_given_phrases():
    walk = {"forward*3 left*2": 1, "right": 0}
    track = actions.random(MAZE, 13, seed=0, walk=walk)
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


def test_a_pipe_is_streamed_line_by_line():
    code = """
import sys
from arvdm_cli.actions import names_of_rows, stream
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
