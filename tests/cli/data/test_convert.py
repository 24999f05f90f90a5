"""`arvdm data convert` as a user runs it: the same actions in another format, and where they went said plainly."""

import json
import os

import numpy as np
import pytest

from arvdm_cli.actions.files import read, read_clip, shift, write
from arvdm_cli.actions.formats import FORMATS
from arvdm_cli.actions.phrases import MINECRAFT, parse
from support.recordings import OASIS, frame

MAZE = ("stay", "forward", "backward", "left", "right")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with the published actions in every format, each telling of the same clip, and a recording."""
    monkeypatch.chdir(tmp_path)
    led = shift(OASIS, 1)  # into each frame; what led into the first is unknown
    for suffix, form in FORMATS.items():
        write(f"clip{suffix}", shift(led, -form.lead), MINECRAFT)
    frames = [frame("w", dx=3), frame("a"), frame("s", buttons=[0])]
    with open("play.jsonl", "w") as file:
        file.writelines(json.dumps(each) + "\n" for each in frames)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_a_converted_file_drives_new_frames_as_its_source_does(arvdm, source, target):
    done = arvdm("data", "convert", f"clip{source}", f"out{target}", "--vocabulary", "minecraft")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"out{target}\n"
    assert "40 rows" in done.stderr and "shifted by 0" in done.stderr
    assert ("--clip" in done.stderr) == (FORMATS[source].lead != FORMATS[target].lead)
    np.testing.assert_array_equal(read(f"out{target}", MINECRAFT), read(f"clip{source}", MINECRAFT))


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_with_clip_it_says_of_every_frame_what_its_source_does(arvdm, source, target):
    done = arvdm("data", "convert", f"clip{source}", f"out{target}", "--vocabulary", "minecraft", "--clip")
    assert done.exit_code == 0, done.stderr
    assert f"shifted by {FORMATS[source].lead - FORMATS[target].lead}" in done.stderr
    assert "warning" not in done.stderr
    np.testing.assert_array_equal(read_clip(f"out{target}", MINECRAFT)[0], read_clip(f"clip{source}", MINECRAFT)[0])


def test_a_recording_becomes_actions(arvdm):
    words = "forward+cameraY=0.0225 left back+attack"
    for target in FORMATS:
        assert arvdm("data", "convert", "play.jsonl", f"out{target}", "--vocabulary", "minecraft").exit_code == 0
        np.testing.assert_array_equal(read(f"out{target}", MINECRAFT), parse(words, MINECRAFT))
    done = arvdm("data", "convert", "play.jsonl", "play.jsonl", "--vocabulary", "minecraft", "--clip", "-y")
    assert "3 rows of a recording of VPT, whose row t leads into frame t + 1\n" in done.stderr
    assert "JSON lines, whose row t leads into frame t; shifted by 1" in done.stderr
    led = parse("? forward+cameraY=0.0225 left", MINECRAFT)
    np.testing.assert_array_equal(read_clip("play.jsonl", MINECRAFT)[0], led)


def test_what_a_format_cannot_say_is_a_warning(arvdm):
    done = arvdm("data", "convert", "forward left", "out.npy", "--clip")
    assert "warning" in done.stderr and "the action that led into frame 0" in done.stderr
    np.testing.assert_array_equal(read("out.npy", MAZE), parse("left ?", MAZE))


def test_actions_are_named_by_a_model_or_a_vocabulary(arvdm, tmp_path):
    config = {"format": 1, "actions": ["up", "down"]}
    for name, card in {"model": config, "mute": {"format": 1}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(card))
    for phrase, flags in {
        "stay backward": [],
        "stay*2 left": ["--vocabulary", "maze"],
        "left right=0.5": ["-m", "maze"],
        "up*3 down": ["-m", "./model"],
        "drop hotbar.9": ["--vocabulary", "minecraft"],
    }.items():
        assert arvdm("data", "convert", phrase, "out.csv", "-y", *flags).exit_code == 0
        names = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
        np.testing.assert_array_equal(read("out.csv", names), parse(phrase, names))
    assert arvdm("data", "convert", "up", "a.csv", "-m", "./mute").exit_code == 2
    assert arvdm("data", "convert", "up", "a.csv", "-m", "./model", "--vocabulary", "maze").exit_code == 2


def test_json_tells_what_was_done(arvdm):
    done = arvdm("data", "convert", "clip.pt", "out.npz", "--vocabulary", "minecraft", "--clip", "--json", "-q")
    facts = {"source": "clip.pt", "format": "a tensor", "rows": 40, "shift": 1, "output": "out.npz"}
    assert json.loads(done.stdout) == facts | {"actions": [*MINECRAFT]}
    assert done.stderr == ""


def test_an_existing_file_is_kept_unless_y_is_given(arvdm, tmp_path):
    (tmp_path / "out.csv").write_text("precious")
    for flags in ([], ["--no-overwrite"]):
        assert arvdm("data", "convert", "left", "out.csv", *flags).exit_code == 10
        assert (tmp_path / "out.csv").read_text() == "precious"
    assert arvdm("data", "convert", "left", "out.csv", "-y").exit_code == 0
    np.testing.assert_array_equal(read("out.csv", MAZE), parse("left", MAZE))


BAD = {
    "no such file": (3, ["none.pt", "out.csv"], "There is no file"),
    "another vocabulary": (3, ["clip.pt", "out.csv"], "--vocabulary minecraft"),
    "a recording for the maze": (3, ["play.jsonl", "out.csv"], "--vocabulary minecraft"),
    "no such action": (3, ["forwards*3", "out.csv"], "Did you mean 'forward'?"),
    "no such format": (2, ["left", "out.mp4"], "must end in"),
    "no format": (2, ["left", "out"], "must end in"),
    "no such vocabulary": (2, ["left", "out.csv", "--vocabulary", "doom"], "'doom'"),
    "no such model": (4, ["left", "out.csv", "-m", "mazes"], "maze"),
    "no such folder": (7, ["left", "none/out.csv"], "cannot be written"),
}


@pytest.mark.parametrize(("code", "words", "says"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_its_code_and_leaves_no_file(arvdm, tmp_path, code, words, says):
    before = sorted(os.listdir(tmp_path))
    done = arvdm("data", "convert", *words, "-q")
    assert done.exit_code == code, done.stderr
    assert done.stderr.startswith("arvdm: error: ") and len(done.stderr.splitlines()) <= 2
    assert says in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_a_raw_folder_is_told_how_it_becomes_episodes(arvdm, tmp_path):
    told = arvdm("data", "inspect", tmp_path)
    assert told.exit_code == 3 and "arvdm data import" in told.stderr
