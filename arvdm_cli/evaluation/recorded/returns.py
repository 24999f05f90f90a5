"""Moments of recorded episodes that come back to what was seen before, as tests of memory.

A frame returns where it looks like one that was seen `gap` to twice as many frames before the model begins, and like
none of those since; where poses are known, equal ones count too. The model begins some frames earlier and makes its
way to the return by the recorded actions; only that frame is compared, with the true one and with others of the
episode. These are chosen as near to the last frame that was shown as the true one is, so that a model which goes on
from there and remembers nothing is not helped by its context. How near is near follows from the distances of
neighbouring frames and of frames far apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ...data.batches import Episodes
from ...worlds.world import Needle

KIND = "return"  # of needle: there is one
GAPS = (16, 64, 128)  # frames out of view, as far as they lie beyond a context
CANDIDATES = 8  # for the frame of a return
LEAST = 8  # tests that say something
LOOKED = 200  # episodes that are searched, spread evenly
SIDE = 16  # pixels of the small pictures that are compared
ROOM = 2e9  # bytes of histories


@dataclass(frozen=True)
class Nearness:
    """Distances, of 1, that tell frames apart."""

    near: float  # up to it, two frames show the same
    away: float  # beyond it, they do not


@dataclass(frozen=True)
class Return:
    """A frame that shows again what was seen before."""

    episode: int
    frame: int  # that returns
    seen: int  # where it was last seen, `gap` frames before the model begins or earlier
    looped: bool  # whether it was come to from the same side, not by undoing the way


def picture(frames: np.ndarray) -> np.ndarray:
    """Small pictures (f, d) of frames uint8 (f, h, w, 3), in [0, 1], flat."""
    size = tuple(min(SIDE, side) for side in frames.shape[1:3])
    parts = [torch.from_numpy(np.ascontiguousarray(part)) for part in np.array_split(frames, -(-len(frames) // 64))]
    small = [functional.adaptive_avg_pool2d(part.movedim(-1, 1).float() / 255, size) for part in parts]
    return torch.cat(small).flatten(1).numpy()


def distances(pictures: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Root mean square distances (n,) of small pictures (n, d) from one of them (d,)."""
    squares = (pictures * pictures).sum(1) + one @ one - 2 * (pictures @ one)
    return np.sqrt(squares.clip(0) / len(one))


def nearness(films: list[np.ndarray], gap: int) -> Nearness:
    """What is near in these episodes: as near as neighbours in time, and far less than frames `gap` or more apart.

    films: small pictures (f, d) of episodes
    """
    steps = np.concatenate([np.sqrt(np.square(np.diff(film, axis=0)).mean(1)) for film in films])
    moving = steps[steps > 1 / 255]
    draw, apart = np.random.default_rng(0), []
    for film in films:
        first = draw.integers(0, max(1, len(film) - gap), 100)
        later = first + gap + (draw.random(100) * (len(film) - gap - first)).astype(int)
        pairs = film[first], film[np.minimum(later, len(film) - 1)]
        apart.append(np.sqrt(np.square(pairs[0] - pairs[1]).mean(1)))
    far = float(np.median(np.concatenate(apart)))
    near = min(float(np.median(moving)) if len(moving) else far, far / 4)
    return Nearness(near, 2 * near)


def find(
    film: np.ndarray, poses: np.ndarray, episode: int, gap: int, frames: int, bounds: Nearness
) -> Iterator[Return]:
    """Yield the returns of an episode.

    film: small pictures (f, d); poses: one number a frame (f,), equal where frames look alike
    frames: that the model makes up to a return, and that one
    """
    for frame in range(2 * gap + frames - 1, len(film)):
        begin = frame - frames + 1
        past = slice(begin - 2 * gap, begin)
        apart, same = distances(film[past], film[frame]), poses[past] == poses[frame]
        alike = (apart <= bounds.near) | (same & (apart <= bounds.away))
        clear = (apart > bounds.away) & ~same
        if clear[gap:].all() and alike[:gap].any():
            seen = past.start + int(np.flatnonzero(alike[:gap])[-1])
            before, after = film[max(0, seen - 1)], film[seen + 1]
            sides = distances(np.stack((before, after)), film[frame - 1])
            yield Return(episode, frame, seen, bool(sides[0] < sides[1]))


def candidates(film: np.ndarray, found: Return, begin: int, bounds: Nearness, draw: np.random.Generator) -> np.ndarray:
    """Choose frames (CANDIDATES,) among which the true one is looked for, itself among them; () where there are none.

    They follow one another in their distance from the last frame shown, and the true one stands anywhere in the row.
    """
    apart = distances(film, film[found.frame])
    others = np.flatnonzero(apart > bounds.away)
    pool = np.append(others, found.frame)
    if len(pool) < CANDIDATES:
        return np.array([], int)
    row = pool[np.argsort(distances(film[pool], film[begin - 1]), kind="stable")]
    place = int(np.flatnonzero(row == found.frame)[0])
    first = int(draw.integers(max(0, place - CANDIDATES + 1), min(place, len(row) - CANDIDATES) + 1))
    return row[first : first + CANDIDATES]


def search(episodes: Episodes, numbers: np.ndarray, gap: int, frames: int, count: int) -> tuple[list[Needle], int]:
    """Find returns in some episodes: tests of at most `count` of them, spread evenly, and how many there are.

    gap: frames for which what returns is out of view, the last of a history of twice as many
    """
    if len(numbers) > LOOKED:
        numbers = numbers[np.linspace(0, len(numbers) - 1, LOOKED).round().astype(int)]
    films = {int(number): picture(episodes.pictures[int(number), :]) for number in numbers}
    if episodes.pictures.shape[1] < 2 * gap + frames or not films:
        return [], 0
    bounds, tests = nearness(list(films.values()), gap), []
    for number, film in films.items():
        last = -frames
        for found in find(film, episodes.poses[number], number, gap, frames, bounds):
            if found.frame - last >= frames:  # no test holds another one's frames
                tests.append(found)
                last = found.frame
    room = max(1, int(ROOM // (2 * gap * np.prod(episodes.pictures.shape[2:]))))
    draw, needles = np.random.default_rng(0), []
    for at in np.linspace(0, len(tests) - 1, min(len(tests), count, room)).round().astype(int):
        test = tests[at]
        chosen = candidates(films[test.episode], test, test.frame - frames + 1, bounds, draw)
        if len(chosen):
            needles.append(needle(episodes, test, chosen, gap, frames, len(tests)))
    return needles, len(tests)


def needle(episodes: Episodes, test: Return, chosen: np.ndarray, gap: int, frames: int, found: int) -> Needle:
    """A return as a needle test."""
    begin = test.frame - frames + 1
    shown = slice(begin - 2 * gap, begin)
    actions = episodes.one_hot(np.array([test.episode]))[0, shown.start : test.frame + 1].numpy().astype(np.float32)
    pictures = np.stack([episodes.pictures[test.episode, int(frame) : int(frame) + 1] for frame in chosen])
    return Needle(
        history=episodes.pictures[test.episode, shown],
        actions=actions,
        poses=np.zeros((len(actions), 3), np.int16),
        seen=np.arange(shown.start, begin) <= test.seen,
        candidates=pictures,  # (candidates, 1, h, w, 3)
        truth=int(np.flatnonzero(chosen == test.frame)[0]),
        looped=test.looped,
        gap=gap,
        seed=test.episode,
        names=tuple(episodes.names),
        lead=frames - 1,
        found=found,
    )
