"""Tar shards in the style of WebDataset: members that share a stem are one clip, as `00012.mp4` and `00012.jsonl`.

Members are never unpacked by their own names: a video and its actions are copied to a temporary folder while they are
read. Links, devices and names that lead out of an archive are passed over.
"""

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...actions import files as action_files
from ...actions.formats import FORMATS as ACTION_FORMATS
from ...errors import DataError, InputError
from ...media.seek import Video
from ...media.timeline import Clock
from .format import Contents, Folder, Format, Recording, Settings, SourceClip
from .pairs import read_pair
from .rows import load_json
from .videos import VIDEOS, count_frames, measure_clip

ACTIONS = (*ACTION_FORMATS, ".json")
BLOCK = 1 << 20  # bytes that are copied at once
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    start: int  # bytes before it
    size: int


@dataclass(frozen=True)
class ShardClip(SourceClip):
    """A video in an archive, and the member of the same stem that holds its actions."""

    name: str
    shard: Path
    video: Member
    actions: Member | None = None

    def files(self) -> Sequence[Path]:
        """The archive."""
        return (self.shard,)

    def read(self, settings: Settings) -> Recording:
        """Read it as a video and its file of actions; a list in JSON is read as lines."""
        place = Video(os.path.realpath(self.shard), start=self.video.start, size=self.video.size)
        with self._unpacked(self.video, self.actions if settings.actions else None) as (video, actions):
            assert video is not None
            return read_pair(video, actions, settings, place)

    def has_actions(self) -> bool:
        """Whether a member with actions has its stem."""
        return self.actions is not None

    def names(self) -> tuple[str, ...]:
        """What that member calls its actions."""
        with self._unpacked(self.actions) as (actions,):
            return action_files.names_in(actions) if actions else ()

    def rate(self) -> float | None:
        """Frames per second; None where the video cannot be read."""
        clock, _ = self._measure()
        return clock.rate if clock else None

    def length(self, fps: float) -> int | None:
        """Frames at a rate; None where the video cannot be read."""
        return count_frames(*self._measure(), fps)

    def _measure(self) -> tuple[Clock | None, int | None]:
        try:
            with self._unpacked(self.video) as (video,):
                return measure_clip(video) if video else (None, None)
        except (InputError, OSError):
            return None, None

    @contextmanager
    def _unpacked(self, *members: Member | None) -> Iterator[list[Path | None]]:
        """Copy members to a folder of their own; errors name them as they are called here."""
        with tempfile.TemporaryDirectory(prefix="arvdm-") as folder:
            try:
                yield [self._copy(member, Path(folder)) if member else None for member in members]
            except InputError as error:
                told = str(error).replace(folder, str(self.shard))
                raise type(error)(told, error.hint) from error

    def _copy(self, member: Member, folder: Path) -> Path | None:
        """Copy a member; None where it is JSON that holds no actions."""
        path = folder / PurePosixPath(member.name).name
        with self.shard.open("rb") as shard, path.open("wb") as file:
            shard.seek(member.start)
            left = member.size
            while left and (block := shard.read(min(BLOCK, left))):
                left -= file.write(block)
        if left:
            raise DataError(f"{self.name!r} is cut: {left} bytes are missing at the end of {str(self.shard)!r}.")
        return _as_lines(path) if path.suffix.lower() == ".json" else path


@dataclass(frozen=True)
class BrokenShard(SourceClip):
    """What cannot be read of an archive."""

    name: str
    shard: Path
    reason: str

    def files(self) -> Sequence[Path]:
        """The archive."""
        return (self.shard,)

    def read(self, settings: Settings) -> Recording:
        """Say what is wrong."""
        raise DataError(f"{str(self.shard)!r} {self.reason}")

    def has_actions(self) -> bool:
        """None that can be read."""
        return False


def _as_lines(path: Path) -> Path | None:
    """Write a list of rows in JSON, or that under `actions`, as lines; None where there is none."""
    rows = load_json(path)
    if isinstance(rows, dict):
        rows = rows.get("actions")
    if not isinstance(rows, list):
        return None
    lines = path.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lines


def _list(shard: Path) -> tuple[list[Member], list[str], str | None]:
    """List the members of an archive, the names of those that are passed over, and what is wrong with it."""
    members: list[Member] = []
    refused: list[str] = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                if path.name.startswith(".") or entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse() or path.is_absolute() or ".." in path.parts:
                    refused.append(entry.name)
                else:
                    members.append(Member(entry.name, entry.offset_data, entry.size))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        return members, refused, f"is not a readable archive from its member {len(members) + 1} on: {error}."
    return members, refused, None


def _group(shard: Path, name: str) -> tuple[list[SourceClip], list[Path]]:
    """Join members of one stem to clips, in the order of their videos; gives what belongs to none as well."""
    members, refused, wrong = _list(shard)
    stems: dict[str, dict[str, Member]] = {}
    unused = [Path(name, other) for other in refused]
    for member in members:
        path = PurePosixPath(member.name)
        stem, suffix = str(path.parent / path.name.partition(".")[0]), path.suffix.lower()
        if suffix not in VIDEOS and suffix not in ACTIONS:
            continue
        if suffix in stems.setdefault(stem, {}):
            unused.append(Path(name, member.name))
        else:
            stems[stem][suffix] = member
    clips: list[SourceClip] = []
    for kinds in stems.values():
        videos = [member for suffix, member in kinds.items() if suffix in VIDEOS]
        actions = next((kinds[suffix] for suffix in ACTIONS if suffix in kinds), None)
        if videos:
            clips.append(ShardClip(f"{name}/{videos[0].name}", shard, videos[0], actions))
            unused += [Path(name, other.name) for other in videos[1:]]
        elif actions:
            unused.append(Path(name, actions.name))
    if wrong:
        clips.append(BrokenShard(name, shard, wrong))
    return clips, unused


def _find(folder: Folder) -> Contents:
    clips: list[SourceClip] = []
    unused = [file for file in folder.files if file.name.lower().endswith((*PACKED, *VIDEOS))]
    for file in folder.files:
        if file.suffix.lower() == ".tar":
            found, others = _group(file, folder.name(file))
            clips += found
            unused += others
    return Contents(clips, unused)


SHARDS = Format("tar shards", ".tar", lambda folder: any(file.suffix.lower() == ".tar" for file in folder.files), _find)
