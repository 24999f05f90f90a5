"""`arvdm eval memory`: what models still know of what they saw."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from ...worlds.table import NEEDLE_SEED
from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Models, Out, Seed, Yes
from .tables import WorldName, loader, resumes, run, table
from .truth import AllEpisodes, Data, check_data, recorded, rendered


@flags.sampling()
def memory(
    invocation: Context,
    models: Models,
    out: Out = Path("memory"),
    kind: Annotated[
        list[str] | None,
        Option(
            show_default="theme, colour", help="Kind of test: theme, colour, blocks2 or blocks4; repeat for several."
        ),
    ] = None,
    gap: Annotated[
        list[int] | None,
        Option(
            min=1,
            show_default="16, 64, 128; with --data those beyond the context",
            help="Frames for which the object is out of view; repeat for several.",
        ),
    ] = None,
    control: Annotated[
        list[str] | None,
        Option(
            show_default="all but free",
            help="Condition: memory, none, other, unseen, context, free or truth; repeat for several.",
        ),
    ] = None,
    quick: Annotated[
        bool, Option("--quick", help="Only gap 64 and 4 frames, with and without memory; takes a few minutes.")
    ] = False,
    worlds: Annotated[
        int, Option(min=1, help="Held-out mazes for each kind and gap, or largest number of returns for each gap.")
    ] = 64,
    frames: Annotated[int, Option(min=1, max=12, help="Frames generated and compared after the return.")] = 8,
    seed: Seed = NEEDLE_SEED,
    world: WorldName = None,
    needles: Annotated[
        Path | None, Option(metavar="FOLDER", show_default="OUT/needles", help="Cache folder of the tests.")
    ] = None,
    data: Data = None,
    all_episodes: AllEpisodes = False,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Measure memory with needle tests: is an object drawn correctly when it comes back into view?

    The model sees true frames up to the return, so only memory is measured. Retrieval accuracy is the share of worlds
    in which the generated frame is closest to the true candidate. It is reported with chance, and with controls that
    must be at chance (none, other, unseen) or at 100 % (truth). OUT receives memory.json, memory.csv, retrieval.png,
    strips (truth, generated, difference) and memory.html.

    With --data the tests are moments of recorded episodes that return to what was seen before, found by matching
    frames. There the context tells something too, so memory is what the model gains over the control none.
    """
    from ...evaluation.recorded import returns
    from ...evaluation.studies.memory import MEASURED, MemoryStudy

    check_data(invocation, data, ("kind", "world", "needles"), ("all_episodes",))
    gaps, controls = gap or (None if data else returns.GAPS), list(control or MEASURED)
    if quick:
        flags.refuse(invocation, ("gap", "control", "frames"), "--quick sets them.", "Leave out --quick.")
        gaps, controls, frames = [64], ["memory", "none"], 4
    study = MemoryStudy(
        models,
        loader(device, dtype, threads),
        kinds=[returns.KIND] if data else kind or ["theme", "colour"],
        gaps=gaps and list(gaps),
        controls=controls,
        worlds=worlds,
        frames=frames,
        source=recorded(data, seed, None, all_episodes, frames) if data else rendered(seed, world, needles=needles),
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes)):
        for each in report.tables:
            stdout.print(table(each.rows, each.title, each.left))
        say(f"wrote memory.html, memory.json, memory.csv, retrieval.png and strips to {printable(str(out))}")
