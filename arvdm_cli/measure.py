"""Measure models from Python, as `arvdm eval` does from a shell.

    from arvdm_cli import load, measure

    if __name__ == "__main__":  # mazes are rendered by processes that read the script again
        print(measure.drift(load("maze"), mazes=1, length=16))

models: one or several: names as `load` takes them (loaded in float32), loaded models, or a mapping of names to these
out: folder for what the command writes: a page, plots, CSV, JSON, and true frames that a later call reads again; an
    interrupted measurement resumes there. None: nothing is left behind
replace: begin again where the folder holds a measurement
schedule, settings: how models are sampled, as in `stream`; None: their own
on_event: called as the measurement goes on, see `evaluation.study`
Returns: a report with `rows`, `tables` and `values`, which is what the JSON file holds; `print` shows its tables
Raises: UsageError for a setting or a package that is missing; OutputExistsError where the folder holds something else
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

from . import api
from .errors import UsageError
from .evaluation.agreement import Predicted
from .evaluation.metrics import Networks
from .evaluation.protocol.scoring import Scoring
from .evaluation.recorded import returns
from .evaluation.recorded.episodes import Recorded
from .evaluation.retrieval import RetrievalRow
from .evaluation.scorecard import Measured
from .evaluation.source import NeedleSource, Rendered, Source
from .evaluation.studies.card import CardStudy
from .evaluation.studies.drift import DriftStudy, ModelDrift
from .evaluation.studies.memory import MEASURED, MemoryStudy
from .evaluation.studies.pareto import ParetoRow, ParetoStudy
from .evaluation.studies.predict import PredictStudy
from .evaluation.studies.protocol import FAR_SEEDS, ProtocolRow, ProtocolStudy, far_runs, plain_runs
from .evaluation.study import Load, OnEvent, Report, Study, no_events, run_study
from .sampling.model import Model
from .worlds.table import CLIP_SEED, DRIFT_SEED, NEEDLE_SEED

__all__ = ["Report", "Scoring", "card", "drift", "memory", "pareto", "predict", "protocol"]

PLAIN = Scoring()

Named = str | os.PathLike[str] | Model
Models = Named | Sequence[Named] | Mapping[str, Named]
Folder = str | os.PathLike[str] | None

P = TypeVar("P")  # a point of a study
R = TypeVar("R")  # a row


def drift(
    models: Models,
    out: Folder = None,
    *,
    mazes: int = 16,
    length: int | None = None,
    seed: int = DRIFT_SEED,
    world: str | None = None,
    truth: Folder = None,
    data: Folder = None,
    all_episodes: bool = False,
    starts: int = 16,
    context: int | None = None,
    replace: bool = False,
    schedule: str | None = None,
    on_event: OnEvent = no_events,
    **settings: api.Setting,
) -> Report[ModelDrift]:
    """Compare long roll-outs with the truth, frame by frame: error accumulation.

    mazes: unseen ones, with two paths in each
    length: new frames of each path; None: 300, or with data up to 64
    world: narrow, wide, or None for the model's own
    truth: folder that keeps the true frames; None: in `out`
    data: folder of recorded episodes to continue with their own actions, instead of mazes
    all_episodes: also those that the model was trained on
    starts: starting points, spread evenly over the episodes
    context: true frames before each; None: up to 64
    Rows: one for each model, with `ranges` and `frames` of figures for revisits and for unseen ground
    """
    names, load = named(models)
    study = DriftStudy(
        names,
        load,
        source=Recorded(Path(data), seed, context, all_episodes) if data else Rendered(seed, world, folder=path(truth)),
        places=starts if data else mazes,
        length=length or (None if data else 300),
        clips=None,
        context=None,
        videos=None,
        codec=None,
        lpips=None,
        fvd=None,
        networks=Networks(),
        chosen=chosen(schedule, settings),
    )
    return cast(Report[ModelDrift], run(study, out, replace, on_event))  # without clips and videos, rows are of models


def memory(
    models: Models,
    out: Folder = None,
    *,
    kinds: Sequence[str] = ("theme", "colour"),
    gaps: Sequence[int] | None = None,
    controls: Sequence[str] = MEASURED,
    worlds: int = 64,
    frames: int = 8,
    seed: int = NEEDLE_SEED,
    world: str | None = None,
    needles: Folder = None,
    data: Folder = None,
    all_episodes: bool = False,
    replace: bool = False,
    schedule: str | None = None,
    on_event: OnEvent = no_events,
    **settings: api.Setting,
) -> Report[RetrievalRow]:
    """Test whether a thing is drawn as it was when it comes back into view: forgetting.

    kinds: theme, colour, blocks2, blocks4
    gaps: frames for which the thing is out of view; None: 16, 64 and 128, with data those beyond the context
    controls: conditions, see `evaluation.retrieval.CONTROLS`
    worlds: unseen mazes for each kind and gap
    frames: new frames after the return
    needles: folder that keeps the tests; None: in `out`
    data: folder of recorded episodes whose returns are the tests, instead of kinds of things in mazes
    all_episodes: also those that the model was trained on
    Rows: one for each model, kind, gap and control
    """
    names, load = named(models)
    study = MemoryStudy(
        names,
        load,
        kinds=[returns.KIND] if data else list(kinds),
        gaps=list(gaps) if gaps else None if data else list(returns.GAPS),
        controls=list(controls),
        worlds=worlds,
        frames=frames,
        source=Recorded(Path(data), seed, None, all_episodes, frames)
        if data
        else Rendered(seed, world, needles=path(needles)),
        chosen=chosen(schedule, settings),
    )
    return run(study, out, replace, on_event)


def pareto(
    models: Models,
    out: Folder = None,
    *,
    schedules: Sequence[str] | None = None,
    slots: Sequence[int] | None = None,
    kind: str = "theme",
    gap: int = 64,
    worlds: int = 32,
    frames: int = 4,
    mazes: int = 4,
    length: int = 64,
    forgetting: str = "found",
    degradation: str = "looks",
    truth: Folder = None,
    needles: Folder = None,
    data: Folder = None,
    all_episodes: bool = False,
    starts: int = 16,
    shown: int | None = None,
    replace: bool = False,
    on_event: OnEvent = no_events,
    **settings: api.Setting,
) -> Report[ParetoRow]:
    """Compare forgetting with degradation over models, schedules and sizes of memory.

    schedules: as in `stream`; None: the models' own
    slots: groups of past frames in memory; None: the models' own
    kind, gap, worlds, frames: of the needle tests, as in `memory`
    mazes, length: of the roll-outs, as in `drift`
    data, all_episodes, starts: recorded episodes to measure on instead, as in `drift`; shown: its `context`
    forgetting: found or margin
    degradation: looks, psnr_lost or psnr_end
    Rows: one for each model, schedule and size of memory
    """
    names, load = named(models)
    sources: tuple[Source, NeedleSource]
    sources = Rendered(DRIFT_SEED, folder=path(truth)), Rendered(NEEDLE_SEED, needles=path(needles))
    if data:
        sources = (Recorded(Path(data), DRIFT_SEED, shown, all_episodes, frames),) * 2
    study = ParetoStudy(
        names,
        load,
        schedules=schedules and list(schedules),
        slots=slots and list(slots),
        kind=returns.KIND if data else kind,
        gap=gap,
        worlds=worlds,
        frames=frames,
        places=starts if data else mazes,
        length=length,
        sources=sources,
        forgetting=forgetting,
        degradation=degradation,
        chosen=chosen(None, settings),
    )
    return run(study, out, replace, on_event)


def predict(
    models: Models,
    out: Folder = None,
    *,
    schedules: Sequence[str] | None = None,
    measured: Sequence[str | os.PathLike[str]] = (),
    length: int = 300,
    mazes: int = 16,
    often: int = 2,
    parts: int = 4,
    seed: int = CLIP_SEED,
    clips: Folder = None,
    data: Folder = None,
    all_episodes: bool = False,
    starts: int = 16,
    shown: int | None = None,
    replace: bool = False,
    on_event: OnEvent = no_events,
    **settings: api.Setting,
) -> Report[Predicted]:
    """Predict error accumulation under schedules from single AR steps, without roll-outs.

    schedules: as in `stream`; None: the models' own
    measured: folders of `drift` or `pareto` to compare with
    length: new frames of the video to predict
    mazes: unseen ones, with three clips in each
    often: AR steps measured in each clip
    parts: substeps between two levels, as reference for the solver's error
    clips: file that keeps the true frames; None: in `out`
    data, all_episodes, starts: recorded episodes to start from instead, as in `drift`; shown: its `context`
    Rows: one for each model and schedule
    """
    names, load = named(models)
    study = PredictStudy(
        names,
        load,
        schedules=schedules and list(schedules),
        measured=[Path(folder) for folder in measured],
        length=length,
        source=Recorded(Path(data), seed, shown, all_episodes) if data else Rendered(seed, file=path(clips)),
        places=starts if data else mazes,
        often=often,
        parts=parts,
        chosen=chosen(None, settings),
    )
    return run(study, out, replace, on_event)


def card(
    model: Named,
    out: Folder = None,
    *,
    mazes: int = 32,
    seed: int = CLIP_SEED,
    world: str | None = None,
    clips: Folder = None,
    trained_on: Folder = None,
    data: Folder = None,
    all_episodes: bool = False,
    starts: int = 32,
    shown: int | None = None,
    length: int | None = None,
    free_runs: int = 8,
    free_frames: int = 600,
    replace: bool = False,
    schedule: str | None = None,
    on_event: OnEvent = no_events,
    **settings: api.Setting,
) -> Report[Measured]:
    """Compute the scorecard of a model on unseen mazes, or what of it recorded episodes tell.

    clips: file that keeps the true frames; None: in `out`
    trained_on: training episodes, to check that none of their mazes is used
    data: folder of recorded episodes to measure on instead; all_episodes, starts, length: as in `drift`;
        shown: its `context`
    free_runs: long roll-outs, each in its own maze
    free_frames: frames of each
    """
    (name,), load = named(model)
    study = CardStudy(
        name,
        load,
        source=Recorded(Path(data), seed, shown, all_episodes) if data else Rendered(seed, world, path(clips)),
        places=starts if data else mazes,
        trained=path(trained_on),
        free_runs=free_runs,
        free_frames=free_frames,
        length=length,
        chosen=chosen(schedule, settings),
    )
    return run(study, out, replace, on_event)


def protocol(
    models: Models,
    data: str | os.PathLike[str],
    out: Folder = None,
    *,
    far: bool = False,
    clips: int = 256,
    listed: Folder = None,
    shown: Sequence[int] | None = None,
    length: int | None = None,
    seeds: Sequence[int] | None = None,
    unknown_actions: bool = False,
    scoring: Scoring = PLAIN,
    all_episodes: bool = False,
    replace: bool = False,
    schedule: str | None = None,
    on_event: OnEvent = no_events,
    **settings: api.Setting,
) -> Report[ProtocolRow]:
    """Score models by a published protocol: the first clips of a data set, continued with their actions.

    data: TECO's DMLab or Minecraft as published, or a folder of episodes
    far: runs, seeds and, beside ours, the scoring of FAR's makers, in place of `scoring`; load models in bfloat16 for
        their numbers, too
    listed: JSON list of clips; None: in the order of names
    shown: true frames before those that are made, for each run; None: 144, with far also 36
    length: new frames; None: up to frame 300
    seeds: of the noise; None: 0, with far those of its makers
    scoring: how pictures are compared
    Rows: one for each model, run, seed, scoring and clip; means are the `scores` of `values`
    """
    names, load = named(models)
    folder = Path(data)
    study = ProtocolStudy(
        names,
        load,
        data=folder,
        listed=path(listed),
        every=all_episodes,
        clips=clips,
        length=length,
        runs=far_runs(folder, shown, unknown_actions) if far else plain_runs(shown, unknown_actions, scoring),
        seeds=seeds or (FAR_SEEDS if far else (0,)),
        lpips=None,
        fvd=None,
        networks=Networks(),
        out=Path(out or "."),
        chosen=chosen(schedule, settings),
    )
    return run(study, out, replace, on_event)


# What they share


def named(models: Models) -> tuple[list[str], Load]:
    """Names of models, and what loads one by its name; one that is loaded is named by its source or its card."""
    if isinstance(models, Mapping):
        found = dict(models)
    else:
        several = [models] if isinstance(models, str | os.PathLike | Model) else list(models)
        found = {name_of(model): model for model in several}
        if len(found) < len(several):
            raise UsageError(f"Several models are called {', '.join(found)}.", hint="Give a mapping of names to them.")

    def load(name: str) -> Model:
        model = found.get(name, name)
        return model if isinstance(model, Model) else api.load(model, dtype="float32")

    return [*found], load


def name_of(model: Named) -> str:
    """What a model is called in a report."""
    if isinstance(model, Model):
        return model.source or str(model.card.get("name", "model"))
    return os.fspath(model)


def chosen(schedule: str | None, settings: Mapping[str, api.Setting]) -> dict[str, api.Setting]:
    """What is set of how models are sampled; raises UsageError for a setting that is unknown or of another type."""
    api.check_settings(settings)
    return {name: value for name, value in {"schedule": schedule, **settings}.items() if value is not None}


def path(folder: Folder) -> Path | None:
    """A path, where there is one."""
    return None if folder is None else Path(folder)


def run(study: Study[P, R], out: Folder, replace: bool, on_event: OnEvent) -> Report[R]:
    """Run a study in its folder, or in one that is removed afterwards."""
    with folder_of(out) as folder:
        return run_study(study, folder, "never" if replace else "stopped", on_event)


@contextmanager
def folder_of(out: Folder) -> Iterator[Path]:
    """The folder itself, or a temporary one."""
    if out is not None:
        yield Path(out)
        return
    with TemporaryDirectory(prefix="arvdm-") as folder:
        yield Path(folder)
