"""Pictures as a browser reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

QUALITY = 95
FINE = 256 * 256  # pixels; up to here the colours of a picture keep its full size, as they are enlarged on the page


def to_jpeg(picture: np.ndarray) -> bytes:
    """Encode uint8 (h, w, 3) as JPEG."""
    full = picture.shape[0] * picture.shape[1] <= FINE
    try:
        import simplejpeg
    except ImportError:  # Pillow, which comes with arvdm, takes twice as long
        return _save(picture, "JPEG", quality=QUALITY, subsampling=0 if full else 2)
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=QUALITY, colorspace="RGB", colorsubsampling="444" if full else "420"
    )
    return encoded


def to_png(pictures: Sequence[np.ndarray]) -> bytes:
    """Encode uint8 (h, w, 3) of any sizes, side by side, as one PNG."""
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0))) for picture in pictures]
    return _save(np.concatenate(padded, axis=1), "PNG")


def _save(picture: np.ndarray, kind: str, **options: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()
