"""The training file that fits a data set, a machine and a wanted time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...configs import Json, fill, merge
from ..config import TrainConfig
from ..network import find_architecture
from . import sizes
from .facts import DataFacts
from .rate import LEAST_EVERY, VALIDATIONS, Rate, Steps, plan_steps
from .sizes import GROUP, MEASURED, Size

Measure = Callable[[TrainConfig], Rate]
SPARE = 2  # times as many steps as are planned may be taken
SCHEDULE = {"schedule": "next-frame", "options": {"steps": 2}}  # a small network follows motion best frame by frame


@dataclass(frozen=True)
class Plan:
    """A run that fits: the values of its training file, and the rate of the machine."""

    values: Json
    config: TrainConfig
    rate: Rate


def plan(
    data: DataFacts, hours: float, measure: Measure, chosen: Mapping[str, object] | None = None, device: str = "cpu"
) -> Plan:
    """Choose sizes by the data and by how much a network sees in the wanted time; then as many steps as fit it.

    measure: the rate of a run on this machine
    chosen: values that the user sets, above all others
    device: kind of device, cpu or cuda
    Raises: ConfigError where nothing fits the data, or a chosen value does not
    """
    chosen = chosen or {}

    def draft(size: Size) -> tuple[Json, TrainConfig]:
        values = merge(layout(data, size, device), chosen)
        return values, configured(values)

    values, config = draft(MEASURED)
    rate = measure(config)
    frames = plan_steps(config, rate, data.frames, hours).network * config.frames
    size = sizes.choose_size(data, frames)
    if draft(size)[1] != config:
        values, config = draft(size)
        rate = measure(config)
    steps = plan_steps(config, rate, data.frames, hours)
    values = merge(merge(values, timing(steps, hours)), chosen)
    return Plan(values, configured(values), rate)


def configured(values: Json) -> TrainConfig:
    """The config of values in the form of a training file."""
    name = values.get("architecture", TrainConfig.architecture)
    tables = {"network": find_architecture(name).network_config} if isinstance(name, str) else {}
    return fill(TrainConfig, {"network": {}, **values}, "the plan", tables)


def limits(steps: Steps, hours: float) -> Json:
    """Keys of a training file that end its run in time; on a machine that turns out faster, after more steps."""
    return {"minutes": float(f"{60 * hours:.4g}"), "codec_steps": steps.codec, "steps": SPARE * steps.network}


def timing(steps: Steps, hours: float) -> Json:
    """Keys of a training file that follow from the number of steps."""
    return {
        **limits(steps, hours),
        "every": max(LEAST_EVERY, -(-steps.network // VALIDATIONS)),
        "warmup": min(100, steps.network // 10),
        "ema": round(min(0.999, max(0.9, 1 - 5 / steps.network)), 4),
    }


def layout(data: DataFacts, size: Size, device: str) -> Json:
    """Values of a training file that follow from the data and a size."""
    patch = sizes.choose_patch(data.grid)
    tokens = sizes.tokens_of(data.grid, patch)
    clips = sizes.choose_clips(data.length)
    rows, columns = data.grid
    return {
        "name": data.name,
        "data": data.folders[0] if len(data.folders) == 1 else list(data.folders),
        "out": f"runs/{data.name}",
        "held_out": sizes.choose_held_out(data),
        "minutes": 0.0,
        "every": 1,
        "codec_steps": 1,
        "codec_batch": sizes.choose_codec_batch(data.height * data.width, device),
        "steps": 1,
        "warmup": 0,
        "ema": 0.9,
        "frames": sizes.choose_batch(tokens, device),
        "clip_frames": clips.clip_frames,
        "contexts": list(clips.contexts),
        "windows": list(clips.windows),
        "groups": list(clips.groups),
        "early": 0.4,
        "own_frames": clips.own_frames,
        "revisit": 0.5 if data.returns and clips.slots else 0.0,
        "turn": 0.3 if data.returns else 0.0,
        "codec": {
            "channels": size.channels,
            "height": data.height,
            "width": data.width,
            "fine": size.fine,
            "coarse": size.coarse,
            "linear": True,
        },
        "network": {
            "channels": size.channels,
            "height": rows,
            "width": columns,
            "patch": patch,
            "dim": size.dim,
            "depth": size.depth,
            "actions": len(data.names),
            "fusion": "prepend" if clips.slots else "none",
            "group": GROUP,
            "memory_tokens": sizes.memory_tokens(tokens),
        },
        "sampling": {**SCHEDULE, "context": clips.context, "slots": clips.slots, "group": GROUP},
        "card": {
            "actions": list(data.names),
            "fps": data.fps,
            "data": f"{data.episodes} episodes of {data.length} frames from {data.name}",
        },
    }
