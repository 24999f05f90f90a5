"""`arvdm eval predict`: how fast schedules degrade, predicted without rolling a video out."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from ...worlds.table import CLIP_SEED
from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Models, Out, Schedules, Seed, Yes
from .tables import check_schedules, loader, resumes, run, show
from .truth import AllEpisodes, Data, Shown, Starts, check_data, recorded, rendered


@flags.sampling(presets=False)
def predict(
    invocation: Context,
    models: Models,
    out: Out = Path("predict"),
    schedule: Schedules = None,
    measured: Annotated[
        list[Path] | None,
        Option(
            metavar="FOLDER",
            help="Results of `eval drift` or `eval pareto` to compare with; repeat for several. Can be given later.",
        ),
    ] = None,
    length: Annotated[int, Option("--length", "-n", min=1, help="New frames of the video to predict.")] = 300,
    mazes: Annotated[int, Option(min=1, help="Number of held-out mazes, with three clips in each.")] = 16,
    often: Annotated[int, Option(min=1, help="AR steps to measure in each clip.")] = 2,
    parts: Annotated[int, Option(min=2, help="Substeps between two levels, as reference for the solver error.")] = 4,
    seed: Seed = CLIP_SEED,
    clips: Annotated[Path | None, Option(show_default="in OUT/clips", help="Cache file of the true frames.")] = None,
    data: Data = None,
    all_episodes: AllEpisodes = False,
    starts: Starts = 16,
    shown: Shown = None,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Predict error accumulation from single AR steps, without roll-outs.

    The errors of single AR steps that start from true frames are summed over a video. They are measured where the next
    frames show places that the model has seen and still knows, so the error of the best possible estimate is about 0.
    The raw denoising loss, most of which no network can avoid, is reported for comparison. With --measured, Spearman's
    rank correlation says how well each agrees with roll-outs of the same models. OUT receives predict.json,
    predict.csv, predict.png and predict.html.

    With --data AR steps start from true frames of recorded episodes, where all frames count.
    """
    check_schedules(schedule)  # before anything is measured
    check_data(invocation, data, ("mazes", "clips"), ("all_episodes", "starts", "shown"))

    from ...evaluation.studies.predict import PredictStudy

    study = PredictStudy(
        models,
        loader(device, dtype, threads),
        schedules=schedule,
        measured=measured or [],
        length=length,
        source=recorded(data, seed, shown, all_episodes) if data else rendered(seed, file=clips),
        places=starts if data else mazes,
        often=often,
        parts=parts,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes, finished=bool(measured))):
        show(report.tables)
        stdout.print(study.verdict(report.rows), soft_wrap=True)
        say(f"wrote predict.html, predict.json, predict.csv and predict.png to {printable(str(out))}")
