"""`arvdm eval drift`: how fast models degrade over long roll-outs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ...errors import DataError, UsageError
from .. import flags
from ..console import printable, progress, say, settings, write_json
from ..flags import Out, Seed, Yes
from .tables import DRIFT_SEED, Cells, Rows, WorldName, across, cell, draw, show, strip, take_truth, told, writing

if TYPE_CHECKING:
    from ...evaluation.metrics import Features

VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".y4m")
TITLES = {"returns": "Returns", "new": "New ground"}


@flags.sampling()
def drift(
    models: Annotated[
        list[str] | None, Argument(metavar="MODEL...", help="Folders, short names, or owner/name on the Hub.")
    ] = None,
    out: Out = Path("drift"),
    mazes: Annotated[int, Option(min=1, help="Mazes that training never saw; two paths in each.")] = 16,
    length: Annotated[
        int | None,
        Option("--length", "-n", min=1, max=1000, help="New frames of each path, 300 if not given; 8 of --episodes."),
    ] = None,
    seed: Seed = DRIFT_SEED,
    world: WorldName = None,
    truth: Annotated[Path | None, Option(help="Folder that keeps the true frames; OUT/truth if not given.")] = None,
    clips: Annotated[
        Path | None, Option(help="Clips, or a folder of them, that show truth (left) and model side by side.")
    ] = None,
    context: Annotated[
        int | None,
        Option(min=1, help="Frames at the start of --clips that were shown; found if not given. 48 of --episodes."),
    ] = None,
    episodes: Annotated[
        Path | None, Option(help="Folder of episodes, rendered or imported, to continue instead of paths in mazes.")
    ] = None,
    starts: Annotated[int, Option(min=1, help="Where to continue --episodes, spread evenly over them.")] = 8,
    videos: Annotated[Path | None, Option(help="Folder of videos without a truth: how their looks change.")] = None,
    codec: Annotated[
        str | None, Option(metavar="MODEL", help="Whose codec the Frechet distance is over; the first MODEL's if none.")
    ] = None,
    lpips: Annotated[Path | None, Option(help="LPIPS as TorchScript, called with two batches in [-1, 1].")] = None,
    fvd: Annotated[Path | None, Option(help="I3D as TorchScript: i3d_torchscript.pt.")] = None,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Measure error accumulation: long roll-outs with true actions, each frame against the exact truth.

    In every maze a model goes on from 64 true frames along a walk (explore) and turning in place (spin). Figures stand
    apart for returns (what the frame shows was seen before) and new ground, beside repeating the last frame and the
    mean of the context. OUT gets drift.json (by ranges of frames), drift.csv (by frame), plots, strips and drift.html.

    --clips scores clips that show truth and model side by side, and --videos tells how videos without a truth change;
    both work without a MODEL. --episodes lets models continue recorded episodes with their own actions.
    """
    from ...device import choose_machine
    from ...evaluation import drift as runs
    from ...evaluation import metrics
    from ...evaluation.truth import HISTORY, PATHS, world_of
    from ...hub import checkpoint, registry
    from ...reports import results
    from ...reports.figure import figure
    from ...sampling import generation

    models = models or []
    if episodes and (clips or videos):
        raise UsageError("--episodes goes with neither --clips nor --videos.", hint="Measure one after the other.")
    if not (models or clips or videos or episodes):
        raise UsageError("There is nothing to measure.", hint="Name a model, --clips or --videos.")
    if (models and not episodes) or clips:
        metrics.need_ms_ssim()
    if models and not episodes:
        figure()  # fails now rather than at the end, where it cannot draw
    machine = choose_machine(device, dtype, threads)
    perceived = metrics.lpips(metrics.load_script(lpips, machine[0]), machine[0]) if lpips else None
    i3d = metrics.i3d_features(metrics.load_script(fvd, machine[0]), machine[0]) if fvd else None
    if episodes:
        from .episodes import continue_episodes

        return continue_episodes(models, episodes, starts, context or 48, length or 8, seed, out, yes, machine, chosen)
    length = length or 300
    files = {"clips": clips, "videos": videos, "lpips": lpips, "fvd": fvd}
    asked = {"models": models, "mazes": mazes, "length": length, "seed": seed, "codec": codec, "chosen": chosen}
    asked |= {"world": world} if world else {}
    asked |= {"context": context} | {name: str(file) if file else None for name, file in files.items()}
    report, frames = begun(out, asked, yes)
    report["notes"] = ([] if lpips else [metrics.LPIPS]) + ([] if fvd else [metrics.FVD])

    encoder: dict[str, Any] = {}
    latents = None
    if codec or models:
        own = checkpoint.load(registry.resolve(codec or models[0]), *machine)
        encoder = {"name": f"Frechet distance ({own.card.get('name') or codec or models[0]} codec)"}
        encoder["sha256"], latents = own.sha256, metrics.codec_features(own)
    for model in models:
        if model in report["models"]:
            continue  # measured before this run was stopped
        loaded = checkpoint.load(registry.resolve(model), *machine)
        plan = generation.choose(loaded.sampling, **chosen)
        true = take_truth(truth or out / "truth", world_of(loaded, world), mazes, length, seed)
        total = len(PATHS) * mazes
        with progress("frame", total * length, "fps") as shown:
            made, facts = runs.roll_out(loaded, true, plan, told(shown))
        with progress("clip", total) as shown:
            by_range, by_frame = runs.measure(made, true, plan.sampling.context, perceived, told(shown))
        facts |= {"ranges": by_range, "frechet": None, "fvd": None}
        right = true.frames[:, :, HISTORY:]
        ours, theirs = (part.reshape(-1, *part.shape[2:]) for part in (made, right))
        if latents:
            facts["frechet"] = encoder | {"rows": runs.distances(ours, theirs, latents)}
        if i3d:
            facts["fvd"] = runs.distances(ours, theirs, i3d)
        report["models"][model] = facts
        frames += [{"model": model, **row} for row in by_frame]
        with writing(out):
            for path, *pair in zip(PATHS, made, right, strict=True):
                draw(out / strip(model, path), *pair)
            results.write_csv(out / "drift.csv", frames)
            results.save(out / "drift.json", report)
    if clips:
        report["clips"] = score_clips(out, listed(clips), context)
    if videos:
        report["videos"] = watch(out, listed(videos), latents, encoder)
    with writing(out):
        finish(out, report, frames)
    if settings.json:
        return write_json(report)
    show(tables(report))
    for note in report["notes"]:
        say(note)
    say(f"{printable(str(out))} holds drift.html, drift.json and by frame {', '.join(kept(report))}")


def begun(out: Path, asked: dict[str, Any], yes: bool) -> tuple[dict[str, Any], Rows]:
    """A measurement that was stopped, to go on with, or a new one; and its figures by frame."""
    from ...reports import results

    report = results.resume(out / "drift.json", asked, yes)
    if report is None:
        return {"asked": asked, "complete": False, "notes": [], "models": {}, "clips": None, "videos": None}, []
    say(f"{printable(str(out))}: going on after {len(report['models'])} of {len(asked['models'])} models")
    frames = results.read_csv(out / "drift.csv")
    return report, [row | {"model": str(row["model"])} for row in frames if str(row["model"]) in report["models"]]


def listed(source: Path) -> list[Path]:
    """The videos of a folder, or the one that is named."""
    if not source.exists():
        raise DataError(f"{source} is not there.")
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in VIDEOS) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source} holds no videos.", hint=f"They end with {', '.join(VIDEOS)}.")
    return files


def score_clips(out: Path, files: Sequence[Path], context: int | None) -> Rows:
    """Score clips that show truth and model side by side; those by frame go to clips.csv."""
    from ... import media
    from ...evaluation import side_by_side
    from ...reports import results

    pairs, figures = [], []
    with progress("clip", len(files)) as shown:
        for index, file in enumerate(files):
            pairs.append(side_by_side.split(file.stem, media.read(file).frames, context))
            figures.append(side_by_side.figures_of(pairs[-1]))
            shown(index)
    with writing(out):
        results.write_csv(out / "clips.csv", side_by_side.rows(pairs, figures, single=True))
    return side_by_side.rows(pairs, figures)


def watch(out: Path, files: Sequence[Path], latents: "Features | None", encoder: dict[str, Any]) -> dict[str, Any]:
    """Follow the looks of videos without a truth; those by frame go to videos.csv."""
    from ... import media
    from ...evaluation import drift
    from ...reports import results

    films, looks = [], []
    with progress("video", len(files)) as shown:
        for index, file in enumerate(files):
            clip = media.read(file)
            looks.append(drift.looks_of(clip.frames, clip.fps))
            films.append(drift.features_of(clip.frames, latents) if latents else None)
            shown(index)
    longest = max(len(each["contrast"]) for each in looks)
    with writing(out):
        results.write_csv(out / "videos.csv", drift.looks_rows(looks, single=True))
    found: dict[str, Any] = {"ranges": drift.looks_rows(looks), "frechet": None}
    if encoder:
        distances = drift.distances_from_first([film for film in films if film is not None], longest)
        found["frechet"] = encoder | {"rows": distances}
    return found


def kept(report: dict[str, Any]) -> list[str]:
    """Name the files of figures by frame."""
    parts = {"drift.csv": report["models"], "clips.csv": report["clips"], "videos.csv": report["videos"]}
    return [name for name, part in parts.items() if part]


def finish(out: Path, report: dict[str, Any], frames: Rows) -> None:
    """Write what is made of all figures together."""
    from ...evaluation import plots
    from ...evaluation.truth import HISTORY, PATHS
    from ...reports import page, results

    pictures = []
    if frames:
        pictures = plots.plot_drift(out, frames, TITLES)
        pictures += [out / strip(model, path) for model in report["models"] for path in PATHS]
    asked = report["asked"]
    words = (
        f"{asked['mazes']} mazes that training never saw; from {HISTORY} true frames on, {asked['length']} made "
        "with the true actions along a walk (explore) and turning in place (spin). Returns: what the frame shows was "
        "seen before, in the history or on the way since. Contrast and sharpness are shares of the truth's; motion is "
        "the share of turns that move the picture the right way. Plots are means over 8 frames; strips show the truth "
        "above what was made, at the last frame of each range. "
    ) * bool(asked["models"])
    notes = words + " ".join(report["notes"])
    page.write_page(out / "drift.html", "How fast it drifts", notes, tables(report), pictures)
    report["complete"] = True
    results.save(out / "drift.json", report)


def tables(report: dict[str, Any]) -> Iterator[tuple[str, Cells]]:
    """Yield every table with its title; the first row is its header."""
    for model, facts in report["models"].items():
        for ground, title in TITLES.items():
            if rows := [row for row in facts["ranges"] if row["ground"] == ground]:
                yield f"{model}: {title}", across(rows, facts["ms_ssim_scales"])
        for found in (facts["frechet"], {"name": "FVD", "rows": facts["fvd"]}):
            if found and found["rows"]:
                yield f"{model}: {found['name']}, both paths", distances(found["rows"])
    yield from clip_tables(report["clips"] or [])
    if videos := report["videos"]:
        looks = ("contrast", "sharpness", "colour_spread")
        body = [
            [row["frames"], str(row["videos"]), *(cell(row[name], 3) for name in looks)] for row in videos["ranges"]
        ]
        header = ["frames", "videos", *(name.replace("_", " ") for name in looks)]
        yield "Videos, beside their first second", [header, *body]
        if videos["frechet"] and videos["frechet"]["rows"]:
            yield f"Videos: {videos['frechet']['name']} from frames 1-64", distances(videos["frechet"]["rows"])


def distances(rows: Rows) -> Cells:
    """A table of Frechet distances."""
    told = [["", *(row["frames"] for row in rows)], ["stretches of 16", *(str(row["stretches"]) for row in rows)]]
    told.append(["distance", *(cell(row["distance"], 2) for row in rows)])
    if "floor" in rows[0]:
        told.append(["truth from truth, half as many", *(cell(row["floor"], 2) for row in rows)])
    return told


def clip_tables(rows: Rows) -> Iterator[tuple[str, Cells]]:
    """Yield two tables for each kind of clips: a row a clip, a column a range."""
    kinds = dict.fromkeys((row["size"], row["context"], row["length"]) for row in rows)
    for size, context, length in kinds:
        own = [row for row in rows if (row["size"], row["context"], row["length"]) == (size, context, length)]
        spans = list(dict.fromkeys(row["frames"] for row in own))
        for title, figure, digits in (("PSNR, dB", "psnr", 1), ("SSIM", "ssim", 2)):
            told = [["frames made", *spans]]
            for name in dict.fromkeys(row["clip"] for row in own):
                told.append([name, *(cell(row[figure], digits) for row in own if row["clip"] == name)])
            yield f"{title}, clips of {size}, {context} frames shown, {length} made", told
