"""Meta-ARVDM's analysis on Gaussian auto-regressive processes, where every law is known and nothing is sampled.

In each AR step a kernel Q(Output | Input) takes the place of the true P(Output | Past): linear maps with Gaussian
noise, so that the generated video is Gaussian as the true one is. Output is the window when the AR step ends, frames
that are still noisy included; Input is what the network sees: the window, the context and the memory. Exactly,

    KL over all states = sum over AR steps k of NIE_k + MB_k + DE_k + SEE_k

and the KL of the clean video is at or below it. All in nats.

Source: Meta-ARVDM, arXiv 2503.10704v2, the bounds for long videos and for short clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..configs import Json
from ..errors import TheoryError
from ..sampling.schedules import Schedule
from .gaussian import (
    ForwardProcess,
    Kernel,
    Levels,
    Process,
    State,
    eye,
    independent,
    kernel_kl,
    kl,
    log_det,
    regress,
    spanned,
)
from .kernels import ARStep, Conditioning, denoising_loss, generate, refine
from .memories import Past
from .setting import Setting

LARGEST = 3000  # numbers in all states of a video: their covariance is dense


def plan(schedule: Schedule, setting: Setting, ar_steps: int) -> list[ARStep]:
    """Initialization stage and AR steps of a video; frames are counted from the prompt's first."""
    w, chunk, steps = schedule.window, schedule.chunk, setting.init_steps
    end = (0.0,) * chunk + schedule.levels[-1][chunk:]  # 0-T boundary
    begin = end[chunk:] + (1.0,) * chunk  # circularity
    rows = refine((begin, *schedule.levels[1:-1], end), setting.substeps)
    flat = tuple((1 - m / steps,) * (w - chunk) for m in range(steps + 1))
    first = range(setting.prompt, setting.prompt + w - chunk)
    stages = [ARStep(first, refine(flat, setting.substeps), begin[: w - chunk], first)]
    for k in range(ar_steps):
        frames = range(first.start + k * chunk, first.start + k * chunk + w)
        stages.append(ARStep(frames, rows, end, frames[w - chunk :]))
    return stages


@dataclass(frozen=True)
class Analysis:
    """Errors that the initialization stage and each AR step add, and the KL they lead to: arrays (k + 1,), in nats.

    The first entry is the initialization stage; it is 0 where the window is one chunk.
    DE is the expected KL of Q(Output | Input) from P(Output | Input) with an exact network, SEE what the errors of the
    network add to that (a lucky error takes from it). Counted by denoising steps, as the paper does, they are more.
    For ODE solvers all four are infinite, and so are the bounds.
    """

    nie: Tensor  # noise initialization error: what enters is truly not quite noise
    mb: Tensor  # memory bottleneck: I(Output; Past | Input)
    de: Tensor  # discretization error
    see: Tensor  # score estimation error
    path_de: Tensor
    path_see: Tensor
    loss: Tensor  # denoising loss of the network, no KL: mean over frames and denoising steps
    excess: Tensor  # the part of it that an exact network does not have
    seen: Tensor  # numbers that the network sees of the past
    kl_states: Tensor  # of all states so far
    kl_video: Tensor  # of the clean video so far
    kl_clips: Tensor  # of the clean frames in the state: a chunk, and what its AR step saw of the past; the first: of
    # the noisy frames that the initialization stage left, and what it saw
    closed: bool  # memory is a function of what it was and of the new chunk: the bound for clips holds
    inflation: float  # generated over true variance of a frame after the initialization stage, at worst
    video: tuple[Tensor, Tensor]  # true and generated covariance of the clean video, prompt and all

    @property
    def errors(self) -> Tensor:
        """Errors that add up in a clip: all but the memory term."""
        return self.nie + self.de + self.see

    @property
    def bound(self) -> Tensor:
        """Upper bound of the KL of the video so far."""
        return (self.errors + self.mb).cumsum(0)

    @property
    def clip_bound(self) -> Tensor:
        """Upper bound of the KL of the clip."""
        return self.errors.cumsum(0)

    @property
    def settled(self) -> int | None:
        """First AR step from which the KL of the clip stays within 5 % of its last value; None: it still moves."""
        off = (self.kl_clips - self.kl_clips[-1]).abs() > 0.05 * self.kl_clips[-1]
        since = int(off.nonzero().max()) + 1 if off.any() else 0
        return since if since <= 0.75 * (len(off) - 1) else None

    @property
    def path_bound(self) -> Tensor:
        """Upper bound of the KL of the video so far, with errors counted by denoising steps."""
        return (self.nie + self.mb + self.path_de + self.path_see).cumsum(0)

    def to_json(self) -> Json:
        """All numbers, but for the covariances; what is infinite is None."""
        arrays = {name: getattr(self, name).tolist() for name in SERIES}
        facts: Json = {"closed": self.closed, "settled": self.settled, "inflation": self.inflation}
        return facts | {name: [x if math.isfinite(x) else None for x in values] for name, values in arrays.items()}


PARTS = ("nie", "mb", "de", "see", "path_de", "path_see", "loss", "excess", "seen")
SERIES = (*PARTS, "bound", "clip_bound", "path_bound", "kl_states", "kl_video", "kl_clips")


def analyse(process: Process, schedule: Schedule, setting: Setting, ar_steps: int = 8) -> Analysis:
    """Compute the law of the generated video, and what each AR step adds to its KL from the true one."""
    return Video(process, schedule, setting, ar_steps).analyse()


class Video:
    """All states of a video, in the order in which they are generated, with their true and generated covariance."""

    def __init__(self, process: Process, schedule: Schedule, setting: Setting, ar_steps: int):
        if ar_steps < 1:
            raise TheoryError(f"A video has at least 1 AR step, not {ar_steps}.")
        self.setting, self.chunk, self.dim = setting, schedule.chunk, process.dim
        self.ar_steps = plan(schedule, setting, ar_steps)
        self.frames = self.ar_steps[-1].frames.stop
        self.clean = setting.prompt + ar_steps * schedule.chunk  # frames that become so
        states = [(frame, 0.0) for frame in range(setting.prompt)]
        for ar_step in self.ar_steps:
            states += [*((frame, 1.0) for frame in ar_step.entering), *ar_step.outputs]
        if len(states) * self.dim > LARGEST:
            raise TheoryError(
                f"The states of a video of {ar_steps} AR steps hold {len(states) * self.dim} numbers; "
                f"the limit is {LARGEST}.",
                hint="Use fewer AR steps, a smaller window or a smaller dimension.",
            )
        self.places = {state: place for place, state in enumerate(states)}
        self.forward = ForwardProcess(process, setting.diffusion, self.frames)
        self.true = self.forward.covariance(states, states)
        self.root, singular = torch.linalg.cholesky_ex(self.true)  # its diagonal blocks: what is new in a state
        if singular:
            raise TheoryError(
                "Two levels of the schedule are too close to distinguish their states.",
                hint="Use fewer denoising steps, or a smaller shift.",
            )
        self.generated = torch.zeros_like(self.true)
        self.start = setting.prompt * self.dim
        self.generated[: self.start, : self.start] = self.true[: self.start, : self.start]
        self.cache: dict[tuple[Levels, bytes], tuple[Kernel, Kernel, dict[str, float]]] = {}

    def analyse(self) -> Analysis:
        """Take all AR steps, then compare the generated video with the true one."""
        parts: list[dict[str, float]] = []
        closed, before = True, self.rows(())
        for k, (ar_step, seen) in enumerate(self.conditions()):
            if k:
                new = self.rows(range(self.ar_steps[k - 1].frames.start, ar_step.frames.start))
                closed &= spanned(seen, torch.cat((before, new)))
            before = seen
            parts.append(self.take(ar_step, seen))
            clip = torch.cat((self.pick(ar_step.outputs[: self.chunk] if k else ar_step.outputs), self.of(seen)))
            parts[-1]["kl_clips"] = kl(clip @ self.true @ clip.mT, clip @ self.generated @ clip.mT)[-1].item()
        arrays = {name: torch.tensor([part[name] for part in parts], dtype=torch.float64) for name in parts[0]}

        chunks = self.numbers([(frame, 0.0) for frame in range(self.clean)])
        video = self.true[chunks][:, chunks], self.generated[chunks][:, chunks]
        ends = torch.arange(self.setting.prompt, self.clean + 1, self.chunk) * self.dim
        first = self.numbers(self.ar_steps[0].outputs)
        ratio = (self.generated.diagonal() / self.true.diagonal())[first].unflatten(0, (-1, self.dim)).mean(1)
        states = kl(self.true, self.generated)[arrays.pop("states").long()]
        return Analysis(
            **arrays,
            kl_states=states if arrays["de"].isfinite().all() else torch.full_like(states, math.inf),
            kl_video=kl(*video)[ends],
            closed=closed,
            inflation=ratio.max().item() if first else 1.0,
            video=video,
        )

    def conditions(self) -> Iterator[tuple[ARStep, Tensor]]:
        """Yield the initialization stage and all AR steps, each with what it sees of the past, (r, f * d)."""
        held, context = self.rows(()), range(0)
        for ar_step in self.ar_steps:
            start = ar_step.frames.start
            leaving = range(context.start, max(context.start, start - self.setting.context))
            context = range(leaving.stop, start)
            held = self.setting.memory(Past(held, leaving, self.rows, partial(self.most_informative, ar_step, context)))
            yield ar_step, independent(torch.cat((held, self.rows(context))).flip(0))  # the newest first

    def key(self, ar_step: ARStep, seen: Tensor) -> tuple[Levels, bytes]:
        """Key that AR steps share which see the same from their place in the video."""
        return ar_step.output, seen.roll(-ar_step.frames.start * self.dim, 1).numpy().tobytes()

    def take(self, ar_step: ARStep, seen: Tensor) -> dict[str, float]:
        """Take an AR step: append its states to the generated law; returns what it adds to the KL."""
        enters, leaves = self.numbers([(frame, 1.0) for frame in ar_step.entering]), self.numbers(ar_step.outputs)
        if not leaves:  # nothing to initialise
            return dict.fromkeys(PARTS, 0.0) | {"states": self.start}
        true, generated, errors = self.kernels(ar_step, seen)
        self.generated[enters, enters] = 1.0
        weight = generated.weight @ torch.cat((self.pick(ar_step.inputs), self.of(seen)))  # (w * d, s * d)
        output = slice(leaves[0], leaves[-1] + 1)
        self.generated[output] = weight @ self.generated
        self.generated[:, output] = self.generated[output].mT
        self.generated[output, output] = self.generated[output] @ weight.mT + generated.noise
        new_in, new_out = (self.root.diagonal()[places].log().sum() for places in (enters, leaves))
        nie = (self.true.diagonal()[enters] - 1).sum() / 2 - new_in
        mb = log_det(true.noise) / 2 - new_out
        return errors | {"nie": nie.item(), "mb": mb.item(), "states": output.stop}

    def kernels(self, ar_step: ARStep, seen: Tensor) -> tuple[Kernel, Kernel, dict[str, float]]:
        """P(Output | Input), Q(Output | Input), and the errors between them; computed once for AR steps of one key."""
        key = self.key(ar_step, seen)
        if key not in self.cache:
            conditioning = Conditioning(self.forward, ar_step.frames, seen)
            true, inputs = conditioning.kernel(ar_step.rows[0], ar_step.output), conditioning.inputs(ar_step.rows[0])
            setting, ideal = self.setting, self.setting.ideal
            network = setting.network(conditioning)
            generated, path_de, path_see = generate(conditioning, network, ar_step, setting.kernel, setting.renoise)
            exact = generated
            if ideal != setting:
                exact = generate(conditioning, ideal.network(conditioning), ar_step, ideal.kernel, ideal.renoise)[0]
            de = kernel_kl(true, exact, inputs)
            see = kernel_kl(true, generated, inputs) - de if math.isfinite(de) else math.inf
            loss, excess = denoising_loss(conditioning, network, ar_step)
            parts = (de, see, path_de, path_see, loss, excess, float(len(seen)))
            self.cache[key] = true, generated, dict(zip(PARTS[2:], parts, strict=True))
        return self.cache[key]

    def numbers(self, states: Iterable[State]) -> list[int]:
        """Indices of the numbers of states."""
        return [self.places[state] * self.dim + j for state in states for j in range(self.dim)]

    def pick(self, states: Iterable[State]) -> Tensor:
        """States as functions of all states, (n * d, s * d)."""
        numbers = self.numbers(states)
        functions = torch.zeros(len(numbers), len(self.true), dtype=torch.float64)
        functions[range(len(numbers)), numbers] = 1.0
        return functions

    def rows(self, frames: Sequence[int]) -> Tensor:
        """Clean frames as functions of all frames, (n * d, f * d)."""
        return eye(self.frames * self.dim)[[frame * self.dim + j for frame in frames for j in range(self.dim)]]

    def of(self, rows: Tensor) -> Tensor:
        """Functions of frames that become clean (n, f * d) as functions of all states, (n, s * d)."""
        functions = torch.zeros(len(rows), len(self.true), dtype=torch.float64)
        functions[:, self.numbers([(frame, 0.0) for frame in range(self.clean)])] = rows[:, : self.clean * self.dim]
        return functions

    def most_informative(self, ar_step: ARStep, context: range, rank: int) -> Tensor:
        """Functions (rank, f * d) of the frames before the context that say most about an AR step's output.

        They are the first canonical directions, where window and context are known.
        """
        older = self.rows(range(context.start))
        functions = (self.pick(ar_step.outputs), self.of(older), self.pick(ar_step.inputs), self.of(self.rows(context)))
        parts = torch.cat(functions)
        n, m = len(functions[0]), len(older)
        if not n or not m:
            return older
        residual = regress(parts @ self.true @ parts.mT, n + m).noise
        output, past = (torch.linalg.cholesky(each) for each in (residual[:n, :n], residual[n:, n:]))
        shared = torch.linalg.solve_triangular(output, residual[:n, n:], upper=False)
        shared = torch.linalg.solve_triangular(past, shared.mT, upper=False)  # (m, n), of what is white on both sides
        directions = torch.linalg.svd(shared).U[:, :rank].mT  # (rank, m)
        return torch.linalg.solve_triangular(past.mT, directions.mT, upper=True).mT @ older
