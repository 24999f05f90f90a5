"""Image files -> pictures uint8 (h, w, 3), as a viewer shows them: upright, in 8 bits, transparent parts on black.

An animation (GIF, WebP, PNG, AVIF) has a picture for each of its frames, with times; a TIFF has one for each page,
without. Nothing is trusted: a kind is known by its first bytes, only Pillow's own decoders open it, and its size is
checked before it is decoded.
"""

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import VideoError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

IMAGE_BYTES = 256 << 20  # of one image file
FRAME_PIXELS = 7680 * 4320  # of one frame: 8K
PAGES = 100_000  # of one file
SIGNS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM|II\*\0|MM\0\*|P[56]\s|RIFF....WEBP|GIF8[79]a|....ftypavi[fs]", re.DOTALL
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")  # in a folder
DECODERS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "AVIF")  # of Pillow; none starts another program
MOVING = ("GIF", "PNG", "WEBP", "AVIF")  # kinds whose frames have times
UNSET = 100  # milliseconds of a frame that has none, or next to none: as browsers show it
SMALLER_COPY = 254  # tag of a page of a TIFF: bit 0 marks a thumbnail of another page


@dataclass(frozen=True)
class Album:
    """What an image file holds."""

    height: int  # of the first picture, upright
    width: int
    pages: tuple[int, ...]  # those that are shown
    seconds: tuple[float, ...] = ()  # how long each is shown; () without times
    cut: bool = False  # there were to be more


def is_image(path: Path) -> bool:
    """Tell an image from a video by its first bytes, as names may be wrong."""
    with path.open("rb") as file:
        return bool(SIGNS.match(file.read(12)))


def moves(path: Path) -> bool:
    """Tell whether an image file can be read and holds an animation."""
    try:
        with _open(path, str(path)) as picture:
            return picture.format in MOVING and _count(picture) > 1
    except (VideoError, OSError):
        return False


def look(path: Path, name: str) -> Album:
    """Find how large an image file's pictures are, and how many they are, with no more decoding than that takes."""
    with _open(path, name) as picture:
        height, width = _upright_size(picture)
        total = _count(picture)
        if picture.format not in (*MOVING, "TIFF") or total == 1:
            return Album(height, width, (0,))
        first = int(bool(getattr(picture, "default_image", False)))  # for viewers that show no animation
        pages: list[int] = []
        seconds: list[float] = []
        for page in range(first, total):
            try:
                picture.seek(page)
                seconds.append(_milliseconds(picture) / 1000)
            except Exception:  # Pillow's decoders share no base of errors
                if not pages:
                    raise
                break
            if picture.format != "TIFF" or not _is_copy(picture):
                pages.append(page)
        cut = first + len(seconds) < total
        return Album(height, width, tuple(pages), tuple(seconds) if picture.format in MOVING else (), cut)


def pictures(path: Path, name: str, pages: Iterable[int], notes: list[str]) -> Iterator[np.ndarray]:
    """Decode some pages of an image file, in ascending order; what was done to them is added to the notes."""
    with _open(path, name) as picture:
        for page in pages:
            if page:
                picture.seek(page)
            _upright_size(picture, name)
            yield _convert(picture, name, notes)


def picture(content: bytes, name: str) -> np.ndarray:
    """Decode the first picture of an image file that is in memory, uint8 (h, w, 3)."""
    with _decode(io.BytesIO(content), name) as opened:
        return _convert(opened, name, [])


@contextmanager
def _open(path: Path, name: str) -> Iterator["Image"]:
    """Open an image file; whatever Pillow says of it becomes a VideoError."""
    with path.open("rb") as file, _decode(file, name) as picture:
        yield picture


@contextmanager
def _decode(file: BinaryIO, name: str) -> Iterator["Image"]:
    from PIL import Image

    if not SIGNS.match(file.read(12)):  # its name may say so, but Pillow would hand some kinds to other programs
        raise VideoError(f"{name!r} is not a readable image.", hint=f"Kinds: {', '.join(SUFFIXES)}.")
    if (size := file.seek(0, io.SEEK_END)) > IMAGE_BYTES:
        raise VideoError(f"{name!r} has {size >> 20} MiB; the limit is {IMAGE_BYTES >> 20} MiB.")
    file.seek(0)
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of large images: sizes are checked here
            Image.open(file, formats=DECODERS) as picture,
        ):
            _upright_size(picture, name)
            yield picture
    except VideoError:
        raise
    except Image.DecompressionBombError as error:
        raise VideoError(f"{name!r} is not a readable image: {error}") from error
    except Exception as error:  # image libraries share no base of errors
        raise VideoError(f"{name!r} is not a readable image: it is truncated or damaged.") from error


def _upright_size(picture: "Image", name: str | None = None) -> tuple[int, int]:
    """Give height and width as shown; with a name, refuse those above FRAME_PIXELS."""
    width, height = picture.size
    if name and height * width > FRAME_PIXELS:
        raise too_large(name, width, height)
    lying = picture.getexif().get(0x112, 1) in (5, 6, 7, 8)  # orientation
    return (width, height) if lying else (height, width)


def _count(picture: "Image") -> int:
    """Count the pages of a file, as far as it is whole."""
    try:
        return min(int(getattr(picture, "n_frames", 1)), PAGES)
    except Exception:  # it is cut
        return PAGES


def _milliseconds(picture: "Image") -> float:
    """Give how long the page is shown that was sought."""
    if picture.format in MOVING:
        picture.load()  # some say it only then, and a page that is cut shows
    duration = float(picture.info.get("duration") or 0)
    return duration if duration > 10 else UNSET


def _is_copy(picture: "Image") -> bool:
    """Whether a page of a TIFF is a small copy of another."""
    tags = getattr(picture, "tag_v2", {})
    return bool(int(tags.get(SMALLER_COPY, 0)) & 1)


def _convert(picture: "Image", name: str, notes: list[str]) -> np.ndarray:
    """Give a decoded picture as it is shown, uint8 (h, w, 3)."""
    from PIL import ImageOps

    shown = ImageOps.exif_transpose(picture)
    assert shown is not None
    if shown.mode == "F" or shown.mode.startswith("I"):
        grey = _grey(np.asarray(shown), shown.mode, picture.format or "", name, notes)  # (h, w)
        return np.repeat(grey[..., None], 3, axis=2)
    profile = shown.info.get("icc_profile")
    if profile and shown.mode in ("CMYK", "L"):  # as it is made for these, not for their red, green and blue
        shown = _with_profile(shown, profile, notes)
        profile = None
    if "transparency" in shown.info or shown.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        whole = shown.convert("RGBA")
        colours = to_srgb(np.asarray(whole)[..., :3], profile, notes)  # (h, w, 3)
        if (alpha := np.asarray(whole)[..., 3:]).min() < 255:
            _note(notes, "transparent parts set to black")
            return np.rint(colours * (alpha / 255.0)).astype(np.uint8)
        return np.ascontiguousarray(colours)
    return to_srgb(np.array(shown.convert("RGB")), profile, notes)


def to_srgb(picture: np.ndarray, profile: bytes | None, notes: list[str]) -> np.ndarray:
    """Bring the colours of a picture uint8 (h, w, 3) from its ICC profile to sRGB; None: they are sRGB."""
    if not profile:
        return picture
    from PIL import Image

    return np.array(_with_profile(Image.fromarray(np.ascontiguousarray(picture)), profile, notes).convert("RGB"))


def _with_profile(picture: "Image", profile: bytes, notes: list[str]) -> "Image":
    """Give a picture in sRGB, or as it is where its profile is that of sRGB or cannot be used."""
    from PIL import ImageCms

    try:
        name, transform = _transform(profile, picture.mode)
        if transform is None:
            return picture
        shown = ImageCms.applyTransform(picture, transform)
        assert shown is not None
    except (ImageCms.PyCMSError, OSError, ValueError):
        _note(notes, "its colour profile cannot be used, so colours are read as sRGB")
        return picture
    _note(notes, f"colours converted from {name} to sRGB")
    return shown


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> tuple[str, "ImageCmsTransform | None"]:
    """Give what an ICC profile is called, and what brings colours from it to sRGB; None where they are."""
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    words = ImageCms.getProfileDescription(source).strip()
    name = "".join(letter for letter in words if letter.isprintable())[:60] or "another colour space"
    if "srgb" in name.lower():
        return name, None
    return name, ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _grey(values: np.ndarray, mode: str, kind: str, name: str, notes: list[str]) -> np.ndarray:
    """Bring one channel of more than 8 bits to 8: whole numbers of 16 bits, or floats from 0 to 1."""
    low, high = float(values.min()), float(values.max())
    if mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM") and low >= 0 and high < 1 << 16):
        return (values >> 8).astype(np.uint8)
    if mode == "F" and low >= 0 and high <= 1:
        _note(notes, "numbers from 0 to 1 scaled to 255")
        return np.rint(values * 255).astype(np.uint8)
    raise VideoError(
        f"{name!r} has values from {low:g} to {high:g}, with unknown black and white levels.",
        hint="Supported: 8 or 16 bits, and floats from 0 to 1.",
    )


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def too_large(name: str, width: int, height: int) -> VideoError:
    """Refuse frames of a size that is not decoded."""
    limit = f"The limit is {FRAME_PIXELS / 1e6:.0f} million pixels per frame (8K)."
    return VideoError(f"{name!r} has frames of {width}x{height}.", hint=limit)
