"""Networks of one's own: what training asks of them, and where they are found."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import pytest
import torch
from torch import nn

from arvdm_cli import models
from arvdm_cli.errors import CheckpointError, ConfigError
from arvdm_cli.hub import checkpoint
from arvdm_cli.models import Architecture
from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.training.config import configure
from arvdm_cli.training.loop import train
from arvdm_cli.training.network import find_architecture, hidden_matrices, memory_weights
from arvdm_cli.training.optimizers import optimizers
from arvdm_cli.training.state import TrainState
from support.paths import TESTS
from support.tiny import SHAPE, model, network
from support.training import configured, quiet


@dataclass(frozen=True)
class ConvConfig:
    """Shape of a Conv."""

    channels: int = 2
    height: int = 4
    width: int = 4
    actions: int = 5
    features: int = 32  # of its hidden layer


@dataclass(frozen=True)
class Last:
    """The frame before a window."""

    frame: torch.Tensor
    frames: int

    def drop(self, frames):
        return None


class Conv(nn.Module):
    """Predict each frame from itself, its level, its action and the clean frame before the window; no memory."""

    def __init__(self, config: ConvConfig):
        super().__init__()
        self.config = config
        self.enter = nn.Conv2d(2 * config.channels + 1 + config.actions, config.features, 3, padding=1)
        self.hidden = nn.Conv2d(config.features, config.features, 1)
        self.leave = nn.Conv2d(config.features, config.channels, 1)

    def integrate_actions(self, actions, origin):
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)

    def encode_context(self, context, levels, actions, origin, *, past=None):
        before = past.frame if past else context.new_zeros(context.shape[0], 1, *context.shape[2:])
        return Last(torch.cat((before, context), 1)[:, -1:], context.shape[1])

    def advance(self, past, frames, actions):
        return Last(frames[:, -1:], past.frames + frames.shape[1])

    def forward(self, window, levels, actions, past):
        return self.predict(window, levels, actions, past.frame.expand_as(window))

    def predict(self, window, levels, actions, last):
        facts = torch.cat((levels.unsqueeze(2), actions), 2)[..., None, None]
        x = torch.cat((window, last, facts.expand(*facts.shape[:3], *window.shape[3:])), 2)
        x = self.leave(torch.relu(self.hidden(torch.relu(self.enter(x.flatten(0, 1))))))
        return x.unflatten(0, window.shape[:2])

    def forward_windows(self, clean, reported, noisy, levels, actions, origin, memory, size):
        first = clean.shape[1] - noisy.shape[1]
        padded = torch.cat((torch.zeros_like(clean[:, :1]), clean), 1)
        last = padded[:, first : clean.shape[1] : size].repeat_interleave(size, 1)
        return self.predict(noisy, levels, actions[:, first:], last)


ARCHITECTURE = Architecture("conv", ConvConfig, Conv, CodecConfig, Codec, Last)
NO_MEMORY = Sampling("outpainting", {"chunk": 2, "steps": 1}, slots=0, context=4)


def conv(data, out, **chosen):
    """A run of a Conv."""
    path = f"{__name__}:ARCHITECTURE"
    shape = {"architecture": path, "network": ConvConfig(), "sampling": NO_MEMORY, "early": 0.0, "own_frames": 0.5}
    return configured(data, out, **(shape | chosen))


@pytest.fixture
def installed(monkeypatch):
    """A package that offers the Conv."""
    monkeypatch.setattr(EntryPoint, "load", lambda self: ARCHITECTURE)
    point = EntryPoint("conv", f"{__name__}:ARCHITECTURE", models.GROUP)
    monkeypatch.setattr(models, "entry_points", lambda group: [point])


def test_a_network_of_ones_own_trains_validates_and_is_saved_and_a_load_without_it_names_what_is_missing(
    data, tmp_path
):
    events = []
    train(conv(data, tmp_path / "run"), False, events.append)
    assert [event.step for event in events if event.name == "held-out"] == [2, 4]
    config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    assert config["model"] == "conv" and config["network"]["features"] == 32  # and no path to import
    with pytest.raises(CheckpointError, match="'conv', and no installed package offers it") as caught:
        checkpoint.load(tmp_path / "run" / "checkpoint")
    assert models.GROUP in caught.value.hint


def test_installed_as_an_entry_point_it_loads_is_found_by_its_name_and_starts_another_run(data, tmp_path, installed):
    train(conv(data, tmp_path / "run", architecture="conv"), False, quiet)
    model = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert type(model.network) is Conv
    checkpoint.save(model, tmp_path / "copy")
    again = conv(data, tmp_path / "again", architecture="conv", start=str(tmp_path / "copy"), steps=1, lr=0.0)
    train(replace(again, matrix_lr=0.0), False, quiet)
    state, weights = TrainState.load(tmp_path / "again" / "state.pt"), model.network.state_dict()
    assert all(torch.equal(weight, state.network[name]) for name, weight in weights.items())


def test_a_run_of_it_that_was_resumed_is_one_that_was_not(data, tmp_path):
    train(conv(data, tmp_path / "whole"), False, quiet)
    train(conv(data, tmp_path / "run", steps=2, decay=0.0), False, quiet)
    whole, part = (TrainState.load(tmp_path / name / "state.pt") for name in ("whole", "run"))
    assert part.step == 2 and whole.step == 4
    train(conv(data, tmp_path / "run"), True, quiet)
    assert TrainState.load(tmp_path / "run" / "state.pt").step == 4


def test_by_shape_muon_trains_what_is_wide_on_both_sides_and_a_network_may_say_itself():
    assert hidden_matrices(Conv(ConvConfig())) == {"enter.weight", "hidden.weight"}
    assert memory_weights(Conv(ConvConfig())) == ()
    dit = network()
    assert hidden_matrices(dit) == dit.hidden_matrices() and memory_weights(dit) == dit.memory_weights()
    assert all("blocks" in name for name in hidden_matrices(dit))


@pytest.mark.parametrize("features", [4, 32])
def test_every_weight_has_one_optimizer_also_where_none_is_a_matrix(data, features):
    made = Conv(ConvConfig(features=features))
    groups = [group for one in optimizers(conv(data, ""), made, torch.device("cpu")) for group in one.param_groups]
    assert sorted(id(weight) for group in groups for weight in group["params"]) == sorted(map(id, made.parameters()))


def test_a_training_file_names_a_network_by_module_and_its_table_is_that_networks(tmp_path, monkeypatch):
    (tmp_path / "run.toml").write_text(f'architecture = "{__name__}:ARCHITECTURE"\n[network]\nfeatures = 8\n')
    assert configure(tmp_path / "run.toml").network == ConvConfig(features=8)
    with pytest.raises(ConfigError, match=r"\[network\] has an unknown key 'feature'") as caught:
        configure(tmp_path / "run.toml", network={"feature": 3})
    assert "'features'" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("convolution", "'convolution'"),
        ("no_such_module:NAME", "no_such_module"),
        (f"{__name__}:NOTHING", "NOTHING"),
        (f"{__name__}:Conv", "not an Architecture"),
        (":", "cannot be imported"),
        ("oasis", "forward_windows"),
    ],
)
def test_a_name_that_leads_to_no_network_that_trains_is_named(name, says):
    with pytest.raises(ConfigError, match=says):
        find_architecture(name)


def test_a_checkpoint_imports_no_module_whatever_its_config_names(tmp_path):
    """Neither as `model` nor as `architecture`, and not while a run starts from it."""
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\n")
    (tmp_path / "run.toml").write_text('data = "data"\nstart = "bad"\ndistill = "bad"\n' + SHAPE)
    script = """
import json, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from arvdm_cli.errors import ArvdmError
from arvdm_cli.hub import checkpoint
from arvdm_cli.training.config import configure
from arvdm_cli.training.loop import train
from support.checkpoints import vouch
from support.tiny import model, render
render(Path("data"), 2, 32)
checkpoint.save(model(), Path("bad"))
config = json.loads(Path("bad/config.json").read_text())
for key in ("model", "architecture"):
    for name in ("evil:ARCHITECTURE", "evil"):
        Path("bad/config.json").write_text(json.dumps(config | {{key: name}}))
        vouch(Path("bad"))
        config_ = configure(Path("run.toml"), held_out=1, steps=0)
        for use in (lambda: checkpoint.load(Path("bad")), lambda: train(config_, False, print)):
            try:
                use()
                assert key == "architecture", "it was loaded"
            except ArvdmError:
                pass
print("evil" in sys.modules or Path("ran").exists())
"""
    done = subprocess.run(
        [sys.executable, "-c", script.format(tests=str(TESTS))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr


def test_a_network_without_parameters_and_of_no_architecture_is_refused_by_name_as_it_is_saved(tmp_path):
    class Nothing(nn.Module):
        config = ConvConfig()

    with pytest.raises(ConfigError, match="Nothing is not the network of an architecture"):
        checkpoint.save(replace(model(), network=Nothing()), tmp_path)
    checkpoint.save(replace(model(), network=Nothing()), tmp_path, kind=replace(ARCHITECTURE, network=Nothing))
    assert (tmp_path / "model.safetensors").exists()
