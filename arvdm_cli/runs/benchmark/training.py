"""How fast a network trains on this machine, against what it must multiply and what the machine can."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ...data.batches import Episodes
from ...device import choose_machine, peak_memory_mb
from ...errors import UsageError
from ...hub import checkpoint
from ...sampling.model import Model
from ...training import optimizers
from ...training.config import TrainConfig
from ...training.network import TRAINED
from ...training.recipes import draw_batch
from ...training.trainer import Trainer
from .stopwatch import ATTENTION, matrix_rate, wait


class Drawn(NamedTuple):
    """Episodes drawn at random, in the form of a data folder; their frames are black."""

    frames: np.ndarray
    actions: np.ndarray
    poses: np.ndarray
    names: tuple[str, ...]
    fps: float


@dataclass(frozen=True)
class TrainingTiming:
    """How fast a network trains under one setting."""

    device: str
    dtype: str
    threads: int
    compile: bool
    frames_per_step: int
    groups: int
    steps: int  # that were timed
    seconds_per_step: float
    frames_per_second: float
    tflop_per_step: float  # forward, backward and optimiser
    machine_tflop_per_second: float
    share_of_machine: float
    peak_memory_mb: int | None  # None where the system does not report it

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_training(
    folder: str, device: str, dtype: str, threads: int | None, frames: int, groups: int, steps: int, compile: bool
) -> TrainingTiming:
    """Time optimisation steps of a checkpoint's network on random latents, settings drawn as in a long training.

    frames: of context and window in a step; groups: the most in memory
    Operations are counted in the same steps: forward, backward and optimiser.
    """
    chosen, _ = choose_machine(device, "float32", threads)
    model = checkpoint.load(Path(folder), chosen, torch.float32)
    check_trainable(model, folder, compile)
    config = TrainConfig(
        steps=10**6,
        early=0.0,
        frames=frames,
        clip_frames=16,
        groups=tuple(sorted({0, groups // 4, groups // 2, groups})),
        memory_frames=groups,
        device=str(chosen),
        dtype=dtype,
        compile=compile,
        network=model.network.config,
        sampling=model.sampling,
    )
    network = model.network.train().requires_grad_(True)
    trainer, episodes = Trainer(config, network, chosen), draw_episodes(model)

    def take_step(number: int) -> None:
        trainer.step(draw_batch(config, episodes, number, None, network))

    numbers = range(1, steps + 1)
    for step in numbers:  # once beforehand, for what is compiled or allocated first
        take_step(step)
    wait(chosen)
    times = []
    for step in numbers:
        started = time.perf_counter()
        take_step(step)
        wait(chosen)
        times.append(time.perf_counter() - started)
    peak = peak_memory_mb(chosen)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        for step in numbers:
            take_step(step)
    half = optimizers.halved(config, chosen)
    rate = matrix_rate(chosen, torch.bfloat16 if half else torch.float32)
    operations, seconds = counter.get_total_flops(), sum(times)
    return TrainingTiming(
        device=str(chosen),
        dtype="bfloat16" if half else "float32",
        threads=torch.get_num_threads(),
        compile=compile,
        frames_per_step=frames,
        groups=groups,
        steps=steps,
        seconds_per_step=statistics.median(times),
        frames_per_second=frames * steps / seconds,
        tflop_per_step=operations / steps / 1e12,
        machine_tflop_per_second=rate / 1e12,
        share_of_machine=operations / seconds / rate,
        peak_memory_mb=peak,
    )


def check_trainable(model: Model, folder: str, compile: bool) -> None:
    """Refuse the checkpoint in a folder whose network cannot be trained, or not compiled for it."""
    kind = type(model.network).__name__
    if not any(hasattr(model.network, method) for method in TRAINED):
        raise UsageError(f"{folder} is a {kind}, which arvdm cannot train.")
    if compile and not hasattr(model.network, "blocks"):
        raise UsageError(f"{folder} is a {kind}, which has no blocks to compile.", hint="Leave out --compile.")


def draw_episodes(model: Model) -> Episodes:
    """Episodes of random latents in the shape that a network takes."""
    shape = model.network.config
    generator = np.random.default_rng(0)
    count, length = 4, 300
    places = generator.integers(0, 64, (count, length, 3))
    pictures = np.broadcast_to(np.uint8(0), (count, length, 8 * shape.height, 8 * shape.width, 3))
    rows = generator.random((count, length, shape.actions)).astype(np.float32)
    names = tuple(str(i) for i in range(shape.actions))
    episodes = Episodes({"random": Drawn(pictures, rows, places, names, model.fps)}, 1)
    episodes.latents = generator.standard_normal((count, length, shape.channels, shape.height, shape.width), "f4")
    return episodes
