"""What a video's first frames are like -> the filters that show them as a player does."""

import functools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from subprocess import DEVNULL

from .ffmpeg import executable

HDR = ("smpte2084", "arib-std-b67")  # transfers of high dynamic range: PQ and HLG
WHITE = 203  # nits of white paper in them (ITU-R BT.2408)
TALL, BROAD = 720, 1280  # from these sizes on, frames without a tag are BT.709
SQUASHED = 16.0  # pixels so much wider than high, or higher than wide, are a mistake
COLOURLESS = re.compile("(0?rgb|0?bgr|gbr|argb|abgr|gray|mono|pal|ya)")  # pixels that are not YCbCr
ALPHA = re.compile("yuva|rgba|argb|abgr|bgra|gbrap|ya8|ya16|ayuv|vuya")
FRAME = re.compile(r"fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(\S)")
COLOURS = re.compile(r"color_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)")


@dataclass(frozen=True)
class Look:
    """What ffmpeg's showinfo says of decoded frames; names are ffmpeg's."""

    pixels: str  # format
    aspect: float  # width of a pixel / its height
    width: int
    height: int
    interlaced: bool
    range: str
    space: str
    primaries: str
    transfer: str


def parse(log: Iterable[str]) -> Look | None:
    """Read what showinfo wrote; None where no frame was decoded."""
    frames = [match for line in log if (match := FRAME.search(line))]
    if not frames:
        return None
    colours = next((match.groups() for line in log if (match := COLOURS.search(line))), ("unknown",) * 4)
    pixels, wide, high, width, height, _ = frames[0].groups()
    aspect = int(wide) / int(high) if int(wide) and int(high) else 1.0
    interlaced = any(frame[6] in "TB" for frame in frames)
    return Look(pixels, aspect, int(width), int(height), interlaced, *colours)


def shown_size(look: Look) -> tuple[int, int]:
    """Give height and width with square pixels; the longer side of a pixel is what grows."""
    if 1 / SQUASHED <= look.aspect <= SQUASHED:
        return round(look.height * max(1, 1 / look.aspect)), round(look.width * max(1, look.aspect))
    return look.height, look.width


def filters(look: Look) -> tuple[list[str], list[str], list[str]]:
    """Choose what turns frames into what a player shows: filters over several frames, those of each, and notes."""
    before, each, notes = [], [], []
    if look.interlaced:
        before.append("bwdif=mode=send_frame:deint=interlaced")
        notes.append("deinterlaced")
    if look.transfer in HDR or (look.primaries == "bt2020" and knows_filter("zscale")):
        if knows_filter("zscale") and knows_filter("tonemap"):
            each += _to_standard_range(look)
            bright = look.transfer in HDR
            notes.append("high dynamic range tone-mapped" if bright else "colours converted from BT.2020 to BT.709")
        else:
            notes.append("high dynamic range read without tone mapping: colours may look flat")
    elif look.space == "unknown" and not COLOURLESS.match(look.pixels):
        large = look.height >= TALL or look.width >= BROAD
        each += ["setparams=colorspace=bt709"] * large  # without a tag, ffmpeg takes BT.601 whatever the size
    if ALPHA.match(look.pixels):
        each += ["format=gbrap", "premultiply=inplace=1"]
        notes.append("transparent parts set to black")
    if look.aspect != 1:
        height, width = shown_size(look)
        if (height, width) == (look.height, look.width):
            notes.append(f"pixels {look.aspect:g} times as wide as high taken as square")
        else:  # a turned frame has its pixels turned too
            each.append("scale=w='round(iw*max(1\\,sar))':h='round(ih*max(1\\,1/sar))',setsar=1")
            notes.append(f"pixels {look.aspect:.4g} times as wide as high made square: {width}x{height}")
    return before, each, notes


def _to_standard_range(look: Look) -> list[str]:
    """Bring high dynamic range, or a wide gamut, to sRGB: white paper is white, and what is brighter is rolled off."""
    known = {
        "tin": (look.transfer, "bt709"), "min": (look.space, "bt2020nc"), "pin": (look.primaries, "bt2020"),
        "rin": (look.range, "tv"),
    }  # fmt: skip
    given = ":".join(f"{key}={_name(value, default)}" for key, (value, default) in known.items())
    given = given if not COLOURLESS.match(look.pixels) else ":".join(given.split(":")[::2])  # no matrix, full range
    deep = "format=yuv444p16" if not COLOURLESS.match(look.pixels) else "format=gbrp16"
    linear = [deep, f"zscale={given}:t=linear:npl={WHITE}", "format=gbrpf32", "zscale=p=bt709"]
    mapped = ["tonemap=mobius:param=0.9:desat=0"] if look.transfer in HDR else []
    return [*linear, *mapped, "zscale=t=iec61966-2-1:r=pc", "format=gbrp"]


def _name(value: str, default: str) -> str:
    return default if value in ("unknown", "reserved") else value


@functools.cache
def knows_filter(name: str) -> bool:
    """Tell whether this ffmpeg has a filter; one that is not ours may lack some."""
    command = [executable(), "-hide_banner", "-h", f"filter={name}"]
    return b"Unknown filter" not in subprocess.run(command, stdin=DEVNULL, capture_output=True, timeout=30).stdout
