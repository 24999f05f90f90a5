"""Wan's codec, whose latents stand for four frames each, the first of a video for one: diffusers' `AutoencoderKLWan`.

Its convolutions are causal in time, so that latents are encoded and decoded one after the other; what each convolution
has seen last is the past of those that follow. diffusers is imported when a codec is built.

Source: Wan Team, "Wan: Open and Advanced Large-Scale Video Generative Models", arXiv 2503.20314, Sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ConfigError, UsageError
from .wan_names import PACKAGES

FRAMES = 4  # of every latent but the first of a video
SIGHT = 2  # frames before its own that a convolution sees
DIFFUSERS = {  # fields of a WanCodecConfig, and what they are called in the config.json of diffusers
    "channels": "z_dim",
    "features": "base_dim",
    "multiples": "dim_mult",
    "blocks": "num_res_blocks",
    "attention": "attn_scales",
    "halves": "temperal_downsample",
    "mean": "latents_mean",
    "std": "latents_std",
}
MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


@dataclass(frozen=True)
class WanCodecConfig:
    """Shape of a WanCodec; saved beside its weights as config.json."""

    channels: int = 16  # of a latent
    height: int = 480  # of a frame
    width: int = 832  # of a frame
    features: int = 96  # at the size of a frame
    multiples: tuple[int, ...] = (1, 2, 4, 4)  # of these features at each size, which is half of the one before
    blocks: int = 2  # residual blocks at each size; the decoder has one more
    attention: tuple[float, ...] = ()  # sizes at which the encoder attends too, 1 that of a frame
    halves: tuple[bool, ...] = (False, True, True)  # whether there are half as many frames at the next size
    mean: tuple[float, ...] = MEAN  # of each channel of what the encoder gives
    std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width, self.features, self.blocks, *self.multiples, 1) < 1:
            raise ConfigError("The sizes of a codec are above 0.")
        if len(self.multiples) > 8 or len(self.halves) != len(self.multiples) - 1 or 2 ** sum(self.halves) != FRAMES:
            raise ConfigError(
                f"multiples is {self.multiples} and halves {self.halves}; a latent of {FRAMES} frames needs one more "
                "size than halves, at most 8, and two halves."
            )
        if self.height % self.scale or self.width % self.scale:
            raise ConfigError(
                f"Frames of {self.width}x{self.height} are not supported.", hint=f"Choose multiples of {self.scale}."
            )
        if {len(self.mean), len(self.std)} != {self.channels} or min(self.std) <= 0:
            raise ConfigError(f"mean and std are not {self.channels} numbers each, those of std above 0.")

    @property
    def scale(self) -> int:
        """Pixels of a frame per pixel of a latent, on each side."""
        return 1 << len(self.halves)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a latent."""
        return self.height // self.scale, self.width // self.scale


class WanCodec(nn.Module):
    """Encode frames in [-1, 1] to latents of about unit variance, and back; its parameters are named as in diffusers.

    Raises: UsageError where diffusers is not installed
    """

    frames_per_latent = FRAMES

    def __init__(self, config: WanCodecConfig):
        super().__init__()
        self.config = config
        parts = dict(autoencoder(config).named_children())
        self.encoder, self.quant_conv = parts["encoder"], parts["quant_conv"]
        self.post_quant_conv, self.decoder = parts["post_quant_conv"], parts["decoder"]

    @property
    def reach(self) -> int:
        """Latents before its own that a frame depends on, at most; exact, 38 in the published shape.

        The first frame of a latent is followed back through the decoder, from its last layer to its first.
        """
        config, block = self.config, 2 * SIGHT
        back = FRAMES - 1 + SIGHT  # frames before the latent's last one
        for doubled in (False, *config.halves):
            if doubled:
                back = back // 2 + SIGHT
            back += block * (config.blocks + 1)
        return back + 2 * block + SIGHT

    def encode(self, frames: Tensor) -> Tensor:
        """Latents (b, 1 + k, c, h / 8, w / 8) of frames (b, 1 + 4 k, 3, h, w), of which there may be none."""
        b, f = frames.shape[:2]
        if f == 0:
            return frames.new_zeros(b, 0, self.config.channels, *self.config.grid)
        assert f % FRAMES == 1, f"{f} frames do not fill their latents"
        x = frames.to(next(self.parameters())).transpose(1, 2)  # (b, 3, f, h, w)
        past, parts = nothing_seen(self.encoder), x.split([1] + [FRAMES] * (f // FRAMES), 2)
        x = torch.cat([self.encoder(part, feat_cache=past, feat_idx=[0]) for part in parts], 2)  # (b, 2 c, f, h, w)
        latents = self.quant_conv(x).chunk(2, 1)[0].transpose(1, 2).float()  # the mode: (b, f, c, h, w)
        mean, std = self.moments(latents)
        return (latents - mean) / std

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (b, 1 + 4 k, 3, h, w), clamped to [-1, 1], of the latents (b, 1 + k, c, h / 8, w / 8) of a video."""
        return self.decode_after(latents, None)[0]

    def decode_after(self, latents: Tensor, past: Sequence[object] | None) -> tuple[Tensor, Sequence[object]]:
        """Frames (b, 4 f, 3, h, w) of latents (b, f, c, h / 8, w / 8) after those that left a past, and the next past.

        past: None where the latents begin a video, so that the first is one frame
        """
        mean, std = self.moments(latents)
        x = (latents.float() * std + mean).to(next(self.parameters())).transpose(1, 2)  # (b, c, f, h, w)
        seen, frames = nothing_seen(self.decoder) if past is None else list(past), []
        for latent in x.split(1, 2):  # each alone, so that all are decoded by the same operations
            begins = seen[0] is None
            part = self.decoder(self.post_quant_conv(latent), feat_cache=seen, feat_idx=[0], first_chunk=begins)
            frames.append(part.transpose(1, 2).float().clamp(-1, 1))
        return torch.cat(frames, 1), seen

    def moments(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (c, 1, 1) of each channel, on the device of latents."""
        mean, std = torch.tensor((self.config.mean, self.config.std), device=latents.device)[..., None, None]
        return mean, std


def nothing_seen(part: nn.Module) -> list[object]:
    """The past of an encoder or a decoder before the first latent: nothing of each convolution in time."""
    return [None] * sum(isinstance(layer, nn.Conv3d) for layer in part.modules())


def autoencoder(config: WanCodecConfig) -> nn.Module:
    """diffusers' autoencoder of a config."""
    try:
        with torch.device("cpu"):  # where a model is built without storage, what diffusers makes for itself is not
            from diffusers import AutoencoderKLWan
    except ImportError as error:
        raise UsageError("The codec of Wan needs the package diffusers.", hint=PACKAGES) from error
    values = {theirs: getattr(config, ours) for ours, theirs in DIFFUSERS.items()}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    built: nn.Module = AutoencoderKLWan(**lists)
    return built
