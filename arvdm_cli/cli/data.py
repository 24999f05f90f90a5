"""`arvdm data`: render mazes to train on, look at what is there, and bring actions from one format to another."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.table import Table
from rich.text import Text
from typer import Argument, Option, Typer

from ..errors import ActionError, DataError, OutputError, OutputExistsError, UsageError
from .console import confirm_replacing, printable, progress, say, settings, warn, write_json
from .console import out as stdout

if TYPE_CHECKING:
    from ..worlds import Dataset

app = Typer(help="Render training data, look at it, and convert actions.", no_args_is_help=True)


@app.command()
def make(
    name: Annotated[str, Argument(metavar="WORLD", help="What to render: maze.")],
    out: Annotated[Path, Option("--out", "-o", help="Folder for the episodes; a run that was stopped goes on.")],
    episodes: Annotated[int, Option(min=1, help="Episodes in all.")] = 1000,
    seed: Annotated[int, Option(help="Same seed, same episodes; more of them extend fewer.")] = 0,
    size: Annotated[int, Option(help="Pixels a frame is wide and high: 64 or 128.")] = 64,
    walls: Annotated[int, Option(help="Wall textures in use, of 32.")] = 8,
    floors: Annotated[int, Option(help="Floor textures in use, of 28.")] = 8,
    turn: Annotated[float, Option(help="Degrees of one turn; DeepMind Lab's is about 22.5.")] = 11.25,
    step: Annotated[float, Option(help="Cells of one step; DeepMind Lab's is about 0.25.")] = 0.125,
    frames: Annotated[int, Option(help="Frames of an episode.")] = 300,
    posters: Annotated[int, Option(help="Posters on the walls of a maze, 0 to 64.")] = 0,
    workers: Annotated[int | None, Option(min=1, help="Processes; one a core if not given.")] = None,
):
    """Render episodes in mazes, each a path through a maze of its own."""
    if name != "maze":
        raise UsageError(f"No world is called {name!r}.", hint="Choose from: maze.")

    from .. import worlds

    world = worlds.World(size=size, walls=walls, floors=floors, turn=turn, step=step, frames=frames, posters=posters)
    with progress("episode", episodes) as report:

        def show(finished: int, _: int):
            if finished:
                report(finished - 1)

        worlds.make(world, episodes, seed, out, workers or os.cpu_count() or 1, show)

    finished = len(worlds.read(out))
    if settings.json:
        return write_json({"folder": str(out), "episodes": finished, "frames": frames, "seed": seed})
    stdout.print(f"{finished} episodes of {frames} frames in {printable(str(out))}", soft_wrap=True)


@app.command()
def inspect(
    folder: Annotated[Path, Argument(help="A folder that `arvdm data make` wrote, finished or not.")],
    sheet: Annotated[Path | None, Option(help="Draw some episodes of every kind into this picture.")] = None,
    every: Annotated[int, Option(min=1, help="Frames from one picture of the sheet to the next.")] = 20,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing sheet.")] = False,
):
    """Count what a folder of episodes holds, and check every frame of it."""
    from ..worlds import check, read

    if sheet and sheet.exists() and not yes:
        raise OutputExistsError(f"{sheet} exists.", hint="-y replaces it.")
    data = read(folder)
    broken = {}
    with progress("episode", len(data)) as report:
        for index in range(len(data)):
            if problem := check(data, index):
                broken[index] = problem
            report(index)
    if sheet:
        draw_sheet(data, sheet, every)

    facts = count(data)
    if settings.json:
        write_json(facts | {"broken": broken})
    else:
        show_facts(facts)
    if broken:
        index, problem = next(iter(broken.items()))
        raise DataError(f"{folder}: episode {index} is broken ({len(broken)} of {len(data)} are): {problem}.")


@app.command()
def convert(
    source: Annotated[
        str, Argument(metavar="SRC", help=".jsonl (also of VPT recordings), .csv, .npz, .npy, .pt, or a phrase.")
    ],
    target: Annotated[str, Argument(metavar="DST", help=".jsonl, .csv, .npz, .npy or .pt.")],
    model: Annotated[str | None, Option("--model", "-m", help="The model whose actions they are.")] = None,
    vocabulary: Annotated[
        Literal["maze", "minecraft"] | None, Option(help="What they are called, without a model; maze if not given.")
    ] = None,
    clip: Annotated[
        bool, Option("--clip", help="They belong to a clip: shift them where DST counts frames otherwise than SRC.")
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace DST.")] = False,
    no_overwrite: Annotated[bool, Option("--no-overwrite", help="Never replace DST.")] = False,
):
    """Write actions in another format, with the same values.

    The rows stay as they are, so that SRC and DST lead generate's --actions to the same video.
    With --clip, SRC and DST say the same of a clip's own frames, as in generate's --prompt-actions.
    """
    from .. import action_files

    if model and vocabulary:
        raise UsageError("--model and --vocabulary both say what actions are called.", hint="Leave one out.")
    names = names_of(model, vocabulary)
    theirs, ours = action_files.recognise(source), action_files.writable(target)
    try:
        track = action_files.read(source, names)
    except ActionError as error:
        if not model and not vocabulary:
            error.hint = f"{error.hint or ''} --vocabulary minecraft or --model chooses other actions.".strip()
        raise
    if os.path.exists(target):
        confirm_replacing(target, yes, no_overwrite)

    moved = theirs.lead - ours.lead if clip else 0
    note = ", what led into frame 0 being unknown" if moved > 0 else ""
    if theirs.lead != ours.lead and not clip:
        note = "; --clip is for a clip's own frames"
    say(f"{source}: {len(track)} rows of {theirs}")
    say(f"{target}: {ours}; shifted by {moved}{note}")
    if moved < 0 and track[:-moved].any():
        warn(f"{target} has no place for what led into frame 0.")
    action_files.write(target, action_files.shift(track, moved), names)
    if settings.json:
        facts = {"source": source, "format": theirs.title, "rows": len(track), "shift": moved}
        return write_json(facts | {"output": target, "actions": names})
    stdout.print(printable(target), soft_wrap=True)


def names_of(model: str | None, vocabulary: str | None) -> list[str]:
    """What a model calls its actions, or a vocabulary of its own."""
    from ..actions import MINECRAFT
    from ..registry import describe

    if vocabulary == "minecraft":
        return [*MINECRAFT]
    names = describe(model or "maze").get("actions")
    if not names:
        raise UsageError(f"{model} has no actions.", hint="--vocabulary maze or minecraft names some.")
    return names


def count(data: "Dataset") -> dict[str, Any]:
    """Count episodes, frames, kinds and actions, and the frames that show a pose seen before in their episode."""
    import numpy as np

    from ..worlds import ACTIONS, KINDS, revisits

    kinds = np.bincount(data.kinds, minlength=len(KINDS))
    actions = np.bincount(data.actions.ravel(), minlength=len(ACTIONS))
    return {
        "episodes": len(data),
        "planned": data.planned,
        "frames": data.actions.size,
        "world": vars(data.world) | {"fps": data.world.fps},
        "seed": data.seed,
        "kinds": dict(zip(KINDS, kinds.tolist(), strict=False)),
        "actions": dict(zip(ACTIONS, actions.tolist(), strict=False)),
        "revisits": sum(map(revisits, data.poses)) / max(data.actions.size, 1),  # share of frames
    }


def show_facts(facts: dict[str, Any]):
    """Print what `count` gave as a table."""
    table = Table.grid(padding=(0, 2))
    finished, planned = facts["episodes"], facts["planned"]
    rows = [
        ("episodes", f"{finished}" if finished == planned else f"{finished} of {planned} are finished"),
        ("frames", f"{facts['frames']}, {facts['revisits']:.1%} of them from a pose seen before"),
        ("world", ", ".join(f"{name} {value:g}" for name, value in facts["world"].items())),
        ("seed", str(facts["seed"])),
    ]
    for name in ("kinds", "actions"):
        total = max(sum(facts[name].values()), 1)
        rows.append((name, ", ".join(f"{what} {n} ({n / total:.1%})" for what, n in facts[name].items())))
    for name, value in rows:
        table.add_row(Text(name, "dim"), value)
    stdout.print(table)


def draw_sheet(data: "Dataset", file: Path, every: int):
    """Draw a contact sheet: two episodes of each kind, one a row, with every n-th frame."""
    import numpy as np
    from PIL import Image

    rows = [index for kind in np.unique(data.kinds) for index in np.flatnonzero(data.kinds == kind)[:2]]
    if not rows:
        raise DataError("No episode is finished yet, so there is nothing to draw.")
    pictures = data.frames[rows, ::every]  # (rows, columns, h, w, c)
    r, n, h, w, c = pictures.shape
    try:
        Image.fromarray(pictures.swapaxes(1, 2).reshape(r * h, n * w, c)).save(file)
    except (OSError, ValueError) as error:  # ValueError: no format has this suffix
        raise OutputError(f"{file} cannot be written: {error}", hint="A picture ends in .png.") from error
