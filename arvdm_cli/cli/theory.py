"""`arvdm theory`: the paper's analysis, worked out exactly on Gaussian auto-regressive processes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

from rich.table import Table
from typer import Option, Typer

from ..errors import OutputError, TheoryError, UsageError
from ..sampling.config import SETTINGS
from ..sampling.schedules import PRESETS, choose, preset
from . import completion, flags
from .console import out, printable, say, settings, warn, write_json
from .help import Command, Group
from .schedule import confirm_replacing_file

if TYPE_CHECKING:
    from torch import Tensor

    from ..sampling.diffusion import Diffusion
    from ..theory.analysis import Analysis
    from ..theory.bottleneck import Bottleneck
    from ..theory.gaussian import Process
    from ..theory.memories import Past
    from ..theory.ranking import Agreement, CounterExample, Prediction
    from ..theory.setting import Setting

app = Typer(
    cls=Group,
    help="Compute the paper's error bounds exactly, on Gaussian processes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Order = Annotated[int, Option(min=1, help="Order of the autoregressive process, in frames.")]
Dim = Annotated[int, Option(min=1, help="Dimensions of a frame.")]
Echo = Annotated[
    float, Option(help="Share of a frame that depends on the frame `order` frames earlier rather than on the last one.")
]
Context = Annotated[int, Option(min=0, help="Clean frames before the window.")]
Prompt = Annotated[int, Option(min=0, help="True frames at the start of every video.")]
KernelName = Annotated[
    str,
    Option(help="Sampler: exact; ancestral or analytic (DDPM with fixed or optimal variance); euler or heun (ODE)."),
]
Substeps = Annotated[int, Option(min=1, help="Denoising steps from one row of the schedule to the next.")]
Family = Annotated[str, Option("--diffusion", help="Diffusion that defines the levels: flow or ddpm.")]
ScheduleName = Annotated[
    str, Option("--schedule", "-s", autocompletion=completion.presets, help=SETTINGS["schedule"].help)
]
ArSteps = Annotated[int, Option(min=1, help="Number of AR steps.")]
Picture = Annotated[Path | None, Option(help="Also write a plot: .png, .svg or .pdf; needs matplotlib.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Replace an existing plot.")]


@dataclass(frozen=True)
class ProcessFlags:
    """Which process true videos are drawn from."""

    order: Order = 4
    dim: Dim = 3
    echo: Echo = 0.4

    def process(self) -> "Process":
        """Build the process."""
        from ..theory.gaussian import rotation

        return rotation(self.order, self.dim, self.echo)


@dataclass(frozen=True)
class LongProcess(ProcessFlags):
    """As ProcessFlags, of a higher order."""

    order: Order = 8


@dataclass(frozen=True)
class SmallProcess(ProcessFlags):
    """As ProcessFlags, with fewer numbers in a frame."""

    dim: Dim = 2


@dataclass(frozen=True)
class MemoryFlags:
    """What is remembered of frames before the context."""

    memory: Annotated[str, Option(help="Memory of frames before the context: none, last, stride, average or best.")] = (
        "none"
    )
    frames: Annotated[int | None, Option(min=1, help="Frames that the memory keeps (last).")] = None
    every: Annotated[
        int | None, Option(min=1, help="Distance in frames between two that the memory keeps (stride).")
    ] = None
    rank: Annotated[int | None, Option(min=1, help="Dimensions that the memory keeps (average, best).")] = None

    def build(self) -> "Callable[[Past], Tensor]":
        """Build the memory."""
        from ..theory.memories import memory

        return memory(self.memory, frames=self.frames, every=self.every, rank=self.rank)


@dataclass(frozen=True)
class StepFlags:
    """How frames are denoised."""

    kernel: KernelName = "analytic"
    substeps: Substeps = 4
    init_steps: Annotated[int, Option(min=1, help="Denoising steps of the initialization stage.")] = 8
    score_error: Annotated[
        float | None,
        Option(min=0, show_default="0.05; 0 with exact", help="Relative error of each weight of the network."),
    ] = None
    seed: Annotated[int, Option(min=0, max=2**63 - 1, help="Seed of the score error.")] = 0
    diffusion: Family = "flow"

    def setting(self, context: int, prompt: int, past: MemoryFlags | None = None) -> "Setting":
        """Build the setting; a score error that is not chosen is 0.05 where there is a network."""
        from ..theory.setting import Setting

        default = 0.0 if self.kernel == "exact" else 0.05
        return Setting(
            context=context,
            prompt=prompt,
            memory=(past or MemoryFlags()).build(),
            kernel=self.kernel,
            substeps=self.substeps,
            init_steps=self.init_steps,
            score_error=default if self.score_error is None else self.score_error,
            seed=self.seed,
            diffusion=build_diffusion(self.diffusion),
        )


@dataclass(frozen=True)
class SolverFlags(StepFlags):
    """As StepFlags, for solvers that renew no noise."""

    kernel: Annotated[str, Option(help="ODE solver: euler or heun.")] = "heun"
    substeps: Substeps = 2


def build_diffusion(name: str) -> "Diffusion":
    """Build a diffusion by name.

    Raises: TheoryError where there is none
    """
    from ..sampling.diffusion import DIFFUSIONS

    if name not in DIFFUSIONS:
        raise TheoryError(f"No diffusion is called {name!r}.", hint=f"Choose from: {', '.join(DIFFUSIONS)}.")
    return DIFFUSIONS[name]()


@app.callback()
def theory():
    """Compute the paper's error bounds exactly, on Gaussian processes."""


@app.command(cls=Command, epilog="arvdm theory bound -s rolling --blocks 2")
@flags.sampling(fields=False)
@flags.grouped
def bound(
    schedule: ScheduleName = "rolling",
    *,
    chosen: flags.Choices,
    truth: ProcessFlags,
    context: Context = 1,
    prompt: Prompt = 4,
    past: MemoryFlags,
    steps: StepFlags,
    ar_steps: ArSteps = 8,
    plot: Picture = None,
    yes: Yes = False,
):
    """Compute the error bound of a video and its terms: NIE, MB, DE and SEE, in nats.

    Each AR step adds to the KL divergence: by the noise it starts from (noise initialization error, NIE), the past it
    does not see (memory bottleneck, MB), its denoising steps (discretization error, DE) and its network (score
    estimation error, SEE).
    """
    plan = choose(schedule, **chosen)
    check_picture(plot, yes)

    from ..theory import plots
    from ..theory.analysis import analyse

    analysis = analyse(truth.process(), plan, steps.setting(context, prompt, past), ar_steps)
    draw(plot, plots.plot_bound, analysis)
    if settings.json:
        return write_json({"schedule": schedule, "kernel": steps.kernel, "memory": past.memory} | analysis.to_json())
    show_bound(analysis, steps.kernel)


@app.command("memory", cls=Command, epilog="arvdm theory memory --memory last --memory best")
@flags.sampling(fields=False)
@flags.grouped
def memory_(
    schedule: ScheduleName = "fifo",
    *,
    chosen: flags.Choices,
    truth: LongProcess,
    context: Context = 1,
    prompt: Prompt = 4,
    memory: Annotated[
        list[str] | None, Option(show_default="all", help="Memory: last, stride, average or best; repeat for several.")
    ] = None,
    size: Annotated[
        list[int] | None,
        Option(
            min=1,
            show_default="1, 2, 3, 4, 6, 8",
            help="Size of the memory (its frames, every or rank); repeat for several.",
        ),
    ] = None,
    diffusion: Family = "flow",
    ar_steps: ArSteps = 12,
    plot: Picture = None,
    yes: Yes = False,
):
    """Compute the memory bottleneck of several memories and sizes.

    It is the mutual information between the output of an AR step and the past, given what the step sees of the past.
    No network can make up for it.
    """
    plan = choose(schedule, **chosen)
    check_picture(plot, yes)

    from ..theory import plots
    from ..theory.bottleneck import MEMORY_NAMES, SIZES, bottlenecks
    from ..theory.setting import Setting

    setting = Setting(context=context, prompt=prompt, init_steps=1, diffusion=build_diffusion(diffusion))
    rows = bottlenecks(truth.process(), plan, setting, memory or MEMORY_NAMES, size or SIZES, ar_steps)
    draw(plot, plots.plot_bottleneck, rows)
    if settings.json:
        facts = {"schedule": schedule, "ar_steps": ar_steps, "context": context}
        return write_json(facts | {"rows": [asdict(row) for row in rows]})
    show_bottlenecks(rows)


@app.command(cls=Command, epilog="arvdm theory drift -s fifo --ar-steps 16\narvdm theory drift --counter-examples")
@flags.sampling(fields=False)
@flags.grouped
def drift(
    schedule: ScheduleName = "outpainting",
    *,
    chosen: flags.Choices,
    truth: ProcessFlags,
    context: Context = 1,
    prompt: Prompt = 4,
    past: MemoryFlags,
    steps: StepFlags,
    ar_steps: ArSteps = 32,
    counter_examples: Annotated[
        bool, Option("--counter-examples", help="Also show what breaks each preset: a causal network, or reused noise.")
    ] = False,
    plot: Picture = None,
    yes: Yes = False,
):
    """Compute how errors accumulate in the clips of AR steps, and their bound, in nats.

    The bound of clip K is IE + K (NIE + DE + SEE). It has no memory term, as forgetting does not degrade a clip.
    """
    plan = choose(schedule, **chosen)
    check_picture(plot, yes)

    from ..theory import plots, ranking
    from ..theory.analysis import analyse

    process = truth.process()
    analysis = analyse(process, plan, steps.setting(context, prompt, past), ar_steps)
    broken: dict[str, CounterExample] = {}
    if counter_examples:
        right = StepFlags("heun", substeps=8, score_error=0.0, diffusion=steps.diffusion)
        setting = right.setting(context=truth.order, prompt=max(prompt, truth.order))
        broken = ranking.counter_examples(process, {name: preset(name) for name in PRESETS}, setting)
    draw(plot, plots.plot_clips, analysis, broken)
    if settings.json:
        examples = {name: asdict(each) for name, each in broken.items()}
        facts = {"schedule": schedule, "kernel": steps.kernel} | analysis.to_json()
        return write_json(facts | {"counter_examples": examples})
    show_drift(analysis, steps.kernel, past.memory)
    if broken:
        show_counter_examples(broken)


@app.command(cls=Command, epilog="arvdm theory predict -s fifo -s outpainting")
@flags.grouped
def predict(
    schedule: Annotated[
        list[str] | None,
        Option(
            "--schedule",
            "-s",
            autocompletion=completion.presets,
            show_default="ten variants of five presets",
            help="Preset or file, with options as in rolling:blocks=2; repeat for several.",
        ),
    ] = None,
    *,
    truth: SmallProcess,
    context: Context = 4,
    prompt: Prompt = 4,
    steps: SolverFlags,
    networks: Annotated[
        int, Option(min=1, help="Number of networks with different score errors; results are means over them.")
    ] = 2,
    length: Annotated[int, Option("--length", "-n", min=1, help="New frames.")] = 24,
    last: Annotated[int, Option(min=1, help="Number of last frames whose KL is also reported separately.")] = 4,
    plot: Picture = None,
    yes: Yes = False,
):
    """Predict from single denoising steps which schedules drift, and compare with the exact KL.

    Each step starts from true noisy frames, so no video is generated; the errors of the start, the network and the
    solver are summed. The denoising loss alone is a poor predictor, as most of it cannot be avoided by any network.
    """
    plans = {name: choose(name) for name in schedule or []}
    check_picture(plot, yes)

    from ..theory import plots, ranking

    setting = steps.setting(context, prompt)
    predictions = ranking.predict(truth.process(), plans or ranking.VARIETY, setting, length, last, networks)
    agreement = agreement_of(predictions)
    draw(plot, plots.plot_prediction, predictions, agreement)
    if settings.json:
        rows = [{"schedule": name, **asdict(each), "total": each.total} for name, each in predictions.items()]
        ranks = {name: asdict(each) for name, each in agreement.items()}
        facts = {"kernel": steps.kernel, "length": length, "last": last}
        return write_json(facts | {"rows": rows, "rank_correlation": ranks})
    show_predictions(predictions, agreement, last)


def agreement_of(predictions: "Mapping[str, Prediction]") -> "dict[str, Agreement]":
    """Rank correlations with the KL; none, and a warning, where SciPy is not installed."""
    from ..theory import ranking

    try:
        return ranking.agreement(predictions)
    except UsageError as error:
        warn(f"{error} Rank correlations are left out. To get them: {error.hint}")
        return {}


# Pictures

PICTURES = ".png", ".svg", ".pdf"


def check_picture(plot: Path | None, yes: bool):
    """Stop before the work where the picture could not be drawn."""
    if plot:
        from ..reports.figure import figure

        if plot.suffix.lower() not in PICTURES:
            raise UsageError(
                f"{plot} is not an image file name.", hint=f"Choose a name that ends in {', '.join(PICTURES)}."
            )
        if not plot.parent.is_dir():
            raise OutputError(f"{plot.parent} is not a folder.")
        confirm_replacing_file(plot, yes)
        figure()


Results = ParamSpec("Results")


def draw(
    plot: Path | None,
    painter: Callable[Concatenate[Path, Results], None],
    *results: Results.args,
    **options: Results.kwargs,
):
    """Draw results, if a picture was asked for."""
    if plot:
        painter(plot, *results, **options)
        say(f"wrote the plot to {printable(str(plot))}")


# Tables

NOTHING = 1e-9  # nats that are rounding


def number(nats: float) -> str:
    """A number for a table."""
    return "0" if abs(nats) < NOTHING else f"{nats:.3g}"


def times(limit: float, value: float) -> str:
    """How loose a bound is."""
    return f"{limit / value:.3g} times the KL" if value > NOTHING else "for a KL of 0"


def table_of(*titles: str, left: int = 1) -> Table:
    """A table for the terminal without rows; the first `left` columns are flush left."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for at, title in enumerate(titles):
        table.add_column(title, justify="left" if at < left else "right")
    return table


def show_bound(analysis: "Analysis", kernel: str):
    """Print a row for each AR step, and the KL beside its bound."""
    table = table_of("AR step", "NIE", "MB", "DE", "SEE", "sum", "bound", "states", "video")
    parts = (analysis.nie, analysis.mb, analysis.de, analysis.see, analysis.errors + analysis.mb)
    for k, row in enumerate(zip(*parts, analysis.bound, analysis.kl_states, analysis.kl_video, strict=True)):
        table.add_row(str(k or "init"), *(number(value.item()) for value in row))
    out.print(table)
    out.print()
    video, states, limit, path = (
        each[-1].item() for each in (analysis.kl_video, analysis.kl_states, analysis.bound, analysis.path_bound)
    )
    out.print(f"The KL of the video is {number(video)} nats; over all states, including noisy ones, {number(states)}.")
    if math.isinf(limit):
        return out.print(f"{kernel} adds no new noise, so there is no bound.")
    out.print(f"The bound is {number(limit)}, {times(limit, video)}; over denoising steps it is {number(path)}.")


def show_bottlenecks(rows: "Sequence[Bottleneck]"):
    """Print a row for each memory and size; the first row is without memory."""
    table = table_of("memory", "size", "dimensions", "MB of the last AR step", "total MB", "of no memory", left=2)
    whole = rows[0].mb
    for row in rows:
        share = f"{abs(row.mb / whole):.0%}" if whole > NOTHING else "-"
        size = f"{row.option} {row.size}" if row.option else ""
        table.add_row(row.memory, size, str(row.numbers), number(row.mb), number(row.sum), share)
    out.print(table)


def show_drift(analysis: "Analysis", kernel: str, memory: str):
    """Print the KL of clips, and what holds of their bound."""
    last = len(analysis.kl_clips) - 1
    table = table_of("AR step", "KL of the clip", "bound", "times")
    for k in sorted({0, last, *(2**i for i in range(last.bit_length()) if 2**i < last)}):
        value, limit = analysis.kl_clips[k].item(), analysis.clip_bound[k].item()
        loose = f"{limit / value:.3g}" if NOTHING < value < limit < math.inf else "-"
        table.add_row(str(k or "init"), number(value), number(limit), loose)
    out.print(table)
    out.print()
    value, limit = analysis.kl_clips[-1].item(), analysis.clip_bound[-1].item()
    if analysis.settled is None:
        out.print(f"The KL of a clip has not converged after {last} AR steps.")
    else:
        out.print(f"From AR step {analysis.settled} on, the KL of a clip stays within 5 % of {number(value)}.")
    if math.isinf(limit):
        out.print(f"{kernel} adds no new noise, so there is no bound.")
    elif not analysis.closed:
        out.print(f"The memory {memory} is not a function of its last value and the new chunk, so there is no bound.")
    else:
        growth = number(analysis.errors[-1].item())
        out.print(f"The bound grows by {growth} per AR step; after {last} steps it is {times(limit, value)}.")


def show_counter_examples(broken: "Mapping[str, CounterExample]"):
    """Print what breaking each preset costs."""
    table = table_of("KL of a video", "correct", "causal network", "reused noise", "variance")
    for name, each in broken.items():
        kls = (number(value) for value in (each.kl, each.causal, each.reused))
        table.add_row(name, *kls, f"{each.inflation:.2f}x")
    out.print()
    out.print(table)


def show_predictions(predictions: "Mapping[str, Prediction]", agreement: "Mapping[str, Agreement]", last: int):
    """Print what single steps predict of each schedule, and how far they rank schedules as their KL does."""
    table = table_of("schedule", "start", "score", "solver", "sum", "excess", "raw", "video", f"last {last}")
    for name, each in sorted(predictions.items(), key=lambda pair: pair[1].kl):
        values = (each.start, each.score, each.solver, each.total, each.excess, each.raw, each.kl, each.kl_last)
        table.add_row(printable(name), *map(number, values))
    out.print(table)
    out.print()
    for key, title in (("total", "The sum of single steps"), ("excess", "Excess loss"), ("raw", "Raw loss")):
        if key in agreement and (rank := agreement[key].video) is not None:
            out.print(f"{title} and the KL of the video: rank correlation {rank:.2f} (Spearman).")
