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
from . import flags
from .console import out, printable, say, settings, warn, write_json
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

app = Typer(help="Show what is lost in long videos, and why, on processes where all is known.", no_args_is_help=True)

Order = Annotated[int, Option(min=1, help="Order of the auto-regressive process, in frames.")]
Dim = Annotated[int, Option(min=1, help="Numbers in a frame.")]
Echo = Annotated[float, Option(help="Share of a frame that comes from `order` frames before, not from the last one.")]
Context = Annotated[int, Option(min=0, help="Clean frames before the window.")]
Prompt = Annotated[int, Option(min=0, help="True frames that every video begins with.")]
KernelName = Annotated[
    str, Option(help="exact; ancestral or analytic (DDPM with fixed or best variance); euler or heun (ODE).")
]
Substeps = Annotated[int, Option(min=1, help="Denoising steps from one row of the schedule to the next.")]
Family = Annotated[str, Option("--diffusion", help="flow or ddpm: what a level means.")]
ScheduleName = Annotated[str, Option("--schedule", "-s", help=SETTINGS["schedule"].help)]
ArSteps = Annotated[int, Option(min=1, help="AR steps.")]
Picture = Annotated[Path | None, Option(help="Draw it too: .png, .svg or .pdf; needs pip install matplotlib.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Replace an existing picture.")]


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

    memory: Annotated[
        str, Option(help="none, last, stride, average or best: what is kept of frames before the context.")
    ] = "none"
    frames: Annotated[int | None, Option(min=1, help="Frames kept (last).")] = None
    every: Annotated[int | None, Option(min=1, help="Keep every n-th frame (stride).")] = None
    rank: Annotated[int | None, Option(min=1, help="Numbers kept (average, best).")] = None

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
        float | None, Option(min=0, help="Relative error of every weight of the network. [default: 0.05]")
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

    kernel: Annotated[str, Option(help="euler or heun.")] = "heun"
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
    """Show what is lost in long videos, and why, on processes where all is known."""


@app.command()
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
    """Split the KL of a long video into what each AR step adds: NIE, MB, DE and SEE, in nats.

    NIE: the noise it starts from. MB: the past it does not see. DE: its denoising steps. SEE: what its network has
    not learned.
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


@app.command("memory")
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
        list[str] | None, Option(help="last, stride, average or best; repeat for more. [default: all]")
    ] = None,
    size: Annotated[
        list[int] | None,
        Option(min=1, help="Of the memory: frames, every or rank; repeat for more. [default: 1, 2, 3, 4, 6, 8]"),
    ] = None,
    diffusion: Family = "flow",
    ar_steps: ArSteps = 12,
    plot: Picture = None,
    yes: Yes = False,
):
    """Show how the memory bottleneck shrinks with what is remembered, and with how much.

    It is what the output of an AR step has to do with the past, once all that is seen of the past is known: no
    network, however good, can make up for it.
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


@app.command()
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
        bool, Option("--counter-examples", help="Break every preset: a causal network, noise used again.")
    ] = False,
    plot: Picture = None,
    yes: Yes = False,
):
    """Show how errors add up in the clip of each AR step, against their bound: IE + K (NIE + DE + SEE), in nats.

    What is forgotten does a clip no harm, so there is no memory term.
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


@app.command()
@flags.grouped
def predict(
    schedule: Annotated[
        list[str] | None, Option("--schedule", "-s", help="Preset or file; repeat. [default: ten of five presets]")
    ] = None,
    *,
    truth: SmallProcess,
    context: Context = 4,
    prompt: Prompt = 4,
    steps: SolverFlags,
    networks: Annotated[
        int, Option(min=1, help="Networks, each with a score error of its own seed; numbers are means.")
    ] = 2,
    length: Annotated[int, Option("--length", "-n", min=1, help="New frames.")] = 24,
    last: Annotated[int, Option(min=1, help="Number of last frames whose KL is reported by itself too.")] = 4,
    plot: Picture = None,
    yes: Yes = False,
):
    """Tell from single denoising steps which schedules drift, and compare with the KL of their videos.

    Each step starts from true noisy frames, so no video is generated: the errors of the start, of the network and of
    the solver add up. The denoising loss alone says little: most of it no network can avoid.
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
        warn(f"{error} They are left out; {error.hint} brings it.")
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
        say(f"{printable(str(plot))} shows it")


# Tables

NOTHING = 1e-9  # nats that are rounding


def number(nats: float) -> str:
    """A number for a table."""
    return "0" if abs(nats) < NOTHING else f"{nats:.3g}"


def times(limit: float, value: float) -> str:
    """How loose a bound is."""
    return f"{limit / value:.3g} times as much" if value > NOTHING else "where there is nothing to bound"


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
    out.print(f"The KL of the video is {number(video)} nats; over all states, noisy ones too, {number(states)}.")
    if math.isinf(limit):
        return out.print(f"{kernel} renews no noise, so nothing is bounded.")
    out.print(f"The bound is {number(limit)}, {times(limit, video)}; counted by denoising steps {number(path)}.")


def show_bottlenecks(rows: "Sequence[Bottleneck]"):
    """Print a row for each memory and size; the first row is without memory."""
    table = table_of("memory", "size", "numbers", "MB of the last AR step", "of all", "left", left=2)
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
        out.print(f"The KL of a clip still moves after {last} AR steps.")
    else:
        out.print(f"From AR step {analysis.settled} on the KL of a clip stays within 5 % of {number(value)}.")
    if math.isinf(limit):
        out.print(f"{kernel} renews no noise, so nothing is bounded.")
    elif not analysis.closed:
        out.print(f"The memory {memory} is no function of what it was and of the new chunk, so nothing is bounded.")
    else:
        growth = number(analysis.errors[-1].item())
        out.print(f"Its bound grows by {growth} in an AR step; after {last} it is {times(limit, value)}.")


def show_counter_examples(broken: "Mapping[str, CounterExample]"):
    """Print what breaking each preset costs."""
    table = table_of("KL of a video", "done right", "causal network", "same noise again", "variance")
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
            out.print(f"{title} ranks them as the KL of the video does with Spearman {rank:.2f}.")
