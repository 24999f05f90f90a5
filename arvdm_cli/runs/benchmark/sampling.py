"""How fast a model makes video on this machine, stage by stage, against what it must multiply and what the machine can.

The pipeline is that of `arvdm generate`; its parts are watched from outside, so that sampling itself times nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ... import media
from ...device import DTYPES, peak_memory_mb
from ...errors import MemoryLimitError, UsageError
from ...hub.registry import read_config
from ...media.ffmpeg import executable
from ...models.text_encoder import ENCODER
from ...sampling import timing
from ...sampling.config import Plan, flag_of
from ...sampling.decoding import Decoder
from ...sampling.generation import check, choose, given
from ...sampling.model import Model
from ...sampling.network import EncodedPast, VideoNetwork
from ...sampling.sampler import stream
from ...sampling.state import Noise, start
from ...workers import answer, serving
from ..job import load
from ..request import Machine
from ..texts import text_network
from .stopwatch import ATTENTION, SAMPLING, Clock, Products, Watched, matrix_rate

R = TypeVar("R")
STAGES = (*SAMPLING, "decode", "convert", "write")  # of an AR step; those of SAMPLING are methods of the network
Say = Callable[[str], None]  # takes a line about what is being done


def silence(line: str) -> None:
    """Say nothing."""


Lap = Mapping[str, float]  # seconds of each stage of an AR step, and in all, as `total`


@dataclass(frozen=True)
class Stage:
    """What a stage takes for a frame."""

    seconds_per_frame: float
    tflop_per_frame: float
    share_of_machine: float  # of the operations that a large matrix product makes in that time


@dataclass(frozen=True)
class Timing:
    """How fast a model makes video under one setting."""

    cache: str
    schedule: str | None
    steps: int
    chunk: int
    context: int
    slots: int
    past: int  # frames before the first one
    device: str
    dtype: str
    threads: int
    compile: bool
    container: str  # of the file that frames were written to
    frames: int  # that were timed
    load_seconds: float
    encode_seconds_per_prompt_frame: float
    first_frame_seconds: float
    stages: dict[str, Stage]
    other_seconds_per_frame: float  # between the stages
    seconds_per_frame: float
    frames_per_second: float
    frames_per_second_by_tenth: list[float]
    wall_over_network: float
    tflop_per_frame: float
    machine_tflop_per_second: float
    share_of_machine: float
    products_alone_over_sampling: float  # time of the matrix products alone
    peak_memory_mb: int | None  # None where the system does not report it

    def to_json(self) -> dict[str, object]:
        return asdict(self)


class Pipeline:
    """A model at work after random frames, each of its stages watched.

    past: how many of the sampler's frames those are; None for as many as fill context and memory
    """

    def __init__(self, model: Model, plan: Plan, device: torch.device, seed: int, past: int | None = None):
        config, sampling = model.network.config, plan.sampling
        self.model, self.plan, self.device = model, plan, device
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = Clock(device)
        shape = (config.channels, config.height, config.width)
        self.past = sampling.context + sampling.slots * sampling.group if past is None else past
        latents = torch.randn(1, self.past, *shape, generator=self.generator).to(device)
        actions = torch.zeros(1, self.past, config.actions, device=device)
        network = cast(VideoNetwork[EncodedPast], Watched(model.network, self.clock))
        state = start(network, sampling, latents, actions)
        self.steps = stream(plan, network, model.diffusion, state, Noise(seed, 1, shape, device), given(actions))
        self.frame = 0  # at which the next AR step begins
        self.decode = self.clock.watch("decode", Decoder(model.codec))
        self.convert = self.clock.watch("convert", media.to_bytes)

    def next_frames(self) -> Tensor:
        """Frames (1, f, 3, h, w) of the next AR step."""
        step, first = next(self.steps), self.frame
        self.frame = step.state.frame
        return self.decode(step.clean, None, first)  # the random past is not decoded

    def time_encoding(self) -> float:
        """Seconds to encode a frame of a prompt."""
        size = self.model.codec.config
        count = timing.Timing.of(self.model.codec).frames(2, prompted=False)
        prompt = torch.rand(1, count, 3, size.height, size.width, generator=self.generator).to(self.device)
        self.model.codec.encode(prompt)
        with self.clock.stage("encode"):
            self.model.codec.encode(prompt)
        return self.clock.lap()["encode"] / prompt.shape[1]

    def time_steps(self, count: int, container: str, say: Say) -> list[Lap]:
        """Make frames and write them to a file, `count` AR steps of them."""
        size = self.model.codec.config
        laps: list[Lap] = []
        with TemporaryDirectory(prefix="arvdm-bench-") as scratch:
            target = Path(scratch, f"out.{container}")
            with media.Writer(target, size.height, size.width, media.Encoding(self.model.fps)) as writer:
                write = self.clock.watch("write", writer.write)
                self.clock.lap()
                for number in range(count):
                    started = time.perf_counter()
                    write(self.convert(self.next_frames()[0]))
                    laps.append(self.clock.lap() | {"total": time.perf_counter() - started})
                    say(f"AR step {number + 1} of {count}: {laps[-1]['total']:.3g} s")
        return laps

    def count_operations(self) -> dict[str, float]:
        """Floating-point operations of each stage in an AR step."""
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as self.clock.counter:
            self.next_frames()
        self.clock.counter = None
        return dict(self.clock.operations)

    def time_products(self) -> float:
        """Seconds that the matrix products of sampling take alone, in an AR step."""
        with Products() as products:
            next(self.steps)
        return products.again(self.device)


@torch.no_grad()
def measure(
    folder: str,
    machine: Machine,
    chosen: Mapping[str, object],
    frames: int,
    seed: int = 0,
    say: Say = silence,
    past: int | None = None,
) -> Timing:
    """Make frames after a past of random ones, to a file.

    chosen: what is set above the checkpoint's own, as in `generation.choose`
    frames: how many are timed at the least, after AR steps that are not
    say: called with what is being done
    past: frames before the first one; None for as many as fill context and memory
    """
    say("loading the model")
    started = time.perf_counter()
    model, machine = load(Path(folder), machine)
    load_seconds = time.perf_counter() - started
    plan = choose(model.sampling, **chosen)
    check(model.network, plan.sampling)
    device = torch.device(machine.device)
    chunk = timing.Timing.of(model.codec).frames(plan.schedule.chunk, prompted=True)  # in frames that are seen

    pipeline = Pipeline(model, plan, device, seed, past)
    encoding, container = pipeline.time_encoding(), writable()
    # the first AR step also makes the first window and encodes what later ones keep; compilers need two or three
    warm = 4 if machine.compile else 1
    laps = pipeline.time_steps(warm + -(-frames // chunk), container, say)
    first, timed = laps[0], laps[warm:]
    peak = peak_memory_mb(device)  # what follows takes memory that making video does not
    say("counting operations and timing matrix products")
    operations, alone = pipeline.count_operations(), pipeline.time_products()
    rate = matrix_rate(device, DTYPES[machine.dtype])

    stages = {name: stage(median(timed, name) / chunk, operations.get(name, 0.0) / chunk, rate) for name in STAGES}
    total = median(timed, "total") / chunk
    sampled = sum(stages[name].seconds_per_frame for name in SAMPLING)
    tflop = sum(stages[name].tflop_per_frame for name in SAMPLING)
    return Timing(
        cache=plan.sampling.cache,
        schedule=plan.schedule.name,
        steps=plan.schedule.steps,
        chunk=plan.schedule.chunk,
        context=plan.sampling.context,
        slots=plan.sampling.slots,
        past=pipeline.past,
        device=machine.device,
        dtype=machine.dtype,
        threads=torch.get_num_threads(),
        compile=machine.compile,
        container=container,
        frames=len(timed) * chunk,
        load_seconds=load_seconds,
        encode_seconds_per_prompt_frame=encoding,
        first_frame_seconds=first["total"],
        stages=stages,
        other_seconds_per_frame=total - sum(stage.seconds_per_frame for stage in stages.values()),
        seconds_per_frame=total,
        frames_per_second=1 / total,
        frames_per_second_by_tenth=tenths([lap["total"] for lap in timed], chunk),
        wall_over_network=total / (sampled + stages["decode"].seconds_per_frame),
        tflop_per_frame=tflop,
        machine_tflop_per_second=rate / 1e12,
        share_of_machine=tflop * 1e12 / sampled / rate,
        products_alone_over_sampling=alone / chunk / sampled,
        peak_memory_mb=peak,
    )


def stage(seconds: float, operations: float, rate: float) -> Stage:
    """A stage of which a frame takes so long, on a machine that makes `rate` operations a second."""
    return Stage(seconds, operations / 1e12, operations / seconds / rate if seconds else 0.0)


def writable() -> str:
    """What frames can be written to here: mp4, or y4m where there is no ffmpeg."""
    try:
        executable()
    except UsageError:
        return "y4m"
    return "mp4"


def median(laps: list[Lap], name: str) -> float:
    """Seconds of a stage in an AR step."""
    return statistics.median(lap.get(name, 0.0) for lap in laps)


def tenths(seconds: list[float], chunk: int) -> list[float]:
    """Frames a second in each tenth of a run, or in each AR step of one that has fewer."""
    parts = min(10, len(seconds))
    edges = [round(i * len(seconds) / parts) for i in range(parts + 1)]
    return [chunk * (b - a) / sum(seconds[a:b]) for a, b in pairwise(edges)]


def cold_start(folder: str, machine: Machine, chosen: Mapping[str, object]) -> float | None:
    """Seconds from the start of `arvdm generate` to its first frame on stdout, from nothing; set as `measure` is.

    None where the model needs a text and has no encoder beside it, as with random weights.

    Raises: UsageError where the command fails, with its last words
    """
    flags = {flag_of(name): value for name, value in chosen.items()}
    flags |= {"--device": machine.device, "--dtype": machine.dtype, "--threads": machine.threads}
    words = ["generate", "-m", folder, "-n", "1", "--seed", "0", "-o", "-", "--progress", "none"]
    words += ["--compile"] * machine.compile
    words += [str(word) for flag, value in flags.items() if value is not None for word in (flag, value)]
    if text_network(read_config(Path(folder))):
        if not Path(folder, ENCODER).is_dir():
            return None
        words += ["--prompt", "A street."]
    # settings of the user's own, for `arvdm generate`, are left out
    env = {name: value for name, value in os.environ.items() if not name.startswith("ARVDM_GENERATE_")}
    env["XDG_CONFIG_HOME"] = os.devnull
    started = time.perf_counter()
    command = [sys.executable, "-m", "arvdm_cli", *words]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, env=env) as running:
        assert running.stdout
        try:
            running.stdout.readline()  # the header of the stream, and then that of its first frame
            running.stdout.readline()
            seconds = time.perf_counter() - started
            _, log = running.communicate()
        except BaseException:  # a signal: do not wait for its first frame
            running.terminate()
            raise
    if running.returncode:
        last = log.decode(errors="replace").strip()[-300:]
        raise UsageError(f"arvdm generate ended with {running.returncode} in the same settings: {last}.")
    return seconds


FOLLOWED = 0.5  # seconds from one call of `follow` to the next


def apart(call: Callable[[], R], follow: Callable[[], None] = lambda: None) -> R:
    """What a measurement gives, in a process of its own, so that its peak memory is its own too.

    follow: called now and then while it lasts
    Raises: MemoryLimitError where the system has killed it
    """
    try:
        with serving(1) as pool:
            answered = pool.submit(answer, call)
            while wait([answered], timeout=FOLLOWED).not_done:
                follow()
            return answered.result()
    except BrokenProcessPool as error:
        raise MemoryLimitError(
            "The measuring process was killed; it may have run out of memory.",
            hint="--dtype bfloat16 halves what weights take.",
        ) from error
