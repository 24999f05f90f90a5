"""`arvdm data`: render or import episodes to train on, look at them, and bring actions from one format to another."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Option, Typer

from ..errors import ActionError, DataError, OutputError, OutputExistsError, UsageError
from . import completion, flags
from .console import confirm_replacing, printable, progress, say, settings, warn, write_json
from .console import out as stdout
from .help import Command, Group

if TYPE_CHECKING:
    from ..data.imported import Clips, Step
    from ..data.rendered import Dataset

VOCABULARIES = ("maze", "minecraft")
LISTED = 20  # clips named at the end of an import that were left out

app = Typer(
    cls=Group,
    help="Render, import and inspect training data; convert actions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(cls=Command, epilog="arvdm data make maze --out data/maze --episodes 100")
def make(
    invocation: Context,
    name: Annotated[str, Argument(metavar="WORLD", help="What to render: maze.")],
    out: Annotated[
        Path,
        Option("--out", "-o", metavar="FOLDER", help="Folder for the episodes; an interrupted run in it is resumed."),
    ],
    episodes: Annotated[int, Option(min=1, help="Total number of episodes.")] = 1000,
    seed: Annotated[int, Option(help="Seed; a larger --episodes keeps the episodes of a smaller one.")] = 0,
    size: Annotated[int, Option(help="Width and height of a frame in pixels: 64 or 128.")] = 64,
    walls: Annotated[int | None, Option(show_default="8", help="Number of wall textures, at most 32.")] = None,
    floors: Annotated[int | None, Option(show_default="8", help="Number of floor textures, at most 29.")] = None,
    skies: Annotated[
        int | None, Option(show_default="1", help="Number of skies, at most 8; the first is plain.")
    ] = None,
    light: Annotated[
        float | None, Option(show_default="0", help="Variation of brightness and tint between mazes, 0 to 1.")
    ] = None,
    wide: Annotated[
        bool, Option("--wide", help="All walls, floors and skies, and light 1; flags given override it.")
    ] = False,
    turn: Annotated[float | None, Option(show_default="11.25", help="Rotation of one turn action, in degrees.")] = None,
    step: Annotated[
        float | None, Option(show_default="0.125", help="Distance of one forward action, in cells.")
    ] = None,
    frames: Annotated[int, Option(help="Frames per episode.")] = 300,
    posters: Annotated[int, Option(help="Posters on the walls of each maze, 0 to 64.")] = 0,
    bare: Annotated[float, Option(help="Share of mazes without posters, 0 to 1.")] = 0.0,
    like: Annotated[
        Literal["dmlab"] | None,
        Option(help="View, walk and actions as in recordings; dmlab: those of TECO. Flags given override it."),
    ] = None,
    workers: Annotated[int | None, Option(min=1, show_default="one per core", help="Worker processes.")] = None,
):
    """Render episodes: walks through random mazes, each maze with its own layout and textures."""
    if not posters:
        flags.refuse(invocation, ("bare",), "no maze has posters.", "Set their number with --posters N.")
    if name != "maze":
        raise UsageError(f"No world is called {name!r}.", hint="Choose from: maze.")

    from ..data import rendered
    from ..worlds import glide
    from ..worlds.maze import WIDE

    given = {"walls": walls, "floors": floors, "skies": skies, "light": light, "turn": turn, "step": step}
    chosen: dict[str, Any] = (glide.DMLAB if like else {}) | (dict(WIDE) if wide else {})
    chosen |= {name: value for name, value in given.items() if value is not None}
    world = rendered.MazeConfig(size=size, frames=frames, posters=posters, bare=bare, **chosen)
    with progress("episode", episodes) as report:

        def show(finished: int, _: int):
            if finished:
                report(finished - 1)

        rendered.make(world, episodes, seed, out, workers, show)

    finished = len(rendered.read(out))
    if settings.json:
        return write_json({"folder": str(out), "episodes": finished, "frames": frames, "seed": seed})
    stdout.print(f"{finished} episodes of {frames} frames in {printable(str(out))}", soft_wrap=True)


@app.command(
    "import",
    cls=Command,
    epilog="arvdm data import recordings --out data/play --vocabulary auto\n"
    "arvdm data import teco/dmlab --out data/dmlab --split test",
)
def import_(
    source: Annotated[Path, Argument(metavar="SRC", help="Folder of the data set.")],
    out: Annotated[
        Path, Option("--out", "-o", metavar="FOLDER", help="Folder for the episodes; an interrupted import is resumed.")
    ],
    format: Annotated[
        Literal["auto", "teco-dmlab", "teco-minecraft", "folder"],
        Option(help="Layout of the data set; folder: videos, each with an action file of the same stem."),
    ] = "auto",
    split: Annotated[
        Literal["train", "test"], Option(help="Part of the data set, if it has folders for parts.")
    ] = "train",
    size: Annotated[
        str | None,
        Option(metavar="N|WxH", show_default="TECO's, else 64", help="Frame size in pixels, multiples of 8."),
    ] = None,
    fit: flags.Fit = "crop",
    frames: Annotated[
        int | None,
        Option(show_default="300, or the length of the clips", help="Frames per episode; longer clips are split."),
    ] = None,
    fps: Annotated[
        float | None, Option(show_default="TECO's, or that of the first video", help="Frames per second.")
    ] = None,
    vocabulary: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            show_default="maze; none without action files",
            help="Names of the actions of a folder: maze, minecraft, names,with,commas, auto (from the action files) "
            "or none.",
        ),
    ] = None,
    limit: Annotated[
        int | None, Option(min=1, help="Largest number of clips; a larger one keeps the clips of a smaller one.")
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="Stop at the first clip that cannot be used instead of leaving it out.")
    ] = False,
):
    """Import recorded videos and actions as training episodes.

    Each frame is stored with the action that led into it.
    """
    from ..data import imported, recordings

    found = recordings.find(source, format, split)
    kind = recordings.FORMATS[found.format]
    names = name_actions(vocabulary, found.files[:limit]) if vocabulary is not None or not kind.actions else ()
    if frames is None:
        frames = imported.saved_length(out)  # as the import that goes on has it
    chosen = recordings.settle(found, names, size_of(size), frames, fps, fit)
    say(f"{found.folder}: {len(found.files)} clips, read as {kind.title} (--format {found.format})")
    if found.unused:
        warn(f"{len(found.unused)} files belong to no clip of the import: {listed(file.name for file in found.unused)}")
    said = Said()
    with progress("clip", len(found.files[:limit])) as report:
        for index, step in enumerate(imported.gather(found, chosen, out, limit)):
            said.show(step)
            if step.problem and strict:
                raise DataError(step.problem, hint="Without --strict, such a clip is left out.")
            report(index)
    said.sum_up(bool(names or kind.actions), vocabulary)
    if settings.json:
        facts = {"folder": str(out), "format": found.format, "episodes": said.episodes, "frames": chosen.frames}
        facts |= {"actions": chosen.actions, "fps": chosen.fps, "left_out": said.left_out}
        return write_json(facts | {"size": chosen.size, "without_actions": len(said.silent)})
    stdout.print(f"{said.episodes} episodes of {chosen.frames} frames in {printable(str(out))}", soft_wrap=True)


class Said:
    """What is told of the clips of an import, the same thing of many clips only once."""

    def __init__(self) -> None:
        self.episodes = 0
        self.clips = 0
        self.left_out: dict[str, str] = {}  # clip -> why
        self.silent: list[str] = []  # clips without actions
        self.times: dict[str, int] = {}  # what was said -> of how many clips

    def show(self, step: "Step") -> None:
        """Tell what became of a clip."""
        self.clips += 1
        self.episodes += step.episodes
        for note in step.notes:
            if self._first(note, step.file):
                say(f"{step.file}: {note}")
        for warning in step.warnings:
            if self._first(warning, step.file):
                warn(f"{step.file}: {warning}")
        if step.problem:
            self.left_out[step.file] = step.problem
            if self._first(step.problem, step.file):
                warn(f"left out: {step.problem}")
        elif not step.acted:
            self.silent.append(step.file)

    def sum_up(self, named: bool, vocabulary: str | None) -> None:
        """Tell how many clips there was the same to say of, which were left out, and which have no actions.

        named: whether clips are to have actions
        Raises: DataError where no clip can be used
        """
        if not self.episodes:
            last = next(reversed(self.left_out.values()))
            hint = (
                "--vocabulary auto uses the names in the action files; --vocabulary none imports without actions."
                if named
                else None
            )
            raise DataError(f"None of {len(self.left_out)} clips can be used; the last: {last}", hint)
        for words, times in self.times.items():
            if times > 1:
                say(f"{times} clips: {words}")
        if self.left_out:
            warn(f"{len(self.left_out)} of {self.clips} clips were left out: {listed(self.left_out)}")
        if self.silent and named:
            warn(f"{len(self.silent)} of {self.clips} clips have no actions: {listed(self.silent)}")
        elif self.silent and vocabulary is None:
            say("no clip has an action file of the same stem, so they were imported without actions")

    def _first(self, words: str, file: str) -> bool:
        """Count what is said, but for the file it is said of; whether it is said for the first time."""
        stem = re.escape(str(Path(file).with_suffix("")))
        words = re.sub(rf"'?[^' ]*{stem}[.]\w+'?", "it", words)
        self.times[words] = self.times.get(words, 0) + 1
        return self.times[words] == 1


def listed(files: Iterable[str]) -> str:
    """Name the first few of some clips."""
    names = [*files]
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def size_of(text: str | None) -> tuple[int, int] | None:
    """Read "64" or "96x64", width before height, as height and width."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise UsageError(f"{text!r} is not a size.", hint="Write 64, or 96x64 for 96 wide and 64 high.")
    return int(match[2] or match[1]), int(match[1])


@app.command(cls=Command, epilog="arvdm data inspect data/maze --sheet maze.png")
def inspect(
    invocation: Context,
    folder: Annotated[Path, Argument(help="Folder written by `arvdm data make` or `import`, complete or not.")],
    sheet: Annotated[Path | None, Option(help="Write a contact sheet of some episodes to this image.")] = None,
    every: Annotated[int, Option(min=1, help="Frames between two pictures of the sheet.")] = 20,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing contact sheet.")] = False,
):
    """Count episodes, frames and actions in a folder, and check every frame."""
    from ..data import imported, rendered

    if not sheet:
        flags.refuse(invocation, ("every",), "no sheet is written.", "Add --sheet FILE.")
    if sheet and sheet.exists() and not yes:
        raise OutputExistsError(f"{sheet} exists.", hint="Use -y to replace it.")
    data = imported.read(folder) if imported.imported(folder) else rendered.read(folder)
    broken = {}
    with progress("episode", len(data)) as report:
        for index in range(len(data)):
            problem = imported.check(data, index) if isinstance(data, imported.Clips) else rendered.check(data, index)
            if problem:
                broken[index] = problem
            report(index)
    if sheet:
        draw_sheet(data, sheet, every)

    facts = count_clips(data) if isinstance(data, imported.Clips) else count(data)
    if settings.json:
        write_json(facts | {"broken": broken})
    elif isinstance(data, imported.Clips):
        show_clips(facts)
    else:
        show_facts(facts)
    if broken:
        index, problem = next(iter(broken.items()))
        raise DataError(f"{folder}: episode {index} is broken ({len(broken)} of {len(data)} are): {problem}.")


@app.command(cls=Command, epilog="arvdm data convert clip.csv clip.jsonl --clip")
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
    from ..actions import files

    if model and vocabulary:
        raise UsageError("--model and --vocabulary both set the names of the actions.", hint="Use only one of them.")
    names = names_of(model, vocabulary)
    theirs, ours = files.recognise(source), files.writable(target)
    try:
        track = files.read(source, names)
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


def names_of(model: str | None, vocabulary: str | None) -> list[str]:
    """What a model calls its actions, or a vocabulary of its own."""
    from ..actions.phrases import MINECRAFT
    from ..hub.registry import describe

    if vocabulary == "minecraft":
        return [*MINECRAFT]
    names = describe(model or "maze").get("actions")
    if not isinstance(names, list) or not names:
        raise UsageError(
            f"{model} has no actions.", hint="Set action names with --vocabulary maze or --vocabulary minecraft."
        )
    return [str(name) for name in names]


def name_actions(vocabulary: str | None, clips: Sequence[Path]) -> tuple[str, ...]:
    """What the actions of videos are called: a vocabulary of its own, names joined by commas, or those in their files.

    Raises: DataError where none is given and their files have other names than maze, or none can be found in them
    """
    from ..actions import files

    if vocabulary in ("none", "") or (vocabulary is None and not any(map(files.beside, clips))):
        return ()
    if vocabulary == "auto":
        names = dict.fromkeys(name for clip in clips if (file := files.beside(clip)) for name in files.names_in(file))
        if not names:
            raise DataError(
                "The action files of the clips contain no action names.", hint="--vocabulary names,with,commas"
            )
        say(f"actions: {', '.join(names)}")
        return tuple(names)
    if vocabulary is None:
        maze = tuple(names_of(None, None))
        file = next(file for clip in clips if (file := files.beside(clip)))
        if others := [name for name in files.names_in(file) if name not in maze]:
            raise DataError(
                f"{str(file)!r}: {others[0]!r} is not an action of maze.",
                hint=f"--vocabulary auto uses the names in the files ({', '.join(others[:9])}); "
                "--vocabulary none imports without actions.",
            )
        return maze
    return tuple(names_of(None, vocabulary)) if vocabulary in VOCABULARIES else tuple(vocabulary.split(","))


def count(data: "Dataset") -> dict[str, Any]:
    """Count episodes, frames, kinds and actions, and the frames that show a pose seen before in their episode."""
    import numpy as np

    from ..data.rendered import KINDS, revisits

    kinds = np.bincount(data.kinds, minlength=len(KINDS))
    actions = np.bincount(data.actions.ravel(), minlength=len(data.names))
    return {
        "episodes": len(data),
        "planned": data.planned,
        "frames": data.actions.size,
        "world": vars(data.world) | {"fps": data.world.fps},
        "seed": data.seed,
        "kinds": dict(zip(KINDS, kinds.tolist(), strict=False)),
        "actions": dict(zip(data.names, actions.tolist(), strict=False)),
        "revisits": sum(map(revisits, data.poses)) / max(data.actions.size, 1),  # share of frames
    }


def told(value: float | str) -> str:
    """Write a setting."""
    return value if isinstance(value, str) else f"{value:g}"


def show_facts(facts: dict[str, Any]):
    """Print what `count` gave as a table."""
    table = Table.grid(padding=(0, 2))
    finished, planned = facts["episodes"], facts["planned"]
    rows = [
        ("episodes", f"{finished}" if finished == planned else f"{finished} of {planned} are finished"),
        ("frames", f"{facts['frames']}, {facts['revisits']:.1%} of them from a pose seen before"),
        ("world", ", ".join(f"{name} {told(value)}" for name, value in facts["world"].items())),
        ("seed", str(facts["seed"])),
    ]
    for name in ("kinds", "actions"):
        total = max(sum(facts[name].values()), 1)
        rows.append((name, ", ".join(f"{what} {n} ({n / total:.1%})" for what, n in facts[name].items())))
    for name, value in rows:
        table.add_row(Text(name, "dim"), value)
    stdout.print(table)


def count_clips(data: "Clips") -> dict[str, Any]:
    """Count the clips of an imported folder, their episodes and frames, and the frames that each action led into."""
    led = [(data.actions[:, :, number] != 0).sum() for number in range(len(data.names))]
    known = sum(episode.any(-1).sum() for episode in data.actions)
    frames = data.actions.shape[0] * data.actions.shape[1]
    return {
        "episodes": len(data),
        "clips": len(data.files),
        "frames": frames,
        "source": vars(data.settings),
        "actions": {name: int(count) for name, count in zip(data.names, led, strict=True)},
        "unknown": frames - int(known),
    }


def show_clips(facts: dict[str, Any]):
    """Print what `count_clips` gave as a table."""
    table = Table.grid(padding=(0, 2))
    source, total = facts["source"], facts["frames"]
    height, width = source["size"]
    led = facts["actions"] and facts["actions"] | {"unknown": facts["unknown"]}
    rows = [
        ("episodes", f"{facts['episodes']}, from {facts['clips']} clips"),
        ("frames", f"{total}, {source['frames']} an episode, {width}x{height}, {source['fps']:g} fps"),
        ("source", f"{source['format']}, {printable(source['source'])}"),
        (
            "actions",
            ", ".join(f"{name} {n} ({n / total:.1%})" for name, n in led.items()) if facts["actions"] else "none",
        ),
    ]
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(value))
    stdout.print(table)


def draw_sheet(data: "Dataset | Clips", file: Path, every: int):
    """Draw a contact sheet: two episodes of each kind, or ten imported ones, one a row, with every n-th frame."""
    import numpy as np
    from PIL import Image

    from ..data.rendered import Dataset

    if isinstance(data, Dataset):
        rows = [index for kind in np.unique(data.kinds) for index in np.flatnonzero(data.kinds == kind)[:2]]
    else:
        rows = np.linspace(0, len(data) - 1, min(10, len(data))).astype(int).tolist()
    if not rows:
        raise DataError("The folder has no complete episode yet, so there is nothing to draw.")
    pictures = data.frames[rows, ::every]  # (rows, columns, h, w, c)
    r, n, h, w, c = pictures.shape
    try:
        Image.fromarray(pictures.swapaxes(1, 2).reshape(r * h, n * w, c)).save(file)
    except (OSError, ValueError) as error:  # ValueError: no format has this suffix
        raise OutputError(
            f"{file} cannot be written: {error}", hint="Use an image file name, such as sheet.png."
        ) from error
