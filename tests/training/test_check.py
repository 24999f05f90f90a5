"""What cannot work is refused before the first step, and what is not refused works to its last."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.errors import ArvdmError, ConfigError, UsageError
from arvdm_cli.hub import checkpoint
from arvdm_cli.models.codec import CodecConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.training import loop
from arvdm_cli.training.check import check
from arvdm_cli.training.config import TrainConfig, configure
from arvdm_cli.training.loop import train
from arvdm_cli.training.network import group_of
from arvdm_cli.training.recipes.windows import draw_batch, step_loss
from support.tiny import render
from support.training import HELD_OUT, configured, quiet


def refused(config):
    """The error with which a run is refused, nothing of which has begun."""
    with pytest.raises(ArvdmError) as caught:
        train(config, False, quiet)
    assert caught.value.code == 2, caught.value
    return str(caught.value)


@pytest.mark.parametrize("context", [0, 1, 3, 4, 6, 7, 8, 12])
def test_a_short_context_trains_to_the_end_on_frames_of_the_networks_own(data, tmp_path, context):
    sampling = Sampling("outpainting", {"chunk": 8, "steps": 1}, slots=2, context=context)
    config = configured(data, tmp_path / "run", early=0.25, own_frames=1.0, sampling=sampling)
    assert train(config, False, quiet) == tmp_path / "run" / "checkpoint"


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"groups": (0, 40)}, ["40 groups of 4 frames", "(groups)", "128 frames"]),
        ({"clip_frames": 200}, ["128 frames", "windows"]),
        ({"windows": (1, 129), "clip_frames": 1}, ["129 of windows"]),
        ({"contexts": (0, 128)}, ["128 frames of context"]),
    ],
)
def test_clips_that_no_episode_holds_are_refused_before_the_codec_is_trained(data, tmp_path, chosen, named):
    message = refused(configured(data, tmp_path / "run", **chosen))
    assert all(name in message for name in named), message
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        (Sampling("outpainting", {"chunk": 8, "steps": 1}, slots=2, group=2), ["group is 2", "4 under [network]"]),
        (Sampling("outpainting", {"chunk": 8, "steps": 1}, slots=2, context=120), ["120 frames of context"]),
        (Sampling("nothing", slots=2), ["nothing"]),
        (Sampling("fifo", {"lag": 3}, slots=2), ["lag"]),
    ],
)
def test_sampling_that_the_validation_or_own_frames_could_not_use_is_refused(data, tmp_path, sampling, named):
    message = refused(configured(data, tmp_path / "run", sampling=sampling))
    assert all(name in message for name in named), message


def test_memory_asked_of_a_network_without_any_is_refused_and_without_it_the_network_trains(data, tmp_path):
    config = configured(data, tmp_path / "run")
    config = replace(config, network=replace(config.network, fusion="none"))
    assert "slots is 2" in refused(config)
    train(replace(config, sampling=replace(config.sampling, slots=0), early=0.0), False, quiet)


def test_a_codec_whose_latents_are_not_the_networks_is_refused(data, tmp_path):
    config = configured(data, tmp_path / "run")
    assert "latents" in refused(replace(config, codec=replace(config.codec, channels=3)))
    assert "codec_steps is 0" in refused(replace(config, codec_steps=0))


@pytest.mark.parametrize("device", ["nonsense", "cuda:77"])
def test_a_device_that_is_not_here_is_refused(data, tmp_path, device):
    with pytest.raises(UsageError, match=device):
        train(configured(data, tmp_path / "run", device=device), False, quiet)


NUMBERS = ["steps", "every", "frames", "early", "clip_frames", "revisit", "lr", "matrix_lr", "ema", "decay", "warmup",
           "clip", "held_out", "codec_steps", "codec_batch", "codec_lr", "level_std", "context_noise", "own_frames",
           "drop_actions", "pure_noise", "turn", "trunk_lr", "seed", "threads"]  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_number_beyond_its_limits_is_refused_by_its_name_and_value(name, value):
    value = type(getattr(TrainConfig(), name))(value) if value == -1 else value
    with pytest.raises(ConfigError, match=f"^{name} is {value}"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("windows", (0, 1)), ("contexts", (-1,)), ("groups", ()), ("windows", ())])
def test_a_list_of_which_an_item_is_beyond_the_limits_or_that_is_empty_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is "):
        TrainConfig(**{name: value})


def test_a_list_of_items_of_another_type_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text("windows = [1.5]")
    with pytest.raises(ConfigError, match=r"windows holds 1\.5, not int"):
        configure(tmp_path / "run.toml")


def test_episodes_of_one_frame_are_refused(tmp_path):
    data = render(tmp_path / "data", 3, 1)
    assert "1 frame" in refused(configured(data, tmp_path / "run", contexts=(0,), windows=(1,), clip_frames=1))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Short episodes whose latents are noise."""
    folder = render(tmp_path_factory.mktemp("short") / "data", 3, 24)
    episodes = Episodes(read_all([folder]), HELD_OUT)
    episodes.latents = np.random.default_rng(0).standard_normal((3, 24, 2, 4, 4)).astype(np.float32)
    return folder, episodes


small = st.integers(0, 9)


@given(
    st.lists(small, min_size=1, max_size=3), st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.lists(st.integers(0, 5), min_size=1, max_size=2), st.integers(1, 20), small, st.integers(1, 3),
    st.sampled_from(["none", "prepend", "channel-concat"]), st.integers(0, 99),
)  # fmt: skip
def test_whatever_is_not_refused_has_a_loss_at_every_step(
    short, contexts, windows, groups, clip_frames, context, group, fusion, step
):
    folder, episodes = short
    config = configured(
        folder, "", contexts=tuple(contexts), windows=tuple(windows), groups=tuple(groups), clip_frames=clip_frames,
        early=0.3, steps=100, own_frames=0.5,
        sampling=Sampling("outpainting", {"chunk": 2, "steps": 1}, slots=0, context=context, group=group),
    )  # fmt: skip
    config = replace(config, network=replace(config.network, group=group, fusion=fusion))
    try:
        check(config, episodes)
    except ConfigError:
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VideoDiT(config.network)
    batch = draw_batch(config, episodes, 1 + step, group=group_of(network))
    assert torch.isfinite(step_loss(network, config, batch, torch.device("cpu")))


def test_clips_that_just_fit_are_not_refused(short):
    folder, episodes = short
    config = configured(folder, "", contexts=(4,), windows=(8,), groups=(3,), clip_frames=12, own_frames=0.0)
    check(config, episodes)
    with pytest.raises(ConfigError, match="25 frames"):
        check(replace(config, contexts=(5,), clip_frames=13), episodes)


# Data without actions


class Still:
    """Episodes that nobody acts in."""

    fps, names = 10.0, ()

    def __init__(self, part):
        self.frames, self.poses = part.frames, part.poses
        self.actions = np.zeros((*part.frames.shape[:2], 0), np.float32)


def test_data_without_actions_trains_a_model_without_actions(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "read_all", lambda folders: {str(data): Still(read_all([data])[str(data)])})
    train(configured(data, tmp_path / "run", early=0.0, own_frames=0.5), False, quiet)
    model = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert model.actions == () and model.network.config.actions == 0 and model.network.config.moves == ()


def test_a_codec_of_other_frames_is_refused(data, tmp_path):
    codec = CodecConfig(channels=2, height=64, width=64, fine=8, coarse=8)
    assert "32x32" in refused(replace(configured(data, tmp_path / "run"), codec=codec))
