"""`arvdm eval pareto`: forgetting against degradation, over networks, memory budgets and schedules."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Context, Option

from ...worlds.table import DRIFT_SEED, NEEDLE_SEED
from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Models, Out, Schedules, Yes
from .tables import check_schedules, loader, resumes, run, table
from .truth import AllEpisodes, Data, Shown, Starts, check_data, recorded, rendered

if TYPE_CHECKING:
    from ...evaluation.source import NeedleSource, Source


@flags.sampling(presets=False)
def pareto(
    invocation: Context,
    models: Models,
    out: Out = Path("pareto"),
    schedule: Schedules = None,
    memory_slots: Annotated[
        list[int] | None,
        Option(
            min=0,
            show_default="the checkpoint's own",
            help="Groups of past frames in memory; 0: no memory. Repeat for several.",
            rich_help_panel=flags.SAMPLING_PANEL,
        ),
    ] = None,
    *,
    chosen: flags.Choices,
    kind: Annotated[str, Option(help="Kind of needle test: theme, colour, blocks2 or blocks4.")] = "theme",
    gap: Annotated[int, Option(min=1, help="Frames for which the object is out of view.")] = 64,
    worlds: Annotated[int, Option(min=1, help="Number of needle tests.")] = 32,
    frames: Annotated[int, Option(min=1, max=12, help="Frames generated in each needle test.")] = 4,
    mazes: Annotated[int, Option(min=1, help="Mazes for roll-outs, with two paths in each.")] = 4,
    length: Annotated[int, Option("--length", "-n", min=2, max=1000, help="New frames of each roll-out.")] = 64,
    forgetting: Annotated[
        Literal["found", "margin"] | None,
        Option(
            show_default="found",
            help="Measure of forgetting: share of needles not retrieved, or margin in dB. Can be changed later.",
        ),
    ] = None,
    degradation: Annotated[
        Literal["looks", "psnr_lost", "psnr_end"] | None,
        Option(
            show_default="looks",
            help="Measure of degradation at the end: distance of appearance statistics from the truth (looks), or loss "
            "or value of PSNR on revisits, which depends on memory, too. Can be changed later.",
        ),
    ] = None,
    truth: Annotated[
        Path | None, Option(metavar="FOLDER", show_default="OUT/truth", help="Cache folder of the true frames.")
    ] = None,
    needles: Annotated[
        Path | None, Option(metavar="FOLDER", show_default="OUT/needles", help="Cache folder of the tests.")
    ] = None,
    data: Data = None,
    all_episodes: AllEpisodes = False,
    starts: Starts = 16,
    shown: Shown = None,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Compare forgetting with degradation over networks, memory sizes and schedules.

    Each point takes needle tests as in `eval memory` and roll-outs as in `eval drift`. The paper reports a trade-off:
    less forgetting with more degradation; the last line says whether it holds here. OUT receives pareto.json,
    pareto.csv, pareto.png with the Pareto frontier, and pareto.html.

    With --data both are measured on recorded episodes: returns, and roll-outs.
    """
    check_schedules(schedule)  # before anything is measured
    check_data(invocation, data, ("mazes", "kind", "truth", "needles"), ("all_episodes", "starts", "shown"))

    from ...evaluation.recorded import returns
    from ...evaluation.studies.pareto import ParetoStudy

    sources: tuple[Source, NeedleSource]
    sources = rendered(DRIFT_SEED, folder=truth), rendered(NEEDLE_SEED, needles=needles)
    if data:
        sources = (recorded(data, DRIFT_SEED, shown, all_episodes, frames),) * 2
    study = ParetoStudy(
        models,
        loader(device, dtype, threads),
        schedules=schedule,
        slots=memory_slots,
        kind=returns.KIND if data else kind,
        gap=gap,
        worlds=worlds,
        frames=frames,
        places=starts if data else mazes,
        length=length,
        sources=sources,
        forgetting=forgetting or "found",
        degradation=degradation or "looks",
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes, finished=bool(forgetting or degradation))):
        for each in report.tables:
            stdout.print(table(each.rows, left=each.left))
        stdout.print()
        stdout.print(study.verdict(report.rows), soft_wrap=True)
        say(f"wrote pareto.html, pareto.json, pareto.csv and pareto.png to {printable(str(out))}")
