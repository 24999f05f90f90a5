"""What the tests of this folder share."""

import pytest

from arvdm_cli.training.events import Event
from arvdm_cli.training.loop import train
from support.tiny import render
from support.training import EPISODES, FRAMES, configured


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return render(tmp_path_factory.mktemp("data") / "maze", EPISODES, FRAMES)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run: its folder, and the events it told."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    events: list[Event] = []
    train(configured(data, out), False, events.append)
    return out, events
