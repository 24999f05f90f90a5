"""`arvdm eval predict`: how fast schedules degrade, told without rolling a video out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from .. import flags
from ..console import out as stdout
from ..console import printable, progress, say, settings, write_json
from ..flags import Models, Out, Schedules, Seed, Yes
from .tables import (
    CLIP_SEED,
    Cells,
    Rows,
    begun,
    cell,
    check_schedules,
    missing,
    schedules_of,
    show,
    told,
    writing,
)

EXPECTED = 0.7  # rank correlation with roll-outs that the paper's sum of errors should reach


@flags.sampling(presets=False)
def predict(
    models: Models,
    out: Out = Path("predict"),
    schedule: Schedules = None,
    measured: Annotated[
        list[Path] | None,
        Option(help="Folder of `eval drift` or `eval pareto` to compare with; repeat for more. Can be given later."),
    ] = None,
    length: Annotated[int, Option("--length", "-n", min=1, help="New frames of the video to predict.")] = 300,
    mazes: Annotated[int, Option(min=1, help="Mazes that training never saw; three clips in each.")] = 16,
    often: Annotated[int, Option(min=1, help="AR steps measured in each clip.")] = 2,
    parts: Annotated[int, Option(min=2, help="Steps between two levels that stand for the solver's exact path.")] = 4,
    seed: Seed = CLIP_SEED,
    clips: Annotated[Path | None, Option(help="File that keeps the true frames; in OUT/clips if not given.")] = None,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Predict error accumulation: the errors of single AR steps from true frames, summed over a video.

    They are measured where what comes next was seen before and is still known, so that the best estimate's error is
    about 0 and the network's is its own. Beside their sum stands the raw denoising loss, most of which is nobody's.
    With --measured, Spearman's rank correlation says how far each agrees with roll-outs of the same models. OUT gets
    predict.json, predict.csv, predict.png and predict.html.
    """
    check_schedules(schedule)  # before anything is measured

    from ...device import choose_machine
    from ...evaluation import prediction, truth
    from ...hub import checkpoint, registry
    from ...reports import results
    from ...reports.figure import figure
    from ...sampling import generation

    found = [row for folder in measured or [] for row in prediction.measured(folder)]
    figure()  # fails now rather than at the end, where it cannot draw
    asked: dict[str, Any] = {"models": models, "schedules": schedule, "length": length, "mazes": mazes}
    asked |= {"often": often, "parts": parts, "seed": seed, "slots": chosen.get("slots")}
    others = {name: value for name, value in chosen.items() if name != "slots"}
    asked |= {"chosen": others} if others else {}
    report = begun(out / "predict.json", asked, yes, again=bool(measured))
    machine = choose_machine(device, dtype, threads)
    for model in models:
        loaded = checkpoint.load(registry.resolve(model), *machine)
        left = [text for text in schedules_of(loaded, schedule) if missing(report, model=model, spelled=text)]
        if not left:
            continue  # measured before this run was stopped
        world = truth.world_of(loaded)
        with progress("maze", mazes) as shown:
            file = clips or out / "clips" / world.file_name(seed)
            true = truth.take(file, world, "revisit", mazes, truth.LENGTH, seed, told(shown))
        with progress("clip", mazes * len(truth.KINDS)) as shown:
            stretches = prediction.encode(loaded, true, told(shown))
        for text in left:
            plan = generation.choose(loaded.sampling, **chosen, schedule=text)
            with progress("batch", prediction.batches(mazes, plan.schedule.window, often)) as shown:
                row = prediction.predict(loaded, stretches, plan, length, parts, often, told(shown))
            report["rows"].append({"model": model, "spelled": text, **row})
            with writing(out):
                results.save(out / "predict.json", report)
    report["measured"] = [str(folder) for folder in measured or []]
    report["rows"] = prediction.beside(report["rows"], found)
    report["agreement"] = prediction.agreement(report["rows"])
    with writing(out):
        finish(out, report)
    if settings.json:
        return write_json(report)
    show(tables(report), left=("of",))
    stdout.print(verdict(report), soft_wrap=True)
    say(f"{printable(str(out))} holds predict.html, predict.json, predict.csv and predict.png")


ROLLED = {  # figures of roll-outs
    "psnr_end": "PSNR of returns at the end, dB",
    "psnr_lost": "dB of PSNR lost on returns since frame 1",
    "looks": "looks off the truth's",
}
FIGURES = (  # of a model's table: title, figure, digits
    ("start", "start", 4),
    ("score", "score", 4),
    ("discretisation", "discretisation", 4),
    ("noise", "noise", 4),
    ("AR steps", "ar_steps", 0),
    ("predicted", "predicted", 2),
    ("last step", "last", 4),
    ("whole AR step", "whole", 4),
    ("... stepped", "stepped", 2),
    ("raw loss", "raw", 3),
    ("PSNR at the end", "psnr_end", 2),
    ("dB lost", "psnr_lost", 2),
    ("looks", "looks", 3),
)


def tables(report: dict[str, Any]) -> Iterator[tuple[str, Cells]]:
    """Yield every table with its title; the first row is its header."""
    from ...evaluation import prediction
    from ...reports.statistics import ranks

    for model in report["asked"]["models"]:
        rows = [row for row in report["rows"] if row["model"] == model]
        header = ["", *(row["spelled"] for row in rows)]
        figures = [figure for figure in FIGURES if any(row[figure[1]] is not None for row in rows)]
        body = [[title, *(cell(row[name], digits) for row in rows)] for title, name, digits in figures]
        title = f"{model}: squared error of latents, per clean frame, over {report['asked']['length']} frames"
        yield title, [header, *body]
        body = [[name, *(f"{rank:g}" for rank in ranks([row[name] for row in rows]))] for name in prediction.ORDERS]
        yield f"{model}: rank of each schedule, the least error first, by", [header, *body]
    if report["agreement"]:
        yield "Spearman's rank correlation with roll-outs (and by chance as far from 0)", agreed(report["agreement"])


def agreed(rows: Rows) -> Cells:
    """A table of rank correlations: a row for each order and model, a column for each figure of roll-outs."""
    known = {(row["order"], row["model"], row["figure"]): row for row in rows}
    told = [["", "of", "points", *(title for title, name, _ in FIGURES if name in ROLLED)]]
    for order, model in dict.fromkeys((row["order"], row["model"]) for row in rows):
        own = [known.get((order, model, name)) for name in ROLLED]
        points = max(row["points"] for row in own if row)
        found = (f"{cell(row['spearman'], 2)} ({cell(row['chance'], 3)})" if row else "-" for row in own)
        told.append([order, model or "all", str(points), *found])
    return told


def verdict(report: dict[str, Any]) -> str:
    """What comes of it, in one line."""
    found = {
        row["order"]: row
        for row in report["agreement"]
        if (row["figure"], row["model"]) == ("psnr_lost", None) and row["spearman"] is not None
    }
    if not found:
        return "Nothing measured to compare with: --measured takes at least 3 points of `eval drift` or `eval pareto`."
    points = next(iter(found.values()))["points"]
    told = ", ".join(f"{order} {row['spearman']:.2f}" for order, row in found.items())
    return (
        f"Spearman against dB lost since frame 1, over {points} points: {told}; a sum is expected to reach {EXPECTED}."
    )


def finish(out: Path, report: dict[str, Any]) -> None:
    """Write what is made of all rows together."""
    from ...evaluation import plots, prediction
    from ...reports import page, results

    rows: Rows = report["rows"]
    flat = [{key: value for key, value in row.items() if key not in ("sampling", "by_step")} for row in rows]
    results.write_csv(out / "predict.csv", flat)
    words = {"predicted": "all terms, summed", "stepped": "whole AR steps, summed", "raw": prediction.ORDERS["raw"]}
    wanted = [(order, "psnr_lost") for order in words]
    known = [pair for pair in wanted if any(row[pair[1]] is not None for row in rows)] or [("raw", "predicted")]
    panels = [plots.Panel(x, y, "", words[x], ROLLED.get(y) or words[y]) for x, y in known]
    plots.plot_points(out / "predict.png", rows, panels, "spelled")
    asked = report["asked"]
    text = (
        f"{asked['mazes']} mazes that training never saw; {asked['often']} AR steps in each clip, from true frames, "
        f"summed over {asked['length']} frames. start: {prediction.START}. "
        + " ".join(f"{name}: {what}." for name, what in (prediction.TERMS | prediction.ORDERS).items())
        + " By chance: how often points that have nothing to do with each other would agree or disagree as much. "
        + verdict(report)
    )
    page.write_page(out / "predict.html", "What schedules will lose", text, tables(report), [out / "predict.png"])
    report["complete"] = True
    results.save(out / "predict.json", report)
