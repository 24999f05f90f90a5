"""Continuing recorded episodes: where stretches begin, what the model is told, and what stands beside its figures."""

import json
from dataclasses import replace

import numpy as np
import pytest

from arvdm_cli.data import formats
from arvdm_cli.data import imported as clips
from arvdm_cli.data.rendered import read
from arvdm_cli.errors import CheckpointError, DataError, UsageError
from arvdm_cli.evaluation import continuation
from arvdm_cli.hub import checkpoint
from arvdm_cli.sampling.generation import choose
from arvdm_cli.worlds.maze import LEFT, RIGHT
from support.tiny import model, render


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return render(tmp_path_factory.mktemp("episodes") / "data", episodes=3, frames=40)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """One clip as TECO's DMLab has them, imported at 32x32."""
    base = tmp_path_factory.mktemp("imported")
    (base / "teco").mkdir()
    draw = np.random.default_rng(0)
    video, actions = draw.integers(0, 256, (40, 32, 32, 3), np.uint8), draw.integers(0, 3, 40)
    np.savez(base / "teco" / "5.npz", video=video, actions=actions)
    found = formats.find(base / "teco")
    for _ in clips.gather(found, formats.settle(found, size=32, frames=40), base / "data"):
        pass
    return base / "data"


def test_stretches_are_spread_from_the_first_start_to_the_last_and_keep_their_own_actions(folder):
    cuts, data = continuation.cut(folder, 5, 8, 4), read(folder)
    assert cuts.places[0] == (0, 0) and cuts.places[-1] == (2, 28) and len(set(cuts.places)) == 5
    for (episode, first), frames, actions in zip(cuts.places, cuts.frames, cuts.actions, strict=True):
        np.testing.assert_array_equal(frames, data.frames[episode, first : first + 12])
        np.testing.assert_array_equal(actions.argmax(-1).numpy(), data.actions[episode, first : first + 12])
    done = cuts.actions.argmax(-1).numpy()
    np.testing.assert_array_equal(cuts.turned(), ((done == LEFT).astype(int) - (done == RIGHT))[:, 8:])


def test_a_model_is_told_actions_by_name_whatever_their_order(imported):
    tiny, cuts = model(), continuation.cut(imported, 2, 8, 4)
    task = continuation.task(tiny, cuts, choose(tiny.sampling, steps=1))
    for column, name in enumerate(cuts.names):
        np.testing.assert_array_equal(task.actions[..., tiny.actions.index(name)], cuts.actions[..., column])
    assert task.actions.sum() == cuts.actions.sum() == 2 * 12 - 1  # what led into the clip's first frame is unknown


def test_what_is_made_depends_on_what_was_shown_and_done_and_not_on_what_came_after(imported):
    tiny, cuts = model(), continuation.cut(imported, 2, 8, 4)
    plan = choose(tiny.sampling, steps=1)
    made = continuation.roll_out(tiny, cuts, plan, 7)
    assert made.shape == cuts.truth.shape and made.dtype == np.uint8
    later, earlier = cuts.frames.copy(), cuts.frames.copy()
    later[:, 8:], earlier[:, 7] = 0, 0
    for frames, same in ((later, True), (earlier, False)):
        again = continuation.roll_out(tiny, replace(cuts, frames=frames), plan, 7)
        assert np.array_equal(again, made) == same


def test_the_truth_scores_best_and_what_stands_still_scores_what_repeat_last_scores(folder):
    cuts = continuation.cut(folder, 4, 8, 6)
    still = np.repeat(cuts.frames[:, 7:8], 6, 1)
    perfect, _ = continuation.measure(cuts.truth, cuts, 3)
    by_range, by_frame = continuation.measure(still, cuts, 3)
    perfect, by_range = ([row.to_json() for row in rows] for rows in (perfect, by_range))
    assert [row["frames"] for row in by_range] == ["1", "2-4", "5-6", "1-6"]
    assert [row["count"] for row in by_range] == [4, 12, 8, 24] and len(by_frame) == 6
    for best, row in zip(perfect, by_range, strict=True):
        assert best["psnr"] > row["psnr"] == row["psnr_repeat_last"] and best["motion"] == best["motion_truth"]


def test_what_does_not_fit_is_said(folder, imported):
    with pytest.raises(DataError, match="40 frames; 38 context frames and 4 new ones"):
        continuation.cut(folder, 2, 38, 4)
    with pytest.raises(UsageError, match="0 starts"):
        continuation.cut(folder, 0, 8, 4)
    tiny, cuts = model(), continuation.cut(imported, 1, 8, 4)
    plan = choose(tiny.sampling, steps=1)
    tiny.card["actions"] = ["stay", "forward", "backward", "west", "east"]
    with pytest.raises(CheckpointError, match="lacks left, right"):
        continuation.task(tiny, cuts, plan)
    with pytest.raises(CheckpointError, match=r"32x32; the episodes have 16x16"):
        continuation.task(model(), replace(cuts, frames=cuts.frames[:, :, :16, :16]), plan)


def test_the_command_measures_models_on_a_folder_of_clips(arvdm, imported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save(model(), tmp_path / "one")
    flags = ("--episodes", imported, "--starts", 2, "--context", 8, "--steps", 1, "--device", "cpu", "-o", "out")
    done = arvdm("eval", "drift", "one", *flags, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["frames"] for row in report["models"]["one"]["ranges"]] == ["1", "2-4", "5-8", "1-8"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "episodes.json",
        "episodes.csv",
        "one-episodes.png",
    }
    assert arvdm("eval", "drift", "one", *flags).exit_code == 10
    done = arvdm("eval", "drift", "one", *flags, "-y")
    assert done.exit_code == 0 and "repeat-last" in done.stdout and "mean of context" in done.stdout
    assert arvdm("eval", "drift", *flags, "-y").exit_code == 2
    assert arvdm("eval", "drift", "one", *flags, "-y", "--videos", tmp_path).exit_code == 2
