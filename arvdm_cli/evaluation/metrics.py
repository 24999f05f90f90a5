"""Figures of frames: beside their truth, alone, of the way they turn; and of stretches of them, as sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import CheckpointError, UsageError
from ..media import Clip, fit
from ..sampling.model import Model
from ..worlds.world import Colour
from .rollout import encode_all

STRETCH = 16  # frames of one sample of a Frechet distance
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, the finest first
PART = 16  # frames scored together: more are slower, as they leave the cache of a core

# what is missing, and how to get it
LPIPS = (
    "LPIPS is not measured: its network does not ship with arvdm. Give it with --lpips FILE as "
    "TorchScript: pip install lpips, then torch.jit.trace(lpips.LPIPS(net='alex').eval(), (a, b)).save(FILE) with "
    "images a, b of shape (1, 3, 64, 64)."
)
FVD = (
    "FVD is not measured: its network does not ship with arvdm. Give it with --fvd FILE as "
    "i3d_torchscript.pt, to which the code of StyleGAN-V (github.com/universome/stylegan-v) links."
)

Compare = Callable[[Tensor, Tensor], np.ndarray]  # of frames (m, f, 3, h, w) in [0, 1], a figure (m, f)
Look = Callable[[Tensor], np.ndarray]  # of frames (m, f, 3, h, w) in [0, 1], a figure (m, f)
Features = Callable[[np.ndarray], np.ndarray]  # of stretches uint8 (n, STRETCH, h, w, 3), vectors (n, d)


# Figures, one for every clip and frame (m, f)


def unit(frames: np.ndarray) -> Tensor:
    """Bytes (..., h, w, 3) as floats (..., 3, h, w) in [0, 1]."""
    return torch.from_numpy(frames).movedim(-1, -3).float() / 255


def psnr(output: Tensor, truth: Tensor) -> np.ndarray:
    """Decibels (m, f) of frames (m, f, 3, h, w) in [0, 1]; at most 100."""
    return (-10 * (output - truth).square().mean((2, 3, 4)).clamp_min(1e-10).log10()).numpy()


def ssim(made: Tensor, truth: Tensor) -> np.ndarray:
    """Structural similarity (m, f) of frames (m, f, 3, h, w) in [0, 1], where the window lies inside the picture.

    By hand: the mean of torchmetrics takes in places at the edge, where the window sees the picture mirrored (up to
    0.001 off at 64x64, 0.01 at 13x13), and it takes 1.3 ms a frame of 64x64 on one core; this takes 0.3 ms, as the
    window is applied by rows, then by columns.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
    """
    line = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    line = line / line.sum()
    down, across = (
        torch.stack([functional.pad(line, (at, size - 11 - at)) for at in range(size - 10)]) for size in made.shape[3:]
    )  # (h - 10, h), (w - 10, w): each row a place of the window

    def blur(pictures: Tensor) -> Tensor:
        return down @ pictures @ across.T

    scores = []
    for a, b in zip(made, truth, strict=True):
        mean_a, mean_b, aa, bb, ab = blur(torch.cat((a, b, a * a, b * b, a * b))).chunk(5)
        both = (2 * mean_a * mean_b + 0.01**2) * (2 * (ab - mean_a * mean_b) + 0.03**2)
        each = (mean_a**2 + mean_b**2 + 0.01**2) * (aa - mean_a**2 + bb - mean_b**2 + 0.03**2)
        scores.append((both / each).mean((1, 2, 3)))  # (f,)
    return torch.stack(scores).numpy()


def gradient(frames: Tensor) -> np.ndarray:
    """Mean absolute difference (m, f) of neighbouring pixels: how sharp a frame is."""
    return ((frames.diff(dim=-1).abs().mean((2, 3, 4)) + frames.diff(dim=-2).abs().mean((2, 3, 4))) / 2).numpy()


def colour_error(output: Tensor, truth: Tensor) -> np.ndarray:
    """Mean absolute difference (m, f) of the channels' means."""
    return (output.mean((3, 4)) - truth.mean((3, 4))).abs().mean(2).numpy()


def contrast(frames: Tensor) -> np.ndarray:
    """Standard deviation (m, f) of luma over a frame."""
    return (frames * torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)).sum(2).flatten(2).std(2).numpy()


def colour_spread(frames: Tensor) -> np.ndarray:
    """Standard deviation of a pixel's three channels, its mean (m, f) over a frame: 0 where all is grey."""
    return frames.std(2, correction=0).mean((2, 3)).numpy()


def scene(frames: Tensor, sky: Colour) -> np.ndarray:
    """Whether (m, f) a frame has sky in its top quarter, and something else in nine tenths of its lower half."""
    h = frames.shape[3]
    near = (frames - torch.tensor(sky).view(3, 1, 1) / 255).abs().amax(2) < 0.15  # (m, f, h, w)
    return (near[:, :, : h // 4].any(-1).any(-1) & (near[:, :, h // 2 :].float().mean((2, 3)) < 0.1)).numpy()


# Turns


def shifts(before: Tensor, after: Tensor) -> np.ndarray:
    """Pixels (n,) that pictures (n, 3, h, w) moved to the right: where both correlate best, up to a quarter width."""
    w = before.shape[3]
    before, after = before.mean(1), after.mean(1)  # (n, h, w)
    # the smallest shift first: what looks the same everywhere has not moved
    offsets = sorted(range(-(w // 4), w // 4 + 1), key=abs)
    scores = []
    for shift in offsets:
        left, right = max(0, shift), min(w, w + shift)
        a, b = after[..., left:right], before[..., left - shift : right - shift]
        a, b = a - a.mean((1, 2), keepdim=True), b - b.mean((1, 2), keepdim=True)
        power = a.square().sum((1, 2)) * b.square().sum((1, 2))
        scores.append((a * b).sum((1, 2)) / (power.sqrt() + 1e-6))
    return np.array(offsets)[torch.stack(scores).argmax(0).numpy()]


def right_way(frames: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Into which frames (m, f) a turn leads whose picture moves the right way; none leads into the first.

    frames: uint8 (m, f, h, w, 3); turned: (m, f), 1 where a left turn leads into a frame, -1 where a right one does
    """
    good = np.zeros(turned.shape, bool)
    for clip, signs, row in zip(frames, turned, good, strict=True):
        at = np.flatnonzero(signs[1:]) + 1
        if len(at):
            # a left turn moves the picture to the right
            row[at] = np.sign(shifts(unit(clip[at - 1]), unit(clip[at]))) == signs[at]
    return good


def right_turns(frames: np.ndarray, turned: np.ndarray) -> tuple[int, int]:
    """Count turns whose picture moves the right way, and all turns; frames and turned as in `right_way`."""
    return int(right_way(frames, turned).sum()), int((turned[:, 1:] != 0).sum())


# MS-SSIM and LPIPS


def scales(height: int, width: int) -> int:
    """Scales of MS-SSIM that a picture allows, of 5: the window of 11 pixels must lie inside the smallest."""
    side, count = min(height, width), 1
    # the second is a rule of torchmetrics
    while count < len(WEIGHTS) and side >> count >= 11 and side // count**2 >= 11:
        count += 1
    return count


def need_ms_ssim() -> None:
    """Raise UsageError where MS-SSIM cannot be computed."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise UsageError("MS-SSIM needs the package torchmetrics.", hint="pip install torchmetrics") from error


def ms_ssim(output: Tensor, truth: Tensor) -> np.ndarray:
    """Multi-scale structural similarity (m, f) of frames (m, f, 3, h, w) in [0, 1], over `scales` scales.

    Source: Wang et al., Multiscale structural similarity for image quality assessment, 2003; as in torchmetrics,
    the weights of the scales that are left made to add up to 1.
    """
    need_ms_ssim()
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    weights = WEIGHTS[: scales(*output.shape[3:])]
    betas = tuple(weight / sum(weights) for weight in weights)
    pairs = zip(output.flatten(0, 1).split(PART), truth.flatten(0, 1).split(PART), strict=True)
    parts = [measure(a, b, reduction="none", data_range=1.0, betas=betas, normalize="relu") for a, b in pairs]
    return torch.cat([part.reshape(-1) for part in parts]).reshape(output.shape[:2]).numpy()


def load_script(file: Path, device: torch.device) -> torch.nn.Module:
    """Load a network from a TorchScript file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is how these networks are published
            return torch.jit.load(str(file), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise CheckpointError(
            f"{file} is not a TorchScript file: {reason}", hint="Write one with torch.jit.save."
        ) from error


def lpips(network: torch.nn.Module, device: torch.device) -> Compare:
    """LPIPS by a network that takes two batches of pictures (n, 3, h, w) in [-1, 1].

    Source: Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, 2018.
    """

    @torch.no_grad()
    def measure(output: Tensor, truth: Tensor) -> np.ndarray:
        pairs = zip(output.flatten(0, 1).split(PART), truth.flatten(0, 1).split(PART), strict=True)
        parts = [network(2 * a.to(device) - 1, 2 * b.to(device) - 1).reshape(len(a), -1)[:, 0] for a, b in pairs]
        return torch.cat(parts).float().cpu().reshape(output.shape[:2]).numpy()

    return measure


# Frechet distances


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Squared Frechet distance of the normal distributions with the means and covariances of vectors (n, d).

    Source: Dowson and Landau, The Frechet distance between multivariate normal distributions, 1982.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    a, b = (np.atleast_2d(np.cov(vectors, rowvar=False)) for vectors in (one, other))
    values, axes = np.linalg.eigh(a)
    root = (axes * np.sqrt(values.clip(0))) @ axes.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()  # trace of (a b)^(1/2)
    apart = np.square(one.mean(0) - other.mean(0)).sum()
    return float(max(0.0, apart + np.trace(a) + np.trace(b) - 2 * shared))


def stretches(frames: np.ndarray) -> np.ndarray:
    """Cut clips (m, f, ...) into stretches (n, STRETCH, ...); frames left over at the end are left out."""
    whole = frames.shape[1] // STRETCH
    return frames[:, : whole * STRETCH].reshape(-1, STRETCH, *frames.shape[2:])


def codec_features(model: Model) -> Features:
    """Features over a checkpoint's own codec: of its latents, and of their differences in time, mean and deviation.

    Of each of c channels: the mean over space and time, and the standard deviation over space; 4 c numbers a stretch.
    """
    size = model.codec.config.height, model.codec.config.width

    def measure(pieces: np.ndarray) -> np.ndarray:
        if pieces.shape[2:4] != size:
            flat = fit(Clip(pieces.reshape(-1, *pieces.shape[2:]), None, ""), *size).frames
            pieces = flat.reshape(*pieces.shape[:2], *flat.shape[1:])
        latents = encode_all(model, pieces).float().cpu()  # (n, f, c, h, w)
        both = latents, latents.diff(dim=1)
        moments = [(x.mean((1, 3, 4)), x.flatten(3).std(3).mean(1)) for x in both]
        return torch.cat([part for pair in moments for part in pair], 1).numpy()  # (n, 4 c)

    return measure


def i3d_features(network: torch.nn.Module, device: torch.device) -> Features:
    """Features of FVD: those of I3D, as TorchScript, on stretches enlarged to 224x224 and scaled to [-1, 1].

    Source: Unterthiner et al., Towards accurate generative models of video, 2018; network and call of StyleGAN-V.
    """

    @torch.no_grad()
    def measure(pieces: np.ndarray) -> np.ndarray:
        rows = []
        for piece in pieces:
            frames = functional.interpolate(unit(piece), (224, 224), mode="bilinear", align_corners=False)
            video = (2 * frames - 1).movedim(0, 1)[None].to(device)  # (1, 3, f, 224, 224)
            rows.append(network(video, rescale=False, resize=False, return_features=True).float().cpu()[0])
        return torch.stack(rows).numpy()

    return measure


@dataclass(frozen=True)
class Networks:
    """Networks that are not shipped; None where one is not given."""

    lpips: Compare | None = None
    i3d: Features | None = None


# The table


@dataclass(frozen=True)
class Metric:
    """A figure of every new frame beside its true one, and how it is shown."""

    name: str  # as files have it
    title: str  # as tables have it
    digits: int
    compare: Compare | None = None  # None: by a network that is given, see `comparisons`
    look: Look | None = None  # an appearance statistic, of a frame alone: shown as a share of the true frame's
    unit: str = ""
    baselines: bool = False  # whether a frame that repeats the last, and one of the context's mean, are measured too
    beside: bool = False  # whether tables and plots show them next to it, separately for revisits and unseen frames
    plot: tuple[str, str] | None = None  # picture it is drawn in, and the label of its axis
    shown: bool = True  # whether tables have it
    recorded: bool = False  # whether it is measured on recordings only, where much stands still

    @property
    def heading(self) -> str:
        """Its title in a table of drift."""
        return f"{self.title}, {self.unit}" if self.unit else f"{self.title} / truth's" if self.look else self.title


METRICS = (  # in the order of tables
    Metric("psnr", "PSNR", 2, psnr, unit="dB", baselines=True, beside=True, plot=("psnr", "dB")),
    Metric("changed_psnr", "PSNR of changed pixels", 2, unit="dB", beside=True, plot=("psnr", "dB"), recorded=True),
    Metric("ssim", "SSIM", 3, ssim, baselines=True, beside=True, plot=("ssim", "SSIM")),
    Metric("ms_ssim", "MS-SSIM", 3, ms_ssim),
    Metric("lpips", "LPIPS", 3),
    Metric(
        "colour_error", "colour error", 3, colour_error, baselines=True, plot=("looks", "mean difference of a channel")
    ),
    Metric("contrast", "contrast", 2, look=contrast, plot=("looks", "of the truth's")),
    Metric("sharpness", "sharpness", 2, look=gradient, plot=("looks", "of the truth's")),
    Metric("colour_spread", "colour spread", 2, look=colour_spread, shown=False),
)
BASELINES = {"repeat_last": "repeat-last", "mean_context": "mean of context"}  # what must be beaten
BESIDE = {metric.name: metric.compare for metric in METRICS if metric.compare and metric.beside}
APPEARANCE = {metric.name: metric.look for metric in METRICS if metric.look}
QUICK = tuple(metric for metric in METRICS if metric.compare and metric.baselines)  # enough for a clip of one's own


def comparisons(slow: bool = True, lpips: Compare | None = None) -> dict[str, Compare]:
    """What compares made frames with true ones, by name: the quick figures first.

    slow: MS-SSIM too; lpips: LPIPS by a network
    """
    networks = {"lpips": lpips}
    table = {metric.name: metric.compare or networks.get(metric.name) for metric in METRICS if not metric.look}
    names = [metric.name for metric in QUICK]
    names += [name for name in table if slow and name not in names]
    return {name: compare for name in names if (compare := table[name])}
