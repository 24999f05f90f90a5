"""Episodes on disk -> training batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import clips, worlds
from .errors import ConfigError, DataError
from .video import to_tensor


@dataclass(frozen=True)
class Batch:
    """Clips cut into memory, context and window."""

    clip: Tensor  # (b, f, c, h, w) latents of context and window
    first: Tensor  # (b,), where in its episode each clip begins
    actions: Tensor  # (b, episode, a), of the whole episode
    groups: Tensor  # (b, G, g, c, h, w) latents of past groups, oldest first
    frames: Tensor  # (b, G, g), where in the episode they stand
    reach: Tensor  # (b,), frames before this have left the context


def read(folder: Path) -> worlds.Dataset | clips.Clips:
    """Open a folder of episodes, rendered or imported."""
    return clips.read(folder) if clips.imported(folder) else worlds.read(folder)


class Episodes:
    """Latents and actions of a rendered or imported folder, cut at random from a seed.

    held_out: the last episodes, never drawn for training
    Frames come back to others where their poses are equal. In imported clips these are few: see `clips.reckon`.
    """

    def __init__(self, folder: Path, held_out: int):
        self.data = read(folder)
        count = len(self.data.frames)
        if count <= held_out:
            raise DataError(
                f"{folder} holds {count} finished episodes, {held_out} of them held out.",
                hint="Render or import more of them, or lower held_out.",
            )
        self.train, self.held_out = range(count - held_out), range(count - held_out, count)
        self.latents: np.ndarray | None = None
        self.names = self.data.names
        # where each pose was seen, one number a pose: a frame that comes back has an equal
        poses = np.asarray(self.data.poses, dtype=np.int64)
        self.poses = (poses[..., 0] * 4096 + poses[..., 1]) * 4096 + poses[..., 2]
        # frames (n, 2), as (episode, time), that come back to a pose left a few frames ago
        own = self.poses[: len(self.train)]
        back = np.zeros(own.shape, bool)
        for lag in range(2, 9):
            back[:, lag:] |= (own[:, lag:] == own[:, :-lag]) & (own[:, lag:] != own[:, lag - 1 : -1])
        self.turns = np.argwhere(back)

    def random_frames(self, count: int, draw: np.random.Generator) -> Tensor:
        """Frames (count, 1, 3, h, w) in [-1, 1] for training a codec."""
        episodes = draw.integers(0, len(self.train), count)
        times = draw.integers(0, self.data.frames.shape[1], count)
        return to_tensor(self.data.frames[episodes, times]).unsqueeze(1)

    def frames(self, episodes: np.ndarray, times: slice) -> Tensor:
        """Frames (b, f, 3, h, w) in [-1, 1] of some episodes."""
        part = self.data.frames[episodes, times]
        return to_tensor(part.reshape(-1, *part.shape[2:])).unflatten(0, part.shape[:2])

    def one_hot(self, episodes: np.ndarray) -> Tensor:
        """Actions (b, episode, a) of whole episodes; imported ones are rows already, and may hold any numbers."""
        actions = torch.from_numpy(np.array(self.data.actions[episodes]))
        if actions.ndim == 3:
            return actions
        # a number beyond the names is an unknown action: a row of zeros
        return torch.nn.functional.one_hot(actions.long(), len(self.names) + 1)[..., :-1].float()

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
        length = self.data.frames.shape[1]
        earliest, latest = max(0, groups * group - own), length - context - own - window
        if latest < earliest:
            needed = earliest + context + own + window
            raise ConfigError(
                f"Episodes of {length} frames are too short for {groups} groups of memory and a clip: {needed} frames.",
                hint="Lower groups, contexts, windows or clip_frames.",
            )
        episodes = draw.integers(0, len(self.train), count)
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
