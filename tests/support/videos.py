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


def encode(path, frames, fps=20, codec="libx264", **options):
    """Write a video by PyAV, with the encoder's own options, as `g` for the distance of key frames."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=fps, options={name: str(value) for name, value in options.items()})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))


def numbered(numbers, height=32, width=64):
    """Frames that carry their number: ten bars, white for a bit that is set; uint8 (f, h, w, 3)."""
    bits = (np.asarray(numbers)[:, None] >> np.arange(10)) & 1  # (f, 10)
    columns = bits[:, np.arange(width) * 10 // width]
    return np.broadcast_to(columns[:, None, :, None] * 200 + 20, (len(bits), height, width, 3)).astype(np.uint8)


def numbers_in(frames):
    """Read the numbers that frames carry, whatever their size."""
    width = frames.shape[-2]
    middles = ((np.arange(10) + 0.5) * width / 10).astype(int)
    bits = frames[..., frames.shape[-3] // 2, middles, 0] > 120
    return (bits << np.arange(10)).sum(-1)
