"""`arvdm eval predict`: how fast schedules degrade, predicted without rolling a video out."""

from pathlib import Path
from typing import Annotated

from typer import Option

from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Models, Out, Schedules, Seed, Yes
from .tables import CLIP_SEED, check_schedules, loader, resumes, run, show


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

    from ...evaluation.studies.predict import PredictStudy

    study = PredictStudy(
        models,
        loader(device, dtype, threads),
        schedules=schedule,
        measured=measured or [],
        length=length,
        mazes=mazes,
        often=often,
        parts=parts,
        seed=seed,
        clips=clips,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes, finished=bool(measured))):
        show(report.tables)
        stdout.print(study.verdict(report.rows), soft_wrap=True)
        say(f"{printable(str(out))} holds predict.html, predict.json, predict.csv and predict.png")
