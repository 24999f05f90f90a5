"""Recorded episodes as truth: where stretches begin, what the model is told, and what stands beside its figures."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from arvdm_cli.data import formats, held_out
from arvdm_cli.data import imported as clips
from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.data.clip_folder import RECORDED
from arvdm_cli.data.rendered import read
from arvdm_cli.errors import CheckpointError, DataError, UsageError
from arvdm_cli.evaluation import drift, rollout
from arvdm_cli.evaluation.recorded import episodes
from arvdm_cli.evaluation.recorded.episodes import Recorded
from arvdm_cli.hub import checkpoint
from arvdm_cli.sampling.generation import choose
from arvdm_cli.training.loop import train
from arvdm_cli.worlds.maze import LEFT, RIGHT
from support.tiny import model, render
from support.training import configured


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


def cut(folder, starts, shown, length):
    """Stretches of all episodes of a folder."""
    opened = Episodes(read_all([folder]), 0)
    return episodes.cut(opened, folder, episodes.choose({}, folder, len(opened.pictures)), starts, shown, length)


def task(tiny, cuts, plan):
    return rollout.tasks_of(tiny, cuts, plan)["episodes"]


def test_stretches_are_spread_from_the_first_start_to_the_last_and_keep_their_own_actions(folder):
    cuts, data = cut(folder, 5, 8, 4), read(folder)
    places = cuts.world.places
    assert places[0] == (0, 0) and places[-1] == (2, 28) and len(set(places)) == 5
    for (episode, first), frames, actions in zip(places, cuts.frames[0], cuts.actions[0], strict=True):
        np.testing.assert_array_equal(frames, data.frames[episode, first : first + 12])
        np.testing.assert_array_equal(actions.argmax(-1), data.actions[episode, first : first + 12])
    done = cuts.actions[0].argmax(-1)
    np.testing.assert_array_equal(cuts.turned()[0], (done == LEFT).astype(int) - (done == RIGHT))


def test_a_model_is_told_actions_by_name_whatever_their_order(imported):
    tiny, cuts = model(), cut(imported, 2, 8, 4)
    told = task(tiny, cuts, choose(tiny.sampling, steps=1))
    for column, name in enumerate(cuts.world.actions):
        np.testing.assert_array_equal(told.actions[..., tiny.actions.index(name)], cuts.actions[0, ..., column])
    assert told.actions.sum() == cuts.actions.sum() == 2 * 12 - 1  # what led into the clip's first frame is unknown


def test_where_nothing_is_done_a_model_that_has_no_name_for_it_is_given_a_row_of_zeros():
    tiny, names = model(moves=()), ("none", "left", "forward")
    rows = np.eye(3, dtype=np.float32)
    told = rollout.action_rows(tiny, names, rows)
    assert not told[0].any() and told[1, tiny.actions.index("left")] == told[2, tiny.actions.index("forward")] == 1
    tiny.card["actions"] = ["none", *tiny.actions[1:]]
    assert rollout.action_rows(tiny, names, rows)[0].tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(CheckpointError, match="it lacks jump"):
        rollout.action_rows(tiny, ("none", "jump"), rows[:, :2])


def test_what_is_made_depends_on_what_was_shown_and_done_and_not_on_what_came_after(imported):
    tiny, cuts = model(), cut(imported, 2, 8, 4)
    plan = choose(tiny.sampling, steps=1)
    made, _ = drift.roll_out(tiny, cuts, plan)
    assert made[0].shape == cuts.target("episodes").shape and made.dtype == np.uint8
    later, earlier = cuts.frames.copy(), cuts.frames.copy()
    later[:, :, 8:], earlier[:, :, 7] = 0, 0
    for frames, same in ((later, True), (earlier, False)):
        again, _ = drift.roll_out(tiny, replace(cuts, frames=frames), plan)
        assert np.array_equal(again, made) == same


def test_the_truth_scores_best_and_what_stands_still_scores_what_repeat_last_scores(folder):
    cuts = cut(folder, 4, 8, 6)
    still = np.repeat(cuts.frames[:, :, 7:8], 6, 2)
    perfect, _ = drift.measure(cuts.target("episodes")[None], cuts, 3)
    by_range, by_frame = drift.measure(still, cuts, 3)
    perfect, by_range = ([row.to_json() for row in rows] for rows in (perfect, by_range))
    assert [row["frames"] for row in by_range] == ["1", "2-4", "5-6", "1-6"]
    assert [row["count"] for row in by_range] == [4, 12, 8, 24] and len(by_frame) == 6
    for best, row in zip(perfect, by_range, strict=True):
        assert best["psnr"] > row["psnr"] == row["psnr_repeat_last"] and best["motion"] == best["motion_truth"]
        assert best["changed_psnr"] == 100 and row["changed_psnr"] == row["changed_psnr_repeat_last"]


def take(tiny, folder, every=False, places=2):
    """What a study takes, and what it says of it."""
    notes = []
    cuts = Recorded(folder, 0, 8, every).take(tiny, "drift", places, 4, folder, lambda note: notes.append(note.text))
    return cuts, " ".join(notes)


def test_what_does_not_fit_is_said(folder, imported, tmp_path):
    with pytest.raises(DataError, match="40 frames; 38 context frames and 4 new ones"):
        cut(folder, 2, 38, 4)
    with pytest.raises(UsageError, match="0 starts"):
        cut(folder, 0, 8, 4)
    tiny, cuts = model(), cut(imported, 1, 8, 4)
    plan = choose(tiny.sampling, steps=1)
    tiny.card["actions"] = ["stay", "forward", "backward", "west", "east"]
    with pytest.raises(CheckpointError, match="lacks left, right"):
        task(tiny, cuts, plan)
    small = render(tmp_path / "small", episodes=1, frames=20, size=16)
    with pytest.raises(CheckpointError, match=r"32x32; the episodes have 16x16") as refused:
        take(model(), small)
    assert f"arvdm data make maze --size 32 --out {small}-2" in refused.value.hint


def test_the_command_measures_models_on_a_folder_of_clips(arvdm, imported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save(model(), tmp_path / "one")
    flags = (
        "--episodes",
        imported,
        "--starts",
        2,
        "--context",
        8,
        "-n",
        8,
        "--steps",
        1,
        "--device",
        "cpu",
        "-o",
        "out",
    )
    done = arvdm("eval", "drift", "one", *flags, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["frames"] for row in report["models"]["one"]["ranges"]] == ["1", "2-4", "5-8", "1-8"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "drift.json",
        "drift.csv",
        "drift.html",
        *(f"{name}.png" for name in ("psnr", "ssim", "looks", "motion", "one-episodes")),
    }
    assert arvdm("eval", "drift", "one", *flags).exit_code == 10
    done = arvdm("eval", "drift", "one", *flags, "-y")
    assert done.exit_code == 0 and "repeat-last" in done.stdout and "mean of context" in done.stdout
    assert arvdm("eval", "drift", *flags, "-y").exit_code == 2
    assert arvdm("eval", "drift", "one", *flags, "-y", "--videos", tmp_path).exit_code == 2


# What training held out


@pytest.mark.parametrize(("name", "number"), [("data", 0), ("other", 1)])
def test_only_episodes_that_training_held_out_are_measured_unless_all_are_asked_for(folder, name, number):
    tiny = model()
    folders = [str(folder.parent / "else"), str(folder.parent / "else2")]
    folders[number] = str(folder)
    tiny.card |= {"data_folders": folders, "held_out": 3}
    apart = len(range(number, 3, 2))  # as `data.batches.Episodes` holds them out
    held, notes = take(tiny, folder, places=40)
    assert {episode for episode, _ in held.world.places} == set(range(3 - apart, 3)) and held.world.held_out
    assert f"{apart} of 3 episodes are measured, which training held out" in notes
    every, notes = take(tiny, folder, every=True, places=40)
    assert {episode for episode, _ in every.world.places} == {0, 1, 2} and every.world.held_out is False
    assert f"{3 - apart} trained on" in notes


def test_a_folder_that_has_moved_is_known_by_its_name_and_another_one_is_measured_whole(folder):
    tiny = model()
    tiny.card |= {"data_folders": ["elsewhere/data"], "held_out": 1}
    assert take(tiny, folder)[0].world.measured == 1
    tiny.card |= {"data_folders": ["elsewhere/walks"]}
    cuts, notes = take(tiny, folder)
    assert cuts.world.measured == 3 and cuts.world.held_out and "none was trained on" in notes
    del tiny.card["held_out"]
    cuts, notes = take(tiny, folder)
    assert cuts.world.measured == 3 and cuts.world.held_out is None and "does not say what it was trained on" in notes
    tiny.card |= {"data_folders": ["elsewhere/data"], "held_out": 0}
    with pytest.raises(DataError, match="held out no episode"):
        take(tiny, folder)


def test_a_checkpoint_says_what_it_was_trained_on_and_what_was_held_out(folder, tmp_path):
    train(configured(folder, tmp_path / "run", held_out=2, frames=12, groups=(0, 1)), False, lambda event: None)
    trained = checkpoint.load(tmp_path / "run" / "checkpoint")
    cuts, _ = take(trained, folder, places=40)
    assert {episode for episode, _ in cuts.world.places} == {1, 2}
    assert trained.card["data_folders"] == ["data"]  # not where it is
    moved = shutil.copytree(folder, tmp_path / "under another name")
    cuts, _ = take(trained, moved, places=40)
    assert {episode for episode, _ in cuts.world.places} == {1, 2}


def test_of_folders_that_it_may_be_the_one_with_the_fewest_episodes_held_out_counts(folder):
    assert held_out.place_of(folder, ["a/data", "b/data", "c"]) == 1
    assert held_out.place_of(folder, ["a", "b"], "2", ["1", "2"]) == 1
    assert held_out.place_of(folder, ["a", "data"], "3", ["1", "2"]) == 1  # it has changed under its name
    assert held_out.place_of(folder, ["a", "b"], "3", ["1", "2"]) is None


# Models and data that differ


def test_another_rate_is_refused_with_the_command_that_mends_it_unless_actions_are_steps(imported):
    stepping, other = model(), model(moves=())
    assert take(stepping, imported)[0].length == 4  # its card says 12.5, but it moves by steps
    with pytest.raises(CheckpointError, match=r"12\.5 frames per second; the episodes have 10") as refused:
        take(other, imported)
    assert "arvdm data import" in refused.value.hint and "--fps 12.5" in refused.value.hint
    other.card["fps"] = 10
    take(other, imported)


def test_a_hint_is_a_command_also_where_a_path_has_spaces_and_recordings_are_not_given_another_rate(imported, tmp_path):
    moved = shutil.copytree(imported, tmp_path / "my data")
    (part,) = read_all([moved]).values()
    assert episodes.mend(part, moved, "--size", "64").endswith(f"--size 64 --out '{moved}-2'")
    played = replace(part, settings=replace(part.settings, format=RECORDED, source="Game-v0"))
    hint = episodes.mend_rate(played, moved, 12)
    assert "Game-v0" in hint and "--skip" in hint and "--fps" not in hint


def test_a_model_without_actions_continues_recordings_with_actions_and_is_told_none(imported):
    tiny = model(moves=())
    tiny.card |= {"actions": [], "fps": 10}
    cuts, notes = take(tiny, imported)
    told = task(tiny, cuts, choose(tiny.sampling, steps=1))
    assert told.actions.shape == (2, 12, 5) and not told.actions.any() and "has no actions" in notes


def test_without_data_a_model_of_other_actions_is_pointed_to_it(arvdm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    robot = model()
    robot.card["actions"] = ["vx", "vy", "grab", "lift", "turn"]
    checkpoint.save(robot, tmp_path / "robot")
    for command in ("drift", "card", "memory", "predict"):
        done = arvdm("eval", command, "robot", "--device", "cpu", "-o", "out")
        assert done.exit_code != 0 and "vx, vy, grab" in done.stderr and "--data FOLDER" in done.stderr
