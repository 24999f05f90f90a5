"""The codec: its training, and the latents of a data set."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..data.array_folder import LATENTS
from ..data.batches import Episodes
from ..data.encoded import Frames
from ..errors import NumericError
from ..files import in_turn
from ..media import to_tensor
from ..models.codec import Codec
from .config import TrainConfig
from .events import CodecReport, EncodeReport, Report
from .optimizers import Muon, autocast, halved
from .state import CodecProgress
from .validation import decibels


class CodecTrainer:
    """A codec and its optimizers, fitted to single frames: absolute error, of pixels and of their differences.

    progress: how far it is, if its training is resumed; the codec then has its weights already
    """

    def __init__(
        self,
        config: TrainConfig,
        codec: Codec,
        episodes: Episodes,
        device: torch.device,
        progress: CodecProgress | None = None,
    ):
        self.config, self.codec, self.episodes, self.device = config, codec, episodes, device
        self.taken, self.draw = 0, np.random.default_rng((config.seed, 0))
        self.started = time.monotonic()
        if codec.config.linear and progress is None:
            codec.begin(episodes.random_frames(max(512, config.codec_batch), self.draw).to(device))
        codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kernels = {name for name, weight in codec.named_parameters() if weight.ndim == 4 and "linear" not in name}
        parts = ([w for name, w in codec.named_parameters() if (name in kernels) == of] for of in (True, False))
        self.optimizers = [
            Muon(next(parts), config.codec_matrix_lr, half=halved(config, device)),
            torch.optim.AdamW(next(parts), lr=config.codec_lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        if progress:
            self.resume(progress)
        codec.train()

    def step(self) -> float:
        """Fit the codec to a batch of frames; returns the loss.

        Raises: NumericError where the loss or its gradient is not finite; the weights are then those before the step
        """
        config, number = self.config, self.taken + 1
        part = min(1.0, number / (0.02 * config.codec_steps + 1), (1 - number / config.codec_steps) / 0.9 + 1e-3)
        for optimizer, lr in zip(self.optimizers, (config.codec_matrix_lr, config.codec_lr), strict=True):
            optimizer.param_groups[0]["lr"] = lr * part
            optimizer.zero_grad(set_to_none=True)
        frames = self.episodes.random_frames(config.codec_batch, self.draw).to(self.device)
        with autocast(config, self.device):
            made = self.codec(frames)
        error = made.float() - frames
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = error.abs().mean() + 2 * error.square().mean() + 0.25 * edges
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.codec.parameters(), config.clip)
        if not torch.isfinite(loss + norm):
            raise NumericError(
                f"The codec's loss is {loss.item()} and its gradient {norm.item()} at step {number}.",
                hint="Lower codec_matrix_lr and codec_lr.",
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.taken = number
        return loss.item()

    @torch.no_grad()
    def report(self, loss: float) -> CodecReport:
        """How well held-out frames come through the codec."""
        held = self.episodes.frames(self.episodes.held_out, slice(None, None, 37)).to(self.device)
        self.codec.eval()
        psnr = decibels(self.codec.decode(self.codec.encode(held)), held).mean()
        self.codec.train()
        return CodecReport(self.taken, loss, psnr.item(), self.seconds)

    @property
    def seconds(self) -> float:
        """Seconds since the training began, without those between a stop and `--resume`."""
        return time.monotonic() - self.started

    def progress(self) -> CodecProgress:
        """How far the training is; with the codec's weights, all that is needed to resume it."""
        noise = [torch.get_rng_state()]
        if self.device.type == "cuda":
            noise.append(torch.cuda.get_rng_state(self.device))
        return CodecProgress(
            step=self.taken,
            seconds=self.seconds,
            optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
            draw=json.dumps(self.draw.bit_generator.state),
            noise=noise,
        )

    def resume(self, progress: CodecProgress) -> None:
        """Take up the training where another was."""
        for optimizer, saved in zip(self.optimizers, progress.optimizers, strict=True):
            optimizer.load_state_dict(saved)
        self.draw.bit_generator.state = json.loads(progress.draw)
        torch.set_rng_state(progress.noise[0])
        if self.device.type == "cuda" and len(progress.noise) > 1:
            torch.cuda.set_rng_state(progress.noise[1], self.device)
        self.taken, self.started = progress.step, time.monotonic() - progress.seconds

    def finish(self) -> None:
        """Lay out the codec as it is used."""
        self.codec.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def encode_all(
    config: TrainConfig, codec: Codec, frames: Frames, folder: Path, device: torch.device, report: Report
) -> np.ndarray:
    """Latents (episodes, f, c, h, w) of a folder's frames in half precision, memory-mapped.

    frames: uint8 (episodes, f, h, w, 3)
    They are kept beside the data, one file a codec, for every run that shares it. An interrupted encoding resumes,
    and a run that wants what another is encoding waits for it.
    """
    weights = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in codec.state_dict().values()))
    path = folder / f"{LATENTS}{weights.hexdigest()[:12]}.npy"
    with in_turn(path.with_suffix(".lock")):
        return encode_into(path, config, codec, frames, device, report)


@torch.no_grad()
def encode_into(
    path: Path, config: TrainConfig, codec: Codec, frames: Frames, device: torch.device, report: Report
) -> np.ndarray:
    """Latents (episodes, f, c, h, w) from a file that holds them; those that it lacks are made first."""
    c = codec.config
    shape = (*frames.shape[:2], c.channels, c.height // 8, c.width // 8)
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
        if i % 50 == 0 or i == shape[0] - 1:
            report(EncodeReport(i, shape[0]))
    latents.flush()
    part.rename(path)
    count.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")
