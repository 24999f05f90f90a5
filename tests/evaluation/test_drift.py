"""Drift: which frames are returns, what each figure says of good and bad frames, and clips that hold their truth."""

import numpy as np
import pytest

from arvdm_cli.errors import OutputExistsError, UsageError, VideoError
from arvdm_cli.evaluation import drift, truth
from arvdm_cli.evaluation import side_by_side as sidebyside
from arvdm_cli.evaluation.metrics import APPEARANCE
from arvdm_cli.evaluation.ranges import Span, ranges
from arvdm_cli.evaluation.truth import HISTORY
from arvdm_cli.media import Encoding, Writer, read
from arvdm_cli.reports import results
from arvdm_cli.sampling.generation import choose
from arvdm_cli.worlds.maze import MazeConfig
from arvdm_cli.worlds.maze_world import MazeWorld
from support.drift import LENGTH, SIZE, invented, noisy, side_by_side
from support.tiny import model

TRUTH = invented()


def rows_of(made, true=TRUTH):
    """A table of ranges, by ground and range."""
    figures = drift.score(made, true, context=3)
    returned = true.seen().reshape(-1, true.length)
    told = drift.rows(figures, returned)
    return {(row.ground, row.frames): row.to_json() for row in told}


# The truth


def test_a_return_is_a_frame_whose_pose_was_seen_before():
    draw = np.random.default_rng(0)
    poses = draw.integers(0, 3, (2, 3, 40, 3))
    found = truth.revisits(poses)
    for clip in np.ndindex(2, 3):
        way = [tuple(pose) for pose in poses[clip].tolist()]
        assert found[clip].tolist() == [pose in way[:t] for t, pose in enumerate(way)]


@pytest.mark.parametrize("length", [1, 2, 4, 5, 16, 63, 300, 1000])
def test_ranges_cover_every_frame_once(length):
    spans = ranges(length)
    assert [frame for span in spans for frame in range(span.first, span.last + 1)] == list(range(1, length + 1))
    assert spans == [*ranges(1000)[: len(spans) - 1], Span(spans[-1].first, length)]
    assert [span.label for span in ranges(16)] == ["1", "2-4", "5-8", "9-16"]


def test_true_frames_read_back_the_same_and_longer_ones_hold_shorter_ones(tmp_path, monkeypatch):
    rendered = []

    def render(world, purpose, mazes, length, seed, progress):
        rendered.append((mazes, length))
        return invented(mazes, length)

    monkeypatch.setattr(truth, "render", render)
    file, world = tmp_path / "truth.npz", MazeWorld(MazeConfig(size=SIZE))
    made = truth.take(file, world, "drift", 2, 8, 7)
    part = truth.take(file, world, "drift", 1, 5, 7)
    np.testing.assert_array_equal(part.frames, made.frames[:, :1, : HISTORY + 5])
    assert rendered == [(2, 8)] and (len(part), part.length) == (1, 5)
    truth.take(file, world, "drift", 2, 9, 7)
    assert rendered == [(2, 8), (2, 9)]


def test_paths_are_legal_and_a_short_one_is_the_beginning_of_a_long_one():
    pytest.importorskip("labmaze")
    place = MazeWorld().reset(truth.place_seed(3, 0))
    walks = place.walks("drift", HISTORY, 300)
    poses, start = np.stack([place.follow(walk) for walk in walks.values()]), place.start
    short = place.walks("drift", HISTORY, 10)
    assert place.start == start and short == {kind: walk[: HISTORY + 10] for kind, walk in walks.items()}
    assert place.maze.follow(start, walks["explore"]) == [tuple(pose) for pose in poses[0].tolist()]
    assert truth.revisits(poses)[1, HISTORY:].all()  # a spin has turned twice by then
    assert 0 < truth.revisits(poses)[0, HISTORY:].sum() < 300


def test_rendered_frames_of_a_spin_repeat():
    pytest.importorskip("labmaze")
    pytest.importorskip("vizdoom")
    true = truth.render(MazeWorld(MazeConfig(size=16, turn=22.5, step=0.25)), "drift", 1, 8, 7)
    assert true.frames.shape == (2, 1, HISTORY + 8, 16, 16, 3)
    np.testing.assert_array_equal(true.frames[1, 0, 16:], true.frames[1, 0, :-16])


# Figures


def test_a_perfect_copy_scores_100_db_and_its_turns_all_move_the_right_way():
    told = rows_of(TRUTH.frames[:, :, HISTORY:])
    assert {ground for ground, _ in told} == {"returns", "new"}
    for row in told.values():
        assert row["psnr"] == 100 and row["ssim"] == pytest.approx(1) and row["ms_ssim"] == pytest.approx(1)
        assert row["motion"] == row["motion_truth"] == row["contrast"] == row["sharpness"] == 1
        assert row["colour_error"] == 0 and row["psnr_repeat_last"] < 100


def test_frames_are_counted_for_the_ground_they_show():
    told = rows_of(TRUTH.frames[:, :, HISTORY:])
    assert [told["new", frames]["count"] for frames in ("1", "2-4", "17-20")] == [2, 6, 8]  # explore, two mazes
    assert sum(row["count"] for row in told.values()) == 2 * 2 * LENGTH


def test_noise_lowers_every_figure():
    clean, some, more = (rows_of(noisy(TRUTH.frames[:, :, HISTORY:], strength)) for strength in (0, 20, 60))
    for key in clean:
        for name in ("psnr", "ssim", "ms_ssim"):
            assert clean[key][name] > some[key][name] > more[key][name], name
        assert clean[key]["sharpness"] < some[key]["sharpness"] < more[key]["sharpness"]


def test_a_picture_that_stands_still_obeys_no_turn_and_scores_what_repeat_last_scores():
    still = np.repeat(TRUTH.frames[:, :, HISTORY - 1 : HISTORY], LENGTH, 2)
    for row in rows_of(still).values():
        assert row["motion"] == 0 and row["motion_truth"] == 1
        assert row["psnr"] == row["psnr_repeat_last"] and row["ssim"] == row["ssim_repeat_last"]


def test_motion_counts_turns_only():
    frames, turns = TRUTH.frames[0, 0, HISTORY:], np.ones(LENGTH, int)
    turns[3:] = 0
    told = drift.motion_of(frames, frames, TRUTH.frames[0, 0, HISTORY - 1], turns)
    assert told["motion"][:3].tolist() == [1, 1, 1] and np.isnan(told["motion"][3:]).all()


# Frechet distances


def test_made_stretches_are_compared_with_true_ones_of_the_same_range():
    truth = np.random.default_rng(0).integers(0, 256, (4, 70, 8, 8, 3), np.uint8)
    made = truth.copy()
    made[:, 32:64] //= 2

    def features(pieces):
        assert pieces.shape[1:] == (16, 8, 8, 3)
        return pieces.mean((1, 2, 3))

    told = {row.frames: row.to_json() for row in drift.distances(made, truth, features)}
    assert [(name, row["stretches"]) for name, row in told.items()] == [("1-16", 4), ("17-32", 4), ("33-64", 8)]
    assert told["1-16"]["distance"] == told["17-32"]["distance"] == 0 < told["33-64"]["distance"]
    assert all(row["floor"] > 0 for row in told.values())


# Whole measurements


def test_a_model_is_measured_on_every_path():
    loaded = model()
    plan = choose(loaded.sampling, steps=1)
    true = invented(1, 6)
    told = []
    made, facts = drift.roll_out(loaded, true, plan, lambda *counts: told.append(counts))
    assert told[-1] == (12, 12) and made.shape == (2, 1, 6, SIZE, SIZE, 3)
    assert facts.ms_ssim_scales == 2
    by_range, by_frame = drift.measure(made, true, plan.sampling.context)
    assert [(row.ground, row.frames) for row in by_range] == [
        (ground, frames) for ground in drift.GROUNDS for frames in ("1", "2-4", "5-6")
    ]
    assert sum(row.count for row in by_frame) == 12


# Videos without a truth


def test_looks_are_told_beside_the_first_second():
    film = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)
    film[10:] = film[10:] // 2
    figures = drift.appearance(film, 10)
    for name in APPEARANCE:
        np.testing.assert_allclose(figures[name][:10].mean(), 1, atol=1e-5)
        np.testing.assert_allclose(figures[name][10:].mean(), 0.5, atol=0.02)
    short = {name: values[:3] for name, values in figures.items()}
    told = drift.appearance_rows([figures, short])
    assert [row.videos for row in told] == [2, 2, 1, 1, 1]


def test_later_stretches_are_compared_with_the_first_ones():
    draw = np.random.default_rng(0)
    videos = [np.concatenate((draw.normal(0, 1, (4, 3)), draw.normal(shift, 1, (4, 3)))) for shift in (5, 5, 5)]
    (row,) = drift.distances_from_first(videos, 128)
    assert (row.frames, row.stretches, row.reference) == ("65-128", 12, 12) and row.distance > 40
    assert drift.distances_from_first([np.zeros((0, 1))], 10) == []


# Clips that show truth and model side by side


def test_clips_are_split_where_the_halves_begin_to_differ_also_after_encoding(tmp_path):
    frames = side_by_side()
    with Writer(tmp_path / "clip.mp4", 32, 64, Encoding(10, crf=10)) as writer:
        writer.write(frames)
    for source in (frames, read(tmp_path / "clip.mp4").frames):
        pair = sidebyside.split("clip", source)
        assert len(pair.context) == 12 and pair.made.shape == pair.truth.shape == (10, 28, 28, 3)
        assert pair.size == "32x32"
        figures = sidebyside.figures_of(pair)
        assert figures["psnr"][0] > 24 > 15 > figures["psnr"][-1]  # the border does not count
    np.testing.assert_array_equal(sidebyside.split("clip", frames).truth, frames[12:, 2:-2, 2:30])
    assert len(sidebyside.split("clip", frames, 5).context) == 5


def test_a_clip_that_cannot_be_split_is_named():
    same = np.concatenate((TRUTH.frames[0, 0], TRUTH.frames[0, 0]), 2)
    with pytest.raises(VideoError, match="do not differ"):
        sidebyside.split("same", same)
    with pytest.raises(VideoError, match="not two pictures"):
        sidebyside.split("odd", same[:, :, 1:])
    with pytest.raises(UsageError, match="99 of its"):
        sidebyside.split("short", same[:20], 99)


def test_the_mean_is_over_clips_of_one_kind():
    clips = [sidebyside.split(name, side_by_side(context)) for name, context in (("a", 12), ("b", 12), ("c", 9))]
    figures = [sidebyside.figures_of(pair) for pair in clips]
    told = [row.to_json() for row in sidebyside.rows(clips, figures)]
    assert list(dict.fromkeys(row["clip"] for row in told)) == ["a", "b", "mean of 2", "c"]
    single = [row.to_json() for row in sidebyside.rows(clips, figures, single=True)]
    assert [row["index"] for row in single if row["clip"] == "c"] == list(range(9, 19))
    values = {row["clip"]: row["psnr"] for row in single if row["frame"] == 3}
    assert values["mean of 2"] == pytest.approx((values["a"] + values["b"]) / 2, abs=1e-3)


# Files of a measurement


def test_rows_read_back_as_they_were_written(tmp_path):
    rows = [
        {"model": "maze", "frame": 1, "psnr": 20.5, "motion": None},
        {"model": "b", "frame": -2, "psnr": 0.0} | {"motion": 1.0},
    ]
    results.write_csv(tmp_path / "rows.csv", rows)
    assert results.read_csv(tmp_path / "rows.csv") == rows


def test_only_what_was_stopped_and_asked_the_same_goes_on(tmp_path):
    file, asked = tmp_path / "drift.json", {"models": ["maze"]}
    assert results.resume(file, asked, False) is None
    report = {"asked": asked, "complete": False, "models": {}}
    results.save(file, report)
    assert results.resume(file, asked, False) == report and results.resume(file, asked, True) is None
    with pytest.raises(OutputExistsError, match="something else"):
        results.resume(file, {"models": []}, False)
    results.save(file, report | {"complete": True})
    with pytest.raises(OutputExistsError, match="finished"):
        results.resume(file, asked, False)


def test_degradation_is_told_by_the_last_range():
    looks = {"contrast": 1.0, "sharpness": 1.0, "colour_spread": 1.0}
    rows = [
        {"ground": "returns", "frames": "1", "count": 2, "psnr": 30.0} | looks,
        {"ground": "returns", "frames": "2-4", "count": 3, "psnr": 22.0} | looks | {"sharpness": float(np.exp(-0.3))},
        {"ground": "new", "frames": "2-4", "count": 1, "psnr": 10.0} | looks | {"contrast": float(np.exp(0.9))},
    ]
    rows = [drift.DriftRow.from_json(row) for row in rows]
    # 0.1 off in three frames, 0.3 in one
    assert drift.degradation(rows) == drift.Degradation(psnr_end=22.0, psnr_lost=8.0, looks=0.15)
    assert drift.degradation(rows[2:]) == drift.Degradation(psnr_end=None, psnr_lost=None, looks=0.3)
