"""`arvdm data import`: bring recorded clips into a folder of episodes."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from ...errors import DataError
from .. import flags
from ..console import out as stdout
from ..console import printable, progress, say, settings, warn, write_json
from .size import size_of
from .vocabulary import name_actions

if TYPE_CHECKING:
    from ...data.imported import Step

LISTED = 20  # clips named at the end of an import that were left out


def import_(
    source: Annotated[Path, Argument(metavar="SRC", help="Folder of the data set.")],
    out: Annotated[
        Path, Option("--out", "-o", metavar="FOLDER", help="Folder for the episodes; an interrupted import is resumed.")
    ],
    format: Annotated[
        str,
        Option(
            metavar="NAME",
            help="Layout of the data set: auto, lerobot, gf-minecraft, loopnav, tar (shards), teco-dmlab, "
            "teco-minecraft or folder (videos, each with an action file of the same stem).",
        ),
    ] = "auto",
    split: Annotated[
        Literal["train", "test"], Option(help="Part of the data set, if it has folders for parts.")
    ] = "train",
    camera: Annotated[
        str | None, Option(show_default="the first", help="Camera of a data set of LeRobot whose frames are imported.")
    ] = None,
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
        float | None, Option(show_default="the data set's, or that of the first video", help="Frames per second.")
    ] = None,
    vocabulary: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            show_default="maze; none without action files",
            help="Names of the actions of a folder or of shards: maze, minecraft, names,with,commas, auto (from the "
            "action files) or none.",
        ),
    ] = None,
    keep_encoded: Annotated[
        bool, Option("--keep-encoded", help="Leave frames in their videos and read them from there; slower, less disk.")
    ] = False,
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
    from ...data import clip_folder, formats, imported

    found = formats.find(source, format, split, camera)
    names = name_actions(vocabulary, found.clips[:limit]) if vocabulary is not None or found.actions is None else ()
    if frames is None:
        frames = clip_folder.saved_length(out)  # as the import that goes on has it
    chosen = formats.settle(found, names, size_of(size), frames, fps, fit, keep_encoded)
    say(f"{found.folder}: {len(found.clips)} clips, read as {found.kind.title} (--format {found.format})")
    for note in found.notes:
        say(note)
    if found.unused:
        warn(f"{len(found.unused)} files belong to no clip of the import: {listed(file.name for file in found.unused)}")
    said = Said()
    with progress("clip", len(found.clips[:limit])) as report:
        for index, step in enumerate(imported.gather(found, chosen, out, limit)):
            said.show(step)
            if step.problem and strict:
                raise DataError(step.problem, hint="Without --strict, such a clip is left out.")
            report(index)
    said.sum_up(bool(chosen.actions), vocabulary)
    if said.unused:
        say(f"{said.unused} frames are left over after the last whole episodes of their clips; see --frames")
    if settings.json:
        facts = {"folder": str(out), "format": found.format, "episodes": said.episodes, "frames": chosen.frames}
        facts |= {"actions": chosen.actions, "fps": chosen.fps, "left_out": said.left_out}
        facts |= {"size": chosen.size, "without_actions": len(said.silent), "frames_left_over": said.unused}
        return write_json(facts)
    stdout.print(f"{said.episodes} episodes of {chosen.frames} frames in {printable(str(out))}", soft_wrap=True)


class Said:
    """What is told of the clips of an import, the same thing of many clips only once."""

    def __init__(self) -> None:
        self.episodes = 0
        self.clips = 0
        self.unused = 0  # frames after the last whole episodes of clips
        self.left_out: dict[str, str] = {}  # clip -> why
        self.silent: list[str] = []  # clips without actions
        self.times: dict[str, int] = {}  # what was said -> of how many clips

    def show(self, step: "Step") -> None:
        """Tell what became of a clip."""
        self.clips += 1
        self.episodes += step.episodes
        self.unused += step.unused
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
