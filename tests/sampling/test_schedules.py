"""The laws of schedules, for every preset over a range of its options."""

from dataclasses import replace
from itertools import pairwise, product
from math import ceil

import pytest

from arvdm_cli.errors import InputError, ScheduleError
from arvdm_cli.sampling.schedules import (
    PRESETS,
    Schedule,
    choose,
    describe,
    fifo,
    next_frame,
    outpainting,
    parse_schedule,
    preset,
    pyramid,
    read,
    rolling,
    shift,
    write,
)

VARIANTS = {
    **{f"{name}": make() for name, make in PRESETS.items()},
    **{f"outpainting {c} {s}": outpainting(chunk=c, steps=s) for c, s in product((1, 3), (1, 7))},
    **{f"next-frame {s}": next_frame(steps=s) for s in (1, 3, 50)},
    **{f"fifo {s}": fifo(steps=s) for s in (1, 2, 7, 64)},
    **{f"rolling {n} {c} {s}": rolling(n, c, s) for n, c, s in product((1, 2, 5), (1, 3), (1, 4))},
    **{f"rolling {t}/{a} {c}": rolling(total=t, lag=a, chunk=c) for t, a, c in [(50, 7, 1), (9, 4, 3), (5, 5, 2)]},
    **{f"pyramid {c} {s} {a}": pyramid(c, s, a) for c, (s, a) in product((1, 4), [(1, 0), (1, 1), (5, 2), (5, 5)])},
}
every_variant = pytest.mark.parametrize("schedule", VARIANTS.values(), ids=VARIANTS)


def keeps_the_laws(schedule):
    start, end, w, c = schedule.levels[0], schedule.levels[-1], schedule.window, schedule.chunk
    close = pytest.approx
    return all(
        [
            all(row == tuple(sorted(row)) for row in schedule.levels),
            all(list(column) == sorted(column, reverse=True) for column in zip(*schedule.levels, strict=True)),
            all(last < first for first, last in zip(start, end, strict=True)),
            end[c:] == close(start[: w - c], abs=1e-6),
            end[:c] == close((0,) * c, abs=1e-6),
            start[w - c :] == close((1,) * c, abs=1e-6),
        ]
    )


@every_variant
def test_every_preset_keeps_the_three_requirements(schedule):
    assert keeps_the_laws(schedule)


@every_variant
def test_a_frame_carried_from_ar_step_to_ar_step_goes_from_noise_to_clean_without_a_jump(schedule):
    w, c = schedule.window, schedule.chunk
    for place in range(w - c, w):
        seen = []
        while place >= 0:
            seen += [row[place] for row in schedule.levels]
            place -= c
        assert seen[0] == 1
        assert seen[-1] == 0
        assert all(after <= before + 1e-9 for before, after in pairwise(seen))


@every_variant
@pytest.mark.parametrize("value", [0.2, 1, 3, 12.5])
def test_shift_keeps_the_requirements(schedule, value):
    assert keeps_the_laws(shift(schedule, value))


@every_variant
def test_shift_by_one_changes_nothing_and_shift_back_undoes_a_shift(schedule):
    assert shift(schedule, 1) == schedule
    for row, original in zip(shift(shift(schedule, 4), 0.25).levels, schedule.levels, strict=True):
        assert row == pytest.approx(original)


@every_variant
def test_a_written_file_reads_back_the_same(schedule, tmp_path):
    write(schedule, tmp_path / "s.json")
    assert read(tmp_path / "s.json") == schedule


@every_variant
def test_levels_are_floats(schedule):
    assert {type(level) for row in schedule.levels for level in row} == {float}


@pytest.mark.parametrize("steps", [1, 2, 8, 33])
def test_fifo_is_rolling_with_chunks_of_one_frame_and_one_step(steps):
    assert fifo(steps) == rolling(blocks=steps, chunk=1, steps=1)


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_pyramid_without_lag_is_outpainting(chunk, steps):
    assert pyramid(chunk, steps, lag=0) == outpainting(chunk, steps)


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_pyramid_with_full_lag_makes_one_frame_after_the_other(chunk, steps):
    schedule = pyramid(chunk, steps, lag=steps)
    assert schedule.steps == chunk * steps
    for before, after in pairwise(schedule.levels):
        moved = [i for i in range(chunk) if before[i] != after[i]]
        assert len(moved) == 1
        assert all(level == 0 for level in after[: moved[0]])
        assert all(level == 1 for level in after[moved[0] + 1 :])


def test_outpainting_of_one_frame_is_next_frame():
    assert outpainting(chunk=1, steps=6) == next_frame(steps=6)


@pytest.mark.parametrize(
    ("total", "lag", "chunk"), [(8, 2, 2), (50, 10, 5), (50, 7, 1), (9, 4, 3), (5, 5, 2), (6, 1, 1)]
)
def test_rolling_by_total_and_lag_equals_its_formula(total, lag, chunk):
    schedule = rolling(total=total, lag=lag, chunk=chunk)
    blocks = ceil(total / lag)
    assert (schedule.window, schedule.chunk, schedule.steps) == (blocks * chunk, chunk, lag)
    for m, row in enumerate(schedule.levels):
        for i, level in enumerate(row):
            assert level == pytest.approx(max(0, (total - lag * (blocks - 1 - i // chunk) - m) / total))


@pytest.mark.parametrize(("blocks", "chunk", "steps"), [(4, 2, 2), (3, 1, 5), (1, 4, 4)])
def test_rolling_by_blocks_equals_its_formula_and_its_other_form(blocks, chunk, steps):
    schedule = rolling(blocks=blocks, chunk=chunk, steps=steps)
    assert schedule == rolling(total=blocks * steps, lag=steps, chunk=chunk)
    for m, row in enumerate(schedule.levels):
        for i, level in enumerate(row):
            assert level == pytest.approx((i // chunk * steps + steps - m) / (blocks * steps))


def test_steps_of_rolling_with_lag_are_its_total():
    assert rolling(steps=50, lag=10) == rolling(total=50, lag=10)


def test_an_option_left_at_none_keeps_the_default():
    for name, make in PRESETS.items():
        assert preset(name, steps=None, chunk=None, lag=None) == make()
        assert preset(name).name == name


@pytest.mark.parametrize(
    ("levels", "chunk", "message"),
    [
        ([[0.6, 0.5, 1], [0, 0.6, 0.5]], 1, "Monotonicity.*row 0 falls from 0.6 at frame 0 to 0.5 at frame 1"),
        ([[0.5, 1], [0.6, 1], [0, 0.5]], 1, "Monotonicity.*frame 0 rises from 0.5 in row 0 to 0.6 in row 1"),
        ([[0, 1], [0, 0]], 1, "Monotonicity.*frame 0 begins at 0 and ends at 0"),
        ([[0.5, 1], [0, 0.4]], 1, "Circularity.*frame 1 ends at 0.4 and frame 0 begins at 0.5"),
        ([[0.5, 1], [0.1, 0.5]], 1, "0-T boundary.*frame 0 ends at 0.1, not 0"),
        ([[0.5, 0.9], [0, 0.5]], 1, "0-T boundary.*frame 1 begins at 0.9, not 1"),
    ],
)
def test_a_broken_requirement_is_named_with_its_place_and_values(levels, chunk, message):
    with pytest.raises(ScheduleError, match=message):
        Schedule(levels, chunk)


@pytest.mark.parametrize(
    ("levels", "chunk", "message"),
    [
        ([[1]], 1, "at least two rows"),
        (3, 1, "at least two rows"),
        ([[], []], 1, "Row 0 .* not a list"),
        ([[1], 0], 1, "Row 1 .* not a list"),
        ([[0.5, 1], [0]], 1, "Row 1 .* has 1 frames, row 0 has 2"),
        ([[1], [0]], 2, "`chunk` .* not 2"),
        ([[1], [0]], 0, "`chunk` .* not 0"),
        ([[1], [0]], 1.0, "`chunk` .* not 1.0"),
        ([[1], [0]], True, "`chunk` .* not True"),
        ([[1], ["0"]], 1, "Row 1, frame 0 .* not '0'"),
        ([[True], [0]], 1, "Row 0, frame 0 .* not True"),
        ([[float("nan")], [0]], 1, "Row 0, frame 0 .* not nan"),
        ([[float("inf")], [0]], 1, "Row 0, frame 0 .* not inf"),
        ([[10**400], [0]], 1, "Row 0, frame 0"),
        ([[1], [-0.1]], 1, "Row 1, frame 0 .* not -0.1"),
    ],
)
def test_what_is_no_table_of_levels_is_refused(levels, chunk, message):
    with pytest.raises(ScheduleError, match=message):
        Schedule(levels, chunk)


def test_levels_within_the_tolerance_pass_and_are_cut_to_the_range():
    assert Schedule([[1 + 5e-7], [-5e-7]], 1) == Schedule([[1], [0]], 1)


def test_a_schedule_with_a_name_says_it_in_its_errors():
    with pytest.raises(ScheduleError, match=r"^mine: Circularity"):
        Schedule([[0.5, 1], [0, 0.4]], 1, name="mine")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_does_who_works_that_way_and_what_steps_sets(name):
    about = describe(name)
    assert about.summary.endswith(".")
    assert about.used_by
    assert about.steps
    assert "steps" in about.options


def test_trapezoid_is_refused_with_its_reason_and_the_nearest_preset():
    with pytest.raises(ScheduleError, match="breaks monotonicity") as caught:
        preset("trapezoid")
    assert "pyramid" in caught.value.hint


@pytest.mark.parametrize(("typed", "meant"), [("next_frame", "next-frame"), ("FIFO", "fifo"), ("piramid", "pyramid")])
def test_an_unknown_name_lists_the_presets_with_the_nearest_first(typed, meant):
    with pytest.raises(ScheduleError, match=f"No schedule is called '{typed}'") as caught:
        preset(typed)
    assert caught.value.hint.startswith(f"Choose from: {meant}, ")
    assert all(name in caught.value.hint for name in PRESETS)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fifo", {"lag": 2}, "fifo has no option 'lag'"),
        ("outpainting", {"steps": 0}, "`steps` must be a whole number of at least 1, not 0"),
        ("next-frame", {"steps": 1.5}, "`steps` must be a whole number"),
        ("next-frame", {"last_level": 1.0}, "`last_level` must be a number above 0 and below 1"),
        ("pyramid", {"steps": 4, "lag": 5}, "`lag` must be a whole number from 0 to the steps, 4; not 5"),
        ("rolling", {"total": 4, "lag": 5}, "`lag` must be a whole number from 1 to the total, 4; not 5"),
        ("rolling", {"blocks": 4, "lag": 2}, "`blocks`.* not both"),
        ("rolling", {"total": 8, "steps": 4}, "`total` .8. and `steps` .4."),
        ("fifo", {"steps": 10**9}, "too large"),
    ],
)
def test_an_option_that_cannot_work_is_refused_with_its_value(name, options, message):
    with pytest.raises(ScheduleError, match=message):
        preset(name, **options)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_shift_must_be_a_number_above_zero(value):
    with pytest.raises(ScheduleError, match="shift"):
        shift(fifo(), value)


def test_toml_and_json_say_the_same(tmp_path):
    (tmp_path / "s.toml").write_text("chunk = 1\nlevels = [[0.5, 1], [0, 0.5]]\n")
    (tmp_path / "s.json").write_text('\ufeff{"levels": [[0.5, 1], [0, 0.5]], "chunk": 1, "more": "is ignored"}')
    assert read(tmp_path / "s.toml") == read(tmp_path / "s.json") == fifo(2)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 9_000_000, b"levels = ["])
def test_a_file_that_holds_no_json_is_bad_input(content, tmp_path):
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(InputError):
        read(tmp_path / "s.json")


def test_a_missing_file_and_a_folder_are_bad_input(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"levels": [[1], [0]]}', '{"levels": [[NaN], [0]], "chunk": 1}'])
def test_a_file_of_another_form_is_a_schedule_error(content, tmp_path):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ScheduleError):
        read(tmp_path / "s.json")


def test_choose_takes_presets_and_files_and_shifts_either(tmp_path):
    path = tmp_path / "s.json"
    write(fifo(4), path)
    assert choose("fifo", steps=4, lag=None, shift=None) == fifo(4) == choose(str(path), steps=None)
    assert choose("fifo", steps=4, shift=3) == shift(fifo(4), 3) == choose(str(path), shift=3)
    with pytest.raises(ScheduleError, match="`steps` has no effect"):
        choose(str(path), steps=4)


def test_the_name_is_no_part_of_what_a_schedule_is():
    assert replace(fifo(), name="other") == fifo()


def test_a_schedule_can_be_spelled_in_one_word():
    assert parse_schedule("fifo") == ("fifo", {}) and parse_schedule("a:b.json") == ("a:b.json", {})
    name, options = parse_schedule("outpainting:chunk=2,steps=8,shift=1.5")
    assert choose(name, **options) == shift(outpainting(2, 8), 1.5)
    for wrong in ("outpainting:chunk", "outpainting:chunk=two", "outpainting:", "outpainting:chunk=2,"):
        with pytest.raises(ScheduleError, match="does not set an option to a number"):
            parse_schedule(wrong)


def test_an_option_that_is_set_twice_is_refused():
    with pytest.raises(ScheduleError, match="sets `chunk` twice"):
        parse_schedule("rolling:chunk=2,chunk=4")


def test_a_key_of_a_file_that_is_nearly_a_known_one_is_refused(tmp_path):
    text = '{"name": "mine", "levels": [[0.5, 1.0], [0.0, 0.5]], "chunk": 1'
    (tmp_path / "a.json").write_text(text + "}")
    assert read(tmp_path / "a.json").chunk == 1
    (tmp_path / "a.json").write_text(text + ', "chunks": 3}')
    with pytest.raises(ScheduleError, match="unknown key 'chunks'; did you mean 'chunk'"):
        read(tmp_path / "a.json")
