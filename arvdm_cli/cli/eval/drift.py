"""`arvdm eval drift`: how fast models degrade over long roll-outs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from ...errors import InputError, UsageError
from ...worlds.table import DRIFT_SEED
from .. import completion, flags
from ..console import printable, say
from ..flags import Out, Seed, Yes
from .tables import WorldName, loader, resumes, run, show
from .truth import AllEpisodes, Data, Starts, check_data, recorded, rendered

if TYPE_CHECKING:
    import torch

    from ...evaluation.metrics import Networks


IN_MAZES = ("mazes", "world", "truth")
RECORDED = ("starts", "all_episodes")


@flags.sampling()
def drift(
    invocation: Context,
    models: Annotated[
        list[str] | None,
        Argument(
            metavar="MODEL...",
            autocompletion=completion.models,
            help="Folders, short names, or owner/name[@revision] on the Hub.",
        ),
    ] = None,
    out: Out = Path("drift"),
    mazes: Annotated[int, Option(min=1, help="Number of held-out mazes, with two paths in each.")] = 16,
    length: Annotated[
        int | None,
        Option(
            "--length", "-n", min=1, max=1000, show_default="300; up to 64 with --data", help="New frames of each path."
        ),
    ] = None,
    seed: Seed = DRIFT_SEED,
    world: WorldName = None,
    truth: Annotated[
        Path | None, Option(metavar="FOLDER", show_default="OUT/truth", help="Cache folder of the true frames.")
    ] = None,
    clips: Annotated[
        Path | None,
        Option(metavar="PATH", help="Clip, or folder of clips, that show truth (left) and model side by side."),
    ] = None,
    context: Annotated[
        int | None,
        Option(
            min=1,
            show_default="detected; up to 64 with --data",
            help="Frames at the start of --clips, or of stretches of --data, that the model was given.",
        ),
    ] = None,
    data: Data = None,
    all_episodes: AllEpisodes = False,
    starts: Starts = 16,
    episodes: Annotated[Path | None, Option(metavar="FOLDER", hidden=True, help="Former name of --data.")] = None,
    videos: Annotated[
        Path | None, Option(metavar="FOLDER", help="Videos without a truth, to measure how their appearance changes.")
    ] = None,
    codec: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            autocompletion=completion.models,
            show_default="the first MODEL",
            help="Model whose codec gives the features of the Frechet distance.",
        ),
    ] = None,
    lpips: Annotated[
        Path | None, Option(help="LPIPS network as TorchScript, called with two batches in [-1, 1].")
    ] = None,
    fvd: Annotated[Path | None, Option(help="I3D network as TorchScript: i3d_torchscript.pt.")] = None,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Measure error accumulation over long roll-outs.

    In each maze a model continues 64 true frames with the true actions, along a walk (explore) and rotating in place
    (spin), and each new frame is compared with the exact truth. Results are separate for revisits (the frame shows a
    place seen before) and unseen places. Baselines repeat the last frame or the mean of the context. OUT receives
    drift.json (by ranges of frames), drift.csv (by frame), plots, strips and drift.html.

    --clips scores clips that show truth and model side by side; --videos measures how videos without a truth change.
    Both work without a MODEL. --data makes models continue recorded episodes with their recorded actions, those that
    training held out where it was on the same folder, and measures whether models follow actions.
    """
    data = data or episodes
    check_flags(invocation, bool(models), clips, videos, data)
    from ...device import choose_machine
    from ...evaluation.studies.drift import DriftStudy

    study = DriftStudy(
        models or [],
        loader(device, dtype, threads),
        source=recorded(data, seed, context, all_episodes) if data else rendered(seed, world, folder=truth),
        places=starts if data else mazes,
        length=length or (None if data else 300),
        clips=clips,
        context=None if data else context,
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
        say(f"wrote drift.html, drift.json and, by frame, {', '.join(study.csv(report.rows))} to {printable(str(out))}")


def check_flags(invocation: Context, models: bool, clips: Path | None, videos: Path | None, data: Path | None):
    """Refuse flags of what is not measured, and files that are not there."""
    if data and (clips or videos):
        raise UsageError("--data cannot be combined with --clips or --videos.", hint="Measure them one by one.")
    if data and not models:
        raise UsageError("There is no model to measure on --data.", hint="Give a MODEL.")
    check_data(invocation, data, IN_MAZES, RECORDED)
    if not data and not clips:
        flags.refuse(invocation, ("context",), "for --clips and --data.")
    if not models:
        flags.refuse(invocation, (*IN_MAZES, "length"), "there is no model to roll out.", "Give a MODEL.")
    for path in filter(None, (clips, videos)):
        if not path.exists():
            raise InputError(f"{str(path)!r} does not exist.")


def networks(lpips: Path | None, fvd: Path | None, device: "torch.device") -> "Networks":
    """Load the networks that figures of perception need."""
    from ...evaluation import metrics

    return metrics.Networks(
        metrics.lpips(metrics.load_script(lpips, device), device) if lpips else None,
        metrics.i3d_features(metrics.load_script(fvd, device), device) if fvd else None,
    )
