"""Environments of Gymnasium that draw into each frame what was done and when, so that frames alone tell the truth."""

from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

HEIGHT, WIDTH, BLOCK = 32, 40, 8
START = 100  # value of the block that counts the steps of a game, in its first frame
STEP, GAME, SEED, END = range(4)  # places of the blocks that are not actions
SPACES = {
    "discrete": spaces.Discrete(4),
    "late": spaces.Discrete(3, start=5),
    "buttons": spaces.MultiBinary(3),
    "several": spaces.MultiDiscrete([3, 2]),
    "axes": spaces.Box(np.array([-1, 0], np.float32), np.ones(2, np.float32)),
    "both": spaces.Dict({"keys": spaces.MultiBinary(2), "mouse": spaces.Box(-1, 1, (2,))}),
    "pair": spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (1,)))),
}
NAME = f"{__name__}:Drawn-v0"  # as commands name it


def code(action):
    """Give the values of the blocks that stand for an action; none is 0."""
    if isinstance(action, dict):
        return [value for part in action.values() for value in code(part)]
    if isinstance(action, tuple):
        return [value for part in action for value in code(part)]
    return [round(100 + 20 * float(value)) for value in np.ravel(action)]


def blocks(frame):
    """Read the values of a frame's blocks."""
    return frame[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 0].ravel().tolist()


class Drawn(gymnasium.Env):
    """Games of a few steps, whose number follows from the seed."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, space="discrete", longest=9, shown="observed", render_mode=None, broken=0):
        self.render_mode, self.shown, self.longest, self.broken = render_mode, shown, longest, broken
        self.action_space = SPACES[space]
        self.observation_space = spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.game = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.game, self.mark = 0, int(self.np_random.integers(1, 250))
        self.game, self.steps = self.game + 1, 0
        self.length = int(self.np_random.integers(3, self.longest + 1))
        self.frame = self.draw([START, self.game % 250, self.mark, 0])
        return self.seen(), {}

    def step(self, action):
        assert self.action_space.contains(action) or not isinstance(self.action_space, spaces.Discrete), action
        self.steps += 1
        if self.steps == self.broken:
            raise RuntimeError("the engine is on fire")
        ended = self.steps == self.length
        self.frame = self.draw([START + self.steps, self.game % 250, self.mark, int(ended), *code(action)])
        return self.seen(), 0.0, ended and self.game % 2 == 0, ended and self.game % 2 == 1, {}

    def draw(self, values):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for place, value in enumerate(values):
            row, column = divmod(place, WIDTH // BLOCK)
            frame[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = value
        return frame

    def seen(self):
        kinds = {"observed": self.frame, "part": {"image": self.frame, "time": self.steps}, "grey": self.frame[..., 0]}
        return kinds.get(self.shown, np.zeros(3, np.float32))

    def render(self):
        assert self.shown == "rendered", "what is observed need not be drawn again"
        return self.frame


gymnasium.register("Drawn-v0", Drawn)


def right_after_left(space, seed):
    """A policy: actions 1 and 2 in turn, whatever is seen, the first of them by the seed."""
    state = [seed % 2]

    def act(observation):
        state[0] += 1
        return 1 + state[0] % 2

    return act


def reader(space, seed):
    """A policy that does what the frame that it sees counts."""
    return lambda observation: int(observation[0, 0, 0]) % 4


def wrong(space, seed):
    """A policy that gives what no environment takes."""
    return lambda observation: "jump"


def failing(space, seed):
    """A policy with a fault."""
    return lambda observation: 1 / 0


class Loud(Drawn):
    """Games that talk."""

    def reset(self, *, seed=None, options=None):
        print("hello")
        return super().reset(seed=seed)


gymnasium.register("Loud-v0", Loud)
