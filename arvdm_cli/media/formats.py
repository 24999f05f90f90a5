"""What a file name says of its format, and how each format is encoded."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError, UsageError
from .ffmpeg import knows

FORMATS = ("mp4", "mkv", "webm", "gif", "y4m", "png")


CODECS = {  # format -> codecs it may hold, its own first
    "mp4": ("h264", "h265"),
    "mkv": ("h264", "h265", "vp9", "ffv1"),
    "webm": ("vp9",),
}


QUALITY = {"h264": 51, "h265": 51, "vp9": 63}  # codec -> its largest crf; 0 is best


CRF = 18


SIDE = 16384  # pixels, the largest an encoder takes


NUMBERED = re.compile(r"%(?:0(\d{1,2}))?d")


GIF = ["-filter_complex", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"]  # a palette a frame


COLOURS = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int"


TAGS = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"


@dataclass(frozen=True)
class Encoding:
    """How frames become a file.

    Raises: UsageError where the rate is not above 0 and at most 1000
    """

    fps: float = 15.0
    crf: int | None = None  # quality of a lossy codec, 0 best; None: CRF
    codec: str | None = None  # one of CODECS; None: the format's first
    scale: int = 1  # each pixel becomes a square of scale x scale
    format: str | None = None  # one of FORMATS; None: what the name says, on stdout y4m

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 1000:
            raise UsageError(
                f"{self.fps:g} frames a second cannot be written.", hint="Choose a rate from above 0 to 1000."
            )


def _options(kind: str, encoding: Encoding, size: tuple[int, int], notes: list[str]) -> list[str]:
    """Choose ffmpeg's options: a keyframe every second, and no frame held back for later ones for long."""
    crf, codec = encoding.crf, encoding.codec
    if kind not in CODECS:
        if crf is not None or codec is not None:
            raise UsageError(f"{kind} has no crf and no codec to choose.", hint=f"Those with: {', '.join(CODECS)}.")
        return GIF
    codec = codec or CODECS[kind][0]
    if codec not in CODECS[kind]:
        raise UsageError(f"{kind} cannot hold the codec {codec!r}.", hint=f"Choose from: {', '.join(CODECS[kind])}.")
    if codec == "ffv1":
        if crf is not None:
            raise UsageError("ffv1 keeps every pixel, so it has no crf.")
        return ["-c:v", "ffv1", "-level", "3", "-g", "1", "-pix_fmt", "bgr0"]
    crf = CRF if crf is None else crf
    if not 0 <= crf <= QUALITY[codec]:
        raise UsageError(f"{crf} is not a valid crf of {codec}.", hint=f"Choose from 0 (best) to {QUALITY[codec]}.")
    pixels = "yuv420p"
    if codec != "vp9" and (size[0] % 2 or size[1] % 2):
        pixels = "yuv444p"
        notes.append(f"{size[1]}x{size[0]} is odd, so it is written as yuv444p, which some players cannot show")
    every = str(max(1, int(encoding.fps)))
    common = ["-vf", f"{COLOURS},format={pixels},{TAGS}", "-crf", str(crf), "-g", every]
    if codec == "h264":
        return ["-c:v", "libx264", *common, "-x264-params", "bframes=0:rc-lookahead=4:sync-lookahead=0:threads=1"]
    if codec == "h265":
        hold = "bframes=0:rc-lookahead=4:lookahead-slices=0:frame-threads=1:pools=1:log-level=error"
        return ["-c:v", "libx265", *common, "-x265-params", hold, *(["-tag:v", "hvc1"] if kind == "mp4" else [])]
    return ["-c:v", "libvpx-vp9", *common, "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-lag-in-frames", "0"]


def _muxer(kind: str, seekable: bool) -> list[str]:
    """Choose a container's options: what it holds can be read while it grows and after a kill."""
    if kind == "mkv":
        return ["-cluster_time_limit", "500", "-f", "matroska"]
    if kind != "mp4":
        return [*(["-cluster_time_limit", "500"] if kind == "webm" else []), "-f", kind]
    flags = "+frag_keyframe+empty_moov+default_base_moof"
    if seekable and knows("hybrid_fragmented", "mp4"):
        flags += "+hybrid_fragmented"  # an ordinary mp4 after a clean end
    return ["-movflags", flags, "-frag_duration", "500000", "-f", "mp4"]  # microseconds


def _format(name: str, format: str | None) -> str:
    """Find what to write from a target's name, or from `format` where that is given."""
    if format is not None and format not in FORMATS:
        raise UsageError(f"No format is called {format!r}.", hint=f"Choose from: {', '.join(FORMATS)}.")
    if name == "-":
        if format not in (None, "y4m", "mp4"):
            raise UsageError(f"stdout cannot carry a {format}.", hint="Choose y4m or mp4.")
        if sys.stdout is None or sys.stdout.closed:
            raise OutputError("The video was to go to stdout, but stdout is closed.")
        if sys.stdout.isatty():
            raise UsageError("The video was to go to stdout, which is a terminal.", hint="Pipe it, or name a file.")
        return format or "y4m"
    if format is None and (name.endswith(("/", os.sep)) or os.path.isdir(name)):
        return "png"
    kind = format or Path(name).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(
            f"{name!r} does not say which kind of video it is.",
            hint=f"End it in {', '.join(f'.{known}' for known in FORMATS[:-1])}, %06d.png, or / for a folder of PNG.",
        )
    if kind == "png":
        _pattern(name)
    return kind


def _pattern(name: str) -> tuple[Path, str]:
    """Split a target for images into its folder and the pattern of their names."""
    if not name.lower().endswith(".png"):
        return Path(name), "%06d.png"
    path = Path(name)
    if len(NUMBERED.findall(path.name)) != 1 or path.name.count("%") != 1:
        raise UsageError(f"{name!r} names one image for many frames.", hint="Put a number in: frames/%06d.png.")
    return path.parent, path.name


def _numbers(folder: Path, pattern: str) -> list[int]:
    """List the numbers of the images that a pattern has in a folder."""
    before, _, _ = pattern.partition("%")
    after = NUMBERED.split(pattern)[-1]
    names = os.listdir(folder) if folder.is_dir() else []
    found = (re.fullmatch(f"{re.escape(before)}([0-9]+){re.escape(after)}", name) for name in names)
    return [int(match[1]) for match in found if match]
