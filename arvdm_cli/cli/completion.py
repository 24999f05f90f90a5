"""Values that the shell completes. They must come at once, so nothing here needs torch or numpy."""

import os
import re
from collections.abc import Callable
from glob import escape, glob

DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
CODECS = ("h264", "h265", "vp9", "ffv1")
FORMATS = ("mp4", "mkv", "webm", "gif", "y4m", "png", "npy", "npz", "safetensors")


def models() -> list[tuple[str, str]]:
    """Checkpoints that have a short name, and those of training runs."""
    from ..hub.registry import entries, trained

    return [(entry.name, clause(entry.summary)) for entry in (*entries(), *trained())]


def presets() -> list[tuple[str, str]]:
    """Names of schedules."""
    from ..sampling.schedules import PRESETS, describe

    return [(name, clause(describe(name).summary)) for name in PRESETS]


def training(incomplete: str) -> list[str]:
    """Training files, folders and the command that a word after `arvdm train` may become."""
    below = ["init"] if "init".startswith(incomplete) else []
    return [*below, *folders(incomplete), *sorted(glob(f"{escape(incomplete)}*.toml"))]


def folders(incomplete: str) -> list[str]:
    """Folders that a word may become."""
    return sorted(path for path in glob(f"{escape(incomplete)}*") if os.path.isdir(path))


def clause(text: str) -> str:
    """The first clause of a text, which a shell shows on one line."""
    return re.split("[,:;]", text)[0]


def words(*values: str) -> Callable[[], list[str]]:
    """What completes to one of some words."""

    def complete() -> list[str]:
        return [*values]

    return complete
