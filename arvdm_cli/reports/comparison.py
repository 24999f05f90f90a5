"""Made frames beside true ones, where a scene changes."""

from __future__ import annotations

import numpy as np

CHANGED = 8  # of 255: a pixel that differs by more in any channel has changed; less is noise of compression


def changed_psnr(made: np.ndarray, truth: np.ndarray, before: np.ndarray) -> np.ndarray:
    """PSNR (f,) in dB over the pixels of each true frame that differ from the last true frame of the context.

    Plain PSNR hides small objects: where most of a picture stands still, repeating the last frame scores high.

    made, truth: uint8 (f, h, w, 3); before: uint8 (h, w, 3)
    Returns at most 100, and NaN for a frame in which nothing changed
    """
    changed = (np.abs(truth.astype(np.int16) - before) > CHANGED).any(-1)  # (f, h, w)
    errors = np.square((made.astype(np.float32) - truth) / 255).mean(-1)  # (f, h, w)
    pixels = changed.sum((1, 2))
    means = (errors * changed).sum((1, 2)) / np.maximum(pixels, 1)
    return np.where(pixels > 0, -10 * np.log10(np.maximum(means, 1e-10)), np.nan)
