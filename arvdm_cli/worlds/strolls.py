"""Paths of someone who walks as in DeepMind Lab (see `glide`): to turn left, to turn right, to go forward.

They have the names of those in `paths`, and take (maze, pose, rng, frames) and give exactly `frames` actions likewise.
A walk heads for one corner of its way after the other, and sets its course right where that pays, as an agent does.
"""

import math
import random
from collections.abc import Callable, Iterator

from .glide import FORWARD, GRID, INVERSE, LEFT, RIGHT, Walker, cell, follow
from .maze import Maze
from .wad import Cell, Pose

Actions = list[int]
Path = Callable[[Maze, Pose, random.Random, int], Actions]

# percent of a data set's episodes; a way back is long here, so there are fewer of them than in `worlds`
SHARES = {"explore": 60, "back": 15, "spin": 5, "loop": 10, "room": 10}
REST = 3  # actions after the last step in which one comes to rest
NEAR = 0.4  # cells from a corner at which it counts as reached
OFF = 1.6 / 3  # turns by which the course is off before it is set right
GLIDE = 7.2  # ticks at the present speed: how far one still glides


def explore(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Walk to one random cell after another, each by a shortest way."""
    walker, actions = Walker(maze, pose), Actions()
    while len(actions) < frames:
        actions += walk(walker, rng.choice(maze.cells), rng)
    return actions[:frames]


def back(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Walk 16 to 60 actions, turn around, walk back to the pixel, turn around, and the same or another way again."""
    walker, actions = Walker(maze, pose), Actions()
    while len(actions) < frames:
        actions += tour(walker, rng.randint(16, 60), rng) * rng.randint(1, 2)
    return actions[:frames]


def spin(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Turn in place, for half a turn to three full ones one way, then maybe the other way."""
    actions, direction = Actions(), rng.choice((LEFT, RIGHT))
    while len(actions) < frames:
        actions += [direction] * rng.randint(maze.config.headings // 6, maze.config.headings)
        if rng.random() < 0.5:
            direction = INVERSE[direction]
    return actions[:frames]


def loop(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Go there and back, the same lap again and again."""
    lap = tour(Walker(maze, pose), max(16, frames // 8), rng)
    return (lap * (frames // len(lap) + 1))[:frames]


def room(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Look around in a room, leave it, come back to the same place, and again."""
    walker = Walker(maze, pose)
    cells = maze.rooms[rng.choice(sorted(maze.rooms))]
    actions = settle(walker, walk(walker, rng.choice(cells), rng))
    while len(actions) < frames:
        look = [rng.choice((LEFT, RIGHT))] * rng.randint(maze.config.headings // 6, maze.config.headings // 2)
        actions += take(walker, look + [INVERSE[action] for action in look])
        actions += tour(walker, rng.randint(16, 60), rng)
    return actions[:frames]


def wander(maze: Maze, pose: Pose, rng: random.Random, frames: int) -> Actions:
    """Walk at random, into walls too: runs of equal actions."""
    actions = Actions()
    while len(actions) < frames:
        actions += [rng.choices((LEFT, RIGHT, FORWARD), (1, 1, 3))[0]] * rng.randint(1, 10)
    return actions[:frames]


PATHS: dict[str, Path] = {
    "explore": explore, "back": back, "spin": spin, "loop": loop, "room": room, "random": wander,
}  # fmt: skip


def tour(walker: Walker[Maze], length: int, rng: random.Random) -> Actions:
    """Walk about `length` actions out from rest, turn around, undo them one by one, and turn around again.

    That leads exactly to where it began; where a wall was touched on the way it would not, so another way is tried.
    """
    maze, start = walker.maze, walker.pose
    half = [rng.choice((LEFT, RIGHT))] * (maze.config.headings // 2)
    for _ in range(8):
        scout, out = Walker(maze, start), Actions()
        while len(out) < length:
            out += settle(scout, walk(scout, rng.choice(maze.cells), rng, settled=True))
        cut = max((i for i in range(min(length, len(out))) if settled(out[:i])), default=len(out))
        out = out[:cut] if cut > REST else out
        home = out + half + [INVERSE[action] for action in reversed(out)] + half
        if follow(maze, start, home)[-1] == start:
            return take(walker, home)
    return take(walker, half * 2)  # no way that touches nothing: once around in place


def settled(actions: Actions) -> bool:
    """Whether one is at rest after these, and no turn of one's own is cut off."""
    return len(actions) >= REST and FORWARD not in actions[-REST:]


def settle(walker: Walker[Maze], actions: Actions) -> Actions:
    """Add turns to and fro until one is at rest."""
    while not settled(actions):
        actions += take(walker, [LEFT, RIGHT])
    return actions


def take(walker: Walker[Maze], actions: Actions) -> Actions:
    """Take actions, and give them."""
    for action in actions:
        walker.act(action)
    return actions


def walk(walker: Walker[Maze], goal: Cell, rng: random.Random, settled: bool = False) -> Actions:
    """Go to a cell by a shortest way, or at least turn.

    settled: come to rest between a turn and the next step, so that the way can be undone
    """
    here = (cell(walker.pose[0]), cell(walker.pose[1]))
    way = walker.maze.route(here, goal, rng)
    corners = [
        b for a, b, c in zip(way, way[1:], way[2:], strict=False) if a[0] + c[0] != 2 * b[0] or a[1] + c[1] != 2 * b[1]
    ]
    actions = Actions()
    for corner in [*corners, goal] if len(way) > 1 else []:
        target = [place * GRID + rng.uniform(-0.15, 0.15) * GRID for place in corner]
        for action in _head_for(walker, target):
            if settled and action == FORWARD:
                actions += _rest(walker, actions)
            actions += take(walker, [action])
            if len(actions) > 200:  # goes in circles around a corner that it cannot reach
                return actions
    return actions or take(walker, [rng.choice((LEFT, RIGHT))] * rng.randint(1, 10))


def _rest(walker: Walker[Maze], actions: Actions) -> Actions:
    """Give turns to and fro that end a glide, if a turn has begun since the last step."""
    turns = next((n for n, action in enumerate(reversed(actions)) if action == FORWARD), REST)
    if not 0 < turns < REST:
        return []
    return take(walker, [actions[-1], INVERSE[actions[-1]]])


def _head_for(walker: Walker[Maze], target: list[float]) -> Iterator[int]:
    """Yield actions that lead to a place, as the walker takes them."""
    world = walker.maze.config
    while True:
        row, column, heading = walker.pose
        down = target[0] - row - walker.speed[0] * GLIDE
        right = target[1] - column - walker.speed[1] * GLIDE
        if math.hypot(down, right) < NEAR * GRID:
            return
        off = math.atan2(-down, right) / (2 * math.pi) * world.headings - heading
        off = (off + world.headings / 2) % world.headings - world.headings / 2
        if abs(off) > OFF * world.units:
            yield LEFT if off > 0 else RIGHT
        else:
            yield FORWARD
