"""Data sets of others, as their own programs write them, but small: every frame carries its number."""

import io
import json
import math
import tarfile

import numpy as np

from support.videos import encode, numbered

JOINTS = ("shoulder", "elbow", "grip")
LENGTHS = (20, 12, 28)  # rows of the episodes of LeRobot
FPS = 20


def joints(episode, row):
    """What an arm is told at a row of an episode."""
    return [episode * 100.0 + row, -float(row), row / 8]


# LeRobot, after its own writer


def _feature(kind, shape=(1,), names=None, **info):
    return {"dtype": kind, "shape": list(shape), "names": names} | ({"info": info} if info else {})


def _info(root, version, kind, cameras, lengths, **more):
    features = {f"observation.images.{name}": _feature(kind, (32, 64, 3), ["height", "width", "channels"])
                for name in cameras}  # fmt: skip
    features["observation.images.depth"] = _feature("video", (32, 64, 3), None, **{"video.is_depth_map": True})
    features["observation.state"] = _feature("float32", (2,), {"motors": ["a", "b"]})
    features["action"] = _feature("float32", (3,), {"motors": list(JOINTS)})
    features |= {name: _feature("int64") for name in ("frame_index", "episode_index", "index", "task_index")}
    info = {"codebase_version": version, "fps": FPS, "total_episodes": len(lengths), "chunks_size": 1000}
    info |= {"features": features, "splits": {"train": f"0:{len(lengths)}"}, "robot_type": "arm"}
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info | more))


def _rows(episode, first, count, pictures=None):
    rows = {
        "action": [joints(episode, row) for row in range(count)],
        "observation.state": [[0.0, 1.0]] * count,
        "timestamp": [np.float32(row / FPS).item() for row in range(count)],
        "frame_index": list(range(count)),
        "episode_index": [episode] * count,
        "index": list(range(first, first + count)),
        "task_index": [0] * count,
    }
    return rows | (pictures or {})


def _save(path, rows):
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pydict(rows), path)


def _joined(tables):
    return {key: [value for table in tables for value in table[key]] for key in tables[0]}


def png(frame):
    """A picture as a file in memory."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def firsts(lengths=LENGTHS):
    """Where the frames of each episode begin among all."""
    return [sum(lengths[:episode]) for episode in range(len(lengths))]


def lerobot_v3(root, cameras=("top", "wrist"), kind="video", lengths=LENGTHS, **more):
    """Write v3.0: all episodes in one table and one video a camera; the first camera's numbers are those of rows."""
    chunk = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    _info(root, "v3.0", kind, cameras, lengths, data_path=f"data/{chunk}.parquet",
          video_path=f"videos/{{video_key}}/{chunk}.mp4", **more)  # fmt: skip
    tables, episodes = [], []
    for episode, first in enumerate(firsts(lengths)):
        pictures = {f"observation.images.{name}": [{"bytes": png(frame), "path": None}
                    for frame in numbered(first + np.arange(lengths[episode]) + 500 * k)]
                    for k, name in enumerate(cameras)} if kind == "image" else {}  # fmt: skip
        tables.append(_rows(episode, first, lengths[episode], pictures))
        told = {"episode_index": episode, "tasks": ["lift"], "length": lengths[episode]}
        told |= {"data/chunk_index": 0, "data/file_index": 0}
        told |= {"dataset_from_index": first, "dataset_to_index": first + lengths[episode]}
        for name in cameras if kind == "video" else ():
            place = f"videos/observation.images.{name}"
            told |= {f"{place}/chunk_index": 0, f"{place}/file_index": 0}
            told |= {f"{place}/from_timestamp": first / FPS, f"{place}/to_timestamp": (first + lengths[episode]) / FPS}
        episodes.append(told)
    _save(root / "data" / "chunk-000" / "file-000.parquet", _joined(tables))
    _save(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet",
          {key: [told[key] for told in episodes] for key in episodes[0]})  # fmt: skip
    for k, name in enumerate(cameras if kind == "video" else ()):
        frames = numbered(np.arange(sum(lengths)) + 500 * k)
        encode(root / "videos" / f"observation.images.{name}" / "chunk-000" / "file-000.mp4", frames, FPS, g=2)
    return root


def lerobot_v21(root, cameras=("top",), lengths=LENGTHS, **more):
    """Write v2.1: a table and a video for each episode."""
    chunk = "chunk-{episode_chunk:03d}"
    _info(root, "v2.1", "video", cameras, lengths, data_path=f"data/{chunk}/episode_{{episode_index:06d}}.parquet",
          video_path=f"videos/{chunk}/{{video_key}}/episode_{{episode_index:06d}}.mp4", **more)  # fmt: skip
    lines = []
    for episode, first in enumerate(firsts(lengths)):
        name = f"episode_{episode:06d}"
        _save(root / "data" / "chunk-000" / f"{name}.parquet", _rows(episode, first, lengths[episode]))
        lines.append({"episode_index": episode, "tasks": ["lift"], "length": lengths[episode]})
        for k, camera in enumerate(cameras):
            frames = numbered(first + np.arange(lengths[episode]) + 500 * k)
            encode(root / "videos" / "chunk-000" / f"observation.images.{camera}" / f"{name}.mp4", frames, FPS, g=2)
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


# Archives


def shard(path, members):
    """Write a tar of members, by name; a TarInfo as content stands for itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = 0 if isinstance(content, tarfile.TarInfo) else len(content)
            archive.addfile(entry, None if isinstance(content, tarfile.TarInfo) else io.BytesIO(content))
    return path


def video_bytes(folder, numbers, suffix=".mp4"):
    """A video of numbered frames, as a file in memory."""
    path = folder / f"numbers{suffix}"
    encode(path, numbered(numbers), FPS, g=6)
    content = path.read_bytes()
    path.unlink()
    return content


# Minecraft


def gamefactory(root, count=2, frames=12, **changed):
    """Write GF-Minecraft: entry k tells yaw_delta k, and that of 0 is nonsense; `changed` replaces entries."""
    for clip in range(count):
        entries = {
            str(k): {"ws": k % 3, "ad": 0, "scs": k % 4, "pitch_delta": 0.0, "yaw_delta": float(k), "pos": [0, 0, 0]}
            for k in range(frames)
        } | changed
        entries["0"] = {"ws": 77}
        folder = root / "data_2003"
        encode(folder / "video" / f"seed_{clip}_part_{clip}.mp4", numbered(np.arange(frames) + 100 * clip), 16)
        (folder / "metadata").mkdir(exist_ok=True)
        told = {"biome": "plains", "actions": {name: entry for name, entry in entries.items() if entry is not None}}
        (folder / "metadata" / f"seed_{clip}_part_{clip}.json").write_text(json.dumps(told))
    return root


def loop(frames=24):
    """Places of a walk out and back: the second half looks the same way from the same blocks, last first."""
    way = [abs(min(k, frames - 1 - k)) for k in range(frames)]
    return [{"x": 100.25 + step, "y": 64.0, "z": -7.5, "yaw": 1.571, "pitch": -0.05} for step in way]


def loopnav(root, suffix=".avi", frames=24, **changed):
    """Write LoopNav: action k is taken after frame k and turns the camera by k hundredths of a radian."""
    folder = root / "ABA" / "plains_village_1" / "15"
    folder.mkdir(parents=True, exist_ok=True)
    entries = [
        place | {"frame_count": k, "goal": None, "extra_info": {"seed": 42}}
        | {"action": {"forward": k % 2 == 1, "jump": False, "camera": [-k / 100, 0.0]}} | changed
        for k, place in enumerate(loop(frames))
    ]  # fmt: skip
    (folder / "05-04_13-57-20.json").write_text(json.dumps(entries))
    codec = "mjpeg" if suffix == ".avi" else "libx264"
    encode(folder / f"05-04_13-57-20{suffix}", numbered(np.arange(frames), 72, 128), 20, codec)
    return root


CAMERA = math.radians(20)  # of the camera at 1
