"""How long steps take on this machine, measured on the settings of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ...configs import Json
from ...device import peak_memory_mb
from ..codec import CodecTrainer
from ..config import TrainConfig
from ..loop import Parts, prepare
from ..optimizers import autocast
from ..recipes import draw_batch
from ..scales import scales_of
from ..trainer import Trainer

SECONDS = 3.0  # for which steps of one kind are repeated, once the first is over
MOST = 8  # of them
ENCODED = 32  # frames that are encoded at once to see how long that takes
LONG = 10**6  # steps of a run that is measured: none of its learning rates is that of an end


@dataclass(frozen=True)
class Rate:
    """Seconds that parts of a run take, what it trains, and the memory that this took."""

    codec_step: float  # 0 where the codec is that of a checkpoint
    encode: float  # a frame
    early_step: float  # of the network, without memory and own frames
    late_step: float  # of the network, with them
    codec_parameters: int
    network_parameters: int
    memory_mb: int | None  # the most that this process held; None where the system does not report it
    device: str
    action_scales: tuple[float, ...] = ()  # of the network, as the data sets them

    def network_step(self, early: float) -> float:
        """A step of the network, over a run of which a share is early."""
        return early * self.early_step + (1 - early) * self.late_step


def measure(config: TrainConfig, seconds: float = SECONDS) -> Rate:
    """Take a few steps of a run's codec and network on its own data and settings, and forget them.

    seconds: for which steps of a kind are repeated
    Raises: what the run itself raises before its first step
    """
    parts = prepare(replace(config, codec_steps=LONG if config.codec_steps else 0, steps=LONG))
    codec_step, encode = time_codec(parts, seconds)
    early, late = time_network(parts, seconds)
    return Rate(
        codec_step=codec_step,
        encode=encode,
        early_step=early,
        late_step=late,
        codec_parameters=count_parameters(parts.codec),
        network_parameters=count_parameters(parts.network),
        memory_mb=peak_memory_mb(parts.device),
        device=str(parts.device),
        action_scales=scales_of(parts.config.network),
    )


def time_codec(parts: Parts, seconds: float) -> tuple[float, float]:
    """Seconds of a step of the codec, 0 where it is not trained, and of encoding a frame."""
    step = 0.0
    if parts.trains_codec:
        trainer = CodecTrainer(parts.config, parts.codec, parts.episodes, parts.device)
        step = time_steps(lambda number: trainer.step(), seconds, parts.device)
        trainer.finish()
    codec, count = parts.codec.eval(), min(ENCODED, parts.episodes.pictures.shape[1])

    @torch.no_grad()
    def encode(number: int) -> None:
        frames = parts.episodes.frames(parts.episodes.train[:1], slice(count)).to(parts.device)
        with autocast(parts.config, parts.device):
            codec.encode(frames)

    return step, time_steps(encode, seconds / 4, parts.device) / count


def time_network(parts: Parts, seconds: float) -> tuple[float, float]:
    """Seconds of a step of the network early in a run, and late, on random latents."""
    config, episodes = parts.config, parts.episodes
    codec = parts.codec.config
    noise = np.random.default_rng(0).standard_normal((1, 1, codec.channels, *codec.grid)).astype(np.float16)
    episodes.latents = np.broadcast_to(noise, (*episodes.pictures.shape[:2], *noise.shape[2:]))
    trainer = Trainer(config, parts.network, parts.device, parts.teacher)
    window = parts.teacher.schedule.window if parts.teacher else None

    def steps_at(place: float) -> Callable[[int], object]:
        def step(number: int) -> None:
            trainer.step(draw_batch(config, episodes, number, place, parts.network, window), place)

        return step

    late = time_steps(steps_at(LONG), seconds, parts.device)
    early = time_steps(steps_at(0.0), seconds / 2, parts.device) if config.early else late
    return early, late


def time_steps(step: Callable[[int], object], seconds: float, device: torch.device) -> float:
    """Mean seconds of a step, counted from 1, that is repeated; the first, which may compile and allocate, is not."""
    step(1)
    synchronize(device)
    began = time.perf_counter()
    number = 1
    while number == 1 or (number <= MOST and time.perf_counter() - began < seconds):
        number += 1
        step(number)
        synchronize(device)
    return (time.perf_counter() - began) / (number - 1)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_kind(device: str) -> str:
    """The kind of device that a run takes: cpu, cuda, ..."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device.partition(":")[0]


def count_parameters(module: nn.Module) -> int:
    """Weights of a module."""
    return sum(weight.numel() for weight in module.parameters())


# What follows from it


@dataclass(frozen=True)
class Steps:
    """Optimization steps of codec and network."""

    codec: int
    network: int


MARGIN = 0.9  # share of the time that is planned; the rest is for saves, and for a machine with other work
CODEC_SHARE, MOST_CODEC_STEPS = 0.25, 10_000  # of the time, and where it gains little more
VALIDATIONS = 12  # of a run
LEAST_EVERY = 20  # steps between two validations, in however little time
VALIDATION = 6.0  # steps of the network that a validation takes, about
LEAST = 2  # steps of each, in however little time


def plan_steps(config: TrainConfig, rate: Rate, frames: int, hours: float) -> Steps:
    """The steps that fit a time.

    frames: to be encoded
    """
    seconds = MARGIN * 3600 * hours
    codec = 0
    if rate.codec_step:
        share = CODEC_SHARE * max(0.0, seconds - frames * rate.encode)
        codec = max(LEAST, min(MOST_CODEC_STEPS, int(share / rate.codec_step)))
    step = rate.network_step(config.early)
    rest, validation = seconds - codec * rate.codec_step - frames * rate.encode, VALIDATION * rate.late_step
    few = (rest - validation) / (step + validation / LEAST_EVERY)  # steps where there is no time for all validations
    network = max((rest - VALIDATIONS * validation) / step, min(few, LEAST_EVERY * VALIDATIONS))
    return Steps(codec, max(LEAST, int(network)))


@dataclass(frozen=True)
class Estimate:
    """What a run takes."""

    codec_parameters: int
    network_parameters: int
    codec_steps: int
    steps: int
    frames_per_step: int
    frames_per_second: float  # of the network's training
    codec_hours: float
    encode_hours: float
    network_hours: float  # with validations
    memory_mb: int | None
    latents_bytes: int
    checkpoint_bytes: int
    state_bytes: int
    device: str
    action_scales: tuple[float, ...]

    @property
    def hours(self) -> float:
        """Hours of the whole run."""
        return self.codec_hours + self.encode_hours + self.network_hours

    @property
    def disk_bytes(self) -> int:
        """Bytes on disk; a state is written whole beside the one that it replaces."""
        return self.latents_bytes + self.checkpoint_bytes + 2 * self.state_bytes

    def to_json(self) -> Json:
        return {**vars(self), "hours": self.hours, "disk_bytes": self.disk_bytes}


def estimate(config: TrainConfig, rate: Rate, frames: int) -> Estimate:
    """What a run of a config takes on a machine of that rate.

    frames: to be encoded
    """
    codec_steps = config.codec_steps if rate.codec_step else 0
    steps = config.steps
    if config.minutes:
        steps = min(steps, plan_steps(config, rate, frames, config.minutes / 60).network)
    validations = -(-steps // config.every)
    network = steps * rate.network_step(config.early) + validations * VALIDATION * rate.late_step
    rows, columns = config.codec.grid
    weights = 4 * (rate.codec_parameters + rate.network_parameters)
    return Estimate(
        codec_parameters=rate.codec_parameters,
        network_parameters=rate.network_parameters,
        codec_steps=codec_steps,
        steps=steps,
        frames_per_step=config.frames,
        frames_per_second=config.frames / rate.network_step(config.early),
        codec_hours=codec_steps * rate.codec_step / 3600,
        encode_hours=frames * rate.encode / 3600,
        network_hours=network / 3600,
        memory_mb=rate.memory_mb,
        latents_bytes=2 * frames * config.codec.channels * rows * columns,
        checkpoint_bytes=weights // 2,  # in half precision
        state_bytes=4 * rate.codec_parameters + 4 * 3 * rate.network_parameters,  # weights, average, momentum
        device=rate.device,
        action_scales=rate.action_scales,
    )
