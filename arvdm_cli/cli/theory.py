"""`arvdm theory`: the paper's analysis, worked out exactly on Gaussian auto-regressive processes."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Option, Typer

from ..errors import OutputError, TheoryError, UsageError
from ..sampling.config import SETTINGS
from ..sampling.schedules import PRESETS, choose, preset
from . import flags
from .console import out, printable, say, settings, write_json
from .schedule import confirm_replacing_file

if TYPE_CHECKING:
    from ..theory.analysis import Analysis
    from ..theory.ranking import CounterExample, Prediction
    from ..theory.setting import Setting

app = Typer(help="Show what is lost in long videos, and why, on processes where all is known.", no_args_is_help=True)

# What is generated
ScheduleName = Annotated[str, Option("--schedule", "-s", help=SETTINGS["schedule"].help)]
Order = Annotated[int, Option(min=1, help="A true frame hangs on so many before it.")]
Dim = Annotated[int, Option(min=1, help="Numbers in a frame.")]
Echo = Annotated[float, Option(help="Share of a frame that comes from `order` frames before, not from the last one.")]

# How it is generated
Context = Annotated[int, Option(min=0, help="Clean frames before the window.")]
Prompt = Annotated[int, Option(min=0, help="True frames that every video begins with.")]
Memory = Annotated[str, Option(help="none, last, stride, average or best: what is kept of frames before the context.")]
Frames = Annotated[int | None, Option(min=1, help="Frames kept (last).")]
Every = Annotated[int | None, Option(min=1, help="Of so many frames one is kept (stride).")]
Rank = Annotated[int | None, Option(min=1, help="Numbers kept (average, best).")]
KernelName = Annotated[
    str, Option(help="exact; ancestral or analytic (DDPM with fixed or best variance); euler or heun (ODE).")
]
Substeps = Annotated[int, Option(min=1, help="Denoising steps from one row of the schedule to the next.")]
InitSteps = Annotated[int, Option(min=1, help="Denoising steps of the initialization stage.")]
ScoreError = Annotated[
    float | None, Option(min=0, help="How far every weight of the network is off, relatively. [default: 0.05]")
]
Seed = Annotated[int, Option(min=0, max=2**63 - 1, help="Of what is off.")]
Family = Annotated[str, Option("--diffusion", help="flow or ddpm: what a level means.")]
ArSteps = Annotated[int, Option(min=1, help="AR steps.")]
Picture = Annotated[Path | None, Option(help="Draw it too: .png, .svg or .pdf; needs pip install 'arvdm[plot]'.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Replace an existing picture.")]


@app.callback()
def theory():
    """Show what is lost in long videos, and why, on processes where all is known."""


@app.command()
@flags.sampling(fields=False)
def bound(
    schedule: ScheduleName = "rolling",
    *,
    chosen: flags.Choices,
    order: Order = 4,
    dim: Dim = 3,
    echo: Echo = 0.4,
    context: Context = 1,
    prompt: Prompt = 4,
    memory: Memory = "none",
    frames: Frames = None,
    every: Every = None,
    rank: Rank = None,
    kernel: KernelName = "analytic",
    substeps: Substeps = 4,
    init_steps: InitSteps = 8,
    score_error: ScoreError = None,
    seed: Seed = 0,
    diffusion: Family = "flow",
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

    from ..theory.analysis import analyse
    from ..theory.gaussian import rotation
    from ..theory.memories import memory as remember

    setting = make_setting(
        context=context,
        prompt=prompt,
        memory=remember(memory, frames=frames, every=every, rank=rank),
        kernel=kernel,
        substeps=substeps,
        init_steps=init_steps,
        score_error=score_error,
        seed=seed,
        diffusion=diffusion,
    )
    found = analyse(rotation(order, dim, echo), plan, setting, ar_steps)
    draw("bound", plot, found)
    if settings.json:
        return write_json({"schedule": schedule, "kernel": kernel, "memory": memory} | facts_of(found))
    out.print(bound_table(found))
    out.print()
    long, states, limit, path = (
        each[-1].item() for each in (found.kl_video, found.kl_states, found.bound, found.path_bound)
    )
    out.print(f"The KL of the video is {number(long)} nats; over all states, noisy ones too, {number(states)}.")
    if math.isinf(limit):
        return out.print(f"{kernel} renews no noise, so nothing is bounded.")
    out.print(f"The bound is {number(limit)}, {times(limit, long)}; counted by denoising steps {number(path)}.")


@app.command("memory")
@flags.sampling(fields=False)
def memory_(
    schedule: ScheduleName = "fifo",
    *,
    chosen: flags.Choices,
    order: Order = 8,
    dim: Dim = 3,
    echo: Echo = 0.4,
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
    """Show how the memory bottleneck shrinks with what is remembered, and of how much.

    It is what the output of an AR step has to do with the past, once all that is seen of the past is known: no
    network, however good, can make up for it.
    """
    plan = choose(schedule, **chosen)
    check_picture(plot, yes)

    from ..theory.analysis import analyse
    from ..theory.gaussian import rotation
    from ..theory.memories import MEMORIES, options_of
    from ..theory.memories import memory as remember

    process = rotation(order, dim, echo)
    rows: list[dict[str, Any]] = []
    for name in ("none", *(memory or [name for name in MEMORIES if name != "none"])):
        option = next(iter(options_of(name)), "")
        for value in (size or [1, 2, 3, 4, 6, 8]) if option else [0]:
            kept = remember(name, **({option: value} if option else {}))
            setting = make_setting(
                context=context, prompt=prompt, memory=kept, kernel="exact", init_steps=1, diffusion=diffusion
            )
            found = analyse(process, plan, setting, ar_steps)
            rows.append(
                {
                    "memory": name,
                    "option": option,
                    "size": value,
                    "numbers": int(found.seen[-1].item()),
                    "mb": found.mb[-1].item(),
                    "sum": found.mb.sum().item(),
                }
            )
    for row in reversed(rows):
        row["numbers"] -= rows[0]["numbers"]  # those of the context
    draw("bottleneck", plot, rows)
    if settings.json:
        return write_json({"schedule": schedule, "ar_steps": ar_steps, "context": context, "rows": rows})
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("memory", "size", "numbers", "MB of the last AR step", "of all", "left"):
        table.add_column(title, justify="left" if title in ("memory", "size") else "right")
    for row in rows:
        left = f"{abs(row['mb'] / rows[0]['mb']):.0%}" if rows[0]["mb"] > NOTHING else "-"
        size_of = f"{row['option']} {row['size']}" if row["option"] else ""
        table.add_row(row["memory"], size_of, str(row["numbers"]), number(row["mb"]), number(row["sum"]), left)
    out.print(table)


@app.command()
@flags.sampling(fields=False)
def drift(
    schedule: ScheduleName = "outpainting",
    *,
    chosen: flags.Choices,
    order: Order = 4,
    dim: Dim = 3,
    echo: Echo = 0.4,
    context: Context = 1,
    prompt: Prompt = 4,
    memory: Memory = "none",
    frames: Frames = None,
    every: Every = None,
    rank: Rank = None,
    kernel: KernelName = "analytic",
    substeps: Substeps = 4,
    init_steps: InitSteps = 8,
    score_error: ScoreError = None,
    seed: Seed = 0,
    diffusion: Family = "flow",
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

    from ..theory import analysis as library
    from ..theory import memories, ranking
    from ..theory.gaussian import rotation

    process = rotation(order, dim, echo)
    setting = make_setting(
        context=context,
        prompt=prompt,
        memory=memories.memory(memory, frames=frames, every=every, rank=rank),
        kernel=kernel,
        substeps=substeps,
        init_steps=init_steps,
        score_error=score_error,
        seed=seed,
        diffusion=diffusion,
    )
    found = library.analyse(process, plan, setting, ar_steps)
    broken: dict[str, CounterExample] = {}
    if counter_examples:
        right = make_setting(context=order, prompt=max(prompt, order), kernel="heun", substeps=8, diffusion=diffusion)
        broken = ranking.counter_examples(process, {name: preset(name) for name in PRESETS}, right)
    draw("clips", plot, found, broken)
    if settings.json:
        examples = {name: asdict(each) for name, each in broken.items()}
        return write_json({"schedule": schedule, "kernel": kernel} | facts_of(found) | {"counter_examples": examples})
    show_drift(found, kernel, memory)
    if broken:
        show_broken(broken)


@app.command()
def predict(
    schedule: Annotated[
        list[str] | None, Option("--schedule", "-s", help="Preset or file; repeat. [default: ten of five presets]")
    ] = None,
    order: Order = 4,
    dim: Dim = 2,
    echo: Echo = 0.4,
    context: Context = 4,
    prompt: Prompt = 4,
    kernel: Annotated[str, Option(help="euler or heun.")] = "heun",
    substeps: Substeps = 2,
    init_steps: InitSteps = 8,
    score_error: ScoreError = None,
    networks: Annotated[int, Option(min=1, help="Networks that are off in ways of their own; numbers are means.")] = 2,
    seed: Seed = 0,
    diffusion: Family = "flow",
    length: Annotated[int, Option("--length", "-n", min=1, help="New frames.")] = 24,
    last: Annotated[int, Option(min=1, help="So many of them, the last ones, are looked at by themselves too.")] = 4,
    plot: Picture = None,
    yes: Yes = False,
):
    """Tell from single denoising steps which schedules drift, and compare with the KL of their videos.

    Each step starts from true noisy frames, so no video is generated: the errors of the start, of the network and of
    the solver add up. The denoising loss alone says little: most of it no network can avoid.
    """
    plans = {name: choose(name) for name in schedule or []}
    check_picture(plot, yes)

    from ..reports.statistics import spearman
    from ..theory import ranking
    from ..theory.gaussian import rotation

    setting = make_setting(
        context=context,
        prompt=prompt,
        kernel=kernel,
        substeps=substeps,
        init_steps=init_steps,
        score_error=score_error,
        seed=seed,
        diffusion=diffusion,
    )
    found = ranking.predict(rotation(order, dim, echo), plans or ranking.VARIETY, setting, length, last, networks)
    ranks = {
        of: {
            name: spearman(*([getattr(each, by) for each in found.values()] for by in (of, target)))
            for name, target in (("video", "kl"), ("last", "kl_last"))
        }
        for of in ("total", "excess", "raw")
    }
    draw("prediction", plot, found)
    if settings.json:
        rows = [{"schedule": name, **asdict(each), "total": each.total} for name, each in found.items()]
        return write_json({"kernel": kernel, "length": length, "last": last, "rows": rows, "rank_correlation": ranks})
    show_predictions(found, ranks, last)


def show_predictions(found: "dict[str, Prediction]", ranks: dict[str, dict[str, float | None]], last: int):
    """Print what single steps say of each schedule, and whether it ranks them as their KL does."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("schedule", "start", "score", "solver", "sum", "excess", "raw", "video", f"last {last}"):
        table.add_column(title, justify="left" if title == "schedule" else "right")
    for name, each in sorted(found.items(), key=lambda pair: pair[1].kl):
        values = (each.start, each.score, each.solver, each.total, each.excess, each.raw, each.kl, each.kl_last)
        table.add_row(printable(name), *map(number, values))
    out.print(table)
    out.print()
    for of, what in (("total", "The sum of single steps"), ("excess", "Excess loss"), ("raw", "Raw loss")):
        if (rank := ranks[of]["video"]) is not None:
            out.print(f"{what} ranks them as the KL of the video does with Spearman {rank:.2f}.")


def make_setting(diffusion: str, score_error: float | None = 0.0, **chosen: Any) -> "Setting":
    """Put the flags together; a score error that is not given is 0.05 where there is a network."""
    from ..sampling.diffusion import DIFFUSIONS
    from ..theory.setting import Setting

    if diffusion not in DIFFUSIONS:
        raise TheoryError(f"No diffusion is called {diffusion!r}.", hint=f"Choose from: {', '.join(DIFFUSIONS)}.")
    if score_error is None:
        score_error = 0.0 if chosen["kernel"] == "exact" else 0.05
    return Setting(diffusion=DIFFUSIONS[diffusion](), score_error=score_error, **chosen)


PICTURES = ".png", ".svg", ".pdf"


def check_picture(plot: Path | None, yes: bool):
    """Stop before the work where the picture could not be drawn."""
    if plot:
        from ..reports.figure import figure

        if plot.suffix.lower() not in PICTURES:
            raise UsageError(f"{plot} is no picture.", hint=f"Choose a name that ends in {', '.join(PICTURES)}.")
        if not plot.parent.is_dir():
            raise OutputError(f"{plot.parent} is no folder.")
        confirm_replacing_file(plot, yes)
        figure()


def draw(what: str, plot: Path | None, *measured: Any):
    """Draw what was found, if that is asked for."""
    if plot:
        from ..theory import plots

        getattr(plots, f"plot_{what}")(plot, *measured)
        say(f"{printable(str(plot))} shows it")


NOTHING = 1e-9  # nats that are rounding


def number(nats: float) -> str:
    """A number for a table."""
    return "0" if abs(nats) < NOTHING else f"{nats:.3g}"


def times(limit: float, value: float) -> str:
    """How loose a bound is."""
    return f"{limit / value:.3g} times as much" if value > NOTHING else "where there is nothing to bound"


def facts_of(found: "Analysis") -> dict[str, Any]:
    """All that was found, for `--json`; what is infinite is null."""
    facts: dict[str, Any] = {"closed": found.closed, "settled": found.settled, "inflation": found.inflation}
    arrays = ("nie", "mb", "de", "see", "path_de", "path_see", "loss", "excess", "seen", "bound", "clip_bound")
    for name in (*arrays, "path_bound", "kl_states", "kl_video", "kl_clips"):
        facts[name] = [value if math.isfinite(value) else None for value in getattr(found, name).tolist()]
    return facts


def bound_table(found: "Analysis") -> Table:
    """A row for each AR step."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("AR step", "NIE", "MB", "DE", "SEE", "sum", "bound", "states", "video"):
        table.add_column(title, justify="left" if title == "AR step" else "right")
    parts = (found.nie, found.mb, found.de, found.see, found.errors + found.mb)
    for k, row in enumerate(zip(*parts, found.bound, found.kl_states, found.kl_video, strict=True)):
        table.add_row(str(k or "init"), *(number(value.item()) for value in row))
    return table


def show_drift(found: "Analysis", kernel: str, memory: str):
    """Print the KL of clips, and what is to be said of their bound."""
    last = len(found.kl_clips) - 1
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("AR step", "KL of the clip", "bound", "times"):
        table.add_column(title, justify="left" if title == "AR step" else "right")
    for k in sorted({0, last, *(2**i for i in range(last.bit_length()) if 2**i < last)}):
        value, limit = found.kl_clips[k].item(), found.clip_bound[k].item()
        loose = f"{limit / value:.3g}" if NOTHING < value < limit < math.inf else "-"
        table.add_row(str(k or "init"), number(value), number(limit), loose)
    out.print(table)
    out.print()
    value, limit = found.kl_clips[-1].item(), found.clip_bound[-1].item()
    if found.settled is None:
        out.print(f"The KL of a clip still moves after {last} AR steps.")
    else:
        out.print(f"From AR step {found.settled} on the KL of a clip stays within 5 % of {number(value)}.")
    if math.isinf(limit):
        out.print(f"{kernel} renews no noise, so nothing is bounded.")
    elif not found.closed:
        out.print(f"The memory {memory} is no function of what it was and of the new chunk, so nothing is bounded.")
    else:
        growth = number(found.errors[-1].item())
        out.print(f"Its bound grows by {growth} in an AR step; after {last} it is {times(limit, value)}.")


def show_broken(broken: "dict[str, CounterExample]"):
    """Print counter-examples."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("KL of a video", "done right", "causal network", "same noise again", "variance"):
        table.add_column(title, justify="left" if title == "KL of a video" else "right")
    for name, each in broken.items():
        kls = (number(value) for value in (each.kl, each.causal, each.reused))
        table.add_row(name, *kls, f"{each.inflation:.2f}x")
    out.print()
    out.print(table)
