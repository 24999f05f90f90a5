"""Every kind of output in one table, what a file name says of it, and how each video is encoded.

A new container is a row of VIDEOS; a new kind of array is a class and a row of ARRAYS, in `arrays`. Messages, what
`arvdm doctor` tries and which runs can be resumed follow from the rows.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from ..errors import OutputError, UsageError
from .arrays import ARRAYS
from .ffmpeg import knows
from .output import Encoding, Format, Output, Sink, _pattern
from .sinks import _Encoder, _Images, _Y4m

QUALITY = {"h264": 51, "h265": 51, "vp9": 63}  # codec -> its largest crf; 0 is best


CRF = 18


SIDE = 16384  # pixels, the largest an encoder takes


GIF = ["-filter_complex", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"]  # a palette a frame


COLOURS = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int"


TAGS = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"


def _options(output: Output, codecs: tuple[str, ...]) -> list[str]:
    """Choose ffmpeg's options: a keyframe every second, and no frame held back for later ones for long."""
    kind, (height, width), crf = output.kind, output.size, output.encoding.crf
    if not codecs:
        return GIF
    codec = output.encoding.codec or codecs[0]
    if codec == "ffv1":
        return ["-c:v", "ffv1", "-level", "3", "-g", "1", "-pix_fmt", "bgr0"]
    crf = CRF if crf is None else crf
    pixels = "yuv420p"
    if codec != "vp9" and (height % 2 or width % 2):
        pixels = "yuv444p"
        output.notes.append(f"{width}x{height} is odd, so it is written as yuv444p, which some players cannot show")
    every = str(max(1, int(output.encoding.fps)))
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


def _video(output: Output, codecs: tuple[str, ...]) -> Sink:
    """Let ffmpeg write a video."""
    options = _options(output, codecs)
    container = ["-metadata", f"comment={output.comment}", *_muxer(output.kind, seekable=output.name != "-")]
    return _Encoder(output, options, container)


def _container(*codecs: str, resumes: bool = True, streams: bool = False) -> Format:
    """A video that ffmpeg writes; codecs: those it may hold, its own first."""
    return Format(partial(_video, codecs=codecs), codecs, resumes, streams)


VIDEOS = {
    "mp4": _container("h264", "h265", streams=True),
    "mkv": _container("h264", "h265", "vp9", "ffv1"),
    "webm": _container("vp9"),
    "gif": _container(resumes=False),
}


FORMATS: dict[str, Format] = {**VIDEOS, "y4m": Format(_Y4m, streams=True), "png": Format(_Images), **ARRAYS}


def resumes(name: str) -> bool:
    """Whether a run that writes to a name can be resumed, as far as the name says."""
    form = FORMATS.get(Path(name).suffix.lower().removeprefix("."))
    return name != "-" and (form is None or form.resumes)


def holds_latents(name: str, format: str | None = None) -> bool:
    """Whether an output holds latents float32 (f, c, h, w), not frames; raises UsageError as `_format`."""
    return FORMATS[_format(name, format)].latents


def check_encoding(name: str, encoding: Encoding) -> None:
    """Refuse an encoding that the format of a target cannot have; raises UsageError, also as `_format`."""
    kind, codec, crf = _format(name, encoding.format), encoding.codec, encoding.crf
    codecs = FORMATS[kind].codecs
    if not codecs and (crf is not None or codec is not None):
        those = ", ".join(other for other in FORMATS if FORMATS[other].codecs)
        raise UsageError(f"{kind} has no crf or codec.", hint=f"Those with: {those}.")
    if codec is not None and codec not in codecs:
        raise UsageError(f"{kind} cannot hold the codec {codec!r}.", hint=f"Choose from: {', '.join(codecs)}.")
    if crf is not None:
        codec = codec or codecs[0]
        if codec not in QUALITY:
            raise UsageError(f"{codec} is lossless, so it has no crf.", hint="Leave --crf out.")
        if not 0 <= crf <= QUALITY[codec]:
            raise UsageError(f"{crf} is not a valid crf of {codec}.", hint=f"Choose from 0 (best) to {QUALITY[codec]}.")
    if FORMATS[kind].latents and encoding.scale > 1:
        wrong = f"frames at scale {encoding.scale}"
        raise UsageError(f"{kind} holds latents, not {wrong}.", hint="Write frames as npy or npz.")


def keeps_rate(name: str, format: str | None = None) -> bool:
    """Whether an output says how many frames a second it shows; raises UsageError as `_format`."""
    kind = _format(name, format)
    return kind in VIDEOS or kind == "y4m"


def check_stdout() -> None:
    """Refuse to write a video to a stdout that is closed, or a terminal."""
    if sys.stdout is None or sys.stdout.closed:
        raise OutputError("Cannot write the video to stdout: it is closed.")
    if sys.stdout.isatty():
        raise UsageError(
            "Cannot write the video to stdout: it is a terminal.",
            hint="Pipe it into another program, or give -o a file name.",
        )


def _format(name: str, format: str | None) -> str:
    """Find what to write from a target's name, or from `format` where that is given."""
    if format is not None and format not in FORMATS:
        raise UsageError(f"No format is called {format!r}.", hint=f"Choose from: {', '.join(FORMATS)}.")
    if not name:
        raise UsageError("The name of the output is empty.", hint="Give -o a file name, such as out.mp4.")
    if name == "-":
        if format is not None and not FORMATS[format].streams:
            streams = (kind for kind in FORMATS if FORMATS[kind].streams)
            raise UsageError(f"Cannot write {format} to stdout.", hint=f"Choose {' or '.join(streams)}.")
        return format or "y4m"
    if format is None and (name.endswith(("/", os.sep)) or os.path.isdir(name)):
        return "png"
    kind = format or Path(name).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(
            f"The format of {name!r} is not clear from its name.",
            hint=f"End it in {', '.join(f'.{each}' for each in FORMATS if each != 'png')}, %06d.png, or / for a folder "
            "of PNG.",
        )
    if kind == "png":
        _pattern(name)
    return kind
