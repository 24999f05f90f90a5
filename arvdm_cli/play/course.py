"""Players side by side under one track of actions, who can all go back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .controls import Keys
from .history import History, Read, Track
from .player import OneWay, Player, View
from .start import Start


@dataclass(frozen=True)
class Made:
    """One new frame of each player."""

    number: int  # from 1
    pictures: tuple[np.ndarray, ...]  # uint8 (h, w, 3), in the order of the players
    row: np.ndarray  # float32 (a,), the action that led into it
    view: View  # what the first player sees after its AR step


class Lane:
    """One player, what it can go back to, and frames that it has made and nobody has taken yet."""

    def __init__(self, player: Player):
        self.player = player
        self.history: History[object] = History(None)
        self.waiting: dict[int, np.ndarray] = {}  # new frame, from 0 -> picture

    def begin(self, start: Start, seed: int) -> None:
        self.player.begin(start, seed)
        self.history, self.waiting = History(self.player.save()), {}

    def advance(self, track: Track, read: Read) -> None:
        """Take one AR step."""
        first = self.player.frames
        pictures = self.player.advance(lambda frame, count: track.take(frame, count, read))
        self.waiting |= {first + at: picture for at, picture in enumerate(pictures)}
        self.history.add(self.player.frames, self.player.save())

    def rewind(self, frames: int, track: Track) -> None:
        """Go back to the AR step that made the last of the first `frames` new frames, and take it again."""
        chunk = self.player.chunk
        entry = self.history.before(max(frames - 1, 0) // chunk * chunk)
        self.history.cut(entry.frames)
        self.player.restore(entry.state)
        self.waiting = {}
        while self.player.frames < frames:
            self.advance(track, unread)


def unread(first: int, count: int) -> Keys:
    """Actions of frames that were made before are known."""
    raise AssertionError(f"the actions into new frames {first} to {first + count} were never read")


class Course:
    """Players side by side, the first of them a model that decides how many frames an AR step has.

    All of them are given the same actions. A frame's action is read when the first of them asks for it, so the player
    whose window reaches farthest decides when keys are obeyed.
    """

    def __init__(self, players: Sequence[Player], width: int):
        self.lanes = [Lane(player) for player in players]
        self.track = Track(width)
        self.shown = 0  # new frames that were taken

    @property
    def chunk(self) -> int:
        """Frames of an AR step."""
        return self.lanes[0].player.chunk

    @property
    def ahead(self) -> int:
        """Frames between an AR step that reads a key and the first frame that obeys it in full."""
        return max(lane.player.ahead for lane in self.lanes)

    @property
    def frames(self) -> int:
        """New frames that were made."""
        return self.lanes[0].player.frames

    @property
    def earliest(self) -> int:
        """The smallest number of new frames above 0 that `rewind` can go back to; 0 where it can go to any."""
        oldest = max(lane.history.oldest for lane in self.lanes)
        return oldest + 1 if oldest else 0

    def begin(self, start: Start, seed: int) -> None:
        """Go to a start."""
        for lane in self.lanes:
            lane.begin(start, seed)
        self.track, self.shown = Track(self.track.rows.shape[1]), 0

    def advance(self, read: Read) -> list[Made]:
        """Take one AR step: its frames, or those that are left of the last one after a rewind."""
        if self.shown == self.frames:
            self.lanes[0].advance(self.track, read)
        for lane in self.lanes[1:]:
            while lane.player.frames < self.frames:
                lane.advance(self.track, read)
        return self._take(self.frames - self.shown)

    def _take(self, count: int) -> list[Made]:
        view, taken = self.lanes[0].player.view(), []
        for frame in range(self.shown, self.shown + count):
            pictures = tuple(lane.waiting.pop(frame) for lane in self.lanes)
            taken.append(Made(frame + 1, pictures, self.track.rows[frame], view))
        self.shown += count
        return taken

    def rewind(self, frames: int) -> Made | None:
        """Go back to the first `frames` new frames, and give the last of them; None at the start.

        What follows in its chunk stays as it was, and so do the actions that were read for the window after it: the
        play branches off where it next reads keys.

        Raises: UsageError where a player refuses; then nothing has changed
        """
        assert 0 <= frames <= self.shown
        for lane in self.lanes:
            if isinstance(lane.player, OneWay):
                lane.player.check_rewind(frames)
        for lane in self.lanes:
            lane.rewind(frames, self.track)
            lane.waiting = {frame: picture for frame, picture in lane.waiting.items() if frame >= frames - 1}
        reached = [(lane.player.frames, lane.player.ahead) for lane in self.lanes]
        self.track.cut(max((made + ahead if made else 0) for made, ahead in reached))
        self.shown = max(frames - 1, 0)
        return self._take(1)[0] if frames else None

    def close(self) -> None:
        for lane in self.lanes:
            lane.player.close()
