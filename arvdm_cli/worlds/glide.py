"""Walking as in DeepMind Lab: turn left, turn right, or walk forward, in any direction, with inertia, along walls.

A frame lasts TICKS ticks. In each the walker slows down by friction and, on going forward, speeds up along its
heading; against a wall it loses the speed towards it and slides on. A turn is done at once and sets no direction: who
turns while walking glides on for three frames. Places are whole numbers again after every frame, and the tables of
directions are point-symmetric, so that a way back from rest to rest leads exactly to where it began.

Source: the rules are those of Quake III's walk, which DeepMind Lab runs on; `DMLAB` says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Generic, Protocol, TypeVar

from .wad import Grid, Pose

ACTIONS = ("left", "right", "forward")  # as TECO's DMLab counts them: see `formats.FORMATS`
LEFT, RIGHT, FORWARD, UNKNOWN = range(4)  # UNKNOWN leads into the first frame, as in imported clips
INVERSE = (RIGHT, LEFT, FORWARD, UNKNOWN)

# The settings of `--like dmlab`, all of them measured on one clip of 300 frames of TECO's DMLab (64x64), with a pinhole
# camera; a cell is taken as 2 heights of the eye.
# view: turning frames warped onto a cylinder agree best at 90 degrees (RMS 0.027 of 1; 0.028 at 87, 0.029 at 94), and
#     with 90 a full turn adds up to 360.2 degrees; within a degree, as the same fit to rendered frames tells
# turn: a full turn takes 21.305 actions whatever the view, so 16.897 degrees, each turn at rest within 0.15 (s.d.) of
#     that from the first on. 16.875 is 3/64 of a circle, so that 64 turns lead back exactly, and off by 0.13 %
# eye, height: a wall seen front on is 2.01 heights of the eye wide a cell, and labmaze's floor textures, one a cell,
#     fit the picture best at 0.98 +- 0.02 of 2; walls end 1.95 +- 0.03 heights of the eye above the floor (7,183
#     edges, median residual 0.34 pixels); the horizon is the middle row, within 0.3 pixels
# step: the floor's picture moves by 0.855 heights of the eye a frame (0.869 +- 0.043 late in a walk)
# TICKS ... STOP: Quake's rules, 60 ticks a second and 320 units a second with 100 units a cell, explain the floor's
#     motion of 0.57, 0.86, 0.85, ... from rest and 0.52, 0.20, 0.04, 0 after the last step within 0.009 heights of the
#     eye (median over the clip); of accelerations 8, 10 and 12 the last fits best
# sky: every pixel of it has this colour. Walls are as bright as labmaze's textures, within 3 %
# cells, rooms: the way, put together from the floor's motion, is 7.4 x 7.2 cells wide, with an error of about a cell,
#     so a maze of 7 x 7 and its border; four pairs of textures are seen
# That the walker slides along walls at RADIUS is Quake's rule; the clip touches no wall long enough to measure it.
DMLAB = {
    "walk": "free", "view": 90.0, "eye": 0.5, "height": 0.975, "sky": "96e0ff", "turn": 16.875, "step": 0.4267,
    "cells": 9, "rooms": 4,
}  # fmt: skip
GRID = 256  # places in a cell's width
TICKS = 8  # of a frame
RATE = 60  # ticks per second
FRICTION = 6  # share of the speed lost a second
ACCELERATION = 12  # full speeds gained a second
STOP = 0.3125  # full speeds; below this, friction is as strong as at it
RADIUS = 0.15  # cells from the walker's middle to its sides


@cache
def directions(headings: int) -> list[tuple[float, float]]:
    """Give every heading's (down, right), counter-clockwise from east; opposite ones are exact opposites."""
    ahead = []
    for heading in range(headings // 2):
        angle = 2 * math.pi * heading / headings
        ahead.append((-round(math.sin(angle), 12), round(math.cos(angle), 12)))
    return ahead + [(-down, -right) for down, right in ahead]


class Gait(Protocol):
    """How far a walker's actions lead; see `maze.MazeConfig`."""

    @property
    def step(self) -> float: ...

    @property
    def headings(self) -> int: ...

    @property
    def units(self) -> int: ...


class Ground(Protocol):
    """What a walker needs of a maze: which cells are open, and how far its actions lead."""

    @property
    def config(self) -> Gait: ...

    @property
    def grid(self) -> Grid: ...


G = TypeVar("G", bound=Ground)


class Walker(Generic[G]):
    """Someone who walks through a maze, at rest at first."""

    def __init__(self, maze: G, pose: Pose):
        self.maze, self.pose = maze, pose
        self.speed = (0.0, 0.0)  # places a tick down and right
        self.touched = False  # whether a wall was

    def act(self, action: int) -> Pose:
        """Take an action, and give the pose it leads to."""
        row, column, heading = self.pose
        gait = self.maze.config
        top = gait.step * GRID / TICKS
        if action in (LEFT, RIGHT):
            heading = (heading + (gait.units if action == LEFT else -gait.units)) % gait.headings
        ahead = directions(gait.headings)[heading]
        place, (down, right) = [float(row), float(column)], self.speed
        for _ in range(TICKS):
            if speed := math.sqrt(down * down + right * right):
                left = max(speed - max(speed, STOP * top) * FRICTION / RATE, 0.0) / speed
                down, right = down * left, right * left
            if action == FORWARD:
                gain = min(max(top - (down * ahead[0] + right * ahead[1]), 0.0), top * ACCELERATION / RATE)
                down, right = down + gain * ahead[0], right + gain * ahead[1]
            down, right = self._push(place, 0, down), self._push(place, 1, right)
        self.speed = (down, right)
        self.pose = (row + round(place[0] - row), column + round(place[1] - column), heading)
        return self.pose

    def _push(self, place: list[float], axis: int, speed: float) -> float:
        """Move along an axis (0 down, 1 right), no nearer to a wall than RADIUS; gives the speed that is left."""
        if not speed:
            return speed
        side = math.copysign(RADIUS * GRID, speed)
        across = RADIUS * GRID - 1  # a place less, as rounding may have moved it towards a wall
        front = place[axis] + speed + side
        for beside in (place[1 - axis] - across, place[1 - axis] + across):
            row, column = (front, beside) if axis == 0 else (beside, front)
            if not self.maze.grid[cell(row)][cell(column)]:
                self.touched = True
                return 0.0
        place[axis] += speed
        return speed


def cell(place: float) -> int:
    """Give the row or column of cells that a place lies in."""
    return math.floor(place / GRID + 0.5)


def follow(maze: Ground, pose: Pose, actions: Iterable[int]) -> list[Pose]:
    """Give the pose after each action of someone who rests at a pose at first."""
    walker = Walker(maze, pose)
    return [walker.act(action) for action in actions]
