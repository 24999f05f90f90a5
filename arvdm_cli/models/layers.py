"""Parts of a video transformer: attention, rotary positions, adaptive norm, MLP."""

import math
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..device import fast_half

# A token stands at a time, a place in the picture, and the place in the world its frame was seen from.
AXES = ("time", "row", "column", "x", "y", "heading")

# Periods of the rotary angles on each axis, in its unit: frames, latent cells, world cells, degrees.
# On the heading they divide 360, so that after a full turn a place is found again exactly.
PERIODS = {
    "time": (4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    "row": (2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
    "column": (2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
    "x": (1.0, 2.0, 4.0, 16.0),
    "y": (1.0, 2.0, 4.0, 16.0),
    "heading": (22.5, 45.0, 90.0, 180.0, 360.0, 360.0),
}
HEAD = 2 * sum(map(len, PERIODS.values()))  # features per attention head
EPS = 1e-6  # added to a variance, so that nothing is divided by 0

Angles = tuple[Tensor, Tensor]  # cosines and sines (b, 1, n, HEAD) of rotary positions, as `rotate` takes them
KV = tuple[Tensor, Tensor]  # keys and values (b, heads, n, HEAD)


def rotary_angles(positions: Tensor) -> Angles:
    """Angles for positions (b, n, axes)."""
    periods = positions.new_tensor([period for axis in AXES for period in PERIODS[axis]])
    axis = torch.tensor([i for i, name in enumerate(AXES) for _ in PERIODS[name]], device=positions.device)
    turns = positions[..., axis] / periods  # (b, n, HEAD / 2)
    angles = 2 * math.pi * (turns - turns.round()).unsqueeze(1)  # small, so that float32 holds however long the video
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Turn the pairs of features, one of each half, of x (..., HEAD) by their angles."""
    cos, sin = angles[0].to(x), angles[1].to(x)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def delay(x: Tensor, times: Tensor) -> Tensor:
    """Turn the features of x (..., b, heads, n, k, HEAD), where tokens stand so much later, by times (b, n)."""
    angles = rotary_angles(F.pad(times.unsqueeze(-1), (0, len(AXES) - 1)))  # time is the first axis
    pairs = len(PERIODS["time"])  # those that turn; the others stay as they are
    halves = slice(pairs), slice(HEAD // 2, HEAD // 2 + pairs)
    features, cos, sin = (torch.cat([t[..., half] for half in halves], -1) for t in (x, *angles))
    features = rotate(features, (cos.unsqueeze(3), sin.unsqueeze(3)))
    x = x.clone()
    x[..., halves[0]], x[..., halves[1]] = features.chunk(2, -1)
    return x


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """Scale the features of x (..., d) to a mean square of 1."""
    if x.device.type != "cpu":
        return F.rms_norm(x, x.shape[-1:], eps=eps)
    # on CPUs that is many operations
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x * (size.square() / x.shape[-1] + eps).rsqrt().to(x)


# Rotary positions of foreign networks: neighbouring features (2i, 2i + 1) turn together

Turns = tuple[Tensor, Tensor]  # cosines and sines (n, pairs)


def grid_turns(axes: Sequence[Tensor], features: Sequence[int]) -> Turns:
    """Turns (n, pairs) of tokens on a grid, in single precision.

    axes: the places on each axis, such as frames, rows and columns, in double precision, so that turns hold however
        long the video; features: of a head, how many tell each axis
    """
    positions = torch.cartesian_prod(*axes)  # (n, axes)
    parts = []
    for i, width in enumerate(features):
        frequencies = 10_000 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        parts.append(positions[:, i : i + 1] * frequencies)
    angles = torch.cat(parts, 1)
    return angles.cos().float(), angles.sin().float()


def turn(heads: Tensor, turns: Turns) -> Tensor:
    """Heads (b, heads, n, d / heads) at their positions, computed in single precision."""
    pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.complex(*turns)).flatten(-2).to(heads)


class FeedForward(nn.Module):
    """Two linears about an activation, under diffusers' names.

    width: between them; out: features at the end, None for `dim`
    """

    def __init__(self, dim: int, width: int, out: int | None = None, activation: nn.Module | None = None):
        super().__init__()
        widen = nn.ModuleDict({"proj": nn.Linear(dim, width)})
        self.net = nn.ModuleList([widen, activation or nn.GELU("tanh"), nn.Linear(width, out or dim)])

    def forward(self, x: Tensor) -> Tensor:
        widen, activate, narrow = self.net
        return narrow(activate(widen["proj"](x)))  # type: ignore[index]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of (b, heads, n, HEAD) queries; mask (n, m) is True where a query may look."""
    halved = q.dtype == torch.bfloat16 and fast_half(q.device)
    if q.device.type == "cpu" and (torch.is_grad_enabled() or halved):
        # the fused kernel's backward pass is slower than the plain products on short sequences; in bfloat16 it
        # multiplies at the rate of float32
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:  # added once, and needed by no backward pass
            scores.add_(torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, float("-inf")))
        return scores.softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def embed_actions(actions: int, features: int, bias: bool = True) -> nn.Linear:
    """A linear map of actions, which may be none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(actions, features, bias)


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys and rotary positions."""

    def __init__(self, dim: int):
        super().__init__()
        if dim % HEAD:
            raise ValueError(f"dim must be a multiple of {HEAD}, not {dim}")
        self.heads = dim // HEAD
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.q_norm = nn.RMSNorm(HEAD, eps=EPS)
        self.k_norm = nn.RMSNorm(HEAD, eps=EPS)

    def project(self, x: Tensor, angles: Angles) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (b, heads, n, HEAD) of tokens (b, n, d)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        weights = torch.cat((self.q_norm.weight, self.k_norm.weight)).view(2, 1, 1, 1, HEAD)
        q, k = rotate(rms_norm(qkv[:2], EPS) * weights, angles)
        return q, k, qkv[2]

    def join(self, x: Tensor) -> Tensor:
        """Heads (b, heads, n, HEAD) back to tokens (b, n, d)."""
        return self.out(x.transpose(1, 2).flatten(2))


class KVCache:
    """Keys and values (b, heads, n, HEAD) in parts that stand one after the other, and behind them room for a window's.

    The parts are laid into one piece when a window first looks at them, not at every denoising step again.
    """

    def __init__(self, *parts: KV):
        self.parts = parts
        self.length = sum(k.shape[2] for k, _ in parts)
        self._joined: KV | None = None

    def __len__(self) -> int:
        return self.length

    def allocate(self, n: int) -> KV:
        """Lay all parts into one piece, with room for `n` tokens of a window behind them."""
        if self._joined is None or self._joined[0].shape[2] < self.length + n:
            room = self.parts[0][0]
            room = room.new_empty(*room.shape[:2], n, room.shape[3])
            keys, values = zip(*self.parts, strict=True)
            self._joined = torch.cat((*keys, room), 2), torch.cat((*values, room), 2)
        return self._joined

    def append(self, keys: Tensor, values: Tensor) -> KV:
        """Return those of all parts and of a window, (b, heads, n, HEAD); they hold until this is called again."""
        if not self.length:
            return keys, values
        if torch.is_grad_enabled():
            parts = (*self.parts, (keys, values))
            return torch.cat([k for k, _ in parts], 2), torch.cat([v for _, v in parts], 2)
        all_keys, all_values = self.allocate(keys.shape[2])
        before, end = self.length, self.length + keys.shape[2]
        all_keys[:, :, before:end], all_values[:, :, before:end] = keys, values
        return all_keys[:, :, :end], all_values[:, :, :end]


class Block(nn.Module):
    """A transformer block whose norms are modulated per frame by a condition (adaptive norm, zero at the start).

    Source: DiT, arXiv 2212.09748.
    """

    def __init__(self, dim: int, condition: int, mlp: int = 4):
        super().__init__()
        modulation, last = nn.Linear(condition, 6 * dim), nn.Linear(mlp * dim, dim)
        self.modulation = nn.Sequential(nn.SiLU(), modulation)
        self.attention = Attention(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp * dim), nn.GELU("tanh"), last)
        for zero in (modulation.weight, modulation.bias, self.attention.out.weight, last.weight, last.bias):
            nn.init.zeros_(zero)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        angles: Angles,
        past: KVCache | None = None,
        mask: Tensor | None = None,
        last: bool = False,
    ) -> tuple[Tensor, KV]:
        """Advance tokens (b, f, n, d), modulated by (b, f, condition); `past` holds what they may look at.

        last: whether nothing looks at the tokens again, so that only their keys and values are needed
        Returns the tokens and their own keys and values (b, heads, f * n, HEAD).
        """
        f, n = x.shape[1:3]
        modulation = self.modulation(condition).unflatten(-1, (2, 1, 3, -1))  # (b, f, attention or MLP, 1, 3, d)
        (shift, mlp_shift), scales = modulation[..., 0, :].unbind(2), 1 + modulation[..., 1:, :]
        (scale, gate), (mlp_scale, mlp_gate) = (part.unbind(3) for part in scales.unbind(2))  # (b, f, 1, d)
        q, k, v = self.attention.project(torch.addcmul(shift, normalise(x), scale).flatten(1, 2), angles)
        if last:
            return x, (k, v)
        keys, values = (k, v) if past is None else past.append(k, v)
        x = torch.addcmul(x, self.attention.join(attend(q, keys, values, mask)).unflatten(1, (f, n)), gate)
        return torch.addcmul(x, self.mlp(torch.addcmul(mlp_shift, normalise(x), mlp_scale)), mlp_gate), (k, v)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut latents (b, f, c, h, w) into tokens (b, f, n, c * p * p)."""
    x = x.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # (b, f, c, h/p, p, w/p, p)
    x = x.permute(0, 1, 3, 5, 2, 4, 6)  # (b, f, h/p, w/p, c, p, p)
    return x.flatten(4).flatten(2, 3)  # (b, f, n, c * p * p)


def unpatchify(x: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Lay tokens (b, f, n, c * p * p) of a grid of n back into latents (b, f, c, h, w)."""
    x = x.unflatten(3, (-1, patch, patch)).unflatten(2, grid)  # (b, f, h/p, w/p, c, p, p)
    x = x.permute(0, 1, 4, 2, 5, 3, 6)  # (b, f, c, h/p, p, w/p, p)
    return x.flatten(5, 6).flatten(3, 4)  # (b, f, c, h, w)


def normalise(x: Tensor) -> Tensor:
    """Shift and scale the features of each token (..., d) to mean 0 and variance 1."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


def sinusoids(x: Tensor, features: int, longest: float = 10_000.0) -> Tensor:
    """Cosines and sines of x at `features` / 2 frequencies from 1 down to 1 / longest: (..., features)."""
    half = features // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = x.float().unsqueeze(-1) * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)
