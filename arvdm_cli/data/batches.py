"""Episodes on disk -> training batches."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import ConfigError, DataError
from ..media import to_tensor
from . import clip_folder, rendered
from .encoded import Frames
from .formats.videos import VIDEOS


@dataclass(frozen=True)
class Batch:
    """Clips cut into memory, context and window."""

    clip: Tensor  # (b, f, c, h, w) latents of context and window
    first: Tensor  # (b,), where in its episode each clip begins
    actions: Tensor  # (b, episode, a), of the whole episode
    groups: Tensor  # (b, G, g, c, h, w) latents of past groups, oldest first
    frames: Tensor  # (b, G, g), where in the episode they stand
    reach: Tensor  # (b,), frames before this have left the context


class Part(Protocol):
    """Episodes of one folder: a `rendered.Dataset`, or `clip_folder.Clips`."""

    @property
    def frames(self) -> Frames: ...  # uint8 (episodes, f, h, w, 3)
    @property
    def actions(self) -> np.ndarray: ...  # (episodes, f), numbers of names, or (episodes, f, a), rows
    @property
    def poses(self) -> np.ndarray: ...  # (episodes, f, 3), whole numbers below 4096
    @property
    def names(self) -> tuple[str, ...]: ...  # of actions
    @property
    def fps(self) -> float: ...


def read(folder: Path) -> rendered.Dataset | clip_folder.Clips:
    """Open a folder of episodes: rendered, imported or recorded.

    Raises: DataError where it is not one, or cannot be read
    """
    if clip_folder.holds_clips(folder):
        return clip_folder.read(folder)
    if rendered.holds_world(folder):
        return rendered.read(folder)
    raise no_episodes(folder)


def digest(part: Part) -> str:
    """Tell episodes from others wherever their folder is: by three frames and all actions of the first one."""
    shown = [0, part.frames.shape[1] // 2, part.frames.shape[1] - 1]
    parts = (np.ascontiguousarray(values) for values in (part.frames[0, shown], part.actions[0]))
    return hashlib.sha256(b"".join(values.tobytes() for values in parts)).hexdigest()[:16]


def holds_episodes(folder: Path) -> bool:
    """Whether a folder is one of episodes, complete or not."""
    return clip_folder.holds_clips(folder) or rendered.holds_world(folder)


def no_episodes(folder: Path) -> DataError:
    """What is wrong with a folder that is not one of episodes, and what makes one of it."""
    if not folder.exists():
        return DataError(f"{folder} does not exist.", hint="Give a folder of episodes, such as data/play.")
    if (folder / "state.pt").is_file():
        return DataError(f"{folder} is the folder of a run, not data.", hint="Give the folder of its episodes.")
    if (folder / "config.json").is_file():
        return DataError(f"{folder} is a checkpoint, not data.", hint="Give a folder of episodes.")
    hint = "`arvdm data make`, `arvdm data import` and `arvdm data record` write such folders."
    if folder.is_dir() and any(file.suffix.lower() in VIDEOS for file in folder.iterdir()):
        command = ["arvdm", "data", "import", str(folder), "--out", f"data/{folder.resolve().name or 'play'}"]
        hint = f"{shlex.join(command)} makes data of videos."
    return DataError(f"{folder} contains no episodes.", hint=hint)


def read_all(folders: Iterable[Path | str]) -> dict[str, Part]:
    """Open folders of episodes, by their names."""
    return {str(folder): read(Path(folder)) for folder in folders}


class Joined:
    """Arrays that follow one another on their first axis, read as one without a copy of the whole.

    Index with episodes (n,) and a slice of times, or with arrays of episodes and times that broadcast.
    """

    def __init__(self, arrays: Sequence[Frames]):
        self.arrays = list(arrays)
        self.shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        self.dtype = np.result_type(*(array.dtype for array in arrays))
        self._starts = np.cumsum([0, *map(len, arrays)])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: ArrayLike | tuple[ArrayLike, ArrayLike | slice]) -> np.ndarray:
        chosen, times = key if isinstance(key, tuple) else (key, slice(None))
        episodes = np.asarray(chosen)
        if isinstance(times, slice):
            rows = [self._row(episode, times) for episode in episodes.ravel()]
            return np.stack(rows).reshape(*episodes.shape, *rows[0].shape)
        episodes, times = np.broadcast_arrays(episodes, times)
        number = np.searchsorted(self._starts, episodes, "right") - 1
        out = np.empty((*episodes.shape, *self.shape[2:]), self.dtype)
        for i in np.unique(number):
            here = number == i
            out[here] = self.arrays[i][episodes[here] - self._starts[i], times[here]]
        return out

    def _row(self, episode: int, times: slice) -> np.ndarray:
        number = int(np.searchsorted(self._starts, episode, "right")) - 1
        return self.arrays[number][episode - self._starts[number], times]


class Episodes:
    """Latents and actions of rendered or imported folders, cut at random from a seed.

    held_out: the last episodes of all folders together, never drawn for training, as many of each as of the others
    Frames come back to others where their poses are equal. In imported clips these are few: see `formats.reckon`.
    """

    def __init__(self, parts: Mapping[str, Part], held_out: int):
        self.parts = dict(parts)
        first, *others = self.parts
        self.names, self.fps = self.parts[first].names, self.parts[first].fps
        for other in others:
            self._compare(first, other)
        train, held, begin = [], [], 0
        for number, (folder, part) in enumerate(self.parts.items()):
            count, apart = len(part.frames), len(range(number, held_out, len(self.parts)))
            if count <= apart:
                raise DataError(
                    f"{folder} has {count} complete episodes, {apart} of them held out.",
                    hint="Render or import more of them, or lower held_out.",
                )
            train.append(np.arange(begin, begin + count - apart))
            held.append(np.arange(begin + count - apart, begin + count))
            begin += count
        self.train, self.held_out = np.concatenate(train), np.concatenate(held)
        self.pictures = Joined([part.frames for part in self.parts.values()])
        actions = [part.actions for part in self.parts.values()]
        if len({each.ndim for each in actions}) > 1:  # rendered and imported ones
            actions = [_rows(each, len(self.names)) for each in actions]
        self.actions = Joined(actions)
        self.latents: Joined | np.ndarray | None = None
        # where each pose was seen, one number a pose: a frame that comes back has an equal
        poses = np.concatenate([np.asarray(part.poses, dtype=np.int64) for part in self.parts.values()])
        self.poses = (poses[..., 0] * 4096 + poses[..., 1]) * 4096 + poses[..., 2]
        # frames (n, 2), as (episode, time), that come back to a pose left a few frames ago
        own = self.poses[self.train]
        back = np.zeros(own.shape, bool)
        for lag in range(2, 9):
            back[:, lag:] |= (own[:, lag:] == own[:, :-lag]) & (own[:, lag:] != own[:, lag - 1 : -1])
        self.turns = np.argwhere(back)
        self.turns[:, 0] = self.train[self.turns[:, 0]]

    def _compare(self, first: str, folder: str) -> None:
        """Refuse a folder whose frames or actions are of another kind than the first one's."""
        ours, theirs = self.parts[first], self.parts[folder]
        for name, one, other in (
            ("frames of shape", ours.frames.shape[1:], theirs.frames.shape[1:]),
            ("actions", ours.names, theirs.names),
            ("frames per second:", ours.fps, theirs.fps),
        ):
            if one != other:
                raise DataError(
                    f"{folder} has {name} {other}, but {first} has {one}.", hint="Folders for one training must match."
                )

    def random_frames(self, count: int, draw: np.random.Generator) -> Tensor:
        """Frames (count, 1, 3, h, w) in [-1, 1] for training a codec."""
        episodes = self.train[draw.integers(0, len(self.train), count)]
        times = draw.integers(0, self.pictures.shape[1], count)
        return to_tensor(self.pictures[episodes, times]).unsqueeze(1)

    def frames(self, episodes: np.ndarray, times: slice) -> Tensor:
        """Frames (b, f, 3, h, w) in [-1, 1] of some episodes."""
        part = self.pictures[episodes, times]
        return to_tensor(part.reshape(-1, *part.shape[2:])).unflatten(0, part.shape[:2])

    def one_hot(self, episodes: np.ndarray) -> Tensor:
        """Actions (b, episode, a) of whole episodes; imported ones are rows already, and may hold any numbers."""
        return torch.from_numpy(_rows(self.actions[episodes], len(self.names)))

    def draw(
        self,
        draw: np.random.Generator,
        count: int,
        context: int,
        own: int,
        window: int,
        groups: int,
        group: int,
        revisit: float,
        turn: float = 0.0,
    ) -> Batch:
        """Cut `count` clips of `context` + `own` + `window` frames, each after `groups` groups of its own past.

        own: frames for the network to make itself; as the context slides past them, so does what counts as the past
        revisit: share of clips whose window comes back to what left the context, and whose memory holds it
        turn: share of clips whose window comes back to what the context holds
        """
        assert self.latents is not None
        length = self.pictures.shape[1]
        frames_needed = needed(context, own, window, groups, group)
        if frames_needed > length:
            raise ConfigError(
                f"Episodes of {length} frames are too short for {groups} groups of memory and a clip: "
                f"{frames_needed} frames.",
                hint="Lower groups, contexts, windows or clip_frames.",
            )
        earliest, latest = max(0, groups * group - own), length - context - own - window
        episodes = self.train[draw.integers(0, len(self.train), count)]
        firsts, frames = np.empty(count, np.int64), np.empty((count, groups, group), np.int64)
        for i in range(count):
            episode = episodes[i]
            returning = groups > 0 and draw.random() < revisit
            for _ in range(8 if returning else 1):
                first = int(draw.integers(earliest, latest + 1))
                if draw.random() < turn and len(self.turns):
                    episode, time = self.turns[draw.integers(len(self.turns))]
                    first = int(np.clip(time - context - own - draw.integers(window), earliest, latest))
                reach = first + own  # frames before this have left the context
                slots = reach // group
                seen = np.isin(self.poses[episode, :reach], self.poses[episode, reach + context :][:window])
                hits = np.unique((reach - 1 - np.flatnonzero(seen)) // group)  # ranks, 0 the newest group
                hits = hits[hits < slots]
                if not returning or len(hits):
                    break
            if returning and len(hits) and groups < slots:
                wanted = draw.permutation(hits)[: max(1, groups // 2)]
                rest = np.setdiff1d(np.arange(slots), wanted)
                ranks = np.concatenate((wanted, draw.permutation(rest)[: groups - len(wanted)]))
            else:
                # the newest without a gap, or every 2nd, 4th, ... as eviction leaves them
                spacing = 2 ** int(draw.integers(0, 1 + int(np.log2(max(1, slots // max(1, groups))))))
                ranks = np.arange(groups) * spacing
            ranks = np.sort(ranks)[::-1]  # oldest first
            episodes[i], firsts[i] = episode, first
            frames[i] = (reach - (ranks[:, None] + 1) * group) + np.arange(group)
        times = firsts[:, None] + np.arange(context + own + window)
        return Batch(
            clip=torch.from_numpy(self.latents[episodes[:, None], times].astype(np.float32)),
            first=torch.from_numpy(firsts),
            actions=self.one_hot(episodes),
            groups=torch.from_numpy(self.latents[episodes[:, None, None], frames].astype(np.float32)),
            frames=torch.from_numpy(frames),
            reach=torch.from_numpy(firsts + own),
        )


def needed(context: int, own: int, window: int, groups: int, group: int) -> int:
    """Frames of the shortest episode that holds such a clip after such a memory; see `Episodes.draw`."""
    return max(0, groups * group - own) + context + own + window


def _rows(actions: np.ndarray, names: int) -> np.ndarray:
    """Give actions as rows (episodes, f, a); a number beyond the names is an unknown action: a row of zeros."""
    return actions if actions.ndim == 3 else np.eye(names + 1, names, dtype=np.float32)[actions]
