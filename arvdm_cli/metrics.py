"""Figures that need a network or a package of their own: MS-SSIM, LPIPS, and Frechet distances over stretches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import evaluation
from .checkpoint import Model
from .errors import CheckpointError, UsageError
from .video import Clip, fit

STRETCH = 16  # frames of one sample of a Frechet distance
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, the finest first
PART = 16  # frames scored together: more are slower, as they leave the cache of a core

# what is missing, and how to get it
LPIPS = (
    "LPIPS is not measured: its network is not shipped, and nothing is downloaded unasked. --lpips FILE takes it as "
    "TorchScript: pip install lpips, then torch.jit.trace(lpips.LPIPS(net='alex').eval(), (a, b)).save(FILE) with "
    "pictures a, b of (1, 3, 64, 64)."
)
FVD = (
    "FVD is not measured: its network is not shipped, and nothing is downloaded unasked. --fvd FILE takes "
    "i3d_torchscript.pt, to which the code of StyleGAN-V (github.com/universome/stylegan-v) links."
)

Compare = Callable[[Tensor, Tensor], np.ndarray]  # of frames (m, f, 3, h, w) in [0, 1], a figure (m, f)
Features = Callable[[np.ndarray], np.ndarray]  # of stretches uint8 (n, STRETCH, h, w, 3), vectors (n, d)


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
        raise UsageError("MS-SSIM needs the package torchmetrics.", hint="pip install 'arvdm[eval]'") from error


def ms_ssim(made: Tensor, truth: Tensor) -> np.ndarray:
    """Multi-scale structural similarity (m, f) of frames (m, f, 3, h, w) in [0, 1], over `scales` scales.

    Source: Wang et al., Multiscale structural similarity for image quality assessment, 2003; as in torchmetrics,
    the weights of the scales that are left made to add up to 1.
    """
    need_ms_ssim()
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    weights = WEIGHTS[: scales(*made.shape[3:])]
    betas = tuple(weight / sum(weights) for weight in weights)
    pairs = zip(made.flatten(0, 1).split(PART), truth.flatten(0, 1).split(PART), strict=True)
    parts = [measure(a, b, reduction="none", data_range=1.0, betas=betas, normalize="relu") for a, b in pairs]
    return torch.cat([part.reshape(-1) for part in parts]).reshape(made.shape[:2]).numpy()


def load_script(file: Path, device: torch.device) -> torch.nn.Module:
    """Load a network from a TorchScript file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is how these networks are published
            return torch.jit.load(str(file), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise CheckpointError(f"{file} is no TorchScript file: {reason}", hint="torch.jit.save writes one.") from error


def lpips(network: torch.nn.Module, device: torch.device) -> Compare:
    """LPIPS by a network that takes two batches of pictures (n, 3, h, w) in [-1, 1].

    Source: Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, 2018.
    """

    @torch.no_grad()
    def measure(made: Tensor, truth: Tensor) -> np.ndarray:
        pairs = zip(made.flatten(0, 1).split(PART), truth.flatten(0, 1).split(PART), strict=True)
        parts = [network(2 * a.to(device) - 1, 2 * b.to(device) - 1).reshape(len(a), -1)[:, 0] for a, b in pairs]
        return torch.cat(parts).float().cpu().reshape(made.shape[:2]).numpy()

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
        latents = evaluation.encode_all(model, pieces).float().cpu()  # (n, f, c, h, w)
        both = latents, latents.diff(dim=1)
        told = [(x.mean((1, 3, 4)), x.flatten(3).std(3).mean(1)) for x in both]
        return torch.cat([part for pair in told for part in pair], 1).numpy()  # (n, 4 c)

    return measure


def i3d_features(network: torch.nn.Module, device: torch.device) -> Features:
    """Features of FVD: those of I3D, as TorchScript, on stretches enlarged to 224x224 and scaled to [-1, 1].

    Source: Unterthiner et al., Towards accurate generative models of video, 2018; network and call of StyleGAN-V.
    """

    @torch.no_grad()
    def measure(pieces: np.ndarray) -> np.ndarray:
        rows = []
        for piece in pieces:
            frames = functional.interpolate(evaluation.unit(piece), (224, 224), mode="bilinear", align_corners=False)
            video = (2 * frames - 1).movedim(0, 1)[None].to(device)  # (1, 3, f, 224, 224)
            rows.append(network(video, rescale=False, resize=False, return_features=True).float().cpu()[0])
        return torch.stack(rows).numpy()

    return measure
