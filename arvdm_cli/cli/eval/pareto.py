"""`arvdm eval pareto`: forgetting against degradation, over networks, memory budgets and schedules."""

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from .. import flags
from ..console import out as stdout
from ..console import printable, progress, say, settings, write_json
from ..flags import Models, Out, Schedules, Yes
from .tables import (
    DRIFT_SEED,
    NEEDLE_SEED,
    Cells,
    begun,
    cell,
    check_schedules,
    missing,
    schedules_of,
    table,
    take_needles,
    take_truth,
    told,
    writing,
)


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
            help="How far the looks of the last frames are off, or their PSNR on returns, which hangs on memory too; "
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

    from ...device import choose_machine
    from ...evaluation import metrics
    from ...evaluation import pareto as points
    from ...evaluation.truth import PATHS, world_of
    from ...hub import checkpoint, registry
    from ...reports import figure, results
    from ...sampling import generation
    from ...sampling.network import has_memory

    metrics.need_ms_ssim()
    figure.figure()  # fails now rather than at the end, where it cannot draw
    asked: dict[str, Any] = {"models": models, "schedules": schedule, "slots": memory_slots, "kind": kind, "gap": gap}
    asked |= {"worlds": worlds, "frames": frames, "mazes": mazes, "length": length}
    asked |= {"chosen": chosen} if chosen else {}
    report = begun(out / "pareto.json", asked, yes, again=bool(forgetting or degradation))
    machine = choose_machine(device, dtype, threads)
    for model in models:
        loaded = checkpoint.load(registry.resolve(model), *machine)
        forgetful = not has_memory(loaded.network)  # so that there is no budget to choose
        budgets = [0] if forgetful else memory_slots or [loaded.sampling.slots]
        named = ((text, slots) for text in schedules_of(loaded, schedule) for slots in dict.fromkeys(budgets))
        left = [point for point in named if missing(report, model=model, spelled=point[0], slots=point[1])]
        if not left:
            continue  # measured before this run was stopped
        world = world_of(loaded)
        true = take_truth(truth or out / "truth", world, mazes, length, DRIFT_SEED)
        tests = take_needles(needles or out / "needles", world, kind, gap, worlds, NEEDLE_SEED)
        for text, slots in left:
            plan = generation.choose(loaded.sampling, **chosen, schedule=text, slots=slots)
            with progress("frame", len(PATHS) * mazes * length + worlds * frames, "fps") as shown:
                row = points.measure(loaded, true, tests, plan, frames, told(shown))
            report["rows"].append({"model": model, "spelled": text, **row})
            with writing(out):
                results.save(out / "pareto.json", report)
    report["axes"] = {"forgetting": forgetting or "found", "degradation": degradation or "looks"}
    report["rows"], report["found"] = points.judge(report["rows"], **report["axes"])
    with writing(out):
        finish(out, report)
    if settings.json:
        return write_json(report)
    stdout.print(table(cells(report), left=("schedule",)))
    stdout.print()
    stdout.print(verdict(report), soft_wrap=True)
    say(f"{printable(str(out))} holds pareto.html, pareto.json, pareto.csv and pareto.png")


def cells(report: dict[str, Any]) -> Cells:
    """A row for each point; the first row is a header."""
    told = [["model", "schedule", "slots", "found", "95 %", "margin", "PSNR", "lost", "looks", "frontier"]]
    for row in report["rows"]:
        found = [f"{row['top1']:.0%}", f"{100 * row['low']:.0f}-{row['high']:.0%}", cell(row["margin"], 1)]
        rolled = [cell(row["psnr_end"], 2), cell(row["psnr_lost"], 2), cell(row["looks"], 3)]
        told.append(
            [row["model"], row["spelled"], str(row["slots"]), *found, *rolled, "yes" if row["frontier"] else ""]
        )
    return told


def verdict(report: dict[str, Any]) -> str:
    """Whether less forgetting goes with more degradation here, in one line."""
    found = report["found"]
    holds = {
        "yes": "Less forgetting goes with more degradation here, as the paper says",
        "no": "That less forgetting goes with more degradation does not show here",
        "opposite": "Less forgetting goes with less degradation here, against what the paper says",
    }[found["verdict"]]
    rank = "none" if found["spearman"] is None else f"{found['spearman']:.2f} (by chance {found['chance']:.3f})"
    return f"{holds}: rank correlation {rank}, {found['frontier']} of {found['points']} points on the frontier."


def finish(out: Path, report: dict[str, Any]) -> None:
    """Write what is made of all rows together."""
    from ...evaluation import plots
    from ...evaluation.pareto import DEGRADATION, FORGETTING
    from ...reports import page, results

    asked, rows, axes = report["asked"], report["rows"], report["axes"]
    plain = ("sampling", "world")  # tables within a row
    results.write_csv(
        out / "pareto.csv", [{key: value for key, value in row.items() if key not in plain} for row in rows]
    )
    named = [row | {"name": f"{row['spelled']}, {row['slots']}"} for row in rows]
    labels = f"{FORGETTING[axes['forgetting']]}, {asked['gap']} frames out of view", DEGRADATION[axes["degradation"]]
    panel = plots.Panel("forgetting", "degradation", "schedule, memory slots", *labels, best="frontier")
    plots.plot_points(out / "pareto.png", named, [panel], "name")
    text = (
        f"{asked['worlds']} needle tests ({asked['kind']}, {asked['gap']} frames out of view), {asked['frames']} "
        f"frames made in each; roll-outs of {asked['length']} frames on two paths in each of {asked['mazes']} mazes. "
        "Margin, PSNR of returns at the end, and what of it is lost since frame 1, are in dB; looks is 0 where the "
        "last frames have the truth's contrast, sharpness and colour spread. "
        f"Forgetting: {FORGETTING[axes['forgetting']]}. Degradation, over the last frames: "
        f"{DEGRADATION[axes['degradation']]}. No point has less of both than one on the frontier. {verdict(report)}"
    )
    tables = [("Points", cells(report))]
    page.write_page(out / "pareto.html", "Forgetting against degradation", text, tables, [out / "pareto.png"])
    report["complete"] = True
    results.save(out / "pareto.json", report)
