"""Paths through a maze: lists of actions, made of runs of equal ones.

Every path takes (maze, pose, rng, frames) and gives exactly `frames` legal actions, whatever pose it starts from.
"""

import random
from collections.abc import Callable, Sequence

from .maze import AHEAD, FORWARD, INVERSE, LEFT, RIGHT, STAY, Maze
from .wad import Cell, Pose

Actions = list[int]
Path = Callable[[Maze, Pose, random.Random, int], Actions]


def explore(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Walk to one random cell after another, each by a shortest way."""
    actions = centre(maze, pose, rng)
    while len(actions) < frames:
        actions += walk(maze, last(maze, pose, actions), rng.choice(maze.cells), rng)
    return actions[:frames]


def back(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Explore for 16 to 150 actions, undo them one by one, and again."""
    actions: Actions = []
    while (room := (frames - len(actions)) // 2) >= 16:
        out = explore(maze, pose, rng, min(room, rng.randint(16, 150)))
        actions += out + inverse(out)
    return actions + explore(maze, pose, rng, frames - len(actions))


def spin(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Turn in place, for a quarter to three full turns one way, then maybe rest, maybe the other way."""
    actions: Actions = []
    direction = rng.choice((LEFT, RIGHT))
    while len(actions) < frames:
        actions += [direction] * rng.randint(maze.config.quarter, 12 * maze.config.quarter)
        if rng.random() < 0.3:
            actions += [STAY] * rng.randint(4, 12)
        if rng.random() < 0.5:
            direction = INVERSE[direction]
    return actions[:frames]


def loop(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Go round and round: to a random cell and home by another way, the same lap again and again."""
    actions = centre(maze, pose, rng)
    row, column, _ = last(maze, pose, actions)
    home = (row // maze.config.steps, column // maze.config.steps)
    laps = []
    for goal in rng.sample(maze.cells, min(16, len(maze.cells))):
        there = maze.route(home, goal, rng)
        if len(there) > 2 and (home_again := maze.route(goal, home, rng, avoid=there[1:-1])):
            laps.append(there + home_again[1:])
    if not laps:  # no way round from here
        return back(maze, pose, rng, frames)
    lap = next((lap for lap in laps if len(lap) * maze.config.steps < frames // 2), laps[0])
    while len(actions) < frames:
        for cell in lap[1:]:
            actions += _enter(maze, last(maze, pose, actions), cell, rng)
    return actions[:frames]


def room(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Look around in a room, leave it, come back to the same place after 16 to 160 actions, and again."""
    actions = centre(maze, pose, rng)
    cells = maze.rooms[rng.choice(sorted(maze.rooms))]
    place = rng.choice(cells)
    outside = [cell for cell in maze.cells if cell not in cells] or maze.cells
    actions += walk(maze, last(maze, pose, actions), place, rng)
    while len(actions) < frames:
        actions += [rng.choice((LEFT, RIGHT))] * 4 * maze.config.quarter
        half = rng.randint(8, 80)  # actions out
        goals = rng.sample(outside, min(12, len(outside)))
        goal = min(goals, key=lambda cell: abs(len(maze.route(place, cell)) * maze.config.steps - half))
        for cell in (goal, place):
            actions += walk(maze, last(maze, pose, actions), cell, rng)
    return actions[:frames]


def wander(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Walk at random: runs of 4 to 16 equal actions, cut where a wall ends them."""
    actions: Actions = []
    quarter = maze.config.quarter
    while len(actions) < frames:
        weights = [w * maze.legal(pose, action) for action, w in enumerate((1, 12, 2, 3, 3))]
        action = rng.choices(range(len(weights)), weights)[0]
        run = rng.randint(4, 16)
        if action in (LEFT, RIGHT) and rng.random() < 0.75:  # end where one can walk: else it hardly leaves its place
            gap = pose[2] % quarter if action == RIGHT else -pose[2] % quarter
            run = gap if gap >= 4 else gap + quarter
        for _ in range(run):
            if maze.legal(pose, action):
                pose = maze.move(pose, action)
                actions.append(action)
    return actions[:frames]


PATHS: dict[str, Path] = {
    "explore": explore, "back": back, "spin": spin, "loop": loop, "room": room, "random": wander,
}  # fmt: skip


def inverse(actions: Sequence[int]) -> Actions:
    """Give the actions that undo these, last one first."""
    return [INVERSE[action] for action in reversed(actions)]


def walk(maze: Maze, pose: Pose, goal: Cell, rng: random.Random) -> Actions:
    """Go from a cell's centre to another's by a shortest way, or at least turn around."""
    n = maze.config.steps
    way = maze.route((pose[0] // n, pose[1] // n), goal, rng)
    if len(way) < 2:  # already there
        return [rng.choice((LEFT, RIGHT))] * maze.config.quarter
    return along(maze, pose, way, rng)


def along(maze: Maze, pose: Pose, way: Sequence[Cell], rng: random.Random) -> Actions:
    """Go from a cell's centre through the cells of a way, which begins with it."""
    actions: Actions = []
    for cell in way[1:]:
        actions += _enter(maze, last(maze, pose, actions), cell, rng)
    return actions


def centre(maze: Maze, pose: Pose, rng: random.Random) -> Actions:
    """Go from any pose to the centre of a cell, heading east, north, west or south."""
    n, quarter = maze.config.steps, maze.config.quarter
    row, column, heading = pose
    sides = (1, 3) if row % n else (0, 2) if column % n else (0, 1, 2, 3)  # those one can walk to
    actions = min((_face(maze, pose, side, rng) for side in sides), key=len)
    heading = last(maze, pose, actions)[2]
    down, right = AHEAD[heading // quarter]
    return actions + [FORWARD] * (-(row * down + column * right) % n)


def _enter(maze: Maze, pose: Pose, cell: Cell, rng: random.Random) -> Actions:
    """Go from a cell's centre to the one beside it."""
    n = maze.config.steps
    side = AHEAD.index((cell[0] - pose[0] // n, cell[1] - pose[1] // n))
    return _face(maze, pose, side, rng) + [FORWARD] * n


def _face(maze: Maze, pose: Pose, side: int, rng: random.Random) -> Actions:
    """Turn the short way to a side: 0 east, 1 north, 2 west, 3 south."""
    full = 4 * maze.config.quarter
    left = (side * maze.config.quarter - pose[2]) % full
    if left * 2 == full:
        return [rng.choice((LEFT, RIGHT))] * left
    return [LEFT] * left if left * 2 < full else [RIGHT] * (full - left)


def last(maze: Maze, pose: Pose, actions: Sequence[int]) -> Pose:
    return maze.follow(pose, actions)[-1] if actions else pose
