"""Whether the file under a video's name is still the one that a run has written."""

from __future__ import annotations

import zlib
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..media import Encoding, concat, montage
from ..media.formats import VIDEOS, _format
from ..media.output import _numbers, _pattern
from ..media.sinks import finished
from .state_file import Saved

NEAR = 20.0  # dB between means of blocks: coding changes them less, another video more
BLOCK = 8  # pixels a side
LATE = 0.005  # seconds by which containers round the time of a frame


def contents(output: str, encoding: Encoding) -> concat.Contents | None:
    """What lies under a video's name; None where nothing does, or an interrupted run has left its frames beside it.

    None for arrays too: what restores them checks their shape.
    """
    kind = _format(output, encoding.format)
    if kind != "png":
        path = finished(output)
        return concat.contents(path) if path and (kind in VIDEOS or kind == "y4m") else None
    folder, pattern = _pattern(output)
    numbers = sorted(_numbers(folder, pattern))
    whole = next((i for i, number in enumerate(numbers) if i != number), len(numbers))
    checksums = tuple(f"{zlib.crc32(Path(folder, pattern % i).read_bytes()):08x}" for i in range(whole))
    return concat.Contents(checksums, "", 0.0, ()) if checksums else None


def check_output(output: str, saved: Saved, height: int, width: int) -> None:
    """Refuse to resume after the frames of a file that is not the one its state describes.

    height, width: of a frame before it is enlarged
    Raises: InputError
    """
    held = contents(output, saved.settings.encoding)
    if held and (reason := difference(output, held, saved, height, width)):
        raise InputError(
            f"{output!r} is not the video that this run wrote: {reason}.",
            hint="It was not changed. To continue it in a new file, use it as --prompt-frames with another -o.",
        )


def difference(output: str, held: concat.Contents, saved: Saved, height: int, width: int) -> str | None:
    """How a file differs from what its state says of it; None: in nothing that can be checked."""
    settings, frames = saved.settings, held.frames
    fps, scale = settings.encoding.fps, settings.encoding.scale
    size = f"{width * scale}x{height * scale}"
    if held.others:
        return f"it has {' and '.join(sorted({'sound' if kind == 'audio' else kind for kind in held.others}))} too"
    if held.size not in ("", size):
        return f"its frames are {held.size}, not {size}"
    lasting = (len(frames) - 1) / fps
    if held.size and abs(held.seconds - lasting) > 0.01 * lasting + LATE:
        return f"its {len(frames)} frames last {held.seconds:.2f} s, not {lasting:.2f} s"
    shown = settings.prompt_frames if settings.include_prompt else 0
    kept = shown + saved.frames - len(saved.tail)
    if saved.fingerprint:
        most = saved.fingerprint.count + len(saved.fingerprint.rest)
    else:  # of an earlier version, or saved before the file was whole
        most = shown + (settings.length or saved.frames) if saved.complete or settings.length else len(frames)
    if len(frames) > most and (held.size or saved.fingerprint):  # older images may lie beside new ones
        return f"it has {len(frames)} frames, not {most}"
    if len(frames) < kept:
        return None  # the writer tells how many are missing
    if saved.fingerprint:
        return None if saved.fingerprint.fits(frames) else "its frames differ"
    return None if not held.size or alike(output, saved, kept, height, width) else "its last frames differ"


def alike(output: str, saved: Saved, kept: int, height: int, width: int) -> bool:
    """Whether the last frames of a file look like those that were saved, apart from what coding has changed."""
    scale = saved.settings.encoding.scale
    shown = islice(montage.decode(Path(output), height * scale, width * scale), kept, kept + len(saved.tail))
    for frame, wanted in zip(shown, saved.tail, strict=False):
        error = blocks(frame[::scale, ::scale]) - blocks(wanted)
        if 10 * np.log10(255**2 / max(1e-9, float(np.square(error).mean()))) < NEAR:
            return False
    return True


def blocks(frame: np.ndarray) -> np.ndarray:
    """Means of the whole blocks of a frame (h, w, 3)."""
    h, w = (side // BLOCK for side in frame.shape[:2])
    cut = frame[: h * BLOCK, : w * BLOCK].astype(np.float32)
    return cut.reshape(h, BLOCK, w, BLOCK, 3).mean((1, 3))
