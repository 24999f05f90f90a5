"""`arvdm eval pareto`: forgetting against degradation, over networks, memory budgets and schedules."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Models, Out, Schedules, Yes
from .tables import DRIFT_SEED, NEEDLE_SEED, check_schedules, loader, resumes, run, table


@flags.sampling(presets=False)
def pareto(
    models: Models,
    out: Out = Path("pareto"),
    schedule: Schedules = None,
    memory_slots: Annotated[
        list[int] | None,
        Option(min=0, help="Groups of past frames in memory, 0 for none; repeat. [default: the checkpoint's]"),
    ] = None,
    *,
    chosen: flags.Choices,
    kind: Annotated[str, Option(help="Needle: theme, colour, blocks2 or blocks4.")] = "theme",
    gap: Annotated[int, Option(min=1, help="Frames for which the needle is out of view.")] = 64,
    worlds: Annotated[int, Option(min=1, help="Needle tests.")] = 32,
    frames: Annotated[int, Option(min=1, max=12, help="Frames made in each needle test.")] = 4,
    mazes: Annotated[int, Option(min=1, help="Mazes of the roll-outs; two paths in each.")] = 4,
    length: Annotated[int, Option("--length", "-n", min=2, max=1000, help="New frames of each roll-out.")] = 64,
    forgetting: Annotated[
        Literal["found", "margin"] | None,
        Option(help="Needles not found, or by how many dB; can be changed later. [default: found]"),
    ] = None,
    degradation: Annotated[
        Literal["looks", "psnr_lost", "psnr_end"] | None,
        Option(
            help="How far the looks of the last frames are off, or their PSNR on returns, which depends on memory too; "
            "can be changed later. [default: looks]"
        ),
    ] = None,
    truth: Annotated[Path | None, Option(help="Folder that keeps the true frames; OUT/truth if not given.")] = None,
    needles: Annotated[Path | None, Option(help="Folder that keeps the tests; OUT/needles if not given.")] = None,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Set what models forget against how far they degrade, over networks, memory budgets and schedules.

    Each point takes needle tests as `eval memory` does and rolls out as `eval drift` does. The paper found that less
    forgetting goes with more degradation; the last line says whether it does here. OUT gets pareto.json, pareto.csv,
    pareto.png with the frontier marked, and pareto.html.
    """
    check_schedules(schedule)  # before anything is measured

    from ...evaluation.studies.pareto import ParetoStudy

    study = ParetoStudy(
        models,
        loader(device, dtype, threads),
        schedules=schedule,
        slots=memory_slots,
        kind=kind,
        gap=gap,
        worlds=worlds,
        frames=frames,
        mazes=mazes,
        length=length,
        seeds=(DRIFT_SEED, NEEDLE_SEED),
        forgetting=forgetting or "found",
        degradation=degradation or "looks",
        truth=truth,
        needles=needles,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes, finished=bool(forgetting or degradation))):
        for each in report.tables:
            stdout.print(table(each.rows, left=each.left))
        stdout.print()
        stdout.print(study.verdict(report.rows), soft_wrap=True)
        say(f"{printable(str(out))} holds pareto.html, pareto.json, pareto.csv and pareto.png")
