"""One recorded episode: a policy plays an environment for as many frames as an episode has."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..data.formats import Settings, reckon
from ..data.rendered import episode_seed
from ..media import Clip, fit
from .environment import Wish
from .game import Game
from .policies import Begin, Policy

BLOCK = 32  # frames that are held in their own size before they are brought to that of the episode


@dataclass(frozen=True)
class Plan:
    """What every episode of a recording has in common."""

    wish: Wish
    settings: Settings  # of the folder
    policy: Policy
    seed: int


@dataclass(frozen=True)
class Episode:
    """A recorded episode; a game that ends in it is followed by `reset` and the first frame of the next one."""

    frames: np.ndarray  # uint8 (f, h, w, 3)
    actions: np.ndarray  # float32 (f, a); row t leads into frame t, the first is unknown
    seed: int  # of its first game and of the policy

    def rows(self) -> dict[str, np.ndarray]:
        """Give the rows of a folder of clips: (1, f, ...); a frame is not known to look like an earlier one."""
        poses = reckon(self.actions, ())
        return {"frames": self.frames[None], "actions": self.actions[None], "poses": poses[None]}


class Player:
    """Plays episodes of a plan, with an environment that stays open between them."""

    def __init__(self, plan: Plan, game: Game | None = None):
        self.plan = plan
        self.game = game or Game(plan.wish)
        self._begin: Begin | None = None

    def play(self, index: int) -> Episode:
        """Play an episode; it depends on the plan and its number alone."""
        seed = seed_of(self.plan.seed, index)
        film, rows = Film(self.plan.settings), [self.game.actions.unknown]
        film.add(self.game.reset(seed))
        if self._begin is None:
            self._begin = self.plan.policy.load(self.game)  # an agent is compared with what is observed
        act = self._begin(seed)
        ended = False
        while len(film) < self.plan.settings.frames:
            row = self.game.actions.reset if ended else act(self.game.observation)
            if row[-1]:
                picture, ended = self.game.reset(), False
            else:
                moment = self.game.step(row)
                ended = moment.ended
                if moment.picture is None:  # an action whose frame is not shown has no row
                    continue
                picture = moment.picture
            film.add(picture)
            rows.append(row)
        return Episode(film.develop(), np.stack(rows).astype(np.float32), seed)


class Film:
    """Frames of an episode as they come, brought to its size in blocks."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._raw: list[np.ndarray] = []
        self._done: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._done)) + len(self._raw)

    def add(self, picture: np.ndarray) -> None:
        """Take the next frame, uint8 (h, w, 3)."""
        if self._raw and self._raw[0].shape != picture.shape:
            self._bring()
        self._raw.append(picture)
        if len(self._raw) == BLOCK:
            self._bring()

    def develop(self) -> np.ndarray:
        """Give all frames: uint8 (f, h, w, 3)."""
        if self._raw:
            self._bring()
        return np.concatenate(self._done)

    def _bring(self) -> None:
        clip = fit(Clip(np.stack(self._raw), None, ""), *self.settings.size, fit=self.settings.fit)
        self._done.append(clip.frames)
        self._raw = []


def seed_of(seed: int, index: int) -> int:
    """Give the seed of one episode, 31 bits, as many environments take no more."""
    return episode_seed(seed, index) >> 32


@cache
def _player(plan: Plan) -> Player:
    return Player(plan)


def play_apart(plan: Plan, index: int) -> Episode:
    """Play an episode in a process of a pool, which keeps the environment open for the next one."""
    return _player(plan).play(index)
