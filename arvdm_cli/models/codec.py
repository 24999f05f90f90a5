"""Frames <-> latents: a small convolutional autoencoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ConfigError


@dataclass(frozen=True)
class CodecConfig:
    """Shape of a Codec; saved beside its weights as config.json."""

    channels: int = 16  # of a latent
    height: int = 64  # of a frame, a multiple of 8
    width: int = 64  # of a frame, a multiple of 8
    fine: int = 64  # features at a quarter of the frame's size
    coarse: int = 128  # features at an eighth of it
    encoder_blocks: int = 1  # at each size
    decoder_blocks: int = 2  # at each size
    noise: float = 0.1  # added to latents in training, so that small flaws in them decode well

    def __post_init__(self) -> None:
        if self.height % 8 or self.width % 8:
            raise ConfigError(f"Frames of {self.width}x{self.height} do not fit.", hint="Choose multiples of 8.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's latent."""
        return self.height // 8, self.width // 8


class Residual(nn.Module):
    """Two convolutions beside a skip."""

    def __init__(self, features: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, features),
            nn.SiLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(features, features, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Codec(nn.Module):
    """Encode frames in [-1, 1] to latents of unit variance, 8x smaller on each side, and back."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        c, fine, coarse = config.channels, config.fine, config.coarse
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, fine, 3, padding=1),
            *(Residual(fine) for _ in range(config.encoder_blocks)),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * fine, coarse, 1),
            *(Residual(coarse) for _ in range(config.encoder_blocks)),
            nn.Conv2d(coarse, c, 1),
        )
        self.normalise = nn.BatchNorm2d(c, affine=False, momentum=0.01)
        self.decoder = nn.Sequential(
            nn.Conv2d(c, coarse, 3, padding=1),
            *(Residual(coarse) for _ in range(config.decoder_blocks)),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(Residual(fine) for _ in range(config.decoder_blocks)),
            nn.Conv2d(fine, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def encode(self, frames: Tensor) -> Tensor:
        """Latents (b, f, c, h / 8, w / 8) of frames (b, f, 3, h, w), of which there may be none."""
        b, f, _, h, w = frames.shape
        if f == 0:
            return frames.new_zeros(b, 0, self.config.channels, h // 8, w // 8)
        return self.normalise(self.encoder(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (b, f, 3, h, w), clamped to [-1, 1], of latents (b, f, c, h / 8, w / 8)."""
        return self.decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]).clamp(-1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames as decoded from slightly noisy latents; for training."""
        latents = self.normalise(self.encoder(frames.flatten(0, 1)))
        noisy = latents + self.config.noise * torch.randn_like(latents)
        return self.decoder(noisy).unflatten(0, frames.shape[:2])
