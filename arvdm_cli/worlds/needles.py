"""Needle tests: does a model still know what it saw, when it comes back to it after some frames?

A needle is one thing in a maze that could as well look otherwise: a poster on a wall, or the textures of a room.
One stands before it, goes away until it has been out of view for `gap` frames, and comes back: to know what will be
seen, one must remember. All candidates are drawn by one engine with one palette, in copies of the maze side by side,
so that frames without the needle have the same bytes in all of them.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, lcm, sqrt
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..errors import DataError, UsageError
from ..files import replacing
from ..workers import Progress, no_progress, render_all
from .maze import AHEAD, FLOORS, LEFT, RIGHT, STAY, WALLS, Look, Maze, MazeConfig, level
from .posters import ALPHABETS, Poster
from .renderer import Renderer
from .wad import CELL, Cell, Pose, Wall
from .walks import Actions, along, explore, inverse, last
from .world import Needle

CANDIDATES = {"theme": 16, "colour": 8, "blocks2": 16, "blocks4": 16}  # kind -> how many looks a needle may have
KINDS = tuple(CANDIDATES)
GAPS = (8, 16, 32, 64, 128, 256, 512)  # frames without the needle in view
STAND = 8  # frames before the needle at first
FORMAT = 1  # of the file of needles
TRACKS = ("history", "actions", "poses", "seen")  # arrays of a Needle with an axis of frames first
ALIKE = {"candidates": "candidates", "truth": "truth", "looped": "looped", "maze_seed": "seed"}  # of one shape in all

Round = tuple[Actions, Actions]  # two ways from the needle to one place: the way out, and the one to undo


@dataclass(frozen=True)
class Spot:
    """A place to stand before a needle."""

    pose: Pose  # on a cell's centre
    closed: frozenset[Cell]  # cells that no way from here may enter, as they lie at the needle
    place: Wall | frozenset[Cell]  # what the needle changes: a wall, or the cells of a room


class Copies:
    """The maze once for each look, side by side in one level."""

    def __init__(self, maze: Maze, looks: Sequence[Look]):
        self.config, self.maze, self.looks = maze.config, maze, looks
        self.across = ceil(sqrt(len(looks)))

    def wad(self) -> bytes:
        """Write all copies as one level for the engine."""
        walls: dict[Cell, str] = {}
        floors: dict[Cell, str] = {}
        hung: dict[Wall, Poster] = {}
        for copy, look in enumerate(self.looks):
            down, right = (self.config.cells * part for part in divmod(copy, self.across))

            def there(cell: Cell, down: int = down, right: int = right) -> Cell:
                return cell[0] + down, cell[1] + right

            walls |= {there(cell): name for cell, name in look[0].items()}
            floors |= {there(cell): name for cell, name in look[1].items()}
            hung |= {(there(cell), there(behind)): poster for (cell, behind), poster in look[2].items()}
        cells = range(self.config.cells * self.across)
        grid = [[(r, c) in walls for c in cells] for r in cells]
        return level(grid, walls, floors, hung, self.maze.scene)

    def pose(self, copy: int, pose: Pose) -> Pose:
        """Give the pose in one copy of the maze that is as this one in the maze itself."""
        down, right = (self.config.cells * self.config.steps * part for part in divmod(copy, self.across))
        return pose[0] + down, pose[1] + right, pose[2]


class View:
    """What one sees of the needle from a pose; every picture is drawn once."""

    def __init__(self, renderer: Renderer, copies: Copies):
        self.renderer, self.copies = renderer, copies
        self.pictures: dict[tuple[int, Pose], np.ndarray] = {}  # (copy, pose) -> uint8 (h, w, 3)

    def frames(self, copy: int, poses: Sequence[Pose]) -> list[np.ndarray]:
        """Draw poses in one copy of the maze: uint8 (h, w, 3) each."""
        new = [pose for pose in dict.fromkeys(poses) if (copy, pose) not in self.pictures]
        drawn = self.renderer.render([self.copies.pose(copy, pose) for pose in new])
        self.pictures.update(zip([(copy, pose) for pose in new], drawn, strict=True))
        return [self.pictures[copy, pose] for pose in poses]

    def seen(self, poses: Sequence[Pose]) -> list[bool]:
        """Tell from which poses the needle is visible: the first two candidates differ in every part of it."""
        pairs = zip(self.frames(0, poses), self.frames(1, poses), strict=True)
        return [bool((one != other).any()) for one, other in pairs]


def maze_seed(seed: int, index: int, attempt: int = 0) -> int:
    """Give the seed of one maze (63 bits), from another stream than training's and `evaluation.maze_seed`."""
    return int.from_bytes(hashlib.sha256(f"needle/{seed}/{index}/{attempt}".encode()).digest()[:8], "little") >> 1


def draw(config: MazeConfig, kind: str, gap: int, seed: int, index: int, after: int = 12) -> Needle:
    """Draw one needle test; these arguments alone decide it.

    after: frames from the first one on that shows the needle again
    """
    check(config, kind, gap, after)
    for attempt in range(6):
        own = maze_seed(seed, index, attempt)
        maze, rng = Maze(config, own), random.Random(f"{own}/{kind}")
        spots = list(_rooms(maze) if kind == "theme" else _walls(maze))
        if not spots:
            continue
        spots = rng.sample(spots, min(4, len(spots)))
        spot = spots[0]
        rounds: list[Round] = []
        if index % 2:  # half of the tests come back by another way, where there is one
            found = ((spot, _rounds(maze, spot, gap, rng)) for spot in spots)
            spot, rounds = next((pair for pair in found if pair[1]), (spot, []))
            rounds.append(([LEFT] * 2 * config.quarter, [RIGHT] * 2 * config.quarter))  # a full turn on the spot
        copies = Copies(maze, _looks(maze, kind, spot, rng))
        truth = rng.randrange(CANDIDATES[kind])
        with Renderer(copies) as renderer:
            view = View(renderer, copies)
            trip = _trip(maze, spot, gap, rounds, view, rng)
            if trip is None:
                continue
            actions, f, looped = trip
            actions = (actions + [STAY] * after)[: f + after]
            poses = maze.follow(spot.pose, actions)
            seen = np.array(view.seen(poses[:f]))
            candidates = np.array([view.frames(copy, poses[f:]) for copy in range(CANDIDATES[kind])])
            history = np.array(view.frames(0, poses[:f]))
            history[seen] = view.frames(truth, [poses[t] for t in np.flatnonzero(seen)])
        assert not seen[-gap:].any() and seen[-gap - 1] and (candidates[0, 0] != candidates[1, 0]).any()
        tracks = np.array(actions, np.uint8), np.array(poses, np.int16)
        return Needle(history, *tracks, seen, candidates, truth, looped, gap, own, config.actions)
    raise UsageError(
        f"In this world no needle of kind {kind} stays out of view for {gap} frames.",
        hint="Choose a longer gap, or larger turns and steps.",
    )


def take(
    file: Path,
    config: MazeConfig,
    kind: str,
    gap: int,
    worlds: int,
    seed: int,
    after: int = 12,
    progress: Progress = no_progress,
) -> list[Needle]:
    """Read needle tests from a file, or draw them into it, in parallel processes, where it holds others or too few.

    progress: called with the number of tests drawn and of all
    """
    check(config, kind, gap, after)
    key = json.dumps({"format": FORMAT, "world": config.key(), "needle": [kind, gap, after], "seed": seed})
    if file.exists():
        try:
            with np.load(file) as kept:
                if str(kept["key"]) == key and len(kept["lengths"]) >= worlds:
                    return _unpack(dict(kept), config, gap, after, worlds)
        except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
            raise DataError(f"{file} contains no needle tests: {error}.", hint="Choose another file.") from error
    tests = [(config, kind, gap, seed, index, after) for index in range(worlds)]
    needles = render_all(draw, tests, progress, each=4)
    with replacing(file) as part:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            np.savez_compressed(opened, key=np.array(key), **_pack(needles))
    return needles


def _pack(needles: Sequence[Needle]) -> dict[str, Any]:  # arrays
    """Join the arrays of tests, whose histories differ in length, along their frames."""
    joined = {name: np.concatenate([getattr(needle, name) for needle in needles]) for name in TRACKS}
    alike = {name: np.array([getattr(needle, own) for needle in needles]) for name, own in ALIKE.items()}
    return joined | alike | {"lengths": np.array([len(needle.history) for needle in needles])}


def _unpack(arrays: dict[str, np.ndarray], config: MazeConfig, gap: int, after: int, worlds: int) -> list[Needle]:
    """Undo `_pack` for the first tests."""
    needles = []
    for index, f in enumerate(arrays["lengths"][:worlds].tolist()):
        start = int(arrays["lengths"][:index].sum())
        history, seen = (arrays[name][start : start + f] for name in ("history", "seen"))
        start += index * after
        actions, poses = (arrays[name][start : start + f + after] for name in ("actions", "poses"))
        candidates, truth, looped, own = (arrays[name][index] for name in ALIKE)
        facts = int(truth), bool(looped), gap, int(own), config.actions
        needles.append(Needle(history, actions, poses, seen, candidates, *facts))
    return needles


def check(config: MazeConfig, kind: str, gap: int, after: int) -> None:
    """Refuse a needle test that cannot be."""
    if kind not in KINDS:
        raise UsageError(f"No kind of needle is called {kind!r}.", hint=f"Choose from: {', '.join(KINDS)}.")
    if gap not in GAPS:
        raise UsageError(f"The gap is {gap} frames.", hint=f"Choose from: {', '.join(map(str, GAPS))}.")
    if after < 1:
        raise UsageError(f"There are {after} frames after the gap.", hint="Choose 1 or more.")
    if kind == "theme" and (min(config.walls, config.floors) < 2 or config.walls * config.floors < CANDIDATES[kind]):
        message = f"{config.walls} wall and {config.floors} floor textures are too few for {CANDIDATES[kind]} themes."
        raise UsageError(message, hint="Choose a world with more textures.")
    if config.cells * CELL * ceil(sqrt(max(CANDIDATES.values()))) > 32_000:  # the engine's map ends there
        raise UsageError(f"cells is {config.cells}.", hint="Choose 61 or less.")


def _walls(maze: Maze) -> Iterator[Spot]:
    """Yield every place 1.5 cells before a wall that one can leave without going nearer to it."""
    for cell in maze.cells:
        for side in range(4):
            ahead, wall = (_beyond(cell, side, cells) for cells in (1, 2))
            if ahead in maze.letters and wall not in maze.letters and len(maze.neighbours(cell)) > 1:
                yield Spot(_stand(maze, cell, side), frozenset([ahead]), (ahead, wall))


def _rooms(maze: Maze) -> Iterator[Spot]:
    """Yield every place in a room from which one looks along the room, a way out of it at one's side."""
    for _, cells in sorted(maze.rooms.items()):
        room = frozenset(cells)
        for cell in cells:
            for side in range(4):
                ahead, left, behind, right = (_beyond(cell, turned % 4) for turned in range(side, side + 4))
                if ahead in room and any(out in maze.letters and out not in room for out in (left, right)):
                    yield Spot(_stand(maze, cell, side), (room | {behind}) - {cell}, room)


def _beyond(cell: Cell, side: int, cells: int = 1) -> Cell:
    """Give the cell that lies N cells away: 0 east, 1 north, 2 west, 3 south."""
    return cell[0] + AHEAD[side][0] * cells, cell[1] + AHEAD[side][1] * cells


def _stand(maze: Maze, cell: Cell, side: int) -> Pose:
    return cell[0] * maze.config.steps, cell[1] * maze.config.steps, side * maze.config.quarter


def _looks(maze: Maze, kind: str, spot: Spot, rng: random.Random) -> list[Look]:
    """Draw what the maze looks like with each candidate; the first two differ in every part of the needle."""
    walls, floors, hung = maze.look()
    if isinstance(spot.place, frozenset):
        room, (known, below) = spot.place, (WALLS[: maze.config.walls], FLOORS[: maze.config.floors])
        pairs = _pairs(rng.sample(known, len(known)), rng.sample(below, len(below)), CANDIDATES[kind])
        return [(walls | dict.fromkeys(room, wall), floors | dict.fromkeys(room, floor), hung) for wall, floor in pairs]
    return [(walls, floors, hung | {spot.place: poster}) for poster in _posters(kind, rng)]


def _pairs(walls: Sequence[str], floors: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Pair textures, no pair twice and each texture as often as any other of its list."""
    again = lcm(len(walls), len(floors))  # where both lists begin again together, one of them is shifted
    return [(walls[i % len(walls)], floors[(i + i // again) % len(floors)]) for i in range(count)]


def _posters(kind: str, rng: random.Random) -> list[Poster]:
    """Draw different posters whose blocks, each by itself, show all colours about equally often."""
    side, colours = ALPHABETS[kind]
    count = CANDIDATES[kind]
    while True:
        blocks = []
        for _ in range(side * side):
            rounds = [rng.sample(range(colours), colours) for _ in range(ceil(count / colours))]
            blocks.append([colour for drawn in rounds for colour in drawn][:count])
        posters = list(zip(*blocks, strict=True))
        if len(set(posters)) == count:
            return posters


def _trip(
    maze: Maze, spot: Spot, gap: int, rounds: Sequence[Round], view: View, rng: random.Random
) -> tuple[Actions, int, bool] | None:
    """Find a way out and back with the needle out of view for exactly `gap` frames, and no glimpse in between.

    rounds: what to try before a way back that undoes the way out
    Gives the actions, the first frame that shows the needle again, and whether the way back is another one.
    """
    for pair in rounds:
        if trip := _join(maze, spot.pose, pair, gap, view, rng):
            return *trip, True
    explored = _leave(maze, spot, gap // 2, view, rng)
    trip = _join(maze, spot.pose, (explored, explored), gap, view, rng) if explored else None
    return (*trip, False) if trip else None


def _rounds(maze: Maze, spot: Spot, gap: int, rng: random.Random) -> list[Round]:
    """Find pairs of ways from the needle to one place, such as may leave it out of view for `gap` frames.

    The longest come first. The second of a pair has as few of the first's cells as the maze allows.
    """
    n = maze.config.steps
    cell = (spot.pose[0] // n, spot.pose[1] // n)
    found = []
    for goal in rng.sample(maze.cells, min(32, len(maze.cells))):
        there = maze.route(cell, goal, rng, spot.closed)
        for shared in range(len(there) - 2):  # cells from the first on where one must go the same way
            closed = [*spot.closed, *there[:shared], *there[shared + 1 : -1]]
            if rest := maze.route(there[shared], goal, rng, closed):
                found.append((there, there[:shared] + rest))
                break
    found.sort(key=lambda ways: -len(ways[0]) - len(ways[1]))
    short = (ways for ways in found if sum(map(len, ways)) * n <= gap)
    pairs = ((along(maze, spot.pose, there, rng), along(maze, spot.pose, other, rng)) for there, other in short)
    return list(islice((pair for pair in pairs if sum(map(len, pair)) <= gap + maze.config.quarter), 6))


def _leave(maze: Maze, spot: Spot, hidden: int, view: View, rng: random.Random) -> Actions | None:
    """Explore, beginning with a turn of at least 90 degrees, until the needle was out of view for `hidden` frames."""
    n = maze.config.steps
    actions: Actions = []
    visible = 0  # frames before it is out of view
    for _ in range(100):
        here = last(maze, spot.pose, actions)
        way = maze.route((here[0] // n, here[1] // n), rng.choice(maze.cells), rng, spot.closed)
        leg = along(maze, here, way[: hidden // n + 3], rng)
        if actions:
            leg = leg[: visible + hidden - len(actions)]
        tried = _hides(view.seen(maze.follow(spot.pose, actions + leg)))
        if tried is None:
            continue
        visible = tried
        actions = (actions + leg)[: visible + hidden]
        if len(actions) == visible + hidden:
            return actions if len(actions) >= maze.config.quarter else None
    return None


def _hides(seen: Sequence[bool]) -> int | None:
    """Count the frames until the needle is out of view, or give None if it is not so for good."""
    visible = seen.index(False) if False in seen else len(seen)
    return None if visible == len(seen) or any(seen[visible:]) else visible


def _join(maze: Maze, pose: Pose, pair: Round, gap: int, view: View, rng: random.Random) -> tuple[Actions, int] | None:
    """Stand before the needle, go out, spend time there, and come back, the needle out of view for `gap` frames."""
    out, home = pair
    away, back = (maze.follow(pose, actions) for actions in pair)
    before, behind = _hides(view.seen(away)), _hides(view.seen(back))
    if before is None or behind is None:
        return None
    assert away[-1][:2] == back[-1][:2]
    full = 4 * maze.config.quarter
    left = (back[-1][2] - away[-1][2]) % full
    turn = [LEFT] * left if left * 2 <= full else [RIGHT] * (full - left)
    # the last pose of `away` or of `turn` is the first of the way back
    wait = gap - (len(out) - before) - len(turn) - (len(home) - behind) + 1
    if wait < 0:
        return None
    for waiting in _waits(maze, away[-1], wait, rng):
        if not any(view.seen(maze.follow(away[-1], waiting + turn))):
            return [STAY] * STAND + out + waiting + turn + inverse(home), STAND + before + gap
    return None


def _waits(maze: Maze, pose: Pose, frames: int, rng: random.Random) -> Iterator[Actions]:
    """Yield ways to spend frames and end where one was: walks there and back, full turns, standing still."""
    for _ in range(4):
        walk = explore(maze, pose, rng, frames // 2)
        yield walk + [STAY] * (frames % 2) + inverse(walk)
    full = 4 * maze.config.quarter
    yield [rng.choice((LEFT, RIGHT))] * (frames // full * full) + [STAY] * (frames % full)
    yield [STAY] * frames
