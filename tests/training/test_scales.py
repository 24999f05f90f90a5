"""Actions in any unit train the same network: each is divided by its size in the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.errors import ArvdmWarning
from arvdm_cli.hub import checkpoint
from arvdm_cli.models.codec import CodecConfig
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.generation import begin, choose, generate, given
from arvdm_cli.training.check import fitted
from arvdm_cli.training.config import TrainConfig
from arvdm_cli.training.loop import train
from arvdm_cli.training.scales import action_scales
from arvdm_cli.training.validation import decibels
from support.clips import moving_squares, write_clips
from support.training import configured, quiet


def scales(folder, held_out=1):
    return action_scales(Episodes(read_all([folder]), held_out))


def acting(folder, actions, names="ab"):
    """Episodes of black frames with these actions (n, f, a)."""
    actions = np.asarray(actions, np.float32)
    return write_clips(folder, np.zeros((*actions.shape[:2], 16, 16, 3), np.uint8), actions, names)


def test_a_scale_is_the_99th_percentile_of_absolute_values_that_are_not_0(tmp_path):
    steering = np.linspace(-40, 40, 801)
    jump = np.where(np.arange(801) % 400 == 3, 5000, 3)  # rare, so it does not count
    rows = np.stack((steering, jump), -1)
    assert scales(acting(tmp_path / "data", [rows, rows])) == (40.0, 3.0)


def test_buttons_have_no_scales_and_beside_continuous_actions_have_1(tmp_path):
    buttons = np.eye(2)[np.random.default_rng(0).integers(0, 2, (3, 50))]
    assert scales(acting(tmp_path / "buttons", buttons)) == ()
    both = np.concatenate((buttons, 0.25 * np.ones((3, 50, 1)), np.zeros((3, 50, 1))), -1)
    assert scales(acting(tmp_path / "both", both, "abcd")) == (1.0, 1.0, 0.25, 1.0)  # one is never used


def test_held_out_episodes_do_not_set_a_scale(tmp_path):
    rows = np.ones((3, 20, 2)) * np.array([2, 2, 900])[:, None, None]
    assert scales(acting(tmp_path / "data", rows)) == (2.0, 2.0)


def test_scales_that_were_written_or_trained_with_are_kept(tmp_path):
    episodes = Episodes(read_all([moving_squares(tmp_path / "data")]), 1)
    new = replace(TrainConfig(), network=DiTConfig(actions=2))
    assert fitted(new, episodes).network.action_scales == (8.0, 8.0)
    assert fitted(new, episodes, ()).network.action_scales == ()
    assert fitted(new, episodes, (3.0, 1.0)).network.action_scales == (3.0, 1.0)
    written = replace(new, network=replace(new.network, action_scales=(5.0, 6.0)))
    assert fitted(written, episodes, (3.0, 1.0)).network.action_scales == (5.0, 6.0)


def run_of(data, out, **chosen):
    config = configured(data, out, early=0.0, groups=(0, 2), clip_frames=8, windows=(1, 4), **chosen)
    network = replace(config.network, width=6, actions=2, moves=())
    return replace(config, network=network, codec=replace(config.codec, width=48))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run of a network on actions in pixels."""
    folder = tmp_path_factory.mktemp("pixels")
    train(run_of(moving_squares(folder / "data"), folder / "run"), False, quiet)
    return folder / "run"


def test_actions_in_another_unit_train_to_the_same_bits(trained, tmp_path):
    unit = 0.25  # a power of two, so that no rounding differs
    train(run_of(moving_squares(tmp_path / "data", unit=unit), tmp_path / "run"), False, quiet)
    one, other = (checkpoint.load(folder / "checkpoint") for folder in (trained, tmp_path / "run"))
    assert one.network.config.action_scales == (8.0, 8.0) and other.network.config.action_scales == (2.0, 2.0)
    weights = other.network.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in one.network.state_dict().items())
    window, levels, actions = torch.randn(1, 3, 2, 4, 6), torch.full((1, 3), 0.5), torch.randn(1, 3, 2)
    answers = []
    for model, taken in ((one, actions), (other, unit * actions)):
        past = model.network.encode_context(
            torch.zeros(1, 1, 2, 4, 6), torch.zeros(1, 1), torch.zeros(1, 1, 2), torch.zeros(1, 3), None
        )
        answers.append(model.network(window, levels, taken, past))
    assert torch.equal(*answers)


def test_a_run_that_is_resumed_says_that_the_data_has_grown_and_keeps_its_scales(trained, tmp_path):
    data = moving_squares(tmp_path / "data", episodes=7, unit=16.0)
    config = run_of(data, trained, steps=6)
    with pytest.warns(ArvdmWarning, match="the data has 7 episodes and had 6 when this run was saved"):
        train(config, True, quiet)
    assert checkpoint.load(trained / "checkpoint").network.config.action_scales == (8.0, 8.0)


@pytest.mark.slow
def test_a_model_follows_continuous_actions_after_a_short_training(tmp_path):
    data = moving_squares(tmp_path / "data", 40, 30, 16, 24, unit=0.01)
    config = configured(
        data, tmp_path / "run",
        steps=400, codec_steps=100, codec_batch=32, every=1000, frames=48, held_out=8, early=1.0,
        contexts=(2, 4), windows=(1, 4), ema=0.98, warmup=20, codec=CodecConfig(16, 16, 24, 16, 32, linear=True),
        network=DiTConfig(16, 2, 3, 1, 64, 2, actions=2, fusion="none"),
        sampling=Sampling("outpainting", {"chunk": 4, "steps": 4}, slots=0),
    )  # fmt: skip
    model = checkpoint.load(train(config, False, quiet))
    episodes = Episodes(read_all([data]), 8)
    clip, actions = episodes.frames(episodes.held_out, slice(5)), episodes.one_hot(episodes.held_out)[:, :5]

    def first_frame(taken):
        plan = choose(model.sampling)
        state = begin(model, plan, clip[:, :4], actions[:, :4])
        made = torch.cat(list(generate(model, plan, state, given(taken[:, 4:]), seed=0, length=1)), 1)
        return decibels(made, clip[:, 4:]).mean()

    with torch.no_grad():
        true = first_frame(actions)
        assert true > first_frame(actions.roll(1, 0)) + 1 and true > first_frame(0 * actions) + 1
    assert true > decibels(clip[:, 3:4], clip[:, 4:]).mean() + 1
