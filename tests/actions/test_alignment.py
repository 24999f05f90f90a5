"""Actions stay with the frames they led into, whatever is left out, repeated or cut."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arvdm_cli.actions import files
from arvdm_cli.actions.alignment import Rows, align, follow, hold
from arvdm_cli.errors import ActionError
from arvdm_cli.media.timeline import Timeline, clock

NAMES = ("forward", "left", "cameraX", "cameraY", "speed")
RATES = st.sampled_from([5.0, 7.5, 10.0, 12.0, 15.0, 20.0, 24.0, 30.0, 60.0])


def rows_of(count, seed):
    draw = np.random.default_rng(seed)
    pressed = np.eye(3, 2, dtype=np.float32)[draw.integers(0, 3, count)]
    turned, speed = draw.uniform(-0.1, 0.1, (count, 2)), draw.uniform(-2, 2, (count, 1))
    return np.concatenate((pressed, turned, speed), 1).astype(np.float32)


@given(st.integers(2, 120), RATES, RATES, st.integers(0, 2**31))
def test_any_rate_keeps_turns_in_sum_names_that_were_pressed_and_speeds_in_mean(count, rate, fps, seed):
    rows = rows_of(count, seed)
    chosen = clock(np.arange(count) / rate, 1 / rate).choose(fps)
    led = follow(rows, chosen, NAMES)
    assert led.shape == (len(chosen), len(NAMES))
    np.testing.assert_allclose(led[1:, 2:4].sum(0), rows[1 : chosen[-1] + 1, 2:4].sum(0).clip(-9, 9), atol=0.02)
    for k in range(1, len(chosen)):
        step = rows[chosen[k - 1] + 1 : chosen[k] + 1]
        if not len(step):  # a frame that is repeated
            assert (led[k, :2] == rows[chosen[k], :2]).all() and not led[k, 2:4].any()
            continue
        alike = [(step[:, :2] == row).all(1).sum() for row in step[:, :2]]
        assert (step[:, :2] == led[k, :2]).all(1).sum() == max(alike)
        assert led[k, 4] == pytest.approx(step[:, 4].mean(), abs=1e-5)


@given(st.integers(2, 120), st.integers(0, 2**31), st.integers(0, 100), st.integers(1, 60))
def test_a_cut_keeps_each_row_with_its_frame(count, seed, first, length):
    rows, first = rows_of(count, seed), min(first, count - 1)
    length = min(length, count - first)
    line = Timeline(count, np.arange(count), None).cut(first, length)
    whole = follow(rows, line.chosen, NAMES)
    np.testing.assert_array_equal(whole, rows)
    np.testing.assert_array_equal(whole[line.first : line.last], rows[first : first + length])


@given(st.integers(1, 60), st.integers(2, 4), st.integers(0, 2**31))
def test_a_clip_filmed_at_a_multiple_of_a_rate_has_the_actions_of_that_rate(count, times, seed):
    slow = rows_of(count, seed)[:, :2]
    fast = slow.repeat(times, 0)[times - 1 :]  # frame 0 once, then `times` rows a step
    chosen = np.arange(count) * times
    np.testing.assert_array_equal(follow(fast, chosen, NAMES[:2]), slow)


@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("more", [-2, -1, 0, 1, 2])
def test_a_row_too_many_or_too_few_is_taken_and_others_refused(lead, more):
    rows = rows_of(20 + more, 1)
    if abs(more) > 1:
        with pytest.raises(ActionError, match=rf"20 frames and {20 + more} actions"):
            align(rows, lead, 20, "x")
        return
    led, note = align(rows, lead, 20, "x")
    known = min(20, len(rows) + lead) - lead
    np.testing.assert_array_equal(led[lead : lead + known], rows[:known])
    assert not led[:lead].any() and not led[lead + known :].any()
    assert (note is None) == (more == 0 or (more == -1 and lead == 1))


def test_of_names_as_frequent_the_latest_wins():
    rows = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    np.testing.assert_array_equal(follow(rows, np.array([0, 2]), NAMES[:2])[1], rows[2])
    np.testing.assert_array_equal(follow(rows, np.array([0, 3]), NAMES[:2])[1], rows[3])


@given(st.integers(3, 60), RATES, st.integers(0, 2**31))
def test_rows_with_times_hold_until_the_next(count, fps, seed):
    draw = np.random.default_rng(seed)
    times = np.sort(draw.uniform(0, 3, count))
    rows = rows_of(count, seed)[:, :2]
    at = np.arange(round(3 * fps) + 1) / fps
    led = hold(Rows(rows, times, "here"), at, NAMES[:2], "x")
    early = 0.5 * min(float(np.median(np.diff(times))), 1 / fps) + 2e-6
    for k, moment in enumerate(at):
        first = at[k - 1] if k else -9
        there = rows[(times <= moment + early) & (times > first + early)]
        before = rows[times <= first + early]
        if len(there) and k:
            assert (there == led[k]).all(1).any()
        elif k:
            np.testing.assert_array_equal(led[k], before[-1] if len(before) else np.zeros(2))


TIMED = SimpleNamespace(count=40, chosen=np.arange(40), times=np.arange(40) / 10, first=0, last=None)
TABLES = {
    "out of order": ("time,action\n2,left\n0,forward\n", "forward*20 left*20"),
    "in seconds, another column first": ("left,seconds,forward\n0,0,1\n1,2,0\n", "forward*20 left*20"),
    "begun later": ("timestamp,action\n1,left\n", "?*10 left*30"),
    "in milliseconds": ("Time_ms,action\n0,forward\n2000,left\n", "forward*20 left*20"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_column_of_times_says_when_a_row_begins_to_hold(name, tmp_path):
    text, phrase = TABLES[name]
    (tmp_path / "a.csv").write_text(text)
    led, _ = files.read_clip(tmp_path / "a.csv", NAMES[:2], TIMED)
    np.testing.assert_array_equal(led, files.read(phrase, NAMES[:2]))


def test_new_frames_take_rows_with_times_at_their_rate(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"time": 1, "left": 1}\n{"time": 0, "forward": 1}\n')
    led = files.read(tmp_path / "a.jsonl", NAMES[:2], fps=10)
    np.testing.assert_array_equal(led, files.read("forward*10 left", NAMES[:2]))


def test_times_that_are_too_late_for_new_frames_are_refused_with_their_line(tmp_path):
    (tmp_path / "a.csv").write_text("time,action\n1700000000.0,forward\n1700000000.2,left\n")
    with pytest.raises(ActionError, match=r"line 3: its time is 1.7e.09 seconds"):
        files.read(tmp_path / "a.csv", NAMES[:2], fps=15)


def test_numbers_of_rows_may_have_a_title_in_any_case_and_are_no_actions(tmp_path):
    (tmp_path / "a.csv").write_text("Frame,left,forward\n1,1,0\n0,0,1\n")
    np.testing.assert_array_equal(files.read(tmp_path / "a.csv", NAMES[:2]), files.read("forward left", NAMES[:2]))
    assert files.names_in(tmp_path / "a.csv") == ("left", "forward")


def test_blank_lines_at_the_end_of_a_table_are_no_rows(tmp_path):
    (tmp_path / "a.csv").write_text("action\nforward\nleft\n\n\n")
    np.testing.assert_array_equal(files.read(tmp_path / "a.csv", NAMES[:2]), files.read("forward left", NAMES[:2]))


WRONG = {
    "lines that end as on an old Mac": ("action\rforward\rleft\r", "line 1: its lines end in CR alone"),
    "a blank line between rows": ("action\nforward\n\nleft\n", "line 3: no action is called ''"),
    "a frame twice": ("frame,action\n0,left\n1,left\n1,forward\n", "line 4: its frame 1 is also that of line 3, with"),
    "a time twice": ("time,action\n0.5,left\n0,left\n0.5,forward\n", "line 4: its time 0.5 is also that of line 2"),
    "counted from one": ("frame,action\n1,left\n2,left\n", "line 2: frame 1 comes after no other"),
    "half of a frame": ("frame,action\n0,left\n0.5,left\n", "line 3: frame 0.5"),
    "no number": ("frame,action\n0,left\nx,left\n", "line 3: frame is 'x'"),
    "an empty time": ("time,action\n0,left\n,left\n", "line 3: time"),
    "times of another clock": ("time,action\n1700000000,left\n", "line 2: its time is 1.7e.09 seconds"),
    "a time before the first frame": ("time,action\n-5,left\n0,left\n", "line 2: the time -5"),
}


@pytest.mark.parametrize("name", WRONG)
def test_numbers_of_rows_that_cannot_be_are_refused_with_their_line(name, tmp_path):
    text, message = WRONG[name]
    (tmp_path / "a.csv").write_text(text, newline="")
    with pytest.raises(ActionError, match=message):
        files.read_clip(tmp_path / "a.csv", NAMES[:2], TIMED)


REPEATS = [
    "frame,action\n1,left\n0,forward\n1,left\n",
    "time,action\n0,forward\n0.1,left\n0,forward\n",
    "timestamp_ms,action\n0,forward\n100,left\n100.0,left\n",
]


@pytest.mark.parametrize("text", REPEATS)
def test_equal_rows_of_one_frame_or_time_are_one_row_and_told(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    notes = []
    led = files.read(tmp_path / "a.csv", NAMES[:2], fps=10, on_note=notes.append)
    np.testing.assert_array_equal(led, files.read("forward left", NAMES[:2]))
    assert len(notes) == 1 and notes[0].startswith("1 rows repeat")


def test_a_row_with_a_place_that_cannot_be_read_is_unknown_there_and_costs_no_other(tmp_path):
    def excused(text):
        (tmp_path / "a.csv").write_text(text)
        wrong = []
        rows = files.load(tmp_path / "a.csv", NAMES[:2], wrong.append)
        assert len(wrong) == 1
        return rows

    unknown = files.read("left ? forward", NAMES[:2])
    np.testing.assert_array_equal(excused("frame,action\n2,forward\n1,up\n0,left\n").values, unknown)
    np.testing.assert_array_equal(excused("frame,action\n0,left\nx,left\n2,forward\n").values, unknown)
    rows = excused("time,action\n0,left\n0.1,up\n0.2,forward\n")
    np.testing.assert_array_equal(rows.values, unknown)
    np.testing.assert_array_equal(rows.times, [0, 0.1, 0.2])
    np.testing.assert_array_equal(excused("time,action\n0,left\nx,left\n0.2,forward\n").times, [0, 0.2])
    np.testing.assert_array_equal(
        excused("time,action\n0,left\n0.1,up\n0.1,left\n").values, files.read("left left", NAMES[:2])
    )


def test_a_column_that_counts_the_rows_is_not_an_action(tmp_path):
    for title in ("frame", "Frame_Index", "step", "timestep"):
        (tmp_path / "a.csv").write_text(f"{title},left\n1,0\n0,1\n")
        assert files.names_in(tmp_path / "a.csv") == ("left",)
        assert files.read(tmp_path / "a.csv", ["left"])[:, 0].tolist() == [1, 0]
        assert files.read(tmp_path / "a.csv", [title, "left"])[:, 0].tolist() == [1, 0]  # unless it is called so


def test_a_key_twice_in_a_line_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"left": 1}\n{"left": 1, "left": 0}\n')
    with pytest.raises(ActionError, match="line 2: 'left' occurs twice"):
        files.read(tmp_path / "a.jsonl", NAMES)


def test_rows_that_begin_after_the_first_frame_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("time,action\n0.5,left\n1,forward\n")
    notes = []
    led = files.read(tmp_path / "a.csv", NAMES[:2], fps=10, on_note=notes.append)
    assert notes == ["the first row is at 0.5 s; actions before it are unknown"] and not led[:5].any() and led[5:].any()
    assert files.read_clip(tmp_path / "a.csv", NAMES[:2], TIMED)[1] == notes


def test_a_table_of_numbers_alone_has_no_names_to_take(tmp_path):
    (tmp_path / "a.csv").write_text("0,1\n1,0\n0.5,0\n")
    with pytest.raises(ActionError, match="line 1: 0, 1 are numbers, not the names of actions"):
        files.names_in(tmp_path / "a.csv")


def test_a_row_of_a_frame_may_stand_in_any_line_of_json(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"frame": 1, "left": 1}\n{"frame": 0, "action": "forward"}\n')
    np.testing.assert_array_equal(files.read(tmp_path / "a.jsonl", NAMES), files.read("forward left", NAMES))
    (tmp_path / "a.jsonl").write_text('{"frame": 1, "left": 1}\n"left"\n')
    with pytest.raises(ActionError, match="line 2 has no frame"):
        files.read(tmp_path / "a.jsonl", NAMES)


def test_rows_that_cannot_be_read_are_unknown_where_that_is_excused(tmp_path):
    rows = ['"left"', '{"left": NaN}', "nonsense", '"up"', '"forward"']
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "a.csv").write_text("forward,left\n0,1\n0,x\n0\n1,1,1\n1,0\n")
    np.save(tmp_path / "a.npy", np.array([1, 7, -2, 9, 0]))
    for name in ("a.jsonl", "a.csv", "a.npy"):
        wrong = []
        loaded = files.load(tmp_path / name, NAMES[:2], wrong.append)
        np.testing.assert_array_equal(loaded.values, files.read("left ?*3 forward", NAMES[:2]))
        assert len(wrong) == 3
        with pytest.raises(ActionError):
            files.load(tmp_path / name, NAMES[:2])
