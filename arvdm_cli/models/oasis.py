"""Oasis-500M: its network and codec, under the names of its makers' weights.

Its sizes, and the scheme it is sampled with, stand in `hub/registry.toml`, as its makers' files lack a config.

Source: Decart and Etched, "Oasis: A Universe in a Transformer" (2024), open-oasis, MIT licence.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..sampling.diffusion import additions
from .architecture import Architecture
from .layers import sinusoids

INDICES = 1000  # noise levels the network knows, counted from 0


def require_positive(config: OasisConfig | OasisCodecConfig) -> None:
    """Refuse sizes below 1."""
    for size in fields(config):
        if getattr(config, size.name) <= 0:
            raise ConfigError(f"{size.name} is {getattr(config, size.name)}; it must be above 0.")


@dataclass(frozen=True)
class OasisConfig:
    """Shape of an OasisDiT; saved beside its weights as config.json."""

    channels: int = 16  # of a latent
    height: int = 18  # of a latent
    width: int = 32  # of a latent
    patch: int = 2  # latent pixels per token side
    dim: int = 1024  # features per token
    depth: int = 16  # blocks, each of a spatial and a temporal half
    heads: int = 16
    actions: int = 25  # numbers in an action

    def __post_init__(self) -> None:
        require_positive(self)
        if self.dim % (8 * self.heads) or self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"A network of width {self.dim} with {self.heads} heads and patch {self.patch} over "
                f"{self.height}x{self.width} does not fit.",
                hint="dim is a multiple of 8 heads; patch divides the latent's sides.",
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens."""
        return self.height // self.patch, self.width // self.patch


@dataclass(frozen=True)
class OasisCodecConfig:
    """Shape of an OasisCodec; saved beside its weights as config.json."""

    channels: int = 16  # of a latent
    height: int = 360  # of a frame
    width: int = 640  # of a frame
    patch: int = 20  # pixels per latent pixel's side
    encoder_dim: int = 1024
    encoder_depth: int = 6
    encoder_heads: int = 16
    decoder_dim: int = 1024
    decoder_depth: int = 12
    decoder_heads: int = 16
    scale: float = 0.07843137255  # brings latents to about unit variance

    def __post_init__(self) -> None:
        require_positive(self)
        dims = ((self.encoder_dim, self.encoder_heads), (self.decoder_dim, self.decoder_heads))
        if any(dim % (8 * heads) for dim, heads in dims) or self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"A codec of patch {self.patch} over {self.height}x{self.width} and its widths and heads does not fit.",
                hint="A width is a multiple of 8 heads; patch divides the frame's sides.",
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's latent."""
        return self.height // self.patch, self.width // self.patch


# Rotary positions: neighbouring features (2i, 2i + 1) rotate together

Angles = tuple[Tensor, Tensor]  # cosines and sines, (..., pairs)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Rotate the first 2 * pairs features of x (..., n, features) by angles (n, pairs); the rest pass through."""
    cos, sin = (angle.to(x) for angle in angles)
    pairs, rest = x[..., : 2 * cos.shape[-1]], x[..., 2 * cos.shape[-1] :]
    a, b = pairs.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    return torch.cat((pairs, rest), -1) if rest.shape[-1] else pairs


def cos_sin(angles: Tensor) -> Angles:
    """Cosines and sines in single precision."""
    return angles.cos().float(), angles.sin().float()


def spatial_angles(frequencies: Tensor, grid: tuple[int, int]) -> Angles:
    """Angles (n, 2 * frequencies) over a grid from -1 to 1 on both axes: of the row, then of the column."""
    # in single precision, as the weights were trained with: the angles are large, so that their rounding shows
    rows, columns = (torch.linspace(-1, 1, side, device=frequencies.device) for side in grid)
    positions = torch.cartesian_prod(rows, columns)  # (n, 2)
    return cos_sin((positions.unsqueeze(-1) * frequencies).flatten(1))


class Frequencies(nn.Module):
    """Rotary frequencies that may come with the weights."""

    def __init__(self, freqs: Tensor):
        super().__init__()
        self.register_buffer("freqs", freqs)
        self.freqs: Tensor


# Network


class MLP(nn.Module):
    """Two linears about a GELU."""

    def __init__(self, dim: int, approximate: str):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


class Attention(nn.Module):
    """Multi-head attention over tokens (..., n, d)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def project(self, x: Tensor, angles: Angles) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (b, heads, n, d / heads) of tokens (b, n, d)."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return rotate(q, angles), rotate(k, angles), v

    def join(self, x: Tensor) -> Tensor:
        """Heads (b, heads, n, d / heads) back to tokens (b, n, d)."""
        return self.to_out(x.transpose(1, 2).flatten(2))


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised tokens (b, f, n, d), shifted and scaled by (b, f, d) for each frame."""
    return torch.addcmul(shift.unsqueeze(2), norm(x), 1 + scale.unsqueeze(2))


KV = tuple[Tensor, Tensor]  # keys and values (b * n, heads, f, d / heads): each position in the picture on its own


class Block(nn.Module):
    """Attention over the tokens of a frame, then over the frames at each token's position, an MLP after each."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.s_attn, self.s_mlp = Attention(dim, heads), MLP(dim, "tanh")
        self.t_attn, self.t_mlp = Attention(dim, heads), MLP(dim, "tanh")
        self.s_adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.t_adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(
        self, x: Tensor, condition: Tensor, space: Angles, time: Angles, past: KV | None, last: bool
    ) -> tuple[Tensor, KV]:
        """Advance tokens (b, f, n, d), modulated by (b, f, d), on top of the past; see `within` and `across`."""
        return self.across(self.within(x, condition, space), condition, time, past, last)

    def within(self, x: Tensor, condition: Tensor, angles: Angles) -> Tensor:
        """Advance tokens (b, f, n, d), each frame on its own, modulated by (b, f, d)."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.s_adaLN_modulation(condition).chunk(6, -1)
        q, k, v = self.s_attn.project(modulated(x, shift, scale).flatten(0, 1), angles)
        update = self.s_attn.join(F.scaled_dot_product_attention(q, k, v)).unflatten(0, x.shape[:2])
        x = torch.addcmul(x, gate.unsqueeze(2), update)
        return torch.addcmul(x, mlp_gate.unsqueeze(2), self.s_mlp(modulated(x, mlp_shift, mlp_scale)))

    def across(self, x: Tensor, condition: Tensor, angles: Angles, past: KV | None, last: bool) -> tuple[Tensor, KV]:
        """Advance tokens (b, f, n, d), each position on its own: a frame sees the past and the frames up to itself.

        last: whether only the keys and values are needed
        Returns the tokens and the keys and values of past and frames.
        """
        b, f, n, _ = x.shape
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.t_adaLN_modulation(condition).chunk(6, -1)
        columns = modulated(x, shift, scale).transpose(1, 2).flatten(0, 1)  # (b n, f, d)
        columns = columns.contiguous()  # else a linear without bias is a batched product that copies its weights
        q, k, v = self.t_attn.project(columns, angles)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        if last:
            return x, (k, v)
        before = k.shape[2] - f
        mask = None if f == 1 else torch.ones(f, before + f, dtype=torch.bool, device=x.device).tril(before)
        update = self.t_attn.join(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))  # (b n, f, d)
        x = torch.addcmul(x, gate.unsqueeze(2), update.unflatten(0, (b, n)).transpose(1, 2))
        return torch.addcmul(x, mlp_gate.unsqueeze(2), self.t_mlp(modulated(x, mlp_shift, mlp_scale))), (k, v)


@dataclass(frozen=True)
class Past:
    """The context as the network encoded it."""

    keys: list[KV]  # per block; empty where there are no frames
    first: int = 0  # its first frame on the time axis
    frames: int = 0

    def drop(self, frames: int) -> Past | None:
        """Drop the oldest frames; what the others saw of them stays in them."""
        if frames >= self.frames:
            return None
        keys = [(k[:, :, frames:], v[:, :, frames:]) for k, v in self.keys]
        return Past(keys, self.first + frames, self.frames - frames)


class OasisDiT(nn.Module):
    """A frame-causal transformer with a noise level and an action for every frame.

    An action of zeros is the one that does nothing, and leads into a first frame too.
    """

    def __init__(self, config: OasisConfig):
        super().__init__()
        self.config = config
        dim, features = config.dim, config.dim // config.heads  # of a token, of a head
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(config.channels, dim, config.patch, config.patch)})
        level = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.t_embedder = nn.ModuleDict({"mlp": level})
        self.external_cond = nn.Linear(config.actions, dim)
        # on the CPU even where the rest is shapes only, as a file may lack them
        self.spatial_rotary_emb = Frequencies(torch.linspace(1, 128, features // 4, device="cpu") * math.pi)
        self.temporal_rotary_emb = Frequencies(10_000 ** -(torch.arange(0, features, 2, device="cpu") / features))
        self.blocks = nn.ModuleList(Block(dim, config.heads) for _ in range(config.depth))
        modulation, head = nn.Linear(dim, 2 * dim), nn.Linear(dim, config.channels * config.patch**2)
        self.final_layer = nn.ModuleDict({"adaLN_modulation": nn.Sequential(nn.SiLU(), modulation), "linear": head})

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor:
        """Poses (b, f, 3): nothing is known of where an action leads."""
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)

    def condition(self, levels: Tensor, actions: Tensor | None) -> Tensor:
        """What modulates the norms of each frame, (b, f, d): levels (b, f), actions (b, f, a) or None where unknown."""
        index = (additions(levels, INDICES) - 1).clamp_min(0)
        weight = self.external_cond.weight
        condition = self.t_embedder["mlp"](sinusoids(index, 256).to(weight))
        return condition if actions is None else condition + self.external_cond(actions.to(weight).contiguous())

    def run(self, latents: Tensor, condition: Tensor, past: Past, keys_only: bool = False) -> tuple[Tensor, list[KV]]:
        """Tokens (b, f, n, d) of latents (b, f, c, h, w) after all blocks, and each block's keys and values.

        keys_only: whether the tokens are not needed
        """
        x = self.x_embedder["proj"](latents.flatten(0, 1).to(condition))  # (b f, d, rows, columns)
        x = x.flatten(2).transpose(1, 2).unflatten(0, latents.shape[:2])  # (b, f, n, d)
        space = spatial_angles(self.spatial_rotary_emb.freqs, self.config.grid)
        begin = past.first + past.frames
        # in double precision, so that angles hold however long the video; the CPU always has it
        times = torch.arange(begin, begin + latents.shape[1], dtype=torch.float64)
        cos, sin = cos_sin(times.unsqueeze(1) * self.temporal_rotary_emb.freqs.cpu().double())
        time = cos.to(x.device), sin.to(x.device)
        keys = []
        for i, block in enumerate(self.blocks):
            last = keys_only and i == len(self.blocks) - 1
            x, kv = block(x, condition, space, time, past.keys[i] if past.keys else None, last)
            keys.append(kv)
        return x, keys

    def encode_context(
        self,
        context: Tensor,
        levels: Tensor,
        actions: Tensor | None,
        origin: Tensor,
        *,
        past: Past | None = None,
    ) -> Past:
        """Encode the context, clean frames (b, f, c, h, w) at reported `levels` (b, f) with actions (b, f, a).

        past: frames right before them, which stay as they were encoded
        """
        past = past or Past([])
        if context.shape[1] == 0:
            return past
        _, keys = self.run(context, self.condition(levels, actions), past, keys_only=True)
        return Past(keys, past.first, past.frames + context.shape[1])

    def advance(self, past: Past, frames: Tensor, actions: Tensor | None) -> Past:
        """Return the same past, for a window that begins after `frames` (b, f, c, h, w)."""
        return replace(past, frames=past.frames + frames.shape[1])

    def forward(self, window: Tensor, levels: Tensor, actions: Tensor | None, past: Past) -> Tensor:
        """Predict v for a noisy window (b, f, c, h, w) at `levels` (b, f) with actions (b, f, a)."""
        condition = self.condition(levels, actions)
        x, _ = self.run(window, condition, past)
        shift, scale = self.final_layer["adaLN_modulation"](condition).chunk(2, -1)
        x = self.final_layer["linear"](modulated(x, shift, scale))  # (b, f, n, p * p * c)
        p = self.config.patch
        x = x.unflatten(3, (p, p, -1)).unflatten(2, self.config.grid)  # (b, f, h/p, w/p, p, p, c)
        x = x.permute(0, 1, 6, 2, 4, 3, 5)  # (b, f, c, h/p, p, w/p, p)
        return x.flatten(5, 6).flatten(3, 4).float()  # (b, f, c, h, w)


# Codec


class CodecAttention(nn.Module):
    """Multi-head attention over all tokens of a frame."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, angles: Angles) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(rotate(q, angles), rotate(k, angles), v)
        return self.proj(x.transpose(1, 2).flatten(2))


class CodecBlock(nn.Module):
    """A transformer block over tokens (b, n, d)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = CodecAttention(dim, heads), MLP(dim, "none")

    def forward(self, x: Tensor, angles: Angles) -> Tensor:
        x = x + self.attn(self.norm1(x), angles)
        return x + self.mlp(self.norm2(x))


class OasisCodec(nn.Module):
    """A transformer VAE: encode frames in [-1, 1] to latents of about unit variance, and back."""

    def __init__(self, config: OasisCodecConfig):
        super().__init__()
        self.config = config
        encoder, decoder = config.encoder_dim, config.decoder_dim
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, encoder, config.patch, config.patch)})
        self.encoder = nn.ModuleList(CodecBlock(encoder, config.encoder_heads) for _ in range(config.encoder_depth))
        self.enc_norm = nn.LayerNorm(encoder, eps=1e-6)
        self.quant_conv = nn.Linear(encoder, 2 * config.channels)
        self.post_quant_conv = nn.Linear(config.channels, decoder)
        self.decoder = nn.ModuleList(CodecBlock(decoder, config.decoder_heads) for _ in range(config.decoder_depth))
        self.dec_norm = nn.LayerNorm(decoder, eps=1e-6)
        self.predictor = nn.Linear(decoder, 3 * config.patch**2)

    def angles(self, head: int) -> Angles:
        """Rotary angles over the latent's grid; they turn the first half of each head."""
        rows, columns = self.config.grid
        device = self.predictor.weight.device
        frequencies = torch.linspace(1, rows * columns / 2, head // 8, device=device) * math.pi
        return spatial_angles(frequencies, self.config.grid)

    def encode_pictures(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (b, n, c) of the latent's tokens of pictures (b, 3, h, w)."""
        x = self.patch_embed["proj"](frames.to(self.predictor.weight)).flatten(2).transpose(1, 2)  # (b, n, d)
        angles = self.angles(self.config.encoder_dim // self.config.encoder_heads)
        for block in self.encoder:
            x = block(x, angles)
        mean, spread = self.quant_conv(self.enc_norm(x)).float().chunk(2, -1)
        return mean, spread.clamp(-30, 20)

    def decode_pictures(self, tokens: Tensor) -> Tensor:
        """Pictures (b, 3, h, w), not yet clamped to [-1, 1], of latent tokens (b, n, c)."""
        x = self.post_quant_conv(tokens.to(self.predictor.weight).contiguous())
        angles = self.angles(self.config.decoder_dim // self.config.decoder_heads)
        for block in self.decoder:
            x = block(x, angles)
        p = self.config.patch
        x = self.predictor(self.dec_norm(x)).float()  # (b, n, 3 * p * p)
        x = x.unflatten(2, (3, p, p)).unflatten(1, self.config.grid)  # (b, rows, columns, 3, p, p)
        return x.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)

    def encode(self, frames: Tensor) -> Tensor:
        """Latents (b, f, c, h, w) of frames (b, f, 3, h, w), of which there may be none."""
        b, f = frames.shape[:2]
        rows, columns = self.config.grid
        if f == 0:
            return frames.new_zeros(b, 0, self.config.channels, rows, columns)
        mean, _ = self.encode_pictures(frames.flatten(0, 1))
        latents = mean.transpose(1, 2).unflatten(2, (rows, columns)) * self.config.scale
        return latents.unflatten(0, (b, f))

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (b, f, 3, h, w), clamped to [-1, 1], of latents (b, f, c, h, w)."""
        tokens = latents.flatten(0, 1).flatten(2).transpose(1, 2) / self.config.scale
        return self.decode_pictures(tokens).clamp(-1, 1).unflatten(0, latents.shape[:2])


# The makers' files


def own_name(name: str) -> str:
    """The one name of a tensor that the makers' files may hold under many: rotary frequencies are in every block."""
    name = re.sub(r"^blocks\.\d+\.s_attn\.rotary_emb\.", "spatial_rotary_emb.", name)
    return re.sub(r"^blocks\.\d+\.t_attn\.rotary_emb\.", "temporal_rotary_emb.", name)


def may_lack(name: str) -> bool:
    """Whether a file may leave a tensor out, because the config tells it."""
    return name.endswith("_rotary_emb.freqs")


ARCHITECTURE = Architecture(
    "oasis",
    OasisConfig,
    OasisDiT,
    OasisCodecConfig,
    OasisCodec,
    Past,
    half_codec=True,
    own_name=own_name,
    may_lack=may_lack,
)
