"""`arvdm train`: fit a codec and a network to episodes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from ...errors import OutputExistsError, UsageError
from .. import completion
from ..console import out as stdout
from ..console import printable, say, settings, warn, write_json
from ..help import Command
from .display import Display
from .estimates import show_estimates
from .group import TrainGroup
from .init import init
from .request import LEAST_HOURS, MOST_HOURS, Request, read_requests

app = Typer(cls=TrainGroup, invoke_without_command=True, rich_markup_mode=None)
app.command(
    "init",
    cls=Command,
    context_settings={"ignore_unknown_options": True},
    epilog="arvdm train init data/play --hours 2\narvdm train init data/play -o play.toml --network.dim 192",
)(init)

Hours = Annotated[
    float | None,
    Option(
        min=LEAST_HOURS,
        max=MOST_HOURS,
        metavar="X",
        show_default="1 for DATA, else as the file says",
        help="Wanted time of a run in hours; steps are planned to fit it, as measured here.",
    ),
]


@app.callback(
    context_settings={"ignore_unknown_options": True},
    epilog="arvdm train data/play --hours 2\narvdm train run.toml --lr 1e-4 --network.dim 128",
)
def train(
    words: Annotated[
        list[str],
        Argument(
            metavar="DATA|FILE...",
            autocompletion=completion.training,
            help="Folders of episodes, for one run; or training files, for one run each. Then --key value pairs.",
        ),
    ],
    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="Resume each run from its saved state; a run without one starts from its beginning, with a warning.",
        ),
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing run.")] = False,
    hours: Hours = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Show parameters, memory, disk and time of each run, and start none.")
    ] = False,
):
    """Train a model on folders of episodes, or by training files, one after the other.

    For DATA a training file that fits it is written into the folder of the run, runs/NAME/train.toml, by the name of
    DATA. `--key value` sets a key of the file, and `--network.dim 128` a key of one of its tables.
    """
    from ...training.loop import CHECKPOINT, STATE, steps_of
    from ...training.loop import train as run

    requests = read_requests(words, resume, hours)
    if dry_run:
        return show_estimates([request.plan() for request in requests])
    check_folders(requests, resume, yes)
    runs = []
    for request in requests:
        saved = (request.out / STATE).exists()
        if resume and not saved:
            warn(f"{request.out} has no saved state to resume; this run starts from its beginning.")
        plan = request.settle()
        with ExitStack() as stack:
            shown = Display(plan, request.again, stack)
            before = steps_of(Path(plan.out) / CHECKPOINT) if resume and saved else None
            made = run(plan, resume and saved, shown.on_event, shown.on_progress)
        if before is not None and before == steps_of(made):
            say(f"this run has finished after {before} steps; for more of them: {request.again} --hours X")
        runs.append({"checkpoint": str(made), "steps": steps_of(made)})
        if not settings.json:
            stdout.print(f"checkpoint in {printable(str(made))}", soft_wrap=True)
    if settings.json:
        write_json({"runs": runs})


def check_folders(requests: Sequence[Request], resume: bool, yes: bool):
    """Refuse runs that would replace another run unasked, or each other."""
    from ...training.loop import STATE

    for request in requests:
        if (request.out / STATE).exists() and not resume and not yes:
            raise OutputExistsError(
                f"{request.out} holds a run.", hint="Use --resume to resume it, or -y to replace it."
            )
        if request.data and request.file.exists() and not yes:
            hint = f"To train with it: {shlex.join(['arvdm', 'train', str(request.file)])}; or use -y to replace it."
            raise OutputExistsError(f"{request.file} exists.", hint=hint)
    if len({request.out for request in requests}) < len(requests):
        raise UsageError("Two of these runs write to the same folder.", hint="Give each file a different `out`.")
