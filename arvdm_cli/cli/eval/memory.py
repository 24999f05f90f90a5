"""`arvdm eval memory`: what models still know of what they saw."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from ...errors import UsageError
from .. import flags
from ..console import out as stdout
from ..console import printable, progress, say, settings, write_json
from ..flags import Models, Out, Seed, Yes
from .tables import NEEDLE_SEED, Cells, Rows, WorldName, begun, missing, strip, table, take_needles, told, writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ...worlds.world import Needle

CONTROLS = ("memory", "none", "other", "unseen", "context", "truth")  # measured if none is named
SHOWN = 3  # worlds in a strip


@flags.sampling()
def memory(
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
    from ...device import choose_machine
    from ...evaluation import retrieval
    from ...evaluation.truth import world_of
    from ...hub import checkpoint, registry
    from ...reports import results
    from ...sampling import generation

    for name in control or []:
        if name not in retrieval.CONTROLS:
            raise UsageError(f"No control is called {name!r}.", hint=f"Choose from: {', '.join(retrieval.CONTROLS)}.")
    kinds, gaps, controls = kind or ["theme", "colour"], gap or [16, 64, 128], list(control or CONTROLS)
    if quick:
        gaps, controls, frames = [64], ["memory", "none"], 4
    asked = {"kinds": kinds, "gaps": gaps, "controls": controls, "worlds": worlds, "frames": frames, "seed": seed}
    asked |= {"world": world} if world else {}
    report = begun(out / "memory.json", asked | {"models": models, "chosen": chosen}, yes)
    machine = choose_machine(device, dtype, threads)
    for model in models:
        loaded = checkpoint.load(registry.resolve(model), *machine)
        plan = generation.choose(loaded.sampling, **chosen)
        mazes = world_of(loaded, world)
        used = {
            "sha256": loaded.sha256,
            "schedule": plan.schedule.name,
            "steps": plan.schedule.steps,
            "slots": plan.sampling.slots,
        }
        for k, g in ((k, g) for k in kinds for g in gaps):
            if not missing(report, model=model, kind=k, gap=g):
                continue  # measured before this run was stopped
            tests = take_needles(needles or out / "needles", mazes, k, g, worlds, seed)
            total = worlds * sum(frames + g * (name == "free") for name in controls if name != "truth")
            with progress("frame", total, "fps") as shown:
                rows, made = retrieval.measure(loaded, tests, plan, tuple(controls), frames, progress=told(shown))
            report["rows"] += [{"model": model, **used, "kind": k, **row} for row in rows]
            with writing(out):
                for name in made:
                    draw(out / strip(model, k, g, name), tests, made[name])
                results.save(out / "memory.json", report)
    finish(out, report)
    if settings.json:
        return write_json(report)
    for model in models:
        rows = [row for row in report["rows"] if row["model"] == model]
        stdout.print(table(cells(rows), model, left=("control",)))
    say(f"{printable(str(out))} holds memory.html, memory.json, memory.csv, retrieval.png and strips")


def draw(path: Path, tests: "Sequence[Needle]", made: "np.ndarray") -> None:
    """Draw some worlds: what was true, what was made, and by how much they differ."""
    import numpy as np

    from ...media import contact_sheet

    pictures = []
    for test, shown in zip(tests[:SHOWN], made, strict=False):
        truth = test.candidates[test.truth, : len(shown)]
        pictures += [truth, shown, np.abs(truth.astype(int) - shown).astype(np.uint8)]
    contact_sheet(np.concatenate(pictures), made.shape[1], path)


def finish(out: Path, report: dict[str, Any]) -> None:
    """Write what is made of all rows together."""
    from ...evaluation import plots, retrieval
    from ...reports import page, results

    rows, asked = report["rows"], report["asked"]
    with writing(out):
        results.write_csv(out / "memory.csv", rows)
        plots.plot_retrieval(out / "retrieval.png", rows)
        words = (
            f"{asked['worlds']} mazes for each kind and gap, {asked['frames']} frames made after the return. "
            "Strips show truth, what was made, and their difference. "
        ) + " ".join(f"{name}: {retrieval.CONTROLS[name]}." for name in asked["controls"])
        titled = [(model, cells([row for row in rows if row["model"] == model])) for model in asked["models"]]
        strips = [
            out / strip(model, kind, gap, name)
            for model in asked["models"]
            for kind in asked["kinds"]
            for gap in asked["gaps"]
            for name in asked["controls"]
            if name != "truth"
        ]
        page.write_page(out / "memory.html", "What is remembered", words, titled, [out / "retrieval.png", *strips])
        report["complete"] = True
        results.save(out / "memory.json", report)


def cells(rows: Rows) -> Cells:
    """How many worlds each test and control found, and by which way one came back; the first row is a header."""
    told = [["test", "control", "found", "95 %", "chance", "way back", "loop", "margin"]]
    for row in rows:
        ways = ("-" if row[way] is None else f"{row[way]:.0%}" for way in ("top1_inverse", "top1_loop"))
        span = f"{100 * row['low']:.0f}-{row['high']:.0%}"
        found, chance = f"{row['top1']:.0%}", f"{row['chance']:.0%}"
        told.append(
            [f"{row['kind']} {row['gap']}", row["control"], found, span, chance, *ways, f"{row['margin']:+.1f} dB"]
        )
    return told
