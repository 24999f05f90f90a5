"""Videos that tests write and read: smooth frames, and what a file holds."""

import subprocess

import numpy as np

from arvdm_cli.media import Encoding, Writer, ffmpeg, read


def scene(count=30, height=48, width=64):
    """Smooth frames, each told from the others by its mean."""
    t, y, x = np.mgrid[0:count, 0:height, 0:width].astype(np.float32)
    red, green, blue = 60 + 4 * t, 255 * y / height, 127 + 127 * np.sin(x / 9 + t / 5)
    return np.rint(np.stack((red, green, blue), -1)).clip(0, 255).astype(np.uint8)  # (f, h, w, 3)


def write(target, frames, fps=15, comment=None, **options):
    """Write a video frame by frame; gives its closed writer."""
    with Writer(target, *frames.shape[1:3], Encoding(fps, **options), comment=comment) as writer:
        for frame in frames:
            writer.write(frame[None])
    return writer


def psnr(a, b):
    """How alike frames of 8 bits are, in dB."""
    return 10 * np.log10(255**2 / max(1e-9, np.square(a.astype(float) - b).mean()))


def run_ffmpeg(*args):
    subprocess.run([ffmpeg.executable(), "-v", "error", "-y", *map(str, args)], check=True)


def frames_of(path):
    """The frames of a file: uint8 (f, h, w, 3)."""
    return read(path).frames


def shown(target):
    """The frames of an output, which may be a pattern of images."""
    return frames_of(target.parent if "%" in target.name else target)
