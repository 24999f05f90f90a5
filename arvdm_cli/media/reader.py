"""Frames of anything that has some: videos, images, folders of images, archives of arrays, a pipe."""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from ..errors import UsageError, VideoError
from . import decoder, stills
from .arrays import frames_in, is_archive
from .fit import Fitting, FrameFit
from .frames import Clip
from .timeline import Clock, Timeline, clock, rate_note, same_rate, untimed

CLIP_BYTES = 2 << 30  # of frames that one clip may hold
MARGIN = 64  # frames decoded before the last ones asked for, should a file hold fewer than it says


def read(
    source: str | os.PathLike[str],
    *,
    start: int | None = None,
    count: int | None = None,
    fps: float | None = None,
    crop: str | None = None,
    size: tuple[int, int] | None = None,
    fit: Fitting = "crop",
    whole: bool = False,
) -> Clip:
    """Read `count` frames from frame `start` on, or the last `count`; fewer where the source holds fewer.

    source: a video, an image, an animation, a folder of images, an archive (.npz) with `video` or `frames`, or "-" for
        a video on stdin
    start: counted from 0; None or negative: the last `count` frames, or all
    count: None: up to the end
    fps: read at this rate, frame k being what a player shows at time k / fps; `start` and `count` number these frames
    crop, size, fit: as in `fit`, size being (height, width); done frame by frame, so that memory holds only the result
    whole: find all frames that the source has, for `Clip.timeline`, though only some are read

    Raises VideoError: nothing there, no video, no frame that can be read, or more than CLIP_BYTES.
    """
    if count is not None and count < 1:
        raise UsageError(f"{count} frames were requested.", hint="Choose at least 1.")
    name = os.fspath(source)
    into = _Gathering(name, None if start is None or start < 0 else start, count, crop, size, fit)
    with decoder.local(name) as path:
        if path.is_dir():
            return _read_images(decoder.images(path, name), into)
        if is_archive(path):
            return _read_archive(path, into)
        if stills.is_image(path):
            return _read_album(path, into, fps)
        return _read_video(path, into, fps, whole)


def measure(path: Path) -> tuple[Clock | None, int]:
    """When each frame of a video or an image file is shown, None without times, and about how many there are.

    Raises VideoError as `read`, and OSError.
    """
    if stills.is_image(path):
        album = stills.look(path, str(path))
        return _clock_of(album), len(album.pages)
    header = decoder.probe(path, str(path))
    return header.clock, header.count


@dataclass(frozen=True)
class Survey:
    """What a video holds, and which of its frames stand in a clip; none of them decoded."""

    header: decoder.Header
    timeline: Timeline
    notes: list[str]


def survey(path: Path, fps: float) -> Survey:
    """Choose a video's frames at a rate as `read` does, without decoding them."""
    header = decoder.probe(path, str(path))
    plan = _choose(header.clock, header.count, fps)
    return Survey(header, plan.timeline.cut(0, len(plan.timeline.chosen)), header.notes + plan.notes)


@dataclass(frozen=True)
class _Plan:
    """Which frames of a source are read."""

    timeline: Timeline
    fps: float | None
    notes: list[str]

    def span(self, into: "_Gathering", margin: int = 0) -> tuple[int, int]:
        """Give the first frame to read, and the one to end before."""
        total = len(self.timeline.chosen)
        if into.start is None:
            return max(0, total - into.count - margin) if into.count else 0, total
        if into.start >= total:
            raise VideoError(f"{into.name!r} has {total} frames, so none from frame {into.start}.")
        return into.start, min(total, into.start + (into.count or total))


def _choose(time: Clock | None, count: int, fps: float | None, partly: bool = False) -> _Plan:
    """Choose the frames that stand at a rate, None being the source's own.

    partly: whether the source goes on after `count` frames
    """
    if time is None:
        return _Plan(untimed(count), None, [])
    rate = fps or time.rate
    if time.regular and same_rate(time.rate, rate):
        return _Plan(Timeline(count, np.arange(count), time.times), time.rate, [])
    chosen = time.choose(rate)
    became = f": {count} frames became {len(chosen)}" if not time.regular and not partly else ""
    times = np.arange(len(chosen)) / rate
    return _Plan(Timeline(count, chosen, times), rate, [rate_note(time, rate) + became])


def _read_video(path: Path, into: "_Gathering", fps: float | None, whole: bool) -> Clip:
    reach = None if into.start is None or into.count is None or whole else into.start + into.count
    limit = None if reach is None else max(300, 8 * reach)
    header = decoder.probe(path, into.name, limit)
    plan = _choose(header.clock, header.count, fps, header.count == limit)
    if reach is not None and header.count == limit and len(plan.timeline.chosen) < reach:
        return _read_video(path, into, fps, True)  # of a higher rate than thought of
    notes = header.notes + plan.notes
    first, end = plan.span(into)
    into.expect(end - first, header.height, header.width)
    for begin in sorted({plan.span(into, MARGIN)[0], into.start or 0}, reverse=True):
        wanted = plan.timeline.chosen[begin:end]
        with decoder.Pictures(path, header, int(wanted[0])) as pictures:
            shown = ((number, stills.to_srgb(picture, header.profile, notes)) for number, picture in pictures)
            into.take(_placed(shown, wanted, begin))
        if len(into.frames) == end - first:
            break  # else once more from 0, as the end came too soon

    if not into.frames:
        raise VideoError(f"{into.name!r} contains no readable frame: {pictures.damage or 'it is empty'}.")
    if pictures.damage:
        good = f": {int(wanted[0]) + pictures.count - pictures.flawed} good frames" if pictures.ended else ""
        notes.append(f"damaged{good} ({pictures.damage})")
    return into.clip(plan, notes)


def _placed(pictures: Iterable[tuple[int, np.ndarray]], wanted: np.ndarray, k: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frame k, k + 1, ... of a clip, each with its number, from numbered pictures of the source.

    wanted: the source's frame at each of them, ascending; for one that is lost, the one before it is shown, as a
    player does, and none where there is none before it
    """
    before: np.ndarray | None = None
    places = enumerate(wanted.tolist(), k)
    place = next(places, None)
    for number, picture in pictures:
        while place and place[1] < number:
            if before is not None:
                yield place[0], before
            place = next(places, None)
        before = picture
        while place and place[1] == number:
            yield place[0], picture
            place = next(places, None)


def _read_images(paths: list[Path], into: "_Gathering") -> Clip:
    plan, notes = _choose(None, len(paths), None), _number_notes([path.stem for path in paths])
    first, end = plan.span(into)

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        for k, path in enumerate(paths[first:end], first):
            album = stills.look(path, str(path))
            into.expect(end - first, album.height, album.width)
            if len(album.pages) > 1:
                notes.append(f"{path.name} has {len(album.pages)} frames; only the first was read")
            yield from ((k, picture) for picture in stills.pictures(path, str(path), album.pages[:1], notes))

    into.take(frames())
    return into.clip(plan, notes)


def _number_notes(stems: list[str]) -> list[str]:
    """Say what the numbers in the names of images tell: that there are several series, or that some are missing."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", stem, re.DOTALL) for stem in stems]
    series = {(part[1], part[3]) if part else None for part in parts}
    if len(series) > 1:
        return [f"{len(series)} series of images, by their names, read one after the other"]
    numbers = sorted(int(part[2]) for part in parts if part)
    steps = {after - before for before, after in pairwise(numbers)}
    missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if len(steps) > 1 and 0 < missing <= len(numbers):
        return [f"{missing} of the numbers {numbers[0]} to {numbers[-1]} are missing; read as consecutive frames"]
    return []


def _read_album(path: Path, into: "_Gathering", fps: float | None) -> Clip:
    """Read an image, all frames of an animation, or all pages of a TIFF."""
    album = stills.look(path, into.name)
    time = _clock_of(album)
    plan = _choose(time, len(album.pages), fps)
    notes = list(plan.notes)
    if album.cut:
        notes.append(f"damaged: {len(album.pages)} good frames (truncated)")
    if time is None and len(album.pages) > 1:
        notes.append(f"{len(album.pages)} pages read as frames, at the model's rate")
    first, end = plan.span(into)
    into.expect(end - first, album.height, album.width)
    wanted = plan.timeline.chosen[first:end]
    pages = album.pages[int(wanted[0]) : int(wanted[-1]) + 1]
    pictures = enumerate(stills.pictures(path, into.name, pages, notes), int(wanted[0]))
    into.take(_placed(pictures, wanted, first))
    return into.clip(plan, notes)


def _read_archive(path: Path, into: "_Gathering") -> Clip:
    """Read the frames of an archive of arrays, which do not say when they are shown."""
    frames = frames_in(path, into.name)
    plan = _choose(None, len(frames), None)
    first, end = plan.span(into)
    into.expect(end - first, *frames.shape[1:3])
    into.take(enumerate(frames[first:end], first))
    return into.clip(plan, [f"{len(frames)} frames of an archive, read at the model's rate"])


def _clock_of(album: stills.Album) -> Clock | None:
    """Give when each page of an animation is shown."""
    seconds = np.array(album.seconds)
    return clock(np.cumsum(seconds) - seconds, float(seconds[-1])) if len(seconds) > 1 else None


class _Gathering:
    """The frames asked for, fitted as they come, and never more than CLIP_BYTES."""

    def __init__(
        self,
        name: str,
        start: int | None,
        count: int | None,
        crop: str | None,
        size: tuple[int, int] | None,
        fit: Fitting,
    ):
        self.name, self.start, self.count, self.crop, self.size, self.fit = name, start, count, crop, size, fit
        self.frames: deque[tuple[int, np.ndarray]] = deque()  # with their places in the clip
        self.change: FrameFit | None = None

    def expect(self, count: int, height: int, width: int) -> None:
        """Refuse frames before they are decoded that could not be kept after."""
        if self.size is None and self.crop is None:
            self._allow(count, height, width)

    def take(self, frames: Iterable[tuple[int, np.ndarray]]) -> None:
        """Keep the first or the last `count` of these, and nothing that was kept before."""
        self.frames = deque(maxlen=self.count)
        for place, frame in frames if self.start is None else islice(frames, self.count):
            if self.change is None:
                self.change = FrameFit(frame.shape[0], frame.shape[1], self.crop, self.size, self.fit)
            elif self.change.source != frame.shape[:2]:
                (height, width), (now, wide) = self.change.source, frame.shape[:2]
                raise VideoError(f"{self.name!r} has frames of {width}x{height} and of {wide}x{now}, not of one size.")
            self.frames.append((place, self.change(frame)))
            self._allow(len(self.frames), *self.frames[0][1].shape[:2])

    def clip(self, plan: _Plan, notes: list[str]) -> Clip:
        assert self.change is not None, "no frame was taken"
        timeline = plan.timeline.cut(self.frames[0][0], len(self.frames))
        frames = np.empty((len(self.frames), *self.frames[0][1].shape), np.uint8)  # (f, h, w, 3)
        for frame in frames:
            frame[:] = self.frames.popleft()[1]  # freed as it is copied: memory holds one clip, not two
        return Clip(frames, plan.fps, self.name, notes + self.change.notes, timeline)

    def _allow(self, count: int, height: int, width: int) -> None:
        needed = 3 * count * height * width
        if needed > CLIP_BYTES:
            raise VideoError(
                f"{self.name!r} would take {decoder.amount(needed)} once decoded ({count} frames of {width}x{height}); "
                f"at most {decoder.amount(CLIP_BYTES)} is read.",
                hint="Read fewer of its frames, or scale it down first.",
            )
