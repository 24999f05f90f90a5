"""Long, action-conditioned video with auto-regressive video diffusion models.

The public names of Python are loaded when first used, so that importing the package brings in nothing:

    from arvdm_cli import load, stream
    for chunk in stream(load("maze"), "clip.mp4", "forward*20 left*8", seed=1):
        show(chunk.frames)  # uint8 (f, h, w, 3)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from . import measure
    from .api import Chunk, Encoding, Model, Report, generate, load, stream
    from .sampling.schedules import Schedule

__all__ = [
    "Chunk", "Encoding", "Model", "Report", "Schedule", "__version__", "generate", "load", "measure", "stream",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "measure":
        return import_module(".measure", __name__)
    home = ".sampling.schedules" if name == "Schedule" else ".api"  # a schedule needs no torch
    return getattr(import_module(home, __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
