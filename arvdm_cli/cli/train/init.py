"""`arvdm train init`: write the training file that fits some data."""

import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .. import completion
from ..console import confirm_replacing, printable, settings
from ..console import out as stdout
from .estimates import show_estimates
from .request import HOURS, LEAST_HOURS, MOST_HOURS, read_data, write_file


def init(
    words: Annotated[
        list[str],
        Argument(
            metavar="DATA...",
            autocompletion=completion.folders,
            help="Folders of episodes, for one run. Then --key value pairs of the training file.",
        ),
    ],
    hours: Annotated[
        float,
        Option(min=LEAST_HOURS, max=MOST_HOURS, metavar="X", help="Wanted time of the run in hours, on this machine."),
    ] = HOURS,
    output: Annotated[
        Path | None, Option("--output", "-o", metavar="FILE", show_default="NAME.toml", help="Training file to write.")
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing FILE.")] = False,
):
    """Write a training file that fits folders of episodes, to edit before training.

    Actions, rate and sizes are those of the data. How large codec and network are, and how many steps they take,
    follows from the wanted time and from a few steps, measured on this machine.
    """
    request = read_data(words, hours, output)
    if request.file.exists():
        confirm_replacing(str(request.file), yes, False)
    run = request.plan()
    write_file(request.file, run.text)
    show_estimates([run], file=request.file)
    if not settings.json:
        command = shlex.join(["arvdm", "train", str(request.file)])
        stdout.print(f"{printable(str(request.file))} written; {printable(command)}", soft_wrap=True)
