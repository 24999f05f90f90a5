"""The codec: its training, the latents of a data set, and weights translated from one codec to another."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batches import Episodes
from ..media import to_tensor
from ..models.codec import Codec
from .config import Report, TrainConfig
from .optimizers import Muon, autocast, halved
from .validation import decibels


def train_codec(config: TrainConfig, codec: Codec, episodes: Episodes, device: torch.device, tell: Report) -> None:
    """Fit the codec to single frames: absolute error, of pixels and of their differences."""
    draw = np.random.default_rng((config.seed, 0))
    if codec.config.linear:
        codec.begin(episodes.random_frames(max(512, config.codec_batch), draw).to(device))
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inside = {name for name, weight in codec.named_parameters() if weight.ndim == 4 and "linear" not in name}
    optimizers_ = [
        Muon(
            [weight for name, weight in codec.named_parameters() if name in inside],
            config.codec_matrix_lr,
            half=halved(config, device),
        ),
        torch.optim.AdamW(
            [weight for name, weight in codec.named_parameters() if name not in inside],
            lr=config.codec_lr,
            betas=(0.9, 0.95),
            weight_decay=0.0,
        ),
    ]
    started = time.monotonic()
    codec.train()
    for step in range(1, config.codec_steps + 1):
        part = min(1.0, step / (0.02 * config.codec_steps + 1), (1 - step / config.codec_steps) / 0.9 + 1e-3)
        for optimizer, lr in zip(optimizers_, (config.codec_matrix_lr, config.codec_lr), strict=True):
            optimizer.param_groups[0]["lr"] = lr * part
            optimizer.zero_grad(set_to_none=True)
        frames = episodes.random_frames(config.codec_batch, draw).to(device)
        with autocast(config, device):
            made = codec(frames)
        error = made.float() - frames
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = error.abs().mean() + 2 * error.square().mean() + 0.25 * edges
        loss.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), config.clip)
        for optimizer in optimizers_:
            optimizer.step()
        if step % 100 == 0 or step == config.codec_steps:
            codec.eval()
            held = episodes.frames(episodes.held_out, slice(None, None, 37)).to(device)
            with torch.no_grad():
                psnr = decibels(codec.decode(codec.encode(held)), held).mean()
            codec.train()
            seconds = time.monotonic() - started
            tell({"event": "codec", "step": step, "loss": loss.item(), "psnr": psnr.item(), "seconds": seconds})
    codec.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@torch.no_grad()
def encode_all(
    config: TrainConfig, codec: Codec, frames: np.ndarray, folder: Path, device: torch.device, tell: Report
) -> np.ndarray:
    """Latents (episodes, f, c, h, w) of a folder's frames in half precision, memory-mapped.

    frames: uint8 (episodes, f, h, w, 3)
    They are kept beside the data, one file a codec, for every run that shares it. An interrupted run resumes.
    """
    c = codec.config
    shape = (*frames.shape[:2], c.channels, c.height // 8, c.width // 8)
    weights = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in codec.state_dict().values()))
    path = folder / f"latents-{weights.hexdigest()[:12]}.npy"
    part, count = path.with_suffix(".part"), path.with_suffix(".count")
    done, kept = 0, None
    with suppress(OSError, ValueError, EOFError):  # a file that was cut is written again
        kept = np.load(path, mmap_mode="r")
        if kept.shape[1:] == shape[1:] and len(kept) >= shape[0]:
            return kept[: shape[0]]
    with suppress(OSError, ValueError, EOFError):
        if np.load(part, mmap_mode="r").shape == shape:
            done = int(count.read_text())
    latents = np.lib.format.open_memmap(part, "r+" if done else "w+", np.float16, None if done else shape)
    if kept is not None and kept.shape[1:] == shape[1:] and done < len(kept):  # the folder has grown since
        done = len(kept)
        latents[:done] = kept
    for i in range(done, shape[0]):
        pictures = to_tensor(np.asarray(frames[i])).unsqueeze(0).to(device)
        with autocast(config, device):
            latents[i] = codec.encode(pictures)[0].half().cpu().numpy()
        if i % 50 == 0:
            latents.flush()
            count.write_text(f"{i + 1}\n")
            tell({"event": "encode", "step": i, "of": shape[0]})
    latents.flush()
    part.rename(path)
    count.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


@torch.no_grad()
def translated(
    weights: dict[str, Tensor], before: Codec, codec: Codec, episodes: Episodes, config: TrainConfig
) -> dict[str, Tensor]:
    """Weights of a VideoDiT whose latents come from another codec than those that it was trained on.

    What reads or writes tokens of latents passes a linear map between tokens of both codecs, fitted by least squares.
    before: the codec of `weights`; codec: the one to translate to
    """
    draw = np.random.default_rng((config.seed, 2))
    frames = torch.cat([episodes.random_frames(128, draw) for _ in range(8)]).to(next(codec.parameters()).device)
    tokens = []
    for each in (before, codec):
        cut = replace(config.network, channels=each.config.channels)
        latents = torch.cat([each.encode(part) for part in frames.split(64)])
        tokens.append(cut.patchify(latents).flatten(0, 2))  # (n, features)
    old, new = tokens
    one = torch.ones_like(new[:, :1])
    into = torch.linalg.lstsq(torch.cat((new, one), 1), old).solution  # (new features + 1, old features)
    back = torch.linalg.lstsq(torch.cat((old, one), 1), new).solution
    out = dict(weights)
    for name in ("embed", "compression.frame"):  # embed reads a frame beside the one before it
        if f"{name}.weight" in weights:
            parts = weights[f"{name}.weight"].split(old.shape[1], 1)
            out[f"{name}.weight"] = torch.cat([part @ into[:-1].T for part in parts], 1)
            out[f"{name}.bias"] = weights[f"{name}.bias"] + sum(part @ into[-1] for part in parts)
    out["head.weight"] = back[:-1].T @ weights["head.weight"]
    out["head.bias"] = back[:-1].T @ weights["head.bias"] + back[-1]
    return out
