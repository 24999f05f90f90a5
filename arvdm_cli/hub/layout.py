"""The files that a checkpoint's folder consists of, by name, and how their text is read."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

CONFIG, WEIGHTS, MANIFEST = "config.json", "model.safetensors", "sha256.json"
PIPELINE = "model_index.json"  # what marks a folder of diffusers: it lists the parts, each in a folder of its own
PART_WEIGHTS = "diffusion_pytorch_model.safetensors"  # of a part of such a folder
PICKLED = (".pt", ".pth", ".ckpt", ".bin")  # suffixes of files that are pickled
LONGEST = 1 << 20  # bytes of a file of settings


def index_of(weights: Path) -> Path:
    """The file that lists the shards of a file of weights."""
    return weights.with_name(f"{weights.name}.index.json")


def is_inside(name: object, folders: int = 0) -> bool:
    """Whether a file's name, as some file gives it, stays in its folder on any system, at most `folders` deep."""
    if not isinstance(name, str) or "\\" in name or not name.isprintable() or PureWindowsPath(name).anchor:
        return False
    parts = name.split("/")
    return len(parts) <= folders + 1 and not {"", ".", ".."}.intersection(parts)


def repository_of(folder: Path) -> tuple[str, str] | None:
    """Repository and commit of a folder in the Hub's cache, models--owner--name/snapshots/commit; None elsewhere."""
    *_, home, parent, commit = ("", "", "", *folder.parts)
    if not home.startswith("models--") or parent != "snapshots":
        return None
    return home.removeprefix("models--").replace("--", "/", 1), commit


def read_text(path: Path, longest: int = LONGEST) -> str:
    """Text of a file of settings, which is never long.

    Raises: OSError, and ValueError where it is no text or longer than `longest` bytes
    """
    with path.open("rb") as file:
        data = file.read(longest + 1)
    if len(data) > longest:
        raise ValueError(f"it is longer than {longest} bytes")
    return data.decode()
