"""Real times decide which frame stands at which time, whatever rate, jitter or gap a source has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arvdm_cli.media import read
from arvdm_cli.media.timeline import clock, same_rate, shown
from support.videos import run_ffmpeg

RATES = st.sampled_from([5.0, 7.5, 10.0, 12.0, 15.0, 24.0, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 120.0])


def even(rate, count):
    return clock(np.arange(count) / rate, 1 / rate)


@given(RATES, RATES, st.integers(2, 200))
def test_every_frame_is_within_half_a_frame_of_its_time_and_the_clip_is_as_long(rate, fps, count):
    time = even(rate, count)
    chosen = time.choose(fps)
    assert (np.diff(chosen) >= 0).all() and chosen[0] == 0 and chosen[-1] < count
    if same_rate(rate, fps):
        assert (chosen == np.arange(count)).all()
        return
    late = np.arange(len(chosen)) / fps - time.times[chosen]  # seconds since a frame came
    assert (late >= -0.5 * min(1 / rate, 1 / fps) - 1e-3).all() and (late <= 1 / rate + 1e-3).all()
    assert abs(len(chosen) / fps - count / rate) <= 0.5 / min(rate, fps) + 1 / fps


@given(st.sampled_from([15, 30, 60]), st.integers(8, 100), st.integers(0, 2**31), st.integers(1, 4))
def test_frames_that_jitter_by_less_than_half_of_a_frame_are_each_taken_once(rate, count, seed, every):
    early = np.random.default_rng(seed).uniform(-0.24, 0.24, count) / rate
    early[[0, -1]] = 0
    time = clock(np.arange(count) / rate + early, 1 / rate)
    assert time.regular and time.rate == pytest.approx(rate, rel=1e-3)
    np.testing.assert_array_equal(time.choose(rate), np.arange(count))
    if rate % every == 0:
        np.testing.assert_array_equal(time.choose(rate / every), np.arange(count)[::every])


@given(st.lists(st.sampled_from([1, 2, 3, 40]), min_size=3, max_size=60), RATES)
def test_a_frame_is_shown_until_the_next_one_comes(gaps, fps):
    times = np.cumsum([0, *gaps]) / 30
    time = clock(times, 1 / 30)
    if time.regular:
        return
    chosen = time.choose(fps)
    at = np.arange(len(chosen)) / fps
    tolerance = 0.5 * min(time.usual, 1 / fps) + 2e-3
    assert (times[chosen] <= at + tolerance).all()
    following = np.append(times, np.inf)[chosen + 1]
    assert (following > at).all()


RATED = {  # how long frames last, in milliseconds -> the rate that is told
    "one frame a little longer": ([100] * 25 + [110] + [100] * 14, 10),
    "one frame much longer": ([100] * 25 + [150] + [100] * 14, 10),
    "one frame twice as long": ([100] * 25 + [200] + [100] * 14, 10),
    "a long first frame": ([300] + [40] * 30, 25),
    "15 in hundredths": ([70, 70, 60] * 12, 15),
    "24 in hundredths": ([40, 40, 40, 40, 40, 50] * 4, 24),
    "15 in milliseconds": ([67] * 40, 15),
    "70 milliseconds each": ([70] * 40, 1 / 0.07),
    "a dropped frame": ([33, 33, 34] * 10 + [67] + [33, 33, 34] * 10, 30),
}


@pytest.mark.parametrize("name", RATED)
def test_the_rate_is_that_of_most_frames_and_each_stands_at_its_own_time(name):
    lasting, rate = RATED[name]
    times = np.cumsum([0, *lasting]) / 1000
    time = clock(times, lasting[-1] / 1000)
    assert time.rate == pytest.approx(rate, rel=1e-6)
    chosen = time.choose(rate)
    shown_at = np.arange(len(chosen)) / rate
    assert (times[chosen] <= shown_at + 0.51 * np.median(lasting) / 1000).all()
    assert abs(len(chosen) / rate - (times[-1] + lasting[-1] / 1000)) <= 1 / rate + 0.004 * times[-1] + 1e-6


def test_the_newest_of_things_is_shown_and_none_before_the_first():
    assert shown(np.array([1.0, 2.0]), np.array([0.0, 0.95, 1.0, 1.9, 5.0]), 0.1).tolist() == [-1, 0, 0, 1, 1]


def film(path, times, ticks=1000):
    """Write a clip whose frame at t seconds is grey 20 + 50 t, at the times given."""
    seconds = "+".join(f"{t}*eq(N\\,{i})" for i, t in enumerate(times))
    run_ffmpeg(
        "-f", "lavfi", "-i", f"color=black:s=32x32:r=30:d={len(times) / 30},format=gray", "-frames:v", len(times),
        "-vf", f"settb=1/{ticks},setpts='({seconds})/TB',geq=lum='20+50*T'", "-fps_mode", "passthrough",
        "-enc_time_base", f"1/{ticks}", "-c:v", "ffv1", path,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["faster", "slower", "jitter", "pause", "hiccup"])
def test_a_clip_of_any_times_shows_what_a_player_shows(kind, tmp_path):
    steps = {
        "faster": [1 / 15] * 20 + [1 / 60] * 60,
        "slower": [1 / 50] * 50 + [1 / 25] * 25,
        "jitter": [0.043, 0.023] * 30,
        "pause": [1 / 30] * 20 + [1.5] + [1 / 30] * 20,
        "hiccup": [1 / 30] * 20 + [0.001, 0.0657] + [1 / 30] * 20,
    }[kind]
    times = np.cumsum([0, *steps])
    film(tmp_path / "a.mkv", times.round(3))
    clip = read(tmp_path / "a.mkv", fps=15)
    at = np.arange(len(clip.frames)) / 15
    newest = times[np.searchsorted(times, at, side="right") - 1]
    upcoming = times[np.minimum(np.searchsorted(times, at, side="right"), len(times) - 1)]
    seconds = (clip.frames[:, 16, 16, 0] - 20.0) / 50
    near = np.minimum(abs(seconds - newest), np.where(upcoming - at < 0.035, abs(seconds - upcoming), 9))
    assert near.max() < 0.021  # a step of grey
    assert len(clip.frames) == pytest.approx(times[-1] * 15, abs=1.5)
    assert any("variable" in note for note in clip.notes) == (kind not in ("jitter", "hiccup"))
    assert not any("damaged" in note for note in clip.notes)


def test_the_rate_of_a_clip_that_jitters_is_its_mean(tmp_path):
    film(tmp_path / "a.mkv", (np.arange(60) / 30 + np.tile([0, 0.01, 0, -0.01], 15)).round(3))
    clip = read(tmp_path / "a.mkv")
    assert clip.fps == pytest.approx(30, rel=0.01) and len(clip.frames) == 60 and clip.notes == []


@pytest.mark.parametrize("part", [{"start": 7, "count": 5}, {"count": 5}, {"start": 20}])
def test_a_part_of_a_clip_knows_which_frames_of_its_source_it_has(part, tmp_path):
    film(tmp_path / "a.mkv", np.cumsum([0, *[1 / 30] * 40, *[1 / 20] * 40]).round(3))
    whole = read(tmp_path / "a.mkv", fps=15)
    cut = read(tmp_path / "a.mkv", fps=15, whole=True, **part)
    line = cut.clock
    assert line.count == 81
    np.testing.assert_array_equal(whole.frames[line.first : line.last], cut.frames)
    np.testing.assert_array_equal(whole.clock.chosen, line.chosen)
