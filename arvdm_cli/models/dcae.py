"""DC-AE: a deterministic picture codec of deep compression, under the names of FAR's published weights.

Source: Chen et al., "Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models", arXiv 2410.10733;
its linear attention: Cai et al., "EfficientViT", arXiv 2205.14756.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

EPS = 1e-5  # added to a variance
EXPANSION = 8  # width of the gated convolution, both halves, in widths of its level


@dataclass(frozen=True)
class DCAEConfig:
    """Shape of a DCAE; saved beside its weights as config.json.

    Level 1 has frames of half the size, each level after it halves them again.
    """

    channels: int = 32  # of a latent
    height: int = 64  # of a frame
    width: int = 64  # of a frame
    widths: tuple[int, ...] = (256, 512, 512)  # features of each level, from 1 on
    encoder_layers: tuple[int, ...] = (4, 8, 2)  # of each level
    decoder_layers: tuple[int, ...] = (5, 10, 2)  # of each level
    attention: int = 1  # of the levels, how many have attention; the last ones
    head: int = 32  # features per attention head
    scale: float = 0.2889  # brings latents to about unit variance

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_layers", "decoder_layers"):
            object.__setattr__(self, name, tuple(map(int, getattr(self, name))))
        levels = len(self.widths)
        if not 0 < levels <= 8 or {len(self.encoder_layers), len(self.decoder_layers)} != {levels}:
            raise ConfigError(f"A codec has from 1 to 8 levels, and layers for each; here {levels} have widths.")
        if not all(0 <= number <= 100 for number in (*self.encoder_layers, *self.decoder_layers)):
            raise ConfigError("A level of the codec has from 0 to 100 layers.")
        if not all(0 < width <= 8192 for width in self.widths) or self.channels < 1 or self.head < 1 or not self.scale:
            raise ConfigError("Widths of the codec are from 1 to 8192; channels, head and scale are above 0.")
        steps = [4 * a % b or b % 4 for a, b in pairwise(self.widths)]  # to the next level, by means of groups
        last = self.widths[len(self.widths) - self.attention :]
        if any(steps) or self.widths[0] % 4 or self.widths[-1] % self.channels or any(w % self.head for w in last):
            raise ConfigError(
                f"Widths {self.widths} do not divide into each other, {self.channels} channels and heads."
            )
        if self.height % 2**levels or self.width % 2**levels or min(self.height, self.width) < 1:
            raise ConfigError(f"Frames of {self.width}x{self.height} cannot be halved {levels} times.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's latent."""
        return self.height >> len(self.widths), self.width >> len(self.widths)

    def attends(self, level: int) -> bool:
        """Whether a level, counted from 0, has attention."""
        return level >= len(self.widths) - self.attention


# Norms


class ChannelNorm(nn.Module):
    """Scale the channels of each pixel of x (b, c, h, w) to a mean square of 1, then by weights."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x * (x.square().mean(1, keepdim=True) + EPS).rsqrt()
        return torch.addcmul(self.bias[:, None, None], x, self.weight[:, None, None])


class StoredNorm(nn.Module):
    """Batch norm by the mean and variance that training left, whatever is in the batch."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))  # in the files, and of no use here
        self.running_mean: Tensor
        self.running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPS)


# Layers


class ResBlock(nn.Module):
    """Two convolutions; of the decoder with ReLU and batch norm, of the encoder with SiLU and a norm of channels."""

    def __init__(self, width: int, decodes: bool):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = StoredNorm(width) if decodes else ChannelNorm(width)
        self.activate = F.relu if decodes else F.silu

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv2(self.activate(self.conv1(x))))


class LinearAttention(nn.Module):
    """Attention over all pixels whose weights are products of positive queries and keys, so that it costs no square."""

    def __init__(self, width: int, head: int):
        super().__init__()
        self.head = head
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.norm_out = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)  # (b, n, c)
        # joined, and only then cut into heads: the first head lies wholly in the output of `to_q`
        joint = torch.cat((self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)), -1)
        q, k, v = joint.float().unflatten(-1, (-1, 3, self.head)).permute(3, 0, 2, 1, 4)  # (b, heads, n, head)
        q, k = q.relu(), k.relu()
        total = k.sum(2).unsqueeze(-1)  # (b, heads, head, 1)
        made = q @ (k.transpose(2, 3) @ v) / (q @ total + 1e-15)  # (b, heads, n, head)
        made = self.to_out(made.transpose(1, 2).flatten(2).to(x))  # (b, n, c)
        return x + self.norm_out(made.transpose(1, 2).unflatten(2, size))


class GatedConv(nn.Module):
    """A convolution of each channel, one half of the channels gated by the other."""

    def __init__(self, width: int):
        super().__init__()
        inner = EXPANSION * width
        self.conv_inverted = nn.Conv2d(width, inner, 1)
        self.conv_depth = nn.Conv2d(inner, inner, 3, 1, 1, groups=inner)
        self.conv_point = nn.Conv2d(inner // 2, width, 1, bias=False)
        self.norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.conv_depth(F.silu(self.conv_inverted(x))).chunk(2, 1)
        return x + self.norm(self.conv_point(value * F.silu(gate)))


class ViTBlock(nn.Module):
    """Linear attention, then a gated convolution."""

    def __init__(self, width: int, head: int):
        super().__init__()
        self.attn, self.conv_out = LinearAttention(width, head), GatedConv(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.attn(x))


def mean_groups(x: Tensor, channels: int) -> Tensor:
    """The means (b, channels, h, w) of consecutive groups of the channels of x."""
    return x.unflatten(1, (channels, -1)).mean(2)


class Down(nn.Module):
    """Halve the sides of a picture."""

    def __init__(self, before: int, after: int, shortcut: bool = True):
        super().__init__()
        self.conv, self.after, self.shortcut = nn.Conv2d(before, after // 4, 3, 1, 1), after, shortcut

    def forward(self, x: Tensor) -> Tensor:
        made = F.pixel_unshuffle(self.conv(x), 2)
        return made + mean_groups(F.pixel_unshuffle(x, 2), self.after) if self.shortcut else made


class Up(nn.Module):
    """Double the sides of a picture."""

    def __init__(self, before: int, after: int, shortcut: bool = True):
        super().__init__()
        self.conv, self.repeats, self.shortcut = nn.Conv2d(before, 4 * after, 3, 1, 1), 4 * after // before, shortcut

    def forward(self, x: Tensor) -> Tensor:
        made = F.pixel_shuffle(self.conv(x), 2)
        return made + F.pixel_shuffle(x.repeat_interleave(self.repeats, 1), 2) if self.shortcut else made


# Encoder and decoder


def layers(config: DCAEConfig, level: int, decodes: bool) -> list[nn.Module]:
    """The layers of a level, counted from 0, without those that lead from level to level."""
    width = config.widths[level]
    count = (config.decoder_layers if decodes else config.encoder_layers)[level]
    if config.attends(level):
        return [ViTBlock(width, config.head) for _ in range(count)]
    return [ResBlock(width, decodes) for _ in range(count)]


class Encoder(nn.Module):
    """Pictures (b, 3, h, w) to latents (b, c, h, w), unscaled."""

    def __init__(self, config: DCAEConfig):
        super().__init__()
        widths, self.channels = config.widths, config.channels
        self.conv_in = Down(3, widths[0], shortcut=False)
        steps = [[Down(*pair)] for pair in pairwise(widths)] + [[]]
        levels = [nn.ModuleList([*layers(config, i, False), *step]) for i, step in enumerate(steps)]
        self.down_blocks = nn.ModuleList([nn.ModuleList(), *levels])  # the files count levels from 1
        self.conv_out = nn.Conv2d(widths[-1], config.channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            for layer in level:  # type: ignore[attr-defined]
                x = layer(x)
        return self.conv_out(x) + mean_groups(x, self.channels)


class Decoder(nn.Module):
    """Unscaled latents (b, c, h, w) to pictures (b, 3, h, w), not clamped."""

    def __init__(self, config: DCAEConfig):
        super().__init__()
        widths = config.widths
        self.repeats = widths[-1] // config.channels
        self.conv_in = nn.Conv2d(config.channels, widths[-1], 3, 1, 1)
        steps = [[Up(after, before)] for before, after in pairwise(widths)] + [[]]
        levels = [nn.ModuleList([*step, *layers(config, i, True)]) for i, step in enumerate(steps)]
        self.up_blocks = nn.ModuleList([nn.ModuleList(), *levels])
        self.norm_out = ChannelNorm(widths[0])
        self.conv_out = Up(widths[0], 3, shortcut=False)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z) + z.repeat_interleave(self.repeats, 1)
        for level in reversed(self.up_blocks):
            for layer in level:  # type: ignore[attr-defined]
                x = layer(x)
        return self.conv_out(self.norm_out(x).relu())


class DCAE(nn.Module):
    """An autoencoder without noise: encode frames in [-1, 1] to latents of about unit variance, and back."""

    def __init__(self, config: DCAEConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def encode(self, frames: Tensor) -> Tensor:
        """Latents (b, f, c, h, w) of frames (b, f, 3, h, w), of which there may be none."""
        b, f = frames.shape[:2]
        if f == 0:
            return frames.new_zeros(b, 0, self.config.channels, *self.config.grid)
        pictures = frames.flatten(0, 1).to(self.encoder.conv_out.weight)
        return (self.encoder(pictures).float() * self.config.scale).unflatten(0, (b, f))

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (b, f, 3, h, w), clamped to [-1, 1], of latents (b, f, c, h, w)."""
        pictures = latents.flatten(0, 1).to(self.decoder.conv_in.weight) / self.config.scale
        return self.decoder(pictures).float().clamp(-1, 1).unflatten(0, latents.shape[:2])
