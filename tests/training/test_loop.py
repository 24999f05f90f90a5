"""Training: what is drawn from the data, what the network is shown of it, and that a run can be taken up again."""

import json
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from arvdm_cli.data.batches import Episodes, Joined, read_all
from arvdm_cli.errors import CheckpointError, ConfigError, DataError, NumericError
from arvdm_cli.hub import checkpoint
from arvdm_cli.hub.layout import WEIGHTS
from arvdm_cli.media import to_bytes, to_tensor
from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.state import Sampling, start
from arvdm_cli.training import loop, timer, trainer
from arvdm_cli.training.codec import encode_all
from arvdm_cli.training.config import TrainConfig, configure
from arvdm_cli.training.events import METRICS
from arvdm_cli.training.loop import train
from arvdm_cli.training.optimizers import Muon, optimizers, orthogonal, speed
from arvdm_cli.training.recipes.windows import (
    cut,
    draw_batch,
    draw_levels,
    step_loss,
    with_context_noise,
    with_own_frames,
)
from arvdm_cli.training.start import adopt, translated
from arvdm_cli.training.state import TrainState
from support.paths import EXAMPLES
from support.tiny import MOVES, render, whole
from support.training import EPISODES, FRAMES, HELD_OUT, Stopped, configured, quiet, stopped

# A run from data to checkpoint


def test_a_run_leaves_a_checkpoint_that_loads_and_says_how_it_was_made(run, data):
    out, _ = run
    model, config = checkpoint.load(out / "checkpoint"), configured(data, out)
    assert model.network.config == config.network and model.codec.config == config.codec
    assert model.sampling == config.sampling and model.diffusion == config.diffusion
    assert model.card["name"] == "tiny" and model.card["licence"] == "MIT"
    assert model.card["training"]["steps"] == 4 and model.card["training"]["seed"] == 0


def test_a_run_tells_every_event_and_writes_it_down(run):
    out, events = run
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == [event.to_json() for event in events if isinstance(event, METRICS)]
    assert [event.step for event in events if event.name == "held-out"] == [2, 4]
    assert events[0].name == "codec" and {"loss", "psnr", "seconds"} <= lines[0].keys()
    for event in events:
        if event.name == "held-out":
            assert len(event.psnr) == len(event.repeat) and np.isfinite(event.psnr).all()


def test_a_run_draws_a_sheet_of_held_out_frames_whenever_it_saves(run):
    assert sorted(path.name for path in run[0].glob("sheet-*.png")) == ["sheet-000002.png", "sheet-000004.png"]


def test_the_network_learns_from_the_codecs_own_latents(run, data):
    out, _ = run
    codec = checkpoint.load(out / "checkpoint").codec
    kept = encoded(run, data)
    assert kept.shape == (EPISODES, FRAMES, 2, 4, 4) and kept.dtype == np.float16
    frames = to_tensor(np.load(data / "frames.npy")[-1]).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(kept[-1]).float(), codec.encode(frames)[0], rtol=0.02, atol=0.02)


def test_the_checkpoint_holds_the_moving_average_not_the_last_weights(run):
    state, network = TrainState.load(run[0] / "state.pt"), checkpoint.load(run[0] / "checkpoint").network
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, state.average[name].half().float())
    assert any(not torch.equal(weight, state.network[name]) for name, weight in state.average.items())


def encoded(run, data):
    """The latents that a run has left beside its data."""
    codec = checkpoint.load(run[0] / "checkpoint").codec
    codec.load_state_dict(TrainState.load(run[0] / "state.pt").codec)  # before it was rounded to half precision
    return encode_all(
        TrainConfig(), codec, np.load(data / "frames.npy", mmap_mode="r"), data, torch.device("cpu"), no_progress
    )


def no_progress(event):
    raise AssertionError("nothing is left to encode")


@pytest.mark.parametrize(("event", "step"), [("held-out", 2), ("encode", 0)])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(run, data, tmp_path, event, step):
    own = shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("latents-*"))
    config = configured(own, tmp_path / "run")
    with pytest.raises(Stopped):
        train(config, False, stopped(event, step))
    train(config, True, quiet)
    whole, resumed = TrainState.load(run[0] / "state.pt"), TrainState.load(tmp_path / "run" / "state.pt")
    assert resumed.step == whole.step == 4
    for part in ("codec", "network", "average"):
        assert all(torch.equal(weight, getattr(resumed, part)[name]) for name, weight in getattr(whole, part).items())
    weights = (folder / "checkpoint" / WEIGHTS for folder in (run[0], tmp_path / "run"))
    assert next(weights).read_bytes() == next(weights).read_bytes()


def test_a_finished_run_taken_up_again_changes_nothing(run, data, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "copy")
    before = (folder / "state.pt").read_bytes()
    assert train(configured(data, folder), True, quiet) == folder / "checkpoint"
    assert (folder / "state.pt").read_bytes() == before


# A run whose time is limited


class Clock:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self, now=1000.0):
        self.now = self.began = now

    def monotonic(self):
        self.now += 1
        return self.now


def limited(data, out, monkeypatch, **chosen):
    """A run that its time ends: the clock, the configuration and the events."""
    clock, events = Clock(), []
    monkeypatch.setattr(timer, "time", clock)
    config = configured(data, out, **({"minutes": 2.0, "steps": 10_000, "every": 7} | chosen))
    train(config, False, events.append)
    return clock, config, events


def test_a_run_ends_in_its_time_with_a_checkpoint_that_loads(data, tmp_path, monkeypatch):
    clock, _, events = limited(data, tmp_path / "run", monkeypatch)
    assert clock.now - clock.began <= 120
    model, state = checkpoint.load(tmp_path / "run" / "checkpoint"), TrainState.load(tmp_path / "run" / "state.pt")
    assert model.card["training"]["steps"] == state.step == events[-1].step < 10_000
    assert events[-1].name == "held-out" and state.step > 7


def test_a_run_that_its_time_has_ended_goes_on_when_it_is_given_more(data, tmp_path, monkeypatch):
    _, config, _ = limited(data, tmp_path / "run", monkeypatch)
    file = tmp_path / "run" / "state.pt"
    before = file.read_bytes()
    train(config, True, quiet)
    assert file.read_bytes() == before
    step = TrainState.load(file).step
    train(replace(config, minutes=2.5), True, quiet)
    assert TrainState.load(file).step > step


def test_the_learning_rate_falls_to_0_as_the_time_ends_and_memory_is_learnt_from_the_same_share_on(
    data, tmp_path, monkeypatch
):
    rates, early = [], []
    kept_speed, kept_draw = trainer.speed, loop.draw_batch

    def speed(config, step, place):
        rates.append(kept_speed(config, step, place))
        return rates[-1]

    def draw(config, episodes, step, place, *shape):
        early.append(place < config.early * config.steps)
        return kept_draw(config, episodes, step, place, *shape)

    monkeypatch.setattr(trainer, "speed", speed)
    monkeypatch.setattr(loop, "draw_batch", draw)
    limited(data, tmp_path / "run", monkeypatch, warmup=1, decay=0.5)
    rates = rates[::2]  # one for each optimizer
    assert rates[0] == 1.0 and rates[-1] < 0.2 and sorted(rates, reverse=True) == rates
    assert sorted(early, reverse=True) == early and 0.3 < np.mean(early) < 0.7


def test_where_its_steps_end_first_a_limited_run_is_one_without_a_limit(run, data, tmp_path):
    train(configured(data, tmp_path / "run", minutes=1e6), False, quiet)
    whole, other = (TrainState.load(folder / "state.pt").network for folder in (run[0], tmp_path / "run"))
    assert all(torch.equal(weight, other[name]) for name, weight in whole.items())


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_named(data, tmp_path, minutes):
    with pytest.raises(ConfigError, match=f"minutes is {minutes}"):
        train(configured(data, tmp_path, minutes=minutes), False, quiet)


def test_another_seed_trains_other_weights(run, data, tmp_path):
    train(configured(data, tmp_path / "run", seed=1, steps=1), False, quiet)
    one, other = (TrainState.load(folder / "state.pt") for folder in (run[0], tmp_path / "run"))
    assert not torch.equal(one.codec["encoder.1.weight"], other.codec["encoder.1.weight"])
    assert not torch.equal(one.network["embed.weight"], other.network["embed.weight"])


def test_held_out_episodes_teach_nothing(run, data, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    for name in ("frames", "actions", "poses"):
        array = np.load(other / f"{name}.npy")
        array[-HELD_OUT:] = array[-HELD_OUT:, ::-1] if name == "frames" else 1
        np.save(other / f"{name}.npy", array)
    train(configured(other, tmp_path / "run"), False, quiet)
    one, same = (TrainState.load(folder / "state.pt") for folder in (run[0], tmp_path / "run"))
    for part in ("codec", "network"):
        assert all(torch.equal(weight, getattr(same, part)[name]) for name, weight in getattr(one, part).items())


def test_a_loss_that_is_no_number_stops_the_run(data, tmp_path):
    config = configured(data, tmp_path, diffusion=FlowMatching(least_level=float("nan")))
    with pytest.raises(NumericError, match="at step 1") as caught:
        train(config, False, quiet)
    assert caught.value.code == 9 and not (tmp_path / "checkpoint").exists()


def test_a_loss_of_the_codec_that_is_no_number_stops_the_run_before_its_weights_are_lost(data, tmp_path):
    config = configured(data, tmp_path, codec_steps=9, codec_lr=1e30, codec_matrix_lr=1e30, every=1)
    with pytest.raises(NumericError, match=r"The codec's loss is .* is kept in .*state\.pt") as caught:
        train(config, False, quiet)
    assert "codec_lr" in caught.value.hint and "--resume" in caught.value.hint
    assert all(torch.isfinite(weight).all() for weight in TrainState.load(tmp_path / "state.pt").codec.values())


def test_a_gradient_that_is_no_number_changes_no_weight(data, tmp_path, monkeypatch):
    before = []

    def step_loss(network, *_):
        weights = list(network.parameters())
        before.extend(weight.detach().clone() for weight in weights)
        return (weights[0].sum() * 0).sqrt()  # 0, with a slope that is not a number

    monkeypatch.setattr(trainer, "step_loss", step_loss)
    with pytest.raises(NumericError, match=r"gradient is nan at step 1\. The state of step 0 is kept"):
        train(configured(data, tmp_path), False, quiet)
    assert before and not (tmp_path / "checkpoint").exists()


def test_there_is_nothing_to_resume_where_nothing_was_saved(data, tmp_path):
    with pytest.raises(ConfigError, match=r"state\.pt"):
        train(configured(data, tmp_path), True, quiet)


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100])
def test_a_saved_state_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        TrainState.load(tmp_path / "state.pt")


# Its configuration


def test_a_file_fills_the_configuration_and_chosen_values_come_above_it(tmp_path):
    (tmp_path / "run.toml").write_text("steps = 7\nlr = 1\nwindows = [2, 3]\n[network]\ndim = 64\n[card]\nfps = 15\n")
    config = configure(tmp_path / "run.toml", steps=9)
    assert (config.steps, config.lr, config.windows, config.network.dim) == (9, 1.0, (2, 3), 64)
    assert config.card == {"fps": 15} and config.network.depth == DiTConfig().depth
    assert config == replace(TrainConfig(), **{name: getattr(config, name) for name in asdict(config)})


def test_the_example_is_a_configuration_in_which_the_parts_fit_together():
    path = EXAMPLES / "train-maze.toml"
    config = configure(path)
    assert tomllib.loads(path.read_text())["name"] == config.name
    assert config.network.channels == config.codec.channels
    assert (config.network.height, config.network.width) == (config.codec.height // 8, config.codec.width // 8)
    assert config.network.group == config.sampling.group
    assert config.network.actions == len(config.card["actions"]) == len(config.network.moves)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lrr = 1", "unknown key 'lrr'"),
        ("[network]\ndims = 1", r"\[network\] has an unknown key 'dims'"),
        ('steps = "7"', "steps is '7'"),
        ("[network]\ndim = 65", "65"),
        ("[diffusion]\nprediction = 'score'", "'score'"),
        ("steps = ", "run.toml"),
        ("\xff", "run.toml"),
    ],
)
def test_what_does_not_fit_in_a_file_is_named(tmp_path, text, named):
    (tmp_path / "run.toml").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=named) as caught:
        configure(tmp_path / "run.toml")
    assert caught.value.code == 2


def test_a_file_stands_above_its_base_table_by_table(tmp_path):
    (tmp_path / "base.toml").write_text("steps = 7\nlr = 1\n[network]\ndim = 64\ndepth = 3\n")
    (tmp_path / "run.toml").write_text('base = "base.toml"\nlr = 2\n[network]\ndepth = 4\n')
    config = configure(tmp_path / "run.toml")
    assert (config.steps, config.lr, config.network.dim, config.network.depth) == (7, 2.0, 64, 4)


@pytest.mark.parametrize("base", ['"run.toml"', '"none.toml"', "7"])
def test_a_base_that_leads_nowhere_is_named(tmp_path, base):
    (tmp_path / "run.toml").write_text(f"base = {base}")
    with pytest.raises(ConfigError, match=base.strip('"')):
        configure(tmp_path / "run.toml")


def test_the_networks_of_the_family_have_about_as_many_weights_and_differ_in_their_memory_alone():
    files = sorted((EXAMPLES / "networks").glob("[!f]*.toml"))
    configs = [configure(path) for path in files]
    assert [config.name for config in configs] == [path.stem for path in files]
    sizes = [sum(weight.numel() for weight in VideoDiT(config.network).parameters()) for config in configs]
    assert max(sizes) <= 1.1 * min(sizes)
    ways = {(config.network.fusion, config.network.compression, config.network.instants) for config in configs}
    assert len(ways) == len(files) >= 6
    alike = {"name", "out", "network", "sampling"}
    shared = [{k: v for k, v in asdict(config).items() if k not in alike} for config in configs]
    assert all(one == shared[0] for one in shared)


def test_a_run_that_starts_from_a_checkpoint_takes_its_codec_and_the_weights_they_share(run, data, tmp_path):
    config = configured(data, tmp_path / "run", start=str(run[0] / "checkpoint"), steps=1, matrix_lr=0.0, lr=0.0)
    config = replace(config, network=replace(config.network, fusion="cross-attention", compression="none"))
    events = []
    train(config, False, events.append)
    assert not [event for event in events if event.name == "codec"]
    begun, source = (checkpoint.load(folder / "checkpoint") for folder in (tmp_path / "run", run[0]))
    assert all(torch.equal(w, begun.codec.state_dict()[name]) for name, w in source.codec.state_dict().items())
    own, theirs = begun.network.state_dict(), source.network.state_dict()
    assert {name.split(".")[0] for name in own.keys() - theirs.keys()} == {"fusion"}
    assert {name.split(".")[0] for name in theirs.keys() - own.keys()} == {"compression"}
    assert all(torch.equal(own[name], theirs[name]) for name in own.keys() & theirs.keys())


def test_a_start_of_another_shape_is_named(run, data, tmp_path):
    config = configured(data, tmp_path, start=str(run[0] / "checkpoint"))
    with pytest.raises(ConfigError, match=r"embed\.weight is \(64, 16\), here it is \(128, 16\)"):
        train(replace(config, network=replace(config.network, dim=128)), False, quiet)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        configure(tmp_path / "none.toml")


# What is drawn from the data


@pytest.fixture
def episodes(data):
    """Episodes whose latents tell their episode and their time."""
    made = Episodes(read_all([data]), HELD_OUT)
    told = np.zeros((EPISODES, FRAMES, 2, 1, 1), np.float16)
    told[:, :, 0] = np.arange(EPISODES)[:, None, None, None]
    told[:, :, 1] = np.arange(FRAMES)[:, None, None]
    made.latents = told
    return made


def drawn(episodes, seed=0, count=50, context=5, own=0, window=4, groups=3, group=4, revisit=0.5, turn=0.3):
    draw = np.random.default_rng(seed)
    return episodes.draw(draw, count, context, own, window, groups, group, revisit, turn)


def test_held_out_episodes_are_the_last_and_are_never_drawn(episodes):
    assert list(episodes.train) == [0, 1, 2] and list(episodes.held_out) == [3]
    batch = drawn(episodes, count=300)
    assert set(batch.clip[:, :, 0].flatten().tolist()) == {0, 1, 2}
    assert torch.equal(batch.groups[:, :, :, 0], batch.clip[:, :1, :1, 0].unsqueeze(1).expand(-1, 3, 4, 1, 1)[..., :1])


def test_the_codec_is_shown_frames_of_the_other_episodes_alone(episodes):
    pictures = [{frame.tobytes() for frame in episode} for episode in next(iter(episodes.parts.values())).frames]
    shown = {to_bytes(frame)[0].tobytes() for frame in episodes.random_frames(400, np.random.default_rng(0))}
    assert shown <= set.union(*pictures[:-1]) and pictures[-1] - set.union(*pictures[:-1])


@pytest.mark.parametrize("own", [0, 4])
def test_a_clip_is_cut_without_a_gap_and_its_actions_and_times_are_those_of_its_frames(episodes, own):
    batch = drawn(episodes, own=own)
    times = batch.first.unsqueeze(1) + torch.arange(5 + own + 4)
    assert torch.equal(batch.clip[:, :, 1, 0, 0], times.float()) and times.max() < FRAMES
    episode = batch.clip[:, 0, 0, 0, 0].long().numpy()
    assert torch.equal(batch.actions, episodes.one_hot(episode))
    assert torch.equal(
        batch.actions.argmax(-1),
        torch.from_numpy(next(iter(episodes.parts.values())).actions[episode].astype(np.int64)),
    )


@pytest.mark.parametrize("own", [0, 4])
@pytest.mark.parametrize("revisit", [0.0, 1.0])
def test_groups_are_whole_lie_on_the_grid_that_ends_where_the_context_will_begin_and_come_in_order(
    episodes, own, revisit
):
    batch = drawn(episodes, own=own, revisit=revisit, count=200)
    frames = batch.frames
    assert torch.equal(batch.groups[:, :, :, 1, 0, 0], frames.float())
    assert torch.equal(batch.reach, batch.first + own)
    assert (frames.diff(dim=2) == 1).all() and (frames[:, :, 0].diff(dim=1) > 0).all()
    assert frames.min() >= 0 and (frames[:, -1, -1] < batch.reach).all()
    assert ((batch.reach.view(-1, 1) - frames[:, :, 0]) % 4 == 0).all()


def test_a_clip_that_comes_back_has_what_it_comes_back_to_in_memory(episodes):
    batch = drawn(episodes, revisit=1.0, turn=0.0, count=200)
    found: list[bool] = []
    for b in range(200):
        poses = episodes.poses[int(batch.clip[b, 0, 0])]
        window = batch.first[b].item() + 5 + np.arange(4)
        # nothing to come back to is the only excuse
        reach = batch.reach[b].item()
        reachable = np.arange(reach % 4, reach)
        if np.isin(poses[reachable], poses[window]).any():
            found.append(bool(np.isin(poses[batch.frames[b].flatten()], poses[window]).any()))
    assert len(found) > 50 and all(found)


@pytest.mark.parametrize("own", [0, 4])
def test_a_clip_that_turns_back_comes_to_a_pose_it_left_a_few_frames_ago(episodes, own):
    batch = drawn(episodes, context=8, own=own, groups=0, turn=1.0, count=200)
    for b in range(200):
        episode, first = int(batch.clip[b, 0, 0]), batch.first[b].item()
        if 0 < first < FRAMES - 8 - own - 4:  # not moved to fit into the episode
            poses = episodes.poses[episode, first:][: 8 + own + 4].tolist()
            assert any(pose in poses[:i] and pose != poses[i - 1] for i, pose in enumerate(poses) if i >= 8 + own)


def test_without_memory_a_clip_can_begin_with_its_episode(episodes):
    batch = drawn(episodes, groups=0, count=500)
    assert batch.groups.shape[1] == 0 and batch.first.min() == 0 and batch.clip[:, :, 1].max() == FRAMES - 1


def test_a_folder_with_too_few_episodes_says_so(data):
    with pytest.raises(DataError, match="4 of them held out"):
        Episodes(read_all([data]), EPISODES)


# What the network is shown of it


def still(data, **chosen):
    """A configuration without chance: no noise on the context, every action known."""
    sampling = Sampling(context=6, slots=9, stabilization=1e-3)
    return configured(data, "", context_noise=0.0, drop_actions=0.0, sampling=sampling, **chosen)


@pytest.mark.parametrize("moves", [MOVES, ()], ids=["moves known", "moves unknown"])
@torch.no_grad()
def test_training_shows_the_network_the_past_as_sampling_does(run, data, moves):
    """Three groups and six frames of context, from the first frame of an episode on."""
    model, config = checkpoint.load(run[0] / "checkpoint"), still(data)
    torch.manual_seed(0)
    model.network = VideoDiT(replace(config.network, moves=moves))
    episodes = Episodes(read_all([data]), HELD_OUT)
    episodes.latents = encoded(run, data)
    batch = only(drawn(episodes, count=400, context=6, window=8, revisit=0.0, turn=0.0), first=12)
    assert torch.equal(batch.frames[0], torch.arange(12).view(3, 4))
    example = cut(model.network, config, batch, 6, torch.Generator().manual_seed(0))
    memory = example.memory(model.network)
    example = with_context_noise(example, config, torch.Generator())
    shown, reported = example.shown, example.reported
    assert torch.equal(shown, batch.clip)
    trained = model.network.encode_context(
        shown[:, :6], reported[:, :6], example.actions[:, :6], example.origin, model.network.encode_memory(memory)
    )

    seen = torch.cat((batch.groups.flatten(1, 2), batch.clip[:, :6]), 1)
    state = start(model.network, config.sampling, seen, batch.actions[:, :18])
    levels = torch.full((1, 6), config.sampling.stabilization)
    sampled = model.network.encode_context(
        state.context, levels, state.actions, state.origin, model.network.encode_memory(state.memory)
    )
    torch.testing.assert_close(memory.tokens, state.memory.tokens)
    torch.testing.assert_close(memory.poses, state.memory.poses)
    torch.testing.assert_close(memory.actions, state.memory.actions)
    assert torch.equal(memory.ages.flatten(), state.memory.ages)
    torch.testing.assert_close(trained.pose, sampled.pose)
    assert torch.equal(trained.last, sampled.last) and trained.frames == sampled.frames
    for pair in zip(whole(trained), whole(sampled), strict=True):
        for one, other in zip(*pair, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def only(batch, first):
    """The one clip of a batch that begins at a time, its groups without a gap."""
    newest = batch.frames[:, -1, -1] - batch.frames[:, 0, 0] == batch.frames.shape[1] * batch.frames.shape[2] - 1
    (rows,) = torch.nonzero((batch.first == first) & newest, as_tuple=True)
    return type(batch)(**{name: tensor[rows[:1]] for name, tensor in vars(batch).items()})


@torch.no_grad()
def test_frames_the_network_made_itself_take_the_place_of_the_context_and_the_clip_slides_past(run, data):
    config = still(data)
    network, episodes = VideoDiT(config.network), Episodes(read_all([data]), HELD_OUT)
    episodes.latents = encoded(run, data)
    batch = episodes.draw(np.random.default_rng(0), 5, 6, 4, 8, 2, 4, 0.5)
    before = cut(network, config, batch, 6, torch.Generator().manual_seed(0))
    example = with_own_frames(before, network, config.diffusion, 4, 2, torch.Generator().manual_seed(1))
    assert torch.equal(before.clip, batch.clip)  # another example, and the same one as before
    # a network that is still zero makes frames of zeros
    assert torch.equal(example.clip[:, :2], batch.clip[:, 4:6]) and not example.clip[:, 2:6].any()
    assert torch.equal(example.clip[:, 6:], batch.clip[:, 10:])
    rows = torch.arange(5)
    times = batch.first.unsqueeze(1) + 4 + torch.arange(14)
    assert torch.equal(example.actions, batch.actions[rows.unsqueeze(1), times])
    torch.testing.assert_close(example.origin, example.poses[rows, batch.first + 3])


@torch.no_grad()
def test_dropped_actions_are_unknown_everywhere_in_a_clip(run, data):
    config = replace(still(data), drop_actions=1.0)
    network, episodes = VideoDiT(config.network), Episodes(read_all([data]), HELD_OUT)
    episodes.latents = encoded(run, data)
    batch = episodes.draw(np.random.default_rng(0), 5, 6, 0, 8, 2, 4, 0.5)
    example = cut(network, config, batch, 6, torch.Generator().manual_seed(0))
    assert (
        not example.actions.any()
        and not example.memory(network).actions.any()
        and not example.poses.any()
        and not example.origin.any()
    )


def test_a_steps_loss_depends_on_its_seed_and_number_alone(run, data):
    config = configured(data, "")
    episodes = Episodes(read_all([data]), HELD_OUT)
    episodes.latents = encoded(run, data)
    network = VideoDiT(config.network)
    for step in (1, 3, 4):
        losses = []
        for noise in (0, 1):
            torch.manual_seed(noise)
            batch = draw_batch(config, episodes, step, group=4)
            losses.append(step_loss(network, config, batch, torch.device("cpu")).item())
        assert losses[0] == losses[1]


def test_levels_lie_between_0_and_1_alike_in_half_the_windows_and_rising_in_a_part_of_the_others(data):
    config = configured(data, "", pure_noise=0.25)
    levels = draw_levels(config, 2000, 6, torch.Generator().manual_seed(0))
    assert levels.shape == (2000, 6) and levels.min() > 0 and levels.max() == 1
    pure = (levels == 1).all(1)
    alike, rising = (levels == levels[:, :1]).all(1) & ~pure, (levels.diff(dim=1) > 0).all(1)
    for share, expected in ((pure, 0.25), (alike, 0.75 * 0.5), (rising, 0.75 * 0.25)):
        assert share.float().mean().item() == pytest.approx(expected, abs=0.04)


# Optimisation


def test_the_learning_rate_rises_in_the_warmup_stays_and_falls_to_0():
    config = TrainConfig(steps=1000, warmup=100, decay=0.3)
    rates = [speed(config, step) for step in range(1, 1001)]
    assert all(one < other for one, other in pairwise(rates[:99]))
    assert set(rates[99:699]) == {1.0}
    assert all(one > other for one, other in pairwise(rates[700:])) and rates[-1] == 0


def test_every_weight_has_one_optimizer(data):
    network = VideoDiT(configured(data, "").network)
    groups = [group for one in optimizers(TrainConfig(), network, torch.device("cpu")) for group in one.param_groups]
    held = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(held) == sorted(map(id, network.parameters()))


def test_the_trunk_learns_at_its_part_of_the_rates_and_memory_at_all_of_them(run, data, tmp_path):
    start = {"start": str(run[0] / "checkpoint"), "start_memory": False, "steps": 1, "trunk_lr": 0.0}
    train(configured(data, tmp_path / "run", groups=(2,), early=0.0, **start), False, quiet)
    state, source = TrainState.load(tmp_path / "run" / "state.pt"), checkpoint.load(run[0] / "checkpoint").network
    learnt = {name for name, weight in source.state_dict().items() if not torch.equal(state.network[name], weight)}
    assert learnt and all(name.startswith("compression.") for name in learnt)


def test_a_compression_that_is_new_begins_with_what_the_trunk_takes_for_the_mean_frame(run, data):
    source = checkpoint.load(run[0] / "checkpoint").network
    config = configured(data, "", start="tiny", start_memory=False)
    network = VideoDiT(config.network)
    adopt(network, source.state_dict(), config)
    frame = torch.randn(1, 1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = network.compress(frame.expand(-1, 4, -1, -1, -1), torch.zeros(1, 4, 5), torch.zeros(1, 4, 3))
        alone = network.embed(network.config.patchify(torch.cat((frame, 0 * frame), 2)))
    torch.testing.assert_close(tokens, alone[:, 0])


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_orthogonalising_brings_all_singular_values_near_1(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(x, rounds=5))
    assert values.min() > 0.5 and values.max() < 1.3
    torch.testing.assert_close(orthogonal(x, 5), orthogonal(100 * x, 5))
    torch.testing.assert_close(orthogonal(x, 5, half=True), orthogonal(x, 5), atol=0.03, rtol=0.03)


def test_muon_goes_downhill():
    goal = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    weight = torch.nn.Parameter(torch.zeros(8, 12))
    optimizer = Muon([weight], lr=0.05)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (weight - goal).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# Several folders


def test_joined_arrays_read_as_their_concatenation():
    parts = [np.random.default_rng(i).integers(0, 99, (length, 7, 2)) for i, length in enumerate((3, 1, 4))]
    joined, whole_ = Joined(parts), np.concatenate(parts)
    episodes = np.array([[7, 0], [3, 2], [4, 3]])
    times = np.array([6, 1])
    assert joined.shape == whole_.shape and len(joined) == 8
    np.testing.assert_array_equal(joined[episodes, times], whole_[episodes, times])
    np.testing.assert_array_equal(
        joined[episodes[:, :, None], np.arange(3)], whole_[episodes[:, :, None], np.arange(3)]
    )
    np.testing.assert_array_equal(joined[episodes[0]], whole_[episodes[0]])
    np.testing.assert_array_equal(joined[np.array([2, 5]), 1:4], whole_[np.array([2, 5]), 1:4])


def test_every_folder_holds_out_its_last_episodes_and_trains_on_the_rest(data, tmp_path):
    other = render(tmp_path / "other", 3, FRAMES, seed=5)
    episodes = Episodes(read_all([data, other]), held_out=3)
    assert list(episodes.held_out) == [2, 3, 6] and list(episodes.train) == [0, 1, 4, 5]
    assert set(episodes.turns[:, 0]) <= {0, 1, 4, 5}
    frames = episodes.frames(np.array([4]), slice(0, 2))
    np.testing.assert_array_equal(to_bytes(frames[0]), np.load(other / "frames.npy")[0, :2])


def test_folders_that_do_not_match_are_refused(data, tmp_path):
    other = render(tmp_path / "other", 2, FRAMES // 2)
    with pytest.raises(DataError, match="frames of shape"):
        Episodes(read_all([data, other]), held_out=1)


def test_latents_of_a_folder_that_has_grown_are_completed_and_an_interrupted_encoding_resumes(data, tmp_path):
    codec, frames = Codec(configured(data, tmp_path).codec).eval(), np.load(data / "frames.npy")
    encoded: list[int] = []

    def count(event):
        encoded.append(event.step)

    def encode(episodes, folder):
        folder.mkdir(exist_ok=True)
        return np.array(encode_all(TrainConfig(), codec, frames[:episodes], folder, torch.device("cpu"), count))

    at_once = encode(4, tmp_path / "at-once")
    grown = encode(2, tmp_path / "grown"), encode(4, tmp_path / "grown"), encode(3, tmp_path / "grown")
    for made in grown:
        np.testing.assert_array_equal(made, at_once[: len(made)])
    seen = len(encoded)
    np.testing.assert_array_equal(encode(4, tmp_path / "grown"), at_once)
    assert len(encoded) == seen  # nothing was left to encode

    def stop(event):
        raise Stopped

    with pytest.raises(Stopped):
        encode_all(TrainConfig(), codec, frames, tmp_path, torch.device("cpu"), stop)
    assert not list(tmp_path.glob("latents-*.npy"))
    np.testing.assert_array_equal(encode(4, tmp_path), at_once)
    assert not list(tmp_path.glob("latents-*.count")) and not list(tmp_path.glob("latents-*.part"))


def test_two_runs_that_want_the_same_latents_at_once_encode_each_episode_once(data, tmp_path):
    codec, frames = Codec(configured(data, tmp_path).codec).eval(), np.load(data / "frames.npy")
    encoded: list[int] = []

    class Counted:
        shape = frames.shape

        def __getitem__(self, episode):
            encoded.append(episode)
            return frames[episode]

    def encode(_):
        return encode_all(TrainConfig(), codec, Counted(), tmp_path, torch.device("cpu"), lambda event: None)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(encode, range(4)))
    for each in made:
        np.testing.assert_array_equal(each, made[0])
    assert encoded == list(range(len(frames)))


# The codec, and a network under another one


def test_a_codec_that_begins_with_principal_components_loses_only_the_others():
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(4, 3, 8, 8, generator=generator)
    amounts = torch.rand(16, 4, 4, 4, generator=generator) - 0.5
    frames = torch.einsum("nyxk,kcij->ncyixj", amounts, basis).reshape(16, 1, 3, 32, 32) / 8
    codec = Codec(CodecConfig(channels=4, height=32, width=32, fine=8, coarse=8, linear=True)).eval()
    codec.begin(frames)
    latents = codec.encode(frames)
    torch.testing.assert_close(codec.decode(latents), frames, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(latents.std((0, 1, 3, 4)), torch.ones(4), atol=0.05, rtol=0.05)


def test_a_network_whose_codec_is_exchanged_for_a_rotated_one_predicts_the_same(run, data):
    out, _ = run
    model, episodes = checkpoint.load(out / "checkpoint"), Episodes(read_all([data]), HELD_OUT)
    config = configured(data, out)
    codec = checkpoint.load(out / "checkpoint").codec
    rotation = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(1)))[0]
    with torch.no_grad():  # the same latents seen from other axes
        last = codec.encoder[-1]
        spread = codec.normalise.running_var.add(codec.normalise.eps).sqrt()
        turn = rotation / spread
        last.weight.copy_((turn @ last.weight[:, :, 0, 0])[:, :, None, None])
        last.bias.copy_(turn @ (last.bias - codec.normalise.running_mean))
        codec.normalise.running_mean.zero_()
        codec.normalise.running_var.fill_(1 - codec.normalise.eps)
        for weight in model.network.parameters():  # none is zero, as some are in a network that has learnt little
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    other = VideoDiT(config.network).eval()
    other.load_state_dict(translated(model.network.state_dict(), model.codec, codec, episodes, config))

    frames = episodes.frames(episodes.held_out, slice(0, 6))
    actions, levels = episodes.one_hot(episodes.held_out)[:, :6], torch.full((1, 2), 0.5)

    def predict(network, codec):
        latents = codec.encode(frames)
        past = network.encode_context(latents[:, :4], torch.zeros(1, 4), actions[:, :4], torch.zeros(1, 3), None)
        return network(latents[:, 4:], levels, actions[:, 4:], past)

    with torch.no_grad():
        rotated = torch.einsum("ij,bfjhw->bfihw", rotation, predict(model.network, model.codec))
        torch.testing.assert_close(predict(other, codec), rotated, atol=2e-3, rtol=2e-3)
