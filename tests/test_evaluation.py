"""Measuring: what is true, what the figures say of it, and what a checkpoint must reach."""

import json
import random

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from arvdm_cli import evaluation
from arvdm_cli.checkpoint import Model, save
from arvdm_cli.cli import console, eval
from arvdm_cli.diffusion import FlowMatching
from arvdm_cli.errors import CheckpointError, DataError, OutputExistsError
from arvdm_cli.evaluation import BASELINES, HISTORY, KINDS, LENGTH, RANGES, Clips, maze_seed
from arvdm_cli.generation import choose
from arvdm_cli.mazes import ACTIONS, LEFT, RIGHT, STAY, Maze, World
from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.models.dit import DiTConfig, VideoDiT
from arvdm_cli.paths import PATHS
from arvdm_cli.renderer import Renderer
from arvdm_cli.sampler import Sampling
from arvdm_cli.schedules import preset
from arvdm_cli.worlds import episode_seed

SAMPLING = Sampling(options={"chunk": 16, "steps": 1}, context=8, slots=4, group=4)
MOVES = ((0, 0), (0.125, 0), (-0.125, 0), (0, 11.25), (0, -11.25))


@pytest.fixture(scope="module")
def clips():
    pytest.importorskip("labmaze")
    pytest.importorskip("vizdoom")
    return evaluation.render(World(), 2, 7)


@pytest.fixture(scope="module")
def model():
    """An untrained model, which draws grey noise."""
    torch.manual_seed(0)
    network = VideoDiT(DiTConfig(channels=4, dim=64, depth=1, condition=16, moves=MOVES))
    codec = Codec(CodecConfig(channels=4, fine=8, coarse=8))
    return Model(network.eval(), codec.eval(), FlowMatching(), SAMPLING, {"name": "tiny", "actions": list(ACTIONS)})


def invented(mazes=3, size=16):
    """Clips of noise, where no renderer is needed."""
    draw = np.random.default_rng(0)
    shape = (len(KINDS), mazes, HISTORY + LENGTH)
    frames = draw.integers(0, 256, (*shape, size, size, 3), np.uint8)
    return Clips(World(size=size), 7, frames, np.zeros(shape, np.uint8), np.zeros((*shape, 3), np.int16))


def held(clips, history, kind):
    """One picture shown for all new frames of a kind: `history` makes it of the frames before."""
    pictures = np.stack([history(clip.astype(float)) for clip in clips.history(kind)])
    return np.repeat(np.rint(pictures).astype(np.uint8)[:, None], LENGTH, 1)


# The truth


def test_every_pose_of_a_return_was_in_its_history_and_a_spin_turns_twice(clips):
    for maze in range(len(clips)):
        new, back, spin = clips.poses[:, maze].tolist()
        assert back[:HISTORY] == new[:HISTORY] and back[HISTORY:] == [*back[HISTORY - 2 :: -1], back[0]]
        assert len({tuple(pose) for pose in spin[:HISTORY]}) == 32 and spin[HISTORY:] == spin[:HISTORY]
        np.testing.assert_array_equal(clips.truth("spin")[maze], clips.history("spin")[maze])
        np.testing.assert_array_equal(clips.truth("back")[maze, :-1], clips.history("back")[maze, -2::-1])
        world = Maze(clips.world, maze_seed(clips.seed, maze))
        for kind, poses in enumerate(clips.poses[:, maze].tolist()):
            assert clips.actions[kind, maze, 0] == STAY
            assert world.follow(tuple(poses[0]), clips.actions[kind, maze].tolist()) == [tuple(pose) for pose in poses]


def test_a_maze_hangs_on_its_number_alone_and_on_no_training_seed():
    ours = {maze_seed(seed, index) for seed in (0, 1_000_000) for index in range(500)}
    assert len(ours) == 1000
    assert not ours & {episode_seed(seed, index) for seed in (0, 1_000_000) for index in range(500)}
    trained = [episode_seed(0, index) for index in range(500)]
    evaluation.check_unseen(32, 1_000_000, trained)
    with pytest.raises(DataError, match="1 of 32 mazes were trained on"):
        evaluation.check_unseen(32, 1_000_000, [*trained, maze_seed(1_000_000, 31)])


def test_clips_read_back_the_same_and_are_rendered_once(tmp_path, monkeypatch):
    rendered = []

    def render(world, mazes, seed, progress):
        rendered.append((mazes, seed))
        return invented(mazes)

    monkeypatch.setattr(evaluation, "render", render)
    file, world = tmp_path / "new" / "clips.npz", World(size=16)
    made = evaluation.take_clips(file, world, 3, 7)
    read = evaluation.take_clips(file, world, 3, 7)
    fewer = evaluation.take_clips(file, world, 2, 7)
    for name in ("frames", "actions", "poses"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
        np.testing.assert_array_equal(getattr(fewer, name), getattr(made, name)[:, :2])
    assert rendered == [(3, 7)] and len(fewer) == 2
    evaluation.take_clips(file, world, 4, 7)
    evaluation.take_clips(file, world, 4, 8)
    evaluation.take_clips(file, World(size=16, walls=9), 4, 8)
    assert rendered == [(3, 7), (4, 7), (4, 8), (4, 8)]
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="holds no clips"):
        evaluation.take_clips(file, world, 1, 7)


def test_a_model_is_measured_in_the_world_of_its_moves_unless_its_card_names_another(model):
    assert evaluation.world_of(model) == World()
    network = VideoDiT(DiTConfig(dim=64, depth=1, moves=((0, 0), (0.25, 0), (-0.25, 0), (0, 22.5), (0, -22.5))))
    other = Model(network, model.codec, FlowMatching(), SAMPLING, {"world": {"walls": 32}})
    assert evaluation.world_of(other) == World(turn=22.5, step=0.25, walls=32)
    with pytest.raises(CheckpointError, match="actions are unknown"):
        evaluation.one_hot(other, np.array([0]))


# What the model makes


def test_a_clip_is_the_same_alone_and_in_a_batch(model, monkeypatch):
    clips = invented(3, 64)
    schedule, sampling = choose(SAMPLING)
    told = []
    tasks = {"new": evaluation.tasks_of(model, clips, schedule, sampling)["new"]}
    together = evaluation.make(model, tasks, 7, lambda *counts: told.append(counts))["new"]
    assert told[-1] == (3 * LENGTH, 3 * LENGTH) and together.shape == clips.truth("new").shape
    monkeypatch.setattr(evaluation, "BATCH", 1)
    alone = evaluation.make(model, tasks, 7)["new"]
    assert abs(together.astype(int) - alone).max() <= 1  # of 255: sums are taken in another order


def test_an_interrupted_measurement_stops_at_once(model):
    def interrupt(done, total):
        raise KeyboardInterrupt

    schedule, sampling = choose(SAMPLING)
    with pytest.raises(KeyboardInterrupt):
        evaluation.make(model, evaluation.tasks_of(model, invented(3, 64), schedule, sampling), 0, interrupt)


# Figures


def test_ssim_is_1_for_equal_frames_and_as_its_formula_says_for_others():
    draw = torch.Generator().manual_seed(0)
    a = torch.rand(2, 2, 3, 14, 13, generator=draw)
    b = (a + 0.3 * torch.rand(a.shape, generator=draw)).clamp(0, 1)
    np.testing.assert_allclose(evaluation.ssim(a, a), 1, atol=1e-5)

    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    scores = []
    for channel in range(3):
        for row in range(4):
            for column in range(3):
                x, y = (t[1, 0, channel, row : row + 11, column : column + 11].double().numpy() for t in (a, b))
                mean_x, mean_y = (window * x).sum(), (window * y).sum()
                var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
                both = (window * (x - mean_x) * (y - mean_y)).sum()
                likeness = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
                scores.append(likeness * (2 * both + 0.03**2) / (var_x + var_y + 0.03**2))
    assert evaluation.ssim(a, b)[1, 0] == pytest.approx(np.mean(scores), abs=1e-5)


def test_psnr_colour_and_sharpness_of_known_frames():
    truth = torch.full((1, 1, 3, 16, 16), 0.5)
    made = truth + torch.tensor((0.1, -0.1, 0.1)).view(3, 1, 1)
    assert evaluation.psnr(made, truth)[0, 0] == pytest.approx(20, abs=1e-3)
    assert evaluation.psnr(truth, truth)[0, 0] == pytest.approx(100)
    assert evaluation.colour_error(made, truth)[0, 0] == pytest.approx(0.1, abs=1e-6)
    stripes = (torch.arange(16) % 2).float().expand(1, 1, 3, 16, 16)
    assert evaluation.gradient(stripes)[0, 0] == pytest.approx(0.5)  # 1 along the rows, 0 along the columns
    assert evaluation.contrast(stripes)[0, 0] == pytest.approx(0.5, abs=2e-3)
    assert evaluation.colour_spread(stripes)[0, 0] == 0 < evaluation.colour_spread(made)[0, 0]


@pytest.mark.parametrize("pixels", [1, 5, 9, 16])
def test_a_shift_of_the_picture_is_found_with_its_sign(pixels):
    wide = torch.rand(4, 3, 64, 128, generator=torch.Generator().manual_seed(pixels))
    before, right, left = (wide[..., at : at + 64] for at in (32, 32 - pixels, 32 + pixels))
    assert evaluation.shifts(before, right).tolist() == [pixels] * 4
    assert evaluation.shifts(before, left).tolist() == [-pixels] * 4
    assert evaluation.shifts(before, before).tolist() == [0] * 4
    grey = torch.full_like(before, 0.5)
    assert evaluation.shifts(grey, grey).tolist() == [0] * 4  # what shows nothing has not turned


def test_turns_of_true_frames_move_the_right_way_and_those_played_backwards_do_not(clips):
    signs = np.array([0, 0, 0, 1, -1])[clips.actions]
    assert (LEFT, RIGHT) == (3, 4)
    for kind in (KINDS.index("new"), KINDS.index("spin")):
        good, turns = evaluation.right_turns(clips.frames[kind], signs[kind])
        assert turns == (clips.actions[kind, :, 1:] >= LEFT).sum() and good >= 0.95 * turns
        assert evaluation.right_turns(clips.frames[kind], -signs[kind])[0] <= 0.05 * turns


@pytest.mark.parametrize("slots", [0, 4])
@pytest.mark.parametrize("schedule", [preset("outpainting", chunk=4), preset("fifo", steps=6)], ids=lambda s: s.name)
def test_a_frame_is_beyond_the_context_when_its_pose_was_last_seen_before_it(schedule, slots):
    way = [(0, column, 0) for column in range(HISTORY)]
    poses = np.array([[*way, *way[-2::-1], way[0]], [*way, *[(1, column, 0) for column in range(LENGTH)]]])
    found = evaluation.beyond_context(poses, schedule, Sampling(context=8, slots=slots, group=4))
    kept = 11 if slots else 8
    for t in range(LENGTH):
        starts = [start for start in range(0, t + 1, schedule.chunk) if t < start + schedule.window]
        near = poses[0, max(0, HISTORY + starts[0] - kept) : HISTORY + t].tolist()
        assert found[0, t] == (poses[0, HISTORY + t].tolist() not in near)
    assert not found[1].any()  # these were never seen
    assert found[0, 12] and not found[0, 0]


def test_the_interval_covers_zero_for_equal_runs_and_the_mean_about_as_often_as_it_says():
    assert evaluation.interval(np.zeros(32)) == (0, 0)
    draw = np.random.default_rng(1)
    ends = [evaluation.interval(draw.normal(0, 3, 32)) for _ in range(60)]
    assert 52 <= sum(low <= 0 <= high for low, high in ends) <= 60
    low, high = evaluation.interval(draw.normal(5, 1, 32))
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
        for told in evaluation.score_clips(made, clips, context=8).values():
            for figure in ("psnr", "ssim"):
                same = told[figure]["made"]["by_frame"], told[figure][column]["by_frame"]
                np.testing.assert_allclose(*same, atol=0.02)  # bytes are rounded
            assert told["psnr"]["made"]["by_range"].keys() == set(RANGES)


def test_ranges_count_frames_from_1():
    values = list(range(1, LENGTH + 1))
    assert [evaluation.over(values, frames) for frames in RANGES] == [1, 3, 6.5, 12.5, 24.5, 48.5]


# What must be reached


def judged(clips, made, off, free, turned):
    schedule, sampling = choose(SAMPLING)
    card = evaluation.score_clips(made, clips, 8)
    card["memory"] = evaluation.score_memory(made, off, clips, schedule, sampling)
    card["free"] = evaluation.score_free(free, turned, clips)
    return card, {bar.name: bar for bar in evaluation.judge(card)}


@pytest.fixture(scope="module")
def walked(clips):
    """A true walk of 300 frames in each maze, and which way it turns."""
    frames, turned = [], []
    for index in range(len(clips)):
        maze, rng = Maze(clips.world, maze_seed(clips.seed, index)), random.Random(index)
        pose = maze.start(rng)
        actions = PATHS["random"](maze, pose, rng, 300)
        with Renderer(maze) as renderer:
            frames.append(renderer.render(maze.follow(pose, actions)))
        turned.append(np.array([0, 0, 0, 1, -1])[actions])
    return np.stack(frames), np.stack(turned)


def test_the_truth_reaches_every_must_and_goal(clips, walked):
    truth = {kind: clips.truth(kind) for kind in KINDS}
    card, bars = judged(clips, truth, {kind: held(clips, lambda past: past[-1], kind) for kind in KINDS}, *walked)
    assert [bar.name for bar in bars.values() if not bar.passed] == []
    assert card["new"]["psnr"]["made"]["by_range"]["33-64"] == 100
    assert card["returns"]["sharpness"]["1-16"] == 1 and card["memory"]["both"]["gain"] > 20
    assert {bar.level for bar in bars.values()} == {"must", "goal"}


def test_the_last_frame_shown_for_ever_reaches_hardly_any(clips, walked):
    made = {kind: held(clips, lambda past: past[-1], kind) for kind in KINDS}
    frozen = np.repeat(walked[0][:, :1], 300, 1)
    card, bars = judged(clips, made, made, frozen, walked[1])
    assert bars["new ground, frame 1 over repeat-last"].value == 0
    assert card["free"]["turns"]["made"]["share"] == 0
    assert (card["memory"]["both"]["gain"], card["memory"]["both"]["low"], card["memory"]["both"]["high"]) == (0, 0, 0)
    for name, bar in bars.items():
        if " over " in name or "move" in name or "memory" in name:
            assert not bar.passed, name


def test_what_was_not_measured_is_neither_reached_nor_missed():
    clips = invented()
    card = evaluation.score_clips({kind: clips.truth(kind) for kind in KINDS}, clips, 8) | {
        "memory": None,
        "free": None,
    }
    unknown = [bar.name for bar in evaluation.judge(card) if bar.passed is None]
    assert len(unknown) == 5 and all(name.startswith(("free run", "memory")) for name in unknown)


def test_both_kinds_of_returns_count_alike():
    clips = invented()
    told = evaluation.score_clips({kind: clips.truth("new") for kind in KINDS}, clips, 8)
    for column in ("made", *BASELINES):
        values = [told[name]["psnr"][column]["by_range"]["5-8"] for name in ("back", "spin", "returns")]
        assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-3)


# The command


@pytest.fixture
def run():
    root = Typer()
    root.add_typer(eval.app, name="eval")
    return lambda *args: CliRunner().invoke(root, ["eval", *map(str, args)])


def test_the_card_of_an_untrained_model_is_whole_and_fails(clips, model, run, tmp_path, monkeypatch):
    save(model, tmp_path / "model")
    monkeypatch.setattr(evaluation, "render", lambda *args: clips.first(1))
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


def test_steering_gives_the_same_figures_as_the_card(clips, model):
    clips, (schedule, sampling) = clips.first(1), choose(SAMPLING)
    tasks = evaluation.plan_card(model, clips, schedule, sampling, free_runs=0)
    assert tasks.keys() == {*KINDS, "back/off", "spin/off"} and tasks["spin/off"].sampling.slots == 0
    whole = evaluation.measure_card(model, clips, tasks).card
    told = evaluation.measure(model, clips, schedule, sampling)
    assert all(told[name] == whole[name] for name in (*KINDS, "returns"))
