"""A recording of VPT becomes the actions of Oasis: what the player pressed, and how far the camera turned."""

import json

import numpy as np
import pytest

from arvdm_cli.actions import vpt
from arvdm_cli.actions.files import read, read_clip
from arvdm_cli.actions.formats import recognise
from arvdm_cli.actions.phrases import MINECRAFT, parse
from arvdm_cli.errors import ActionError
from support.recordings import frame

MAZE = ("stay", "forward", "backward", "left", "right")


def recorded(tmp_path, *frames):
    file = tmp_path / "play.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in frames))
    return file


def actions(tmp_path, *frames):
    return read(recorded(tmp_path, *frames), MINECRAFT)


KEYS = {
    "escape": "ESC", "s": "back", "q": "drop", "w": "forward", "e": "inventory", "space": "jump", "a": "left",
    "d": "right", "left.shift": "sneak", "left.control": "sprint", "f": "swapHands", "1": "hotbar.1", "9": "hotbar.9",
}  # fmt: skip


def test_every_key_and_button_has_its_action(tmp_path):
    frames = [frame(), *map(frame, KEYS), *(frame(buttons=[button]) for button in range(3))]
    phrase = " ".join(["?", *KEYS.values(), "attack use pickItem"])
    np.testing.assert_array_equal(actions(tmp_path, *frames), parse(phrase, MINECRAFT))


def test_what_is_held_together_is_taken_together_and_other_keys_are_passed_over(tmp_path):
    track = actions(tmp_path, frame("w", "space", "f3", "left.alt", "period", buttons=[1, 4]), frame("g"))
    np.testing.assert_array_equal(track, parse("forward+jump+use ?", MINECRAFT))


def test_the_camera_is_pitch_then_yaw_in_twentieths_of_a_degree_and_keeps_fractions(tmp_path):
    track = actions(tmp_path, frame(dx=1, dy=-2), frame(dy=40), frame(dx=-1000, dy=1e9), frame(dx=0.5))
    columns = track[:, [MINECRAFT.index("cameraX"), MINECRAFT.index("cameraY")]]
    degrees = np.array([[-0.3, 0.15], [6, 0], [20, -20], [0, 0.075]])
    np.testing.assert_allclose(columns * 20, degrees, atol=1e-6)
    assert not np.delete(track, [15, 16], 1).any()


def test_the_cursor_of_an_open_inventory_moves_the_columns_of_the_camera(tmp_path):
    np.testing.assert_array_equal(
        actions(tmp_path, frame(dx=20, gui=True), frame("e", gui=True)), parse("cameraY=0.15 inventory", MINECRAFT)
    )


def test_an_attack_that_hangs_from_before_the_recording_is_removed_until_the_next_click(tmp_path):
    held, click = frame(buttons=[0]), frame(buttons=[0], clicked=[0])
    np.testing.assert_array_equal(
        actions(tmp_path, click, held, frame("w", buttons=[0, 1]), frame(), click, held),
        parse("? ? forward+use ? attack attack", MINECRAFT),
    )
    np.testing.assert_array_equal(actions(tmp_path, held, held), parse("attack attack", MINECRAFT))
    both = frame(buttons=[0, 1], clicked=[0, 1])
    np.testing.assert_array_equal(actions(tmp_path, both, held), parse("attack+use attack", MINECRAFT))


def test_a_change_of_the_slot_in_hand_presses_its_number(tmp_path):
    frames = [frame(hotbar=4), frame(hotbar=4), frame("w", hotbar=8), frame("1", hotbar=0), frame(hotbar=None), frame()]
    np.testing.assert_array_equal(actions(tmp_path, *frames), parse("? ? hotbar.9+forward hotbar.1 ? ?", MINECRAFT))


def test_a_row_was_done_after_its_frame_was_seen(tmp_path):
    file = recorded(tmp_path, frame("w"), frame("a"), frame("s"))
    assert recognise(file).title == "a recording of VPT"
    np.testing.assert_array_equal(read_clip(file, MINECRAFT)[0], parse("? forward left", MINECRAFT))
    np.testing.assert_array_equal(read(file, MINECRAFT), parse("forward left back", MINECRAFT))  # into new frames


def test_other_json_lines_are_no_recording(tmp_path):
    for line in ("null", '"forward"', "[]", "{}", '{"mouse": 1, "keyboard": 1}', '{"mouse": {}}', "not json", ""):
        (tmp_path / "a.jsonl").write_text(line)
        assert recognise(tmp_path / "a.jsonl").title == "JSON lines"


def test_names_may_stand_in_another_order_but_none_may_be_missing(tmp_path):
    file = recorded(tmp_path, frame("w", dx=10, buttons=[1]))
    names = (*MINECRAFT[::-1], "fly")
    np.testing.assert_array_equal(read(file, names), parse("forward+use+cameraY=0.075", names))
    with pytest.raises(ActionError, match=r"recording of Minecraft.*'inventory' is not") as caught:
        read(file, MAZE)
    assert caught.value.code == 3 and "backward" in caught.value.hint


BAD = {  # what stands in line 2, and words of the message
    "a name": ('"forward"', "not a frame of a recording"),
    "a mouse alone": (json.dumps({"mouse": frame()["mouse"]}), "not a frame of a recording"),
    "keys": (json.dumps(frame(keyboard={"keys": "w"})), "keys is 'w'"),
    "buttons": (json.dumps(frame(buttons=["left"])), "buttons is ['left']"),
    "no movement": (json.dumps(frame(mouse={"buttons": []})), "mouse dy is nan"),
    "nan": (json.dumps(frame(dx=float("nan"))), "mouse dx is nan"),
    "inf": (json.dumps(frame(dy=1e300)), "mouse dy is 1e+300"),
    "text": (json.dumps(frame(dy="much")), "mouse dy is 'much'"),
    "slot": (json.dumps(frame(hotbar=9)), "hotbar is 9"),
    "cut": (json.dumps(frame())[:-40], "not valid JSON"),
    "code": ("__import__('os').system('true')", "not valid JSON"),
    "long": (json.dumps(frame(stats="x" * (2 << 20))), "longer"),
}


@pytest.mark.parametrize(("line", "words"), BAD.values(), ids=BAD)
def test_a_frame_that_cannot_be_read_is_named_with_its_line(tmp_path, line, words):
    file = recorded(tmp_path, frame())
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ActionError) as caught:
        read(file, MINECRAFT)
    assert "play.jsonl" in str(caught.value) and "line 2" in str(caught.value) and words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_every_action_but_the_camera_has_a_key_or_a_button():
    assert {*vpt.KEYS.values(), *vpt.BUTTONS.values()} == {*MINECRAFT} - {"cameraX", "cameraY"}


def test_turns_larger_than_the_model_knows_are_named():
    track = np.zeros((3, len(MINECRAFT)), np.float32)
    track[1, MINECRAFT.index("cameraX")] = -1
    assert vpt.beyond_full(track, MINECRAFT) == [] == vpt.beyond_full(track[:, :2], MINECRAFT[:2])
    track[2, MINECRAFT.index("cameraY")] = -15
    assert [words.partition(";")[0] for words in vpt.beyond_full(track, MINECRAFT)] == ["cameraY is up to 15"]
