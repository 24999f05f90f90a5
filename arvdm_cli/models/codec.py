"""Frames <-> latents: a small convolutional autoencoder, beside a linear one of single patches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

PATCH = 3 * 8 * 8  # numbers in the patch of pixels under one position of a latent


@dataclass(frozen=True)
class CodecConfig:
    """Shape of a Codec; saved beside its weights as config.json."""

    channels: int = 16  # channels of a latent
    height: int = 64  # height of a frame, a multiple of 8
    width: int = 64  # width of a frame, a multiple of 8
    fine: int = 64  # features at a quarter of the frame's size
    coarse: int = 128  # features at an eighth of the frame's size
    encoder_blocks: int = 1  # blocks of the encoder at each size
    decoder_blocks: int = 2  # blocks of the decoder at each size
    encoder_fine: int = 0  # features of the encoder at a quarter of the frame's size; 0 for `fine`
    encoder_coarse: int = 0  # features of the encoder at an eighth of the frame's size; 0 for `coarse`
    linear: bool = False  # add a linear map of each patch of 8x8 pixels to the output of the convolutions
    noise: float = 0.1  # noise added to latents in training, so that small flaws in them decode well

    def __post_init__(self) -> None:
        if self.height % 8 or self.width % 8:
            raise ConfigError(f"Frames of {self.width}x{self.height} are not supported.", hint="Choose multiples of 8.")

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
        encoder_fine, encoder_coarse = config.encoder_fine or fine, config.encoder_coarse or coarse
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, encoder_fine, 3, padding=1),
            *(Residual(encoder_fine) for _ in range(config.encoder_blocks)),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * encoder_fine, encoder_coarse, 1),
            *(Residual(encoder_coarse) for _ in range(config.encoder_blocks)),
            nn.Conv2d(encoder_coarse, c, 1),
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
        if config.linear:
            self.linear_encoder, self.linear_decoder = nn.Conv2d(PATCH, c, 1), nn.Conv2d(c, PATCH, 1)

    @torch.no_grad()
    def begin(self, frames: Tensor) -> None:
        """Begin with the principal components of the patches of frames (b, f, 3, h, w); needs `linear`.

        Components are scaled by the fourth root of their variance, halfway between equal variances and those of the
        pixels, and rotated, so that channels have about one variance. The convolutions begin with nothing to add.
        """
        c = self.config.channels
        patches = F.pixel_unshuffle(frames.flatten(0, 1), 8).permute(0, 2, 3, 1).flatten(0, 2)  # (n, PATCH)
        mean = patches.mean(0)
        centred = patches - mean
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))  # rising
        variances, axes = variances.flip(0)[:c].clamp_min(1e-6), axes.flip(1)[:, :c]
        scales = variances**-0.25
        scales = scales / (variances * scales**2).mean().sqrt()
        generator = torch.Generator().manual_seed(0)
        rotation = torch.linalg.qr(torch.randn(c, c, generator=generator))[0].to(axes)
        into = rotation @ torch.diag(scales) @ axes.T  # (c, PATCH)
        spread = (centred @ into.T).std(0)
        out = axes @ torch.diag(1 / scales) @ rotation.T * spread  # (PATCH, c), from channels of unit variance
        for linear, weight, bias in ((self.linear_encoder, into, -into @ mean), (self.linear_decoder, out, mean)):
            for parameter, value in zip(linear.parameters(), (weight[:, :, None, None], bias), strict=True):
                parameter.copy_(value)
        self.normalise.reset_running_stats()
        self.normalise.register_buffer("running_var", spread.square())
        for last in (self.encoder[-1], self.decoder[-2]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def _encode(self, frames: Tensor) -> Tensor:
        """Latents (n, c, h / 8, w / 8) of frames (n, 3, h, w)."""
        latents = self.encoder(frames)
        if self.config.linear:
            latents = latents + self.linear_encoder(F.pixel_unshuffle(frames, 8))
        return self.normalise(latents)

    def _decode(self, latents: Tensor) -> Tensor:
        """Frames (n, 3, h, w), not clamped, of latents (n, c, h / 8, w / 8)."""
        frames = self.decoder(latents)
        if self.config.linear:
            frames = frames + F.pixel_shuffle(self.linear_decoder(latents), 8)
        return frames

    def encode(self, frames: Tensor) -> Tensor:
        """Latents (b, f, c, h / 8, w / 8) of frames (b, f, 3, h, w), of which there may be none."""
        b, f, _, h, w = frames.shape
        if f == 0:
            return frames.new_zeros(b, 0, self.config.channels, h // 8, w // 8)
        return self._encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (b, f, 3, h, w), clamped to [-1, 1], of latents (b, f, c, h / 8, w / 8)."""
        return self._decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]).clamp(-1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames as decoded from slightly noisy latents; for training."""
        latents = self._encode(frames.flatten(0, 1))
        noisy = latents + self.config.noise * torch.randn_like(latents)
        return self._decode(noisy).unflatten(0, frames.shape[:2])
