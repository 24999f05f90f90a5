"""Sizes of codec, network, clips and batches for a data set: pure numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt

from ...errors import ConfigError
from .facts import DataFacts


@dataclass(frozen=True)
class Size:
    """Widths and depths of a codec and a network that go together."""

    dim: int  # features of a token
    depth: int  # transformer blocks
    channels: int  # of a latent
    fine: int  # features of the codec at a quarter of the frame's size
    coarse: int  # ... at an eighth of it

    @property
    def products(self) -> int:
        """About how much a token costs: weights of the blocks."""
        return 12 * self.depth * self.dim**2


SIZES = (
    Size(128, 4, 24, 48, 96),
    Size(192, 6, 32, 64, 128),
    Size(256, 8, 32, 64, 128),
    Size(384, 10, 48, 64, 160),
    Size(512, 12, 64, 96, 192),
)
MEASURED = SIZES[1]  # from whose speed that of the others is estimated
SHOWN = 0.04  # frames to train on, per weight: of two networks, the one that sees more of them is the better until then
RECORDED = 1e-3  # frames of data per weight: a network that is larger learns them by heart


def choose_size(data: DataFacts, frames: float) -> Size:
    """The largest size for which there is enough to see.

    frames: on which a network of the size MEASURED would train in the wanted time
    """
    fits = [
        size
        for size in SIZES
        if frames * MEASURED.products / size.products >= SHOWN * size.products
        and data.frames >= RECORDED * size.products
    ]
    return fits[-1] if fits else SIZES[0]


# Tokens

TOKENS = 100  # a frame, above which a patch grows
MOST_TOKENS = 400  # a frame, beyond which attention would take minutes a step
FEW = 64  # positions of a latent that are tokens each: at a patch of 2 small frames teach a network three times slower
LARGEST_PATCH = 8  # latent pixels


def choose_patch(grid: tuple[int, int]) -> int:
    """Latent pixels per token side, for a latent of `grid` rows and columns.

    Raises: ConfigError where every patch that divides both sides leaves too many tokens
    """
    rows, columns = grid
    common = gcd(rows, columns)
    sides = [side for side in range(1, LARGEST_PATCH + 1) if common % side == 0]
    if rows * columns > FEW:
        sides = sides[1:] or sides
    patch = next((side for side in sides if tokens_of(grid, side) <= TOKENS), sides[-1])
    if (tokens := tokens_of(grid, patch)) > MOST_TOKENS:
        height, width = (16 * max(1, round(side / 2)) for side in grid)
        hint = f"Import the data again with sides that have a larger common divisor, such as --size {width}x{height}."
        raise ConfigError(
            f"Frames of {8 * columns}x{8 * rows} take {tokens} tokens each; at most {MOST_TOKENS} are trained.",
            hint=hint,
        )
    return patch


def tokens_of(grid: tuple[int, int], patch: int) -> int:
    """Tokens of a frame."""
    return (grid[0] // patch) * (grid[1] // patch)


def memory_tokens(tokens: int) -> int:
    """Tokens that a group of frames leaves in memory, a square number, for frames of `tokens` tokens."""
    side = 4 if tokens <= 36 else 6
    return min(side, isqrt(tokens)) ** 2


# Clips


@dataclass(frozen=True)
class Clips:
    """Lengths, in frames, that episodes of one length hold, however they are drawn."""

    context: int  # clean frames before a window, when the model is sampled
    contexts: tuple[int, ...]
    windows: tuple[int, ...]
    clip_frames: int
    own_frames: float  # share of steps on frames that the network generated
    groups: tuple[int, ...]  # of memory; (0,): none
    slots: int


CONTEXT, WINDOW, CLIP = 8, 8, 12  # frames, where episodes are long enough
GROUP = 4  # frames that memory compresses together
MOST_GROUPS, SLOTS = 12, 16
LEAST_GROUPS = 6  # below which memory holds little that the context does not


def choose_clips(length: int) -> Clips:
    """Lengths for episodes of `length` frames, at least 2.

    The longest clip is a context, as many frames of the network's own, and a window; each is at most a third of the
    episode. Memory takes whole groups of what is left.
    """
    context, window = (max(1, min(most, length // 3)) for most in (CONTEXT, WINDOW))
    groups = min(MOST_GROUPS, (length - 2 * context - window) // GROUP)
    if groups < LEAST_GROUPS:
        groups = 0
    return Clips(
        context=context,
        contexts=tuple(frames for frames in (0, 1, 2, 4) if frames <= context),
        windows=tuple(frames for frames in (1, 1, 2, 4, 8) if frames <= window),
        clip_frames=min(CLIP, context + window),
        own_frames=0.3 if 2 * context + window <= length else 0.0,
        groups=(0, groups // 2, groups) if groups else (0,),
        slots=SLOTS if groups == MOST_GROUPS else groups,
    )


# Batches

BATCH = {"cpu": 96, "cuda": 768}  # frames of a step, where frames have few tokens
CODEC_BATCH = {"cpu": 32, "cuda": 128}  # frames of a step of the codec, where they are small
USUAL_TOKENS, USUAL_PIXELS = 36, 128 * 128  # of frames, up to which a batch is whole


def choose_batch(tokens: int, device: str) -> int:
    """Frames of a step: whole clips, fewer where frames have many tokens, so that memory suffices."""
    frames = BATCH.get(device, BATCH["cuda"]) * min(1.0, USUAL_TOKENS / tokens)
    return max(1, round(frames / CLIP)) * CLIP


def choose_codec_batch(pixels: int, device: str) -> int:
    """Frames of a step of the codec."""
    return max(2, round(CODEC_BATCH.get(device, CODEC_BATCH["cuda"]) * min(1.0, USUAL_PIXELS / pixels)))


# Episodes

HELD_OUT = 64  # episodes at most
CONTINUED = 96 * 12  # bytes per pixel of an episode as it is validated: 96 frames of three numbers of float32
VALIDATED = 1 << 29  # bytes of all of them together


def choose_held_out(data: DataFacts) -> int:
    """Episodes for validation: a tenth of few, a twentieth of many, and never all of a folder.

    Raises: ConfigError where none is left to train on
    """
    count, folders, fewest = data.episodes, len(data.counts), min(data.counts)
    most = max(1, min(HELD_OUT, VALIDATED // (CONTINUED * data.height * data.width)))
    held_out = max(1, min(most, max(min(8, count // 10), count // 20), folders * (fewest - 1)))
    if data.counts[0] < 2:
        raise ConfigError(
            f"{data.folders[0]} has {data.counts[0]} episode, and one is needed for validation.",
            hint="Record or import more, or cut clips into shorter episodes with --frames N.",
        )
    return held_out
