"""`arvdm eval memory`: what models still know of what they saw."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Models, Out, Seed, Yes
from .tables import NEEDLE_SEED, WorldName, loader, resumes, run, table


@flags.sampling()
def memory(
    invocation: Context,
    models: Models,
    out: Out = Path("memory"),
    kind: Annotated[
        list[str] | None, Option(help="theme, colour, blocks2 or blocks4; repeat for more. [default: theme, colour]")
    ] = None,
    gap: Annotated[
        list[int] | None, Option(min=1, help="Frames out of view; repeat for more. [default: 16, 64, 128]")
    ] = None,
    control: Annotated[
        list[str] | None,
        Option(help="memory, none, other, unseen, context, free or truth; repeat. [default: all but free]"),
    ] = None,
    quick: Annotated[bool, Option("--quick", help="Gap 64, 4 frames, with memory and without: a few minutes.")] = False,
    worlds: Annotated[int, Option(min=1, help="Mazes that training never saw, for each kind and gap.")] = 64,
    frames: Annotated[int, Option(min=1, max=12, help="Frames made and compared after the return.")] = 8,
    seed: Seed = NEEDLE_SEED,
    world: WorldName = None,
    needles: Annotated[Path | None, Option(help="Folder that keeps the tests; OUT/needles if not given.")] = None,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Take needle tests: a thing is shown, goes out of view, and comes back; is it drawn as it was?

    True frames are fed up to the return, so memory alone is measured. The share of worlds in which the true candidate
    is the nearest stands beside chance, and beside controls that must be at chance (none, other, unseen) or at 100 %
    (truth). OUT gets memory.json, memory.csv, retrieval.png, strips of truth, made and difference, and memory.html.
    """
    from ...evaluation.studies.memory import MEASURED, MemoryStudy

    gaps, controls = gap or [16, 64, 128], list(control or MEASURED)
    if quick:
        flags.refuse(invocation, ("gap", "control", "frames"), "--quick sets them itself.", "Leave out --quick.")
        gaps, controls, frames = [64], ["memory", "none"], 4
    study = MemoryStudy(
        models,
        loader(device, dtype, threads),
        kinds=kind or ["theme", "colour"],
        gaps=gaps,
        controls=controls,
        worlds=worlds,
        frames=frames,
        seed=seed,
        variant=world,
        needles=needles,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes)):
        for each in report.tables:
            stdout.print(table(each.rows, each.title, each.left))
        say(f"{printable(str(out))} holds memory.html, memory.json, memory.csv, retrieval.png and strips")
