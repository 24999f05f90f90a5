"""The card: what its figures say of known frames, and what a checkpoint must reach."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from arvdm_cli.cli import console
from arvdm_cli.cli.eval import card as eval
from arvdm_cli.errors import OutputExistsError
from arvdm_cli.evaluation.criteria import RANGES, Figures, judge, over
from arvdm_cli.evaluation.metrics import BASELINES
from arvdm_cli.evaluation.scorecard import (
    beyond_context,
    measure,
    measure_card,
    plan_card,
    score_clips,
    score_free,
    score_memory,
)
from arvdm_cli.evaluation.truth import HISTORY, KINDS, LENGTH, place_seed
from arvdm_cli.hub.checkpoint import save
from arvdm_cli.reports.statistics import interval
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.generation import choose
from arvdm_cli.sampling.schedules import preset
from arvdm_cli.sampling.state import Sampling
from arvdm_cli.worlds.maze import WIDE, Maze
from arvdm_cli.worlds.maze_world import VARIANTS
from arvdm_cli.worlds.renderer import Renderer
from arvdm_cli.worlds.walks import PATHS
from support.truth import SAMPLING, invented, untrained


@pytest.fixture(scope="module")
def model():
    return untrained()


def held(clips, history, kind):
    """One picture shown for all new frames of a kind: `history` makes it of the frames before."""
    pictures = np.stack([history(clip.astype(float)) for clip in clips.history(kind)])
    return np.repeat(np.rint(pictures).astype(np.uint8)[:, None], LENGTH, 1)


# Figures


@pytest.mark.parametrize("slots", [0, 4])
@pytest.mark.parametrize("schedule", [preset("outpainting", chunk=4), preset("fifo", steps=6)], ids=lambda s: s.name)
def test_a_frame_is_beyond_the_context_when_its_pose_was_last_seen_before_it(schedule, slots):
    way = [(0, column, 0) for column in range(HISTORY)]
    poses = np.array([[*way, *way[-2::-1], way[0]], [*way, *[(1, column, 0) for column in range(LENGTH)]]])
    found = beyond_context(poses, Plan(schedule, Sampling(context=8, slots=slots, group=4)))
    kept = 11 if slots else 8
    for t in range(LENGTH):
        starts = [start for start in range(0, t + 1, schedule.chunk) if t < start + schedule.window]
        near = poses[0, max(0, HISTORY + starts[0] - kept) : HISTORY + t].tolist()
        assert found[0, t] == (poses[0, HISTORY + t].tolist() not in near)
    assert not found[1].any()  # these were never seen
    assert found[0, 12] and not found[0, 0]


def test_the_interval_covers_zero_for_equal_runs_and_the_mean_about_as_often_as_it_says():
    assert interval(np.zeros(32)) == (0, 0)
    draw = np.random.default_rng(1)
    ends = [interval(draw.normal(0, 3, 32)) for _ in range(60)]
    assert 52 <= sum(low <= 0 <= high for low, high in ends) <= 60
    low, high = interval(draw.normal(5, 1, 32))
    assert 4 < low < 5 < high < 6


def test_a_baseline_scores_what_a_model_scores_that_makes_it():
    clips, made = invented(), {}
    pictures = {
        "repeat_last": lambda past: past[-1],
        "mean_context": lambda past: past[-8:].mean(0),
        "mean_history": lambda past: past.mean(0),
    }
    for column, picture in pictures.items():
        made = {kind: held(clips, picture, kind) for kind in KINDS}
        for told in score_clips(made, clips, context=8).values():
            for figure in ("psnr", "ssim"):
                same = told.curves[figure]["made"].by_frame, told.curves[figure][column].by_frame
                np.testing.assert_allclose(*same, atol=0.02)  # bytes are rounded
            assert told.curves["psnr"]["made"].by_range.keys() == set(RANGES)


def test_ranges_count_frames_from_1():
    values = list(range(1, LENGTH + 1))
    assert [over(values, frames) for frames in RANGES] == [1, 3, 6.5, 12.5, 24.5, 48.5]


# What must be reached


def judged(clips, made, off, free, turned):
    plan = choose(SAMPLING)
    memory = score_memory(made, off, clips, plan)
    card = Figures(score_clips(made, clips, 8), memory, score_free(free, turned, clips))
    return card, {bar.name: bar for bar in judge(card)}


@pytest.fixture(scope="module")
def walked(clips):
    """A true walk of 300 frames in each maze, and which way it turns."""
    frames, turned = [], []
    for index in range(len(clips)):
        maze, rng = Maze(clips.world.config, place_seed(clips.seed, index)), random.Random(index)
        pose = maze.start(rng)
        actions = PATHS["random"](maze, pose, rng, 300)
        with Renderer(maze) as renderer:
            frames.append(renderer.render(maze.follow(pose, actions)))
        turned.append(np.array([0, 0, 0, 1, -1])[actions])
    return np.stack(frames), np.stack(turned)


def test_the_truth_reaches_every_must_and_goal(clips, walked):
    truth = {kind: clips.target(kind) for kind in KINDS}
    card, bars = judged(clips, truth, {kind: held(clips, lambda past: past[-1], kind) for kind in KINDS}, *walked)
    assert [bar.name for bar in bars.values() if not bar.passed] == []
    assert card.sections["new"].curves["psnr"]["made"].by_range["33-64"] == 100
    assert card.sections["returns"].sharpness["1-16"] == 1 and card.memory.both.gain > 20
    assert {bar.level for bar in bars.values()} == {"must", "goal"}


def test_the_last_frame_shown_for_ever_reaches_hardly_any(clips, walked):
    made = {kind: held(clips, lambda past: past[-1], kind) for kind in KINDS}
    frozen = np.repeat(walked[0][:, :1], 300, 1)
    card, bars = judged(clips, made, made, frozen, walked[1])
    assert bars["unseen, frame 1 over repeat-last"].value == 0
    assert card.free.turns["made"].share == 0
    assert (card.memory.both.gain, card.memory.both.low, card.memory.both.high) == (0, 0, 0)
    for name, bar in bars.items():
        if " over " in name or "direction" in name or "memory" in name:
            assert not bar.passed, name


def test_what_was_not_measured_is_neither_reached_nor_missed():
    clips = invented()
    card = Figures(score_clips({kind: clips.target(kind) for kind in KINDS}, clips, 8))
    unknown = [bar.name for bar in judge(card) if bar.passed is None]
    assert len(unknown) == 5 and all(name.startswith(("long roll-out", "memory")) for name in unknown)


def test_both_kinds_of_returns_count_alike():
    clips = invented()
    told = score_clips({kind: clips.target("new") for kind in KINDS}, clips, 8)
    for column in ("made", *BASELINES):
        values = [told[name].curves["psnr"][column].by_range["5-8"] for name in ("back", "spin", "returns")]
        assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-3)


# The command


@pytest.fixture
def run():
    root = Typer()
    root.add_typer(eval.app, name="eval")
    return lambda *args: CliRunner().invoke(root, ["eval", *map(str, args)])


def test_the_card_of_an_untrained_model_is_whole_and_fails(clips, model, run, tmp_path, monkeypatch):
    save(model, tmp_path / "model")
    monkeypatch.setattr("arvdm_cli.evaluation.truth.render", lambda *args: clips.first(1))
    flags = [
        tmp_path / "model",
        "-o",
        tmp_path / "card",
        "--mazes",
        2,
        "--seed",
        7,
        "--free-runs",
        1,
        "--free-frames",
        50,
    ]
    result = run("card", *flags)
    assert result.exit_code == 0, result.output
    assert "must" in result.stdout and "NO" in result.stdout and "repeat-last" in result.stdout
    written = {file.name for file in (tmp_path / "card").iterdir()}
    assert written == {"card.json", "card.md", "clips.npz", "new.png", "back.png", "spin.png", "free.png"}
    card = json.loads((tmp_path / "card" / "card.json").read_text())
    assert card["frames"] == 5 * LENGTH + 50 and card["sampling"]["slots"] == 4
    assert len(card["new"]["psnr"]["made"]["by_frame"]) == LENGTH
    assert "| PSNR, repeat-last |" in (tmp_path / "card" / "card.md").read_text()

    assert isinstance(run("card", *flags).exception, OutputExistsError)
    monkeypatch.setattr(console.settings, "json", True)
    again = run("card", *flags, "-y", "--memory-slots", 0, "--free-runs", 0)
    facts = json.loads(again.stdout)
    assert facts["memory"] is None and facts["free"] is None and facts["sampling"]["slots"] == 0


def test_a_card_in_the_wide_world_says_so_and_does_not_look_for_the_plain_sky(clips, model, run, tmp_path, monkeypatch):
    save(model, tmp_path / "model")
    monkeypatch.setattr("arvdm_cli.evaluation.truth.render", lambda world, *args: replace(clips.first(1), world=world))
    for name in ("narrow", "wide"):
        few = ["--mazes", 1, "--free-runs", 1, "--free-frames", 12, "-o", tmp_path / name]
        result = run("card", tmp_path / "model", "--world", name, *few)
        assert result.exit_code == 0, result.output
        card = json.loads((tmp_path / name / "card.json").read_text())
        assert {key: card["world"][key] for key in WIDE} == VARIANTS[name]
        assert ("scene" in card["free"]) == ("sky at the top" in result.stdout) == (name == "narrow")


def test_steering_gives_the_same_figures_as_the_card(clips, model):
    clips, plan = clips.first(1), choose(SAMPLING)
    tasks = plan_card(model, clips, plan, free_runs=0)
    assert tasks.keys() == {*KINDS, "back/off", "spin/off"} and tasks["spin/off"].plan.sampling.slots == 0
    whole = measure_card(model, clips, tasks).card.figures.sections
    told = measure(model, clips, plan)
    assert all(told[name] == whole[name] for name in (*KINDS, "returns"))
