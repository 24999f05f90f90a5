"""A small training: its configuration, its run file, and how it is stopped and read."""

import json
from dataclasses import replace

from arvdm_cli.models.codec import CodecConfig
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.sampling.state import Sampling
from arvdm_cli.training.config import TrainConfig
from support.tiny import MOVES, SHAPE

EPISODES, HELD_OUT, FRAMES = 4, 1, 128

# A run file whose codec and network have the same shapes
TRAIN = (
    """
data = "data"
out = "run"
steps = 40
every = 20
codec_steps = 1
codec_batch = 2
held_out = 1
frames = 24
groups = [0, 2]
device = "cpu"
"""
    + SHAPE
    + """
[sampling]
options = { chunk = 8, steps = 1 }
slots = 2
"""
)


def configured(data, out, **chosen):
    """A run of four steps on a data folder."""
    return replace(
        TrainConfig(
            data=(str(data),),
            out=str(out),
            name="tiny",
            codec_steps=2,
            codec_batch=2,
            steps=4,
            every=2,
            frames=24,
            groups=(0, 2),
            held_out=HELD_OUT,
            device="cpu",
            codec=CodecConfig(channels=2, height=32, width=32, fine=8, coarse=8, decoder_blocks=1),
            network=DiTConfig(
                channels=2, height=4, width=4, dim=64, depth=1, condition=16, memory_tokens=4, moves=MOVES
            ),
            sampling=Sampling("outpainting", {"chunk": 8, "steps": 1}, slots=2),
            card={"licence": "MIT"},
        ),
        **chosen,
    )


def quiet(event):
    """A report that says nothing."""


class Stopped(Exception):
    """What `stopped` raises."""


def stopped(event, step):
    """A report that ends a run at an event."""

    def report(told):
        if told.name == event and told.step == step:
            raise Stopped

    return report


def losses(run):
    """The loss of every step that a run has written down."""
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {event["step"]: event["loss"] for event in events if event["event"] == "step"}
