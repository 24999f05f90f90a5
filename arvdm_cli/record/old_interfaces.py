"""Environments older than Gymnasium, given its interface."""

from collections.abc import Mapping
from types import ModuleType

import numpy as np

from .environment import Argument, Step

RESTART = -1  # the number of procgen's action that begins another game


class Crafter:
    """A survival game whose world follows from a seed given when it is made, and whose step gives four values."""

    def __init__(self, module: ModuleType, reward: bool, arguments: Mapping[str, Argument]):
        self._make = lambda seed: module.Env(reward=reward, seed=seed, **arguments)
        self._env = self._make(None)
        self.names: tuple[str, ...] = tuple(self._env.action_names)
        self.action_space = self._env.action_space

    def reset(self, *, seed: int | None = None) -> tuple[object, Mapping[str, object]]:
        if seed is not None:
            self._env = self._make(seed)
        return self._env.reset(), {}

    def step(self, action: object) -> Step:
        observation, reward, done, info = self._env.step(action)
        return observation, reward, done, False, info

    def render(self) -> object:
        return self._env.render()

    def close(self) -> None:
        """Nothing is open."""


class Procgen:
    """A game of procgen, which follows from a seed given when it is made, and begins again by itself.

    The step that ends a game gives the first frame of the next one, so the last frame is never seen.
    """

    def __init__(self, module: ModuleType, game: str, arguments: Mapping[str, Argument]):
        def make(seed: int):
            return module.ProcgenGym3Env(num=1, env_name=game, rand_seed=seed, num_threads=0, **arguments)

        self._make = make
        self._env = make(0)
        self.action_space = self._env.ac_space
        combos = self._env.get_combos()
        self.names: tuple[str, ...] = tuple("_".join(keys).lower() or "none" for keys in combos)

    def reset(self, *, seed: int | None = None) -> tuple[object, Mapping[str, object]]:
        if seed is not None:
            self._env.close()
            self._env = self._make(seed)
        elif not self._see()[1]:
            self._env.act(np.array([RESTART], np.int32))
        return self._see()[0], {}

    def step(self, action: object) -> Step:
        self._env.act(np.array([action], np.int32))
        observation, first = self._see()
        return observation, 0.0, first, False, {}

    def _see(self) -> tuple[np.ndarray, bool]:
        _, observation, first = self._env.observe()
        return observation["rgb"][0], bool(first[0])

    def render(self) -> object:
        return self._see()[0]

    def close(self) -> None:
        self._env.close()
