"""`arvdm eval drift`: how fast models degrade over long roll-outs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from ...errors import UsageError
from .. import flags
from ..console import printable, say
from ..flags import Out, Seed, Yes
from .tables import DRIFT_SEED, WorldName, loader, resumes, run, show

if TYPE_CHECKING:
    import torch

    from ...evaluation.metrics import Networks
    from ...evaluation.study import Load


IN_MAZES = ("mazes", "world", "truth")
OF_FIGURES = ("codec", "lpips", "fvd")


@flags.sampling()
def drift(
    invocation: Context,
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

    In every maze a model continues 64 true frames along a walk (explore) and turning in place (spin). Figures stand
    apart for returns (what the frame shows was seen before) and new ground, beside repeating the last frame and the
    mean of the context. OUT gets drift.json (by ranges of frames), drift.csv (by frame), plots, strips and drift.html.

    --clips scores clips that show truth and model side by side, and --videos tells how videos without a truth change;
    both work without a MODEL. --episodes lets models continue recorded episodes with their own actions.
    """
    if episodes and (clips or videos):
        raise UsageError("--episodes goes with neither --clips nor --videos.", hint="Measure one after the other.")
    check_flags(invocation, bool(models), clips, episodes)
    load = loader(device, dtype, threads)
    if episodes:
        counts = starts, context or 48, length or 8
        return continue_episodes(models or [], load, episodes, counts, seed, out, yes, chosen)
    from ...device import choose_machine
    from ...evaluation.studies.drift import DriftStudy

    study = DriftStudy(
        models or [],
        load,
        mazes=mazes,
        length=length or 300,
        seed=seed,
        variant=world,
        truth=truth,
        clips=clips,
        context=context,
        videos=videos,
        codec=codec,
        lpips=lpips,
        fvd=fvd,
        networks=networks(lpips, fvd, choose_machine(device, dtype, threads)[0]),
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes)):
        show(report.tables)
        for note in study.notes:
            say(note)
        say(f"{printable(str(out))} holds drift.html, drift.json and by frame {', '.join(study.csv(report.rows))}")


def check_flags(invocation: Context, models: bool, clips: Path | None, episodes: Path | None):
    """Refuse flags of what is not measured."""
    if episodes:
        flags.refuse(invocation, (*IN_MAZES, *OF_FIGURES), "not for --episodes.")
    else:
        flags.refuse(invocation, ("starts",), "for --episodes alone.")
    if not episodes and not clips:
        flags.refuse(invocation, ("context",), "for --clips and --episodes.")
    if not models:
        flags.refuse(invocation, (*IN_MAZES, "length"), "there is no model to roll out.", "Name a MODEL.")


def networks(lpips: Path | None, fvd: Path | None, device: "torch.device") -> "Networks":
    """Load the networks that figures of perception need."""
    from ...evaluation import metrics

    return metrics.Networks(
        metrics.lpips(metrics.load_script(lpips, device), device) if lpips else None,
        metrics.i3d_features(metrics.load_script(fvd, device), device) if fvd else None,
    )


def continue_episodes(
    models: list[str],
    load: "Load",
    folder: Path,
    counts: tuple[int, int, int],
    seed: int,
    out: Path,
    yes: bool,
    chosen: flags.Choices,
) -> None:
    """Measure models on the episodes of a folder: OUT gets episodes.json, episodes.csv (by frame) and strips.

    counts: stretches, frames of each that are shown, and frames made after them
    """
    from ...evaluation.studies.episodes import EpisodeStudy

    study = EpisodeStudy(models, load, folder, *counts, seed, chosen)
    if report := run(study, out, resumes(yes)):
        show(report.tables)
        say(f"{printable(str(out))} holds episodes.json and by frame episodes.csv")
