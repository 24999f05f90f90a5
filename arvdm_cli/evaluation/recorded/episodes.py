"""Recorded episodes as truth: stretches of them to continue with their own actions, against their own frames.

Any folder of episodes will do, rendered, imported or recorded, whose actions the model has. Of a folder that the model
was trained on, only the episodes that training held out are measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.batches import Episodes, Part, digest, read_all
from ...data.clip_folder import RECORDED, Clips
from ...data.held_out import held_out_of
from ...errors import CheckpointError, DataError, UsageError
from ...reports.records import Values
from ...sampling.model import Model
from ...worlds.world import Needle, Parameters
from ..study import Note, OnEvent
from ..truth import HISTORY, LENGTH, Truth
from . import returns

KIND = "episodes"  # of walks: there is one
SAME_RATE = 0.01  # share by which two rates may differ


@dataclass(frozen=True)
class Recordings:
    """What stretches were cut from; see `worlds.world.Domain`."""

    folder: str
    actions: tuple[str, ...]
    places: tuple[tuple[int, int], ...]  # of each stretch: its episode, and the frame of it that is shown first
    measured: int  # episodes that stretches may come from
    episodes: int  # in the folder
    held_out: bool | None  # whether training held out those measured; None where that is not known

    @property
    def turns(self) -> tuple[int, ...]:
        """By name: `left` and `right` turn the view in first-person recordings."""
        return tuple((name == "left") - (name == "right") for name in self.actions)

    @property
    def sky(self) -> None:
        """Not known."""

    def parameters(self) -> Parameters:
        return {
            "data": self.folder,
            "measured": self.measured,
            "episodes": self.episodes,
            "held_out": self.held_out,
            "places": [list(place) for place in self.places],
        }


KNOWN = {
    True: "which training did not see",
    False: "of which training saw some",
    None: "which training may have seen",
}


def describe(world: Parameters) -> str:
    """What was cut, in words, by what `Recordings.parameters` gave."""
    facts: Values = dict(world)
    what = f"{len(facts['places'])} stretches of {facts['measured']} of {facts['episodes']} episodes"
    return f"{what} in {facts['data']}, {KNOWN[facts['held_out']]}"


# Which episodes


@dataclass(frozen=True)
class Choice:
    """Episodes of a folder to measure."""

    numbers: np.ndarray  # (n,)
    held_out: bool | None  # whether training held them out; None where that is not known
    note: str


def choose(
    card: Mapping[str, object], folder: Path, count: int, every: bool = False, mark: str | None = None
) -> Choice:
    """Choose episodes that training never saw, by what a checkpoint's card says; every: take all in any case.

    count: episodes in the folder; mark: its digest
    Raises: DataError where training held out none of them
    """
    everything, apart = np.arange(count), held_out_of(card, folder, count, mark)
    if apart is None:
        why = "the checkpoint does not say what it was trained on, so it may have seen them"
        return Choice(everything, None, f"{folder}: all {count} episodes are measured; {why}.")
    if apart == count:
        return Choice(everything, True, f"{folder}: all {count} episodes are measured; none was trained on.")
    if every:
        return Choice(
            everything, False, f"{folder}: all {count} episodes are measured, and {count - apart} trained on."
        )
    if not apart:
        raise DataError(
            f"{folder}: training held out no episode of it.", hint="Give --all-episodes, or other episodes."
        )
    note = f"{folder}: {apart} of {count} episodes are measured, which training held out; --all-episodes takes all."
    return Choice(everything[count - apart :], True, note)


# Whether they fit


def check_fit(model: Model, part: Part, folder: Path) -> None:
    """Refuse recordings of another size or rate than a model's, with the command that mends it.

    The rate of a model that moves by known steps is not compared: its actions are steps, whatever the time they take.

    Raises: CheckpointError
    """
    size, codec = tuple(part.frames.shape[2:4]), model.codec.config
    if size != (codec.height, codec.width):
        ours, theirs = f"{codec.width}x{codec.height}", f"{size[1]}x{size[0]}"
        hint = mend(part, folder, "--size", str(codec.width) if codec.width == codec.height else ours)
        raise CheckpointError(f"The checkpoint makes frames of {ours}; the episodes have {theirs}.", hint)
    steps = bool(getattr(model.network.config, "moves", ()))
    if "fps" in model.card and not steps and abs(part.fps / model.fps - 1) > SAME_RATE:
        hint = mend_rate(part, folder, model.fps)
        text = f"The checkpoint was trained at {model.fps:g} frames per second; the episodes have {part.fps:g}."
        raise CheckpointError(text, hint)


def mend(part: Part, folder: Path, *flags: str) -> str:
    """The command that makes episodes with another setting."""
    words = ["make", "maze"]
    if isinstance(part, Clips):
        words = ["record" if part.settings.format == RECORDED else "import", part.settings.source]
    return shlex.join(["arvdm", "data", *words, *flags, "--out", f"{folder}-2"])


def mend_rate(part: Part, folder: Path, fps: float) -> str:
    """How episodes of another rate are made: those of an environment by the frames that pass for each action."""
    if isinstance(part, Clips) and part.settings.format == RECORDED:
        return f"Record {part.settings.source} into another folder, with a --skip that leaves {fps:g} frames a second."
    return mend(part, folder, "--fps", f"{fps:g}")


# Stretches


def cut(
    episodes: Episodes, folder: Path, chosen: Choice, starts: int, shown: int | None, length: int | None, seed: int = 0
) -> Truth:
    """Cut stretches of `shown` + `length` frames, their starts spread evenly over the chosen episodes.

    shown: None for half an episode, at most HISTORY; length: None for the rest, at most LENGTH
    Raises: DataError where the episodes are too short
    """
    f = episodes.pictures.shape[1]
    shown = min(HISTORY, f // 2) if shown is None else shown
    length = max(1, min(LENGTH, f - shown)) if length is None else length
    if min(starts, shown, length) < 1:
        raise UsageError(
            f"{starts} starts, {shown} context frames and {length} new frames.", hint="Each must be at least 1."
        )
    room = f - shown - length + 1  # starts in an episode
    if room < 1:
        raise DataError(f"{folder} has episodes of {f} frames; {shown} context frames and {length} new ones are more.")
    count = len(chosen.numbers) * room
    at = np.linspace(0, count - 1, min(starts, count)).round().astype(int)
    places = tuple((int(chosen.numbers[place // room]), int(place % room)) for place in at)
    frames = np.stack([episodes.pictures[episode, first : first + shown + length] for episode, first in places])
    rows = [episodes.one_hot(np.array([episode]))[0, first : first + shown + length] for episode, first in places]
    recordings = Recordings(
        str(folder), tuple(episodes.names), places, len(chosen.numbers), len(episodes.pictures), chosen.held_out
    )
    actions = np.stack([row.numpy().astype(np.float32) for row in rows])
    return Truth(recordings, seed, (KIND,), frames[None], actions[None], None, shown, grounds=False)


@dataclass(frozen=True)
class Recorded:
    """Recorded episodes of a folder as a `source.Source`."""

    folder: Path
    seed: int
    shown: int | None = None  # true frames of a stretch before those to be made; None: see `cut`
    every: bool = False  # all episodes, also those that were trained on
    frames: int = 8  # made up to a return

    count = "starts"

    def asked(self) -> Values:
        return {"data": str(self.folder), "seed": self.seed, "shown": self.shown, "all_episodes": self.every}

    def open(self, model: Model, on_event: OnEvent) -> tuple[Episodes, Choice]:
        """Open the episodes, and choose those to measure a model on.

        Raises: CheckpointError where they do not fit the model
        """
        parts = read_all([self.folder])
        (part,) = parts.values()
        check_fit(model, part, self.folder)
        chosen = choose(model.card, self.folder, len(part.frames), self.every, digest(part))
        on_event(Note(chosen.note))
        if part.names and not model.actions:
            on_event(Note("The checkpoint has no actions, so those of the recordings are left out."))
        elif model.actions and not part.names:
            on_event(Note("The recordings have no actions, so the checkpoint is given unknown ones."))
        return Episodes(parts, 0), chosen

    def take(
        self, model: Model, purpose: str, places: int, length: int | None, cache: Path, on_event: OnEvent
    ) -> Truth:
        episodes, chosen = self.open(model, on_event)
        return cut(episodes, self.folder, chosen, places, self.shown, length, self.seed)

    def take_needles(
        self, model: Model, kind: str, gap: int, count: int, cache: Path, on_event: OnEvent
    ) -> list[Needle]:
        """Find returns; kind: `returns.KIND`."""
        episodes, chosen = self.open(model, on_event)
        needles, found = returns.search(episodes, chosen.numbers, gap, self.frames, count)
        few = "" if len(needles) >= returns.LEAST else f", too few to tell (at least {returns.LEAST})"
        what = f"{found} returns after {gap} frames out of view or more"
        on_event(Note(f"{self.folder}: {what}; {len(needles)} of them are tested{few}."))
        return needles
