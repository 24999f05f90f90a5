"""`arvdm data convert`: bring actions from one format to another."""

import os
from typing import Annotated, Literal

from typer import Argument, Option

from ...errors import ActionError, UsageError
from .. import completion
from ..console import confirm_replacing, printable, say, settings, warn, write_json
from ..console import out as stdout
from .vocabulary import names_of


def convert(
    source: Annotated[
        str,
        Argument(
            metavar="SRC", help="Action file: .jsonl (VPT recordings, too), .csv, .npz, .npy or .pt; or a phrase."
        ),
    ],
    target: Annotated[str, Argument(metavar="DST", help="Action file to write: .jsonl, .csv, .npz, .npy or .pt.")],
    model: Annotated[
        str | None, Option("--model", "-m", autocompletion=completion.models, help="Model whose action names are used.")
    ] = None,
    vocabulary: Annotated[
        Literal["maze", "minecraft"] | None, Option(show_default="maze", help="Action names, if no model is given.")
    ] = None,
    clip: Annotated[
        bool,
        Option(
            "--clip",
            help="Treat them as the actions of a recorded clip, and shift rows where DST numbers frames differently.",
        ),
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing DST.")] = False,
    no_overwrite: Annotated[bool, Option("--no-overwrite", help="Never replace an existing DST.")] = False,
):
    """Convert an action file to another format.

    The rows keep their order, so SRC and DST give the same video with `arvdm generate --actions`. With --clip, SRC and
    DST describe the same frames of a recorded clip, as in `arvdm generate --prompt-actions`.
    """
    from ...actions import files, formats

    if model and vocabulary:
        raise UsageError("--model and --vocabulary both set the names of the actions.", hint="Use only one of them.")
    names = names_of(model, vocabulary)
    theirs, ours = formats.recognise(source), formats.writable(target)
    try:
        track = files.read(source, names, on_note=lambda note: say(f"{source}: {note}"))
    except ActionError as error:
        if not model and not vocabulary:
            error.hint = f"{error.hint or ''} Choose other action names with --vocabulary minecraft or --model.".strip()
        raise
    if os.path.exists(target):
        confirm_replacing(target, yes, no_overwrite)

    moved = theirs.lead - ours.lead if clip else 0
    note = "; the action that led into frame 0 is unknown" if moved > 0 else ""
    if theirs.lead != ours.lead and not clip:
        note = "; use --clip for the actions of a recorded clip"
    say(f"{source}: {len(track)} rows of {theirs}")
    say(f"{target}: {ours}; shifted by {moved}{note}")
    if moved < 0 and track[:-moved].any():
        warn(f"{target} has no row for the action that led into frame 0; it was dropped.")
    files.write(target, files.shift(track, moved), names)
    if settings.json:
        facts = {"source": source, "format": theirs.title, "rows": len(track), "shift": moved}
        return write_json(facts | {"output": target, "actions": names})
    stdout.print(printable(target), soft_wrap=True)
