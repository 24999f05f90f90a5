"""Environments -> folders of episodes: what is to be recorded, and a run that can end at any moment and be resumed."""

import json
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path

from ..data.clip_folder import RECORDED, ClipFolder, Entry, opened
from ..data.formats import Settings, written
from ..errors import DataError
from ..files import replacing
from ..media.fit import Fitting
from ..workers import in_order
from .environment import Wish
from .episode import Episode, Plan, Player, play_apart
from .families import versions
from .game import Game
from .policies import Policy

FACTS = "record.json"  # file of the folder that says what was recorded, and how
VERSION = 1  # of it
SIDE = 64  # pixels of a frame, where the environment's own frames are larger or no multiple of 8
WORTH = 4  # episodes that are worth a process


@dataclass(frozen=True)
class Recording:
    """A plan, and the game that was opened to make it."""

    plan: Plan
    game: Game
    native: tuple[int, int]  # height and width of the environment's own frames

    def facts(self) -> dict[str, object]:
        """Give what record.json holds: all that decides the bytes of an episode, which its number and seed complete."""
        plan = self.plan
        return {
            "version": VERSION,
            "environment": plan.wish.name,
            "arguments": dict(plan.wish.arguments),
            "options": self.game.options,
            "skip": self.game.skip,
            "sticky": plan.wish.sticky,
            "policy": asdict(plan.policy),
            "seed": plan.seed,
            "versions": versions(plan.wish.name),
            "actions": {"names": list(plan.settings.actions), "space": str(self.game.space)},
        }


def prepare(
    game: Game,
    wish: Wish,
    policy: Policy,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    frames: int = 300,
    fps: float | None = None,
    fit: Fitting = "stretch",
) -> Recording:
    """Settle what is recorded of an open game; what is not given is as the environment has it.

    size: height and width; None: the environment's own where they are at most SIDE and multiples of 8, else SIDE
    fps: the rate at which episodes are played later; None: the true one
    """
    native = game.reset(0).shape[:2]
    usual = native if max(native) <= SIDE and not any(side % 8 for side in native) else (SIDE, SIDE)
    settings = Settings(RECORDED, wish.name, game.actions.names, fps or game.fps, size or usual, frames, fit)
    return Recording(Plan(replace(wish, skip=game.skip), settings, policy, seed), game, native)


def record(recording: Recording, episodes: int, out: Path, workers: int | None = None) -> Iterator[int]:
    """Record episodes into a folder, yielding how many it holds: at first those that it has already, then after each.

    workers: how many processes; None: one a core, if there is enough to do for them
    """
    plan = recording.plan
    with opened(out, plan.settings, (FACTS,)) as folder:
        _agree(folder, recording.facts())
        left = range(len(folder), episodes)
        folder.check_space(len(left), f"{len(left)} episodes", "Record fewer episodes, or smaller frames with --size.")
        yield len(folder)
        with closing(_play(recording, left, workers)) as played:
            for index, episode in zip(left, played, strict=True):
                folder.append(f"{index:06}", episode.rows(), Entry(1, seed=episode.seed))
                yield len(folder)


def _play(recording: Recording, left: range, workers: int | None) -> Generator[Episode, None, None]:
    """Play episodes in their order, in processes of their own if there are to be several."""
    many = workers or min(os.cpu_count() or 1, ceil(len(left) / WORTH))
    if many > 1:
        yield from in_order(play_apart, [(recording.plan, index) for index in left], many)
        return
    player = Player(recording.plan, recording.game)
    for index in left:
        yield player.play(index)


def _agree(folder: ClipFolder, facts: dict[str, object]) -> None:
    """Write down what is recorded, or refuse to add to what was recorded in another way."""
    file = folder.path / FACTS
    if not folder.journal:
        with replacing(file) as part:
            part.write_text(json.dumps(facts, indent=2) + "\n")
        return
    before = read_facts(folder.path)
    for name, now in json.loads(json.dumps(facts)).items():
        if (was := before.get(name)) != now:
            was, now = differing(was, now)
            message = f"{folder.path} was recorded with {name} {written(name, was)}, not {written(name, now)}."
            raise DataError(message, hint="Choose another folder.")


def differing(one: object, other: object) -> tuple[object, object]:
    """Two facts, without what is the same in both where they have several parts."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one, other
    keys = [key for key in (*one, *other) if one.get(key) != other.get(key)]
    return tuple({key: fact[key] for key in keys if key in fact} for fact in (one, other))  # type: ignore[return-value]


def read_facts(folder: Path) -> dict[str, object]:
    """Read how a folder was recorded."""
    try:
        facts = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / FACTS} cannot be read: {error}", hint="Record into another folder.") from error
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise DataError(f"{folder / FACTS} is not of version {VERSION}.")
    return facts
