"""Mazes as a world to measure models in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..configs import fill
from ..errors import CheckpointError, UsageError
from ..workers import Progress
from . import glide, needles, wad
from .maze import LEFT, NARROW, RIGHT, STAY, WIDE, Maze, MazeConfig
from .renderer import Renderer, film
from .wad import Pose
from .walks import Actions, explore, inverse
from .world import Colour, Needle, Parameters

VARIANTS = {"narrow": NARROW, "wide": WIDE}


@dataclass(frozen=True)
class MazeWorld:
    """Mazes of one size, look and way to move; their truth is exact. See `world.World`."""

    config: MazeConfig = field(default_factory=MazeConfig)

    @property
    def actions(self) -> tuple[str, ...]:
        return self.config.actions

    @property
    def turns(self) -> tuple[int, ...]:
        return tuple((name == "left") - (name == "right") for name in self.actions)

    @property
    def size(self) -> int:
        return self.config.size

    @property
    def sky(self) -> Colour | None:
        one = self.config.skies == 1 and not self.config.light and self.config.sky == MazeConfig.sky
        return wad.SKY if one else None

    @property
    def variant(self) -> str:
        """The name in VARIANTS of what it looks like, or `other`."""
        looks = {key: getattr(self.config, key) for key in NARROW}
        return next((name for name, variant in VARIANTS.items() if variant == looks), "other")

    def parameters(self) -> Parameters:
        return asdict(self.config)

    def key(self) -> Parameters:
        return self.config.key()

    def file_name(self, seed: int) -> str:
        return f"{self.size}-{self.config.turn:g}-{seed}{self._suffix}.npz"

    @property
    def _suffix(self) -> str:
        return "" if self.variant == "narrow" else f"-{self.variant}"

    def reset(self, seed: int) -> MazePlace:
        return MazePlace(Maze(self.config, seed))

    def needles(self, folder: Path, kind: str, gap: int, count: int, seed: int, progress: Progress) -> list[Needle]:
        file = folder / f"{kind}-{gap}-{self.size}-{seed}{self._suffix}.npz"
        return needles.take(file, self.config, kind, gap, count, seed, progress=progress)


class MazePlace:
    """One maze, entered where its seed and the purpose of a walk draw; see `world.ExactPlace` and `RestorablePlace`."""

    def __init__(self, maze: Maze):
        self.maze = maze
        self.start = self.pose = maze.start(random.Random(f"{maze.seed}/path"))
        self._stack = ExitStack()

    def __enter__(self) -> MazePlace:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def observe(self) -> np.ndarray:
        frame: np.ndarray = self._renderer.render([self.pose])[0]
        return frame

    def step(self, action: int) -> np.ndarray:
        """Take an action; one that a wall stops leads nowhere."""
        if self.maze.config.walk == "free":
            self.pose = self._walker.act(action)
        elif self.maze.legal(self.pose, action):
            self.pose = self.maze.move(self.pose, action)
        return self.observe()

    def save(self) -> object:
        return self.pose, self._walker.speed if self.maze.config.walk == "free" else None

    def restore(self, saved: object) -> None:
        assert isinstance(saved, tuple)
        self.pose, speed = saved
        if speed is not None:
            self._walker.pose, self._walker.speed = self.pose, speed

    def walks(self, purpose: str, history: int, length: int) -> dict[str, Actions]:
        if self.maze.config.walk == "free":
            raise UsageError("Measurements need walks from cell to cell, and this world has free walks.")
        start, walks = WALKS[purpose](self.maze, history, length)
        self.start = self.pose = start
        return walks

    def follow(self, actions: Sequence[int]) -> np.ndarray:
        return np.array(self.maze.follow(self.start, actions), np.int16)

    def render(self, poses: np.ndarray) -> np.ndarray:
        return film(self.maze, poses)

    @cached_property
    def _renderer(self) -> Renderer:
        return self._stack.enter_context(Renderer(self.maze))

    @cached_property
    def _walker(self) -> glide.Walker[Maze]:
        return glide.Walker(self.maze, self.start)


def revisit(maze: Maze, history: int, length: int) -> tuple[Pose, dict[str, Actions]]:
    """Draw a start and the walks of `revisit`: see `world.PURPOSES`."""
    rng = random.Random(f"{maze.seed}/path")
    start = maze.start(rng)
    way = [STAY, *explore(maze, start, rng, history + length - 1)]
    turn = rng.choice((LEFT, RIGHT))
    return start, {
        "new": way,
        "back": way[:history] + inverse(way[:history]),  # ends with a stay, so that every pose was in the history
        "spin": [STAY] + [turn] * (history + length - 1),
    }


def drift(maze: Maze, history: int, length: int) -> tuple[Pose, dict[str, Actions]]:
    """Draw a start and the walks of `drift`; the turn is drawn first, so that shorter walks begin longer ones."""
    rng = random.Random(f"{maze.seed}/drift")
    start, turn = maze.start(rng), rng.choice((LEFT, RIGHT))
    after = history + length - 1
    return start, {"explore": [STAY, *explore(maze, start, rng, after)], "spin": [STAY] + [turn] * after}


WALKS = {"revisit": revisit, "drift": drift}


def build(card: Parameters, size: int, moves: Sequence[tuple[float, float]], variant: str | None) -> MazeWorld:
    """Mazes of a model's size and moves, as its card says, or else narrow; see `world.Builder`.

    variant: one of VARIANTS; it has no posters, and is the same for all models of one size, one view and the same moves
    Raises: CheckpointError where the model walks as in DeepMind Lab, for which there are no paths to measure on
    """
    known: dict[str, object] = {"size": size}
    if moves:
        known |= {"step": max(ahead for ahead, _ in moves), "turn": max(turned for _, turned in moves)}
    known |= card
    if variant is not None:
        lasting = ("size", "step", "turn", "walk", "view", "eye", "height")
        known = {key: known[key] for key in lasting if key in known} | dict(VARIANTS[variant])
    config: MazeConfig = fill(MazeConfig, known, "The checkpoint's world")
    if config.walk == "free":
        raise CheckpointError(
            "The checkpoint is for free walks, and measurements need walks from cell to cell.",
            hint="Measure it on recorded or rendered episodes: arvdm eval drift MODEL --data FOLDER",
        )
    return MazeWorld(config)
