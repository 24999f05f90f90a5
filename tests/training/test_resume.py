"""A run that a signal stops has saved its state, in either phase, and resumes to the weights of an unbroken one."""

import json
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from arvdm_cli.data.array_folder import lock
from arvdm_cli.errors import CheckpointError, ConfigError, OutputBusyError
from arvdm_cli.hub import checkpoint
from arvdm_cli.training import trainer
from arvdm_cli.training.codec import CodecTrainer
from arvdm_cli.training.events import truncate
from arvdm_cli.training.loop import train
from arvdm_cli.training.state import CodecProgress, TrainState
from arvdm_cli.training.trainer import Trainer
from support.training import Stopped, configured, quiet, stopped

LONG = {"codec_steps": 7, "steps": 45, "every": 15}


def config_of(data, out, linear=False):
    config = configured(data, out, **LONG)
    return replace(config, codec=replace(config.codec, linear=linear))


@pytest.fixture(scope="module", params=[False, True], ids=["convolutions", "linear codec"])
def unbroken(request, data, tmp_path_factory):
    """A finished run: its folder, and whether its codec has a linear part."""
    out = tmp_path_factory.mktemp("unbroken")
    train(config_of(data, out, request.param), False, quiet)
    return out, request.param


def cut_short(monkeypatch, config, owner, name, at):
    """The events of a run that Ctrl-C stops in the middle of a method or function, the `at`-th time it is called."""
    original, calls, events = getattr(owner, name), [], []

    def interrupted(*args, **options):
        calls.append(None)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, False, events.append)
    return events


def same(one, other):
    """Whether two runs ended with the same weights and measurements, times aside."""
    states = [TrainState.load(folder / "state.pt") for folder in (one, other)]
    weights = all(
        torch.equal(weight, getattr(states[1], part)[name])
        for part in ("codec", "network", "average")
        for name, weight in getattr(states[0], part).items()
    )
    return weights and states[0].running == states[1].running and lines(one) == lines(other)


def lines(run):
    """What a run has measured, times and the encoding aside, which others may have done."""
    events = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [event | {"seconds": 0} for event in events if event["event"] != "encode"]


PLACES = {
    "in a step of the codec": (CodecTrainer, "step", 4, ("codec", 4)),
    "in the first step of the codec": (CodecTrainer, "step", 1, ("codec", 1)),
    "in a step of the network": (trainer, "step_loss", 8, ("network", 7)),
    "as the weights are averaged": (Trainer, "_average", 8, ("network", 8)),
    "at a report": (Trainer, "_average", 20, ("network", 20)),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_signal_stops_a_run_that_resumes_to_the_weights_and_measurements_of_an_unbroken_one(
    unbroken, data, tmp_path, monkeypatch, place
):
    whole, linear = unbroken
    owner, name, at, where = PLACES[place]
    events = cut_short(monkeypatch, config_of(data, tmp_path / "run", linear), owner, name, at)
    assert events[-1].name == "stopped" and (events[-1].phase, events[-1].step) == where
    state = TrainState.load(tmp_path / "run" / "state.pt")
    assert where == ("network", state.step) if state.codec_training is None else ("codec", state.codec_training.step)
    train(config_of(data, tmp_path / "run", linear), True, quiet)
    assert same(whole, tmp_path / "run")


def test_a_run_stopped_in_the_network_leaves_a_checkpoint_of_that_step(data, tmp_path, monkeypatch):
    cut_short(monkeypatch, config_of(data, tmp_path / "run"), trainer, "step_loss", 4)
    assert checkpoint.load(tmp_path / "run" / "checkpoint").card["training"]["steps"] == 3


def test_a_signal_before_anything_is_worth_saving_leaves_no_state(data, tmp_path, monkeypatch):
    cut_short(monkeypatch, config_of(data, tmp_path / "run"), CodecTrainer, "__init__", 1)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_the_codecs_state_is_saved_as_often_as_the_networks(data, tmp_path):
    events = []
    train(configured(data, tmp_path / "run", codec_steps=7, every=3, steps=0), False, events.append)
    saved = [(event.phase, event.step) for event in events if event.name == "saved"]
    assert saved == [("codec", 3), ("codec", 6), ("network", 0)]


def test_a_folder_that_another_run_writes_is_refused(data, tmp_path):
    with lock(tmp_path / "run"), pytest.raises(OutputBusyError):
        train(config_of(data, tmp_path / "run"), False, quiet)


def test_a_codec_that_is_resumed_with_fewer_steps_is_done(data, tmp_path, monkeypatch):
    cut_short(monkeypatch, config_of(data, tmp_path / "run"), CodecTrainer, "step", 5)
    events = []
    train(replace(config_of(data, tmp_path / "run"), codec_steps=2, steps=1), True, events.append)
    assert not [event for event in events if event.name == "codec"]


# States of other versions, and of other runs


@pytest.mark.parametrize("saved", ["after the codec", "in the network"])
def test_a_state_of_an_earlier_version_resumes_to_the_weights_of_an_unbroken_run(unbroken, data, tmp_path, saved):
    """It is a dictionary without `codec_training`, of tensors of other names; after the codec it has nothing else."""
    whole, linear = unbroken
    config, out = config_of(data, tmp_path / "run", linear), tmp_path / "run"
    train(replace(config, steps=15) if saved == "after the codec" else config, False, quiet)
    state = torch.load(out / "state.pt", weights_only=True)
    if saved == "in the network":  # as it was at step 30, by way of a run that was stopped there
        shutil.rmtree(out)
        with pytest.raises(Stopped):
            train(config, False, stopped("held-out", 30))
        state = torch.load(out / "state.pt", weights_only=True)
    keys = ("codec", "network", "average", "optimizers", "step", "seconds", "running", "elapsed", "over")
    old = {key: state[key] for key in (keys if saved == "in the network" else keys[:1])}
    for part in {"network", "average"} & old.keys():
        old[part] = {name.replace("modulation.", "drive."): weight for name, weight in old[part].items()}
    torch.save(old, out / "state.pt")
    train(config, True, quiet)
    assert same(whole, out)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [({"dim": 128}, "another network"), ({"depth": 2}, "another network"), ({"fusion": "cross-attention"}, "network")],
)
def test_a_state_of_another_network_is_refused(unbroken, data, tmp_path, chosen, says):
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    config = config_of(data, out, unbroken[1])
    with pytest.raises(CheckpointError, match=says) as caught:
        train(replace(config, steps=90, network=replace(config.network, **chosen)), True, quiet)
    assert "--resume" in caught.value.hint


def test_a_state_of_another_codec_is_refused(unbroken, data, tmp_path):
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    config = config_of(data, out, not unbroken[1])
    with pytest.raises(CheckpointError, match="another codec"):
        train(replace(config, steps=90), True, quiet)


@pytest.mark.parametrize("content", [[], {"step": 3}, {"codec": {}, "unknown": 1}, {"codec": {}, "codec_training": {}}])
def test_what_is_no_state_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="is not the state of a run"):
        TrainState.load(tmp_path / "state.pt")


def test_without_a_state_there_is_nothing_to_resume_and_the_metrics_stay(data, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("kept\n")
    with pytest.raises(ConfigError, match=r"state\.pt is missing"):
        train(config_of(data, tmp_path), True, quiet)
    assert (tmp_path / "metrics.jsonl").read_text() == "kept\n"


# Measurements


LINES = [
    {"event": "codec", "step": 100}, {"event": "codec", "step": 200}, {"event": "encode", "step": 0},
    {"event": "step", "step": 20}, {"event": "held-out", "step": 20}, {"event": "step", "step": 40},
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (TrainState({}, CodecProgress(150, 0.0, [], "", [])), 1),
        (TrainState({}), 3),
        (TrainState({}, step=20), 5),
        (TrainState({}, step=39), 5),
        (TrainState({}, step=40), 6),
    ],
)
def test_metrics_are_cut_back_to_the_state_that_a_run_resumes_from(tmp_path, state, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"event": "step", "st')
    truncate(path, state)
    assert [json.loads(line) for line in path.read_text().splitlines()] == LINES[:kept]
