"""The same actions are read from every kind of file, written to every kind, and set to the frames they lead into."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from arvdm_cli.actions import files
from arvdm_cli.actions.files import read, read_clip, shift, write
from arvdm_cli.actions.formats import FORMATS
from arvdm_cli.actions.phrases import MINECRAFT, parse
from arvdm_cli.errors import ActionError, OutputError, UsageError
from support.recordings import OASIS

MAZE = ("stay", "forward", "backward", "left", "right")
CRAFT = ("inventory", "hotbar.1", "forward", "left", "jump", "cameraX", "cameraY")
WORDS = ["forward", "?", "jump+forward", "cameraX=0.5+jump", "cameraY=-0.25", "hotbar.1"]
ROWS = np.concatenate([parse(word, CRAFT) for word in WORDS])
DICTS = [{name: float(value) for name, value in zip(CRAFT, row, strict=True) if value} for row in ROWS]


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def table(rows, header=CRAFT, between=",", end="\n"):
    return end.join(between.join(str(field) for field in row) for row in [header, *rows]) + end


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


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
    "batch.npy": plain(ROWS[None]),
    "tensor.pt": saved(torch.from_numpy(ROWS)),
    "batch.pt": saved(torch.from_numpy(ROWS)[None]),
    "dict.pt": saved({"actions": torch.from_numpy(ROWS).double()}),
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
    if kind != np.uint64:
        (tmp_path / "a.pt").write_bytes(saved(torch.from_numpy(indices)))
    for name in {"a.npy", "a.npz", "a.jsonl", "b.jsonl", "a.csv"} | {path.name for path in tmp_path.glob("*.pt")}:
        np.testing.assert_array_equal(read(tmp_path / name, MAZE), parse("forward*2 left stay", MAZE))


def test_minus_one_is_the_null_action(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1, -1]))
    (tmp_path / "a.jsonl").write_text("1\n-1\n")
    (tmp_path / "a.csv").write_text("action\n1\n-1\n")
    for name in ("a.npy", "a.jsonl", "a.csv"):
        np.testing.assert_array_equal(read(tmp_path / name, MAZE), parse("forward ?", MAZE))


def test_a_file_goes_before_a_phrase_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "left").mkdir()
    np.testing.assert_array_equal(read("left", MAZE), parse("left", MAZE))
    (tmp_path / "left.csv").write_text("action\nright\n")
    np.testing.assert_array_equal(read("left.csv", MAZE), parse("right", MAZE))
    (tmp_path / "right").write_text("x")
    with pytest.raises(ActionError, match="not an action file"):
        read("right", MAZE)


def cut_zip():
    return packed("actions", ROWS)[:-40]


def header(shape, descr="<f4"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def flipped_zip():
    file = io.BytesIO()
    np.savez(file, actions=np.zeros((9, 5)))
    content = bytearray(file.getvalue())
    content[300] ^= 1  # in the array, which is not compressed
    return bytes(content)


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
    "huge.npy": (header("(1000000000000, 5)"), "declares"),
    "long.npy": (header("(2000000,)", "|i1") + bytes(2_000_000), "more than"),
    "negative.npy": (header("(-1, 5)"), "declares"),
    "both.npy": (header("(-1, -5)") + bytes(20), "declares"),
    "open.npy": (header("(9, 5"), "not a readable array"),
    "garbage.npy": (b"garbage", "not a readable array"),
    "evil.npy": (header("__import__('os')"), "not a readable array"),
    "garbage.npz": (b"garbage", "not a readable archive"),
    "cut.npz": (cut_zip(), "not a readable archive"),
    "flipped.npz": (flipped_zip(), "CRC"),
    "keys.npz": (packed("video", ROWS, other=ROWS), "no array `actions`"),
    "other.npz": (other_zip(), "not a readable archive"),
    "width.pt": (saved(torch.zeros(3, 4)), "(3, 4)"),
    "batch.pt": (saved(torch.zeros(2, 3, 5)), "(2, 3, 5)"),
    "nan.pt": (saved(torch.tensor([[0, 0, 0, 0, 1], [0, torch.nan, 0, 0, 0]])), "row 1"),
    "long.pt": (saved(torch.zeros(1, 5).expand(2_000_000, 5)), "more than"),
    "a.pt": (b"PK", "torch.save"),
    "a.txt": ("left", "not an action file"),
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


def test_too_few_actions_are_refused_with_both_numbers():
    assert len(read("forward*30", MAZE, frames=20)) == 30
    with pytest.raises(ActionError, match=r"20 actions, but 30 frames"):
        read("forward*20", MAZE, frames=30)


def test_what_is_no_file_is_a_phrase_and_says_so_where_it_is_neither():
    for source in ("none.csv", "none.pt", "some/where"):
        with pytest.raises(ActionError, match="no file"):
            read(source, MAZE)
    with pytest.raises(ActionError, match="no action"):
        read("", MAZE)


def test_a_line_without_an_end_takes_little_memory(tmp_path):
    for name in ("a.jsonl", "a.csv"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 30)
    code = """
import resource, sys
from arvdm_cli.actions.files import read
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


# Writing


def tracks():
    small = np.random.default_rng(0).normal(size=(30, 25)).astype(np.float32) * np.float32(1e-3)
    small[::2, ::2] = 0
    return {"oasis": OASIS, "small": small, "nothing": np.zeros((3, 25), np.float32), "large": small[:2] * 1e30}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("track", tracks().values(), ids=tracks())
def test_a_written_file_reads_back_the_same(suffix, track, tmp_path):
    write(tmp_path / f"a{suffix}", track, MINECRAFT)
    again = read(tmp_path / f"a{suffix}", MINECRAFT)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, track)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_written_tensor_is_as_open_oasis_has_it(tmp_path):
    write(tmp_path / "a.pt", OASIS, MINECRAFT)
    tensor = torch.load(tmp_path / "a.pt", weights_only=True)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor, OASIS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_cannot_be_written_leaves_what_was_there(suffix, tmp_path, monkeypatch):
    file = tmp_path / f"a{suffix}"
    file.write_text("precious")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write(file, ROWS, CRAFT)
    assert caught.value.code == 7
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_target_that_is_no_file_or_of_no_format_is_refused(tmp_path):
    (tmp_path / "a.csv").mkdir()
    for target, error in {
        "a.csv": OutputError,
        "none/a.csv": OutputError,
        "a.txt": UsageError,
        "a": UsageError,
    }.items():
        with pytest.raises(error):
            write(tmp_path / target, ROWS, CRAFT)


# Which frame a row leads into

STEPS = "forward left back right"
INTO = (".jsonl", ".csv", ".npz")  # row t leads into frame t
AFTER = (".npy", ".pt")  # row t was done after frame t was seen


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_row_of_a_file_drives_a_new_frame_the_first_the_first(suffix, tmp_path):
    write(tmp_path / f"a{suffix}", parse(STEPS, MINECRAFT), MINECRAFT)
    np.testing.assert_array_equal(read(tmp_path / f"a{suffix}", MINECRAFT), parse(STEPS, MINECRAFT))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_row_of_a_clip_is_what_led_into_that_frame(suffix, tmp_path):
    assert {*INTO, *AFTER} == {*FORMATS}
    write(tmp_path / f"a{suffix}", parse(STEPS, MINECRAFT), MINECRAFT)
    led = STEPS if suffix in INTO else "? forward left back"
    np.testing.assert_array_equal(read_clip(tmp_path / f"a{suffix}", MINECRAFT)[0], parse(led, MINECRAFT))


def test_a_phrase_tells_what_led_into_each_frame():
    np.testing.assert_array_equal(read_clip(STEPS, MINECRAFT)[0], parse(STEPS, MINECRAFT))


def test_the_published_actions_are_set_to_frames_as_the_reference_does(tmp_path):
    (tmp_path / "a.pt").write_bytes(saved(torch.from_numpy(OASIS)))
    reference = np.concatenate([np.zeros((1, 25), np.float32), OASIS])  # a row of zeros, then all that was done
    np.testing.assert_array_equal(read_clip(tmp_path / "a.pt", MINECRAFT)[0], reference[:40])  # frames of the clip
    np.testing.assert_array_equal(read(tmp_path / "a.pt", MINECRAFT), reference[1:])  # after a prompt of one frame


def test_rows_are_shifted_later_and_earlier():
    track = parse(STEPS, MINECRAFT)
    for frames, moved in {0: STEPS, 1: "? forward left back", -1: "left back right ?", 9: "?*4", -9: "?*4"}.items():
        np.testing.assert_array_equal(shift(track, frames), parse(moved, MINECRAFT))
