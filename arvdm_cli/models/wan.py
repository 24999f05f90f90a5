"""Wan and its kin that denoise frame by frame: SkyReels-V2, Self-Forcing, Rolling Forcing, under diffusers' names.

What such a network counts as a frame is a latent of four frames. A prompt of text is its action: a row says which of
the prompts that were set leads into a frame, a row of zeros the negative one.

Source: Wan Team, "Wan: Open and Advanced Large-Scale Video Generative Models", arXiv 2503.20314; a level for each
frame: SkyReels-V2, arXiv 2504.13074; keys and values of the past: Self-Forcing, arXiv 2506.08009.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..sampling.memory import Memory
from .architecture import Architecture
from .layers import (
    EPS,
    KV,
    FeedForward,
    KVCache,
    Turns,
    attend,
    grid_turns,
    patchify,
    rms_norm,
    sinusoids,
    turn,
    unpatchify,
)
from .wan_codec import WanCodec, WanCodecConfig
from .wan_names import own_name, stays_single

ATTENTIONS = ("full", "block", "window")
TIMES = ("exact", "floor")


@dataclass(frozen=True)
class WanConfig:
    """Shape of a Wan; saved beside its weights as config.json."""

    channels: int = 16  # of a latent
    height: int = 60  # of a latent
    width: int = 104  # of a latent
    patch: int = 2  # latent pixels per token side
    dim: int = 1536  # features per token
    depth: int = 30  # transformer blocks
    heads: int = 12
    mlp: int = 8960  # width of the MLPs
    text: int = 4096  # features of a token of text
    tokens: int = 512  # of text in a prompt
    frequencies: int = 256  # features that tell a level
    cross_norm: bool = True  # whether tokens are normalised before they look at the text
    attention: str = "block"  # full: all frames see each other; block: also those before; window: a window sees all
    block: int = 3  # frames that see each other under block, and in the past under window
    time: str = "exact"  # how 1000 times a level enters; floor: whole, at most 999
    rates: bool = False  # whether the network knows frame rates
    rate: int = 1  # of them, which one: 0 for 16 frames a second, 1 for 24
    actions: int = 0  # prompts are set when a video begins

    def __post_init__(self) -> None:
        sizes = (self.channels, self.patch, self.dim, self.depth, self.heads, self.mlp, self.block)
        if min(*sizes, self.height, self.width, self.text, self.tokens, self.frequencies) < 1:
            raise ConfigError("The sizes of a Wan are above 0.")
        if self.frequencies % 2:
            raise ConfigError(f"frequencies is {self.frequencies}, not an even number.")
        if self.dim % self.heads or self.dim // self.heads % 2 or self.dim // self.heads < 6:
            raise ConfigError(f"dim is {self.dim}, not {self.heads} heads of an even number of features from 6 on.")
        if self.height % self.patch or self.width % self.patch:
            raise ConfigError(f"Patches of {self.patch} do not divide latents of {self.width}x{self.height}.")
        for name, value, known in (("attention", self.attention, ATTENTIONS), ("time", self.time, TIMES)):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}.", hint=f"Choose from: {', '.join(known)}.")
        if self.rate not in (0, 1) or self.actions:
            raise ConfigError("rate is 0 or 1, and actions is 0: prompts are set when a video begins.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens."""
        return self.height // self.patch, self.width // self.patch

    @property
    def rotary(self) -> tuple[int, int, int]:
        """Features of a head that tell frame, row and column."""
        head = self.dim // self.heads
        side = 2 * (head // 6)
        return head - 2 * side, side, side

    def turns(self, first: int, frames: int, device: torch.device | str = "cpu") -> Turns:
        """Rotary angles (f * n, pairs) of all tokens of frames, of which the first stands at a position."""
        times = torch.arange(first, first + frames, dtype=torch.float64)
        rows, columns = (torch.arange(side, dtype=torch.float64) for side in self.grid)
        cos, sin = grid_turns((times, rows, columns), self.rotary)
        return cos.to(device), sin.to(device)


def scaled(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Tokens (b, f, n, d) normalised, shifted and scaled by (b, f, 1, d), in single precision as in training."""
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=EPS), 1 + scale).to(x)


class Attention(nn.Module):
    """Multi-head attention whose queries and keys are normalised over all heads."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q, self.norm_k = (nn.RMSNorm(dim, eps=EPS) for _ in range(2))

    def query(self, x: Tensor) -> Tensor:
        """Queries (b, heads, n, d / heads) of tokens (b, n, d)."""
        return self.split(rms_norm(self.to_q(x), EPS) * self.norm_q.weight)

    def keys(self, x: Tensor) -> KV:
        """Keys and values (b, heads, n, d / heads) of tokens (b, n, d)."""
        return self.split(rms_norm(self.to_k(x), EPS) * self.norm_k.weight), self.split(self.to_v(x))

    def split(self, x: Tensor) -> Tensor:
        """Tokens (b, n, d) as heads (b, heads, n, d / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """Heads (b, heads, n, d / heads) back to tokens (b, n, d)."""
        return self.to_out[0](x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention over frames, attention to text, and an MLP; the first and last are modulated by each frame's level."""

    def __init__(self, config: WanConfig):
        super().__init__()
        dim = config.dim
        self.attn1, self.attn2 = Attention(dim, config.heads), Attention(dim, config.heads)
        self.norm2 = nn.LayerNorm(dim, EPS) if config.cross_norm else nn.Identity()
        self.ffn = FeedForward(dim, config.mlp)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        turns: Turns,
        past: KVCache,
        prompts: Tensor,
        texts: list[KV],
        mask: Tensor | None,
        last: bool,
    ) -> tuple[Tensor, KV]:
        """Advance tokens (b, f, n, d), modulated by (b, f, 6, d), on top of the past.

        prompts: (b, f), which of `texts` leads into each frame; texts: keys and values of each
        mask: (f * n, m), True where a token may look; None: everywhere; last: whether only keys and values are needed
        Returns the tokens and their own keys, not turned, and values.
        """
        parts = (self.scale_shift_table + modulation.float()).unsqueeze(3).unbind(2)  # 6 of (b, f, 1, d)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
        f, n = x.shape[1:3]
        entering = scaled(x, shift, scale).flatten(1, 2)
        keys, values = self.attn1.keys(entering)
        if last:
            return x, (keys, values)
        seen = attend(turn(self.attn1.query(entering), turns), *past.append(turn(keys, turns), values), mask)
        x = torch.addcmul(x.float(), gate, self.attn1.join(seen).unflatten(1, (f, n)).float()).to(x)
        x = x + self.read(self.norm2(x.float()).to(x), prompts, texts)  # its weights stay single
        update = self.ffn(scaled(x, mlp_shift, mlp_scale)).float()
        return torch.addcmul(x.float(), mlp_gate, update).to(x), (keys, values)

    def read(self, x: Tensor, prompts: Tensor, texts: list[KV]) -> Tensor:
        """What tokens (b, f, n, d) read in the texts of their frames."""
        f, n = x.shape[1:3]
        queries = self.attn2.query(x.flatten(1, 2)).unflatten(2, (f, n)).movedim(2, 1)  # (b, f, heads, n, d / heads)
        seen = torch.empty_like(queries)
        for number in sorted(set(prompts.flatten().tolist())):
            readers = prompts == number  # (b, f)
            part = queries[readers].transpose(0, 1).flatten(1, 2).unsqueeze(0)  # (1, heads, m * n, d / heads)
            seen[readers] = attend(part, *texts[number])[0].unflatten(1, (-1, n)).transpose(0, 1)
        return self.attn2.join(seen.movedim(1, 2).flatten(2, 3)).unflatten(1, (f, n))


Frames = tuple[Tensor, Tensor, Tensor]  # latents (b, f, c, h, w), their levels (b, f), their actions (b, f, a)


def follow(before: Frames | None, after: Frames) -> Frames:
    """Frames after others, where there are some."""
    if before is None:
        return after
    latents, levels, actions = (torch.cat(pair, 1) for pair in zip(before, after, strict=True))
    return latents, levels, actions


def cut(frames: Frames, first: int, end: int | None = None) -> Frames:
    """A part of some frames."""
    latents, levels, actions = (part[:, first:end] for part in frames)
    return latents, levels, actions


@dataclass(frozen=True)
class Past:
    """The past as the network encoded it: keys and values, or clean frames where all frames see each other."""

    keys: list[KVCache]  # per block, of memory and context, turned to their positions
    context: list[KV]  # per block, of context alone, the keys not turned
    frames: int = 0  # of context
    position: int = 0  # of the window's first frame
    clean: Frames | None = None  # of context, where all frames see each other
    memory: Frames | None = None  # before them

    def drop(self, frames: int) -> Past | None:
        """Drop the oldest frames; what the others saw of them stays in their keys and values."""
        if frames >= self.frames:
            return None
        context = self.context
        if context:
            first = frames * (context[0][0].shape[2] // self.frames)
            context = [(k[:, :, first:], v[:, :, first:]) for k, v in context]
        return Past([], context, self.frames - frames, clean=self.clean and cut(self.clean, frames))


@dataclass(frozen=True)
class OldFrames:
    """Memory as it was encoded: each group sees those before it."""

    frames: int
    keys: list[KV]  # per block, not turned
    clean: Frames | None  # where all frames see each other


class Wan(nn.Module):
    """A transformer over memory, context and window, with a noise level and a prompt for every frame."""

    takes_prompts = True  # of text, by `set_prompts`

    def __init__(self, config: WanConfig):
        super().__init__()
        self.config = config
        dim, patch = config.dim, (1, config.patch, config.patch)
        self.patch_embedding = nn.Conv3d(config.channels, dim, patch, patch)
        levels = nn.ModuleDict({"linear_1": nn.Linear(config.frequencies, dim), "linear_2": nn.Linear(dim, dim)})
        text = nn.ModuleDict({"linear_1": nn.Linear(config.text, dim), "linear_2": nn.Linear(dim, dim)})
        self.condition_embedder = nn.ModuleDict(
            {"time_embedder": levels, "time_proj": nn.Linear(dim, 6 * dim), "text_embedder": text}
        )
        if config.rates:
            self.fps_embedding = nn.Embedding(2, dim)
            self.fps_projection = FeedForward(dim, dim, 6 * dim, nn.SiLU())
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.proj_out = nn.Linear(dim, config.channels * config.patch**2)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        # numbers, also where the network is built without any: no file holds them
        self.set_prompts(torch.zeros(1, config.tokens, config.text, device="cpu"))

    @property
    def group(self) -> int:
        """Frames that enter memory together."""
        return self.config.block

    def set_prompts(self, embeddings: Tensor) -> None:
        """Set what a video is prompted by: (p + 1, n, text) features of tokens, the first for an action of zeros.

        Source: the encoder of a checkpoint's text; tokens behind the last of a prompt are zeros, and are seen.
        """
        self.embeddings = embeddings
        self.texts: list[list[KV]] = [[]]

    def prompts(self, actions: Tensor) -> Tensor:
        """Which prompt leads into each frame, (b, f), of actions (b, f, a)."""
        if self.embeddings.shape[0] == 1:
            return torch.zeros(actions.shape[:2], dtype=torch.long, device=actions.device)
        return torch.where((actions == 0).all(-1), 0, 1 + actions.argmax(-1))

    def read_texts(self) -> list[list[KV]]:
        """Keys and values (1, heads, n, d / heads) of each prompt, per block; computed when first used."""
        weight = self.proj_out.weight
        if not self.texts[0] or self.texts[0][0][0].device != weight.device:
            widen, narrow = self.condition_embedder["text_embedder"].values()  # type: ignore[operator]
            texts = [narrow(F.gelu(widen(text.to(weight)), approximate="tanh")) for text in self.embeddings.split(1)]
            self.texts = [[block.attn2.keys(text) for text in texts] for block in self.blocks]  # type: ignore
        return self.texts

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor:
        """Poses (b, f, 3): a prompt leads nowhere."""
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)

    # What enters: tokens, and what modulates them

    def embed_levels(self, levels: Tensor) -> Tensor:
        """Embeddings (b, f, d) of noise levels (b, f)."""
        times = 1000 * levels.float()
        if self.config.time == "floor":
            times = times.floor().clamp(max=999)
        layers = self.condition_embedder["time_embedder"]
        waves = sinusoids(times, self.config.frequencies).to(layers["linear_1"].weight)  # type: ignore[index]
        return layers["linear_2"](F.silu(layers["linear_1"](waves)))  # type: ignore[index]

    def enter(self, latents: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (b, f, n, d) of frames (b, f, c, h, w), embeddings (b, f, d) of their levels (b, f), modulations.

        Modulations are (b, f, 6, d): shift, scale and gate of attention, then of the MLP.
        """
        weight = self.patch_embedding.weight.flatten(1)
        x = F.linear(patchify(latents, self.config.patch).to(weight), weight, self.patch_embedding.bias)
        condition = self.embed_levels(levels).to(x)
        modulation = self.condition_embedder["time_proj"](F.silu(condition)).unflatten(-1, (6, -1))
        if self.config.rates:
            modulation = modulation + self.fps_projection(self.fps_embedding.weight[self.config.rate]).unflatten(
                -1, (6, -1)
            )
        return x, condition, modulation

    def run(
        self,
        x: Tensor,
        modulation: Tensor,
        actions: Tensor,
        turns: Turns,
        past: list[KVCache],
        mask: Tensor | None = None,
        keys_only: bool = False,
    ) -> tuple[Tensor, list[KV]]:
        """Tokens (b, f, n, d) after all blocks, and of each block their keys, not turned, and values."""
        prompts, texts, keys = self.prompts(actions), self.read_texts(), []
        for i, block in enumerate(self.blocks):
            last = keys_only and i + 1 == self.config.depth
            x, kv = block(x, modulation, turns, past[i] if past else KVCache(), prompts, texts[i], mask, last)
            keys.append(kv)
        return x, keys

    # The past

    def empty_memory(self, batch: int, device: torch.device | str) -> Memory:
        """Memory before anything was seen."""
        (rows, columns), features = self.config.grid, self.config.channels * self.config.patch**2
        prompts, group = self.embeddings.shape[0] - 1, self.group
        return Memory.empty(batch, group * rows * columns, features, prompts, device, instants=group)

    def compress(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Memory tokens (b, g * n, c * p * p) of a group (b, g, c, h, w): the latents themselves."""
        return patchify(latents, self.config.patch).flatten(1, 2)

    def encode_memory(self, memory: Memory, earlier: OldFrames | None = None) -> OldFrames:
        """Encode memory as clean frames that follow each other, whatever was between them."""
        frames = len(memory) * self.group
        n = self.config.grid[0] * self.config.grid[1]
        tokens = memory.tokens.flatten(1, 2).unflatten(1, (frames, n))  # (b, f, n, c * p * p)
        latents = unpatchify(tokens, self.config.patch, self.config.grid)
        clean = latents, latents.new_zeros(latents.shape[:2]), memory.actions
        if self.config.attention == "full":
            return OldFrames(frames, [], clean)
        return OldFrames(frames, self.encode(clean, []), None)

    def encode(self, clean: Frames, before: list[KV]) -> list[KV]:
        """Keys, not turned, and values, per block, of `before` and of clean frames after it, block by block."""
        keys, f = before, clean[0].shape[1]
        for first, end in pairwise(edges(f, self.config.block)):
            latents, levels, actions = cut(clean, first, end)
            x, _, modulation = self.enter(latents, levels)
            turns = self.config.turns(self.count(keys), end - first, x.device)
            _, new = self.run(x, modulation, actions, turns, self.lay(keys), keys_only=True)
            # laid out as a saved state lays them out, so that products of them are the same to the bit
            keys = (
                [extend(old, kv) for old, kv in zip(keys, new, strict=True)] if keys else [laid_out(kv) for kv in new]
            )
        return keys

    def count(self, keys: list[KV]) -> int:
        """Frames that keys and values are of."""
        rows, columns = self.config.grid
        return keys[0][0].shape[2] // (rows * columns) if keys else 0

    def lay(self, keys: list[KV]) -> list[KVCache]:
        """Per block, keys turned to their positions, of which the first is 0, and values."""
        if not self.count(keys):
            return []
        turns = self.config.turns(0, self.count(keys), keys[0][0].device)
        return [KVCache((turn(k, turns), v)) for k, v in keys]

    def encode_context(
        self,
        context: Tensor,
        levels: Tensor,
        actions: Tensor,
        origin: Tensor,
        memory: OldFrames | None = None,
        *,
        past: Past | None = None,
    ) -> Past:
        """Encode the context, clean frames (b, f, c, h, w) at reported `levels` (b, f), on top of memory.

        actions: (b, f, a), memory: as `encode_memory` returned it
        past: frames right before them, which stay as they were encoded
        """
        past, clean = past or Past([], []), (context, levels, actions)
        old, frames = memory.frames if memory else 0, past.frames + context.shape[1]
        if self.config.attention == "full":
            whole = follow(past.clean, clean)
            return Past([], [], frames, old + frames, whole, memory.clean if memory and old else None)
        remembered = memory.keys if memory and old else []
        cached = (
            [extend(a, b) for a, b in zip(remembered, past.context, strict=True)]
            if past.frames and old
            else (remembered or past.context)
        )
        keys = self.encode(clean, cached)
        first = old * self.config.grid[0] * self.config.grid[1]
        return Past(self.lay(keys), [(k[:, :, first:], v[:, :, first:]) for k, v in keys], frames, old + frames)

    def advance(self, past: Past, frames: Tensor, actions: Tensor) -> Past:
        """Return the same past, for a window that begins after `frames` (b, f, c, h, w)."""
        return replace(past, position=past.position + frames.shape[1])

    def forward(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        """Predict the velocity of a noisy window (b, f, c, h, w) at `levels` (b, f) with actions (b, f, a)."""
        f = window.shape[1]
        if self.config.attention == "full":
            return self.predict_jointly(window, levels, actions, past)
        x, condition, modulation = self.enter(window, levels)
        mask = self.mask(f, past) if self.config.attention == "block" and f > self.config.block else None
        turns = self.config.turns(past.position, f, x.device)
        x, _ = self.run(x, modulation, actions, turns, past.keys, mask)
        return self.leave(x, condition)

    def predict_jointly(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        """Velocity of a window, computed together with the clean frames before it."""
        whole = follow(past.memory, follow(past.clean, (window, levels, actions)))
        f = window.shape[1]
        before, own = self.config.turns(0, whole[0].shape[1] - f), self.config.turns(past.position, f)
        turns = torch.cat((before[0], own[0])).to(window.device), torch.cat((before[1], own[1])).to(window.device)
        x, condition, modulation = self.enter(*whole[:2])
        x, _ = self.run(x, modulation, whole[2], turns, [])
        return self.leave(x[:, -f:], condition[:, -f:])

    def mask(self, frames: int, past: Past) -> Tensor:
        """Where tokens of a window may look, (f * n, m): at all before it, and at its blocks up to their own."""
        n = self.config.grid[0] * self.config.grid[1]
        number = torch.arange(frames, device=self.proj_out.weight.device) // self.config.block
        mask = (number.unsqueeze(1) >= number).repeat_interleave(n, 0).repeat_interleave(n, 1)
        return F.pad(mask, (past.keys[0].length if past.keys else 0, 0), value=True)

    def leave(self, x: Tensor, condition: Tensor) -> Tensor:
        """Velocities (b, f, c, h, w) that tokens (b, f, n, d) end as."""
        shift, scale = (self.scale_shift_table + condition.unsqueeze(2).float()).unsqueeze(3).unbind(2)
        x = self.proj_out(scaled(x, shift, scale))  # (b, f, n, p * p * c)
        x = x.unflatten(-1, (-1, self.config.channels)).transpose(-1, -2).flatten(-2)
        return unpatchify(x, self.config.patch, self.config.grid).float()


def edges(frames: int, block: int) -> list[int]:
    """Where blocks of clean frames begin and end: the newest are whole, as they were denoised together."""
    return sorted({0, *range(frames, 0, -block)})


def laid_out(kv: KV) -> KV:
    """Keys and values (b, heads, n, d / heads) with the tokens of a head side by side."""
    return kv[0].contiguous(), kv[1].contiguous()


def extend(before: KV, after: KV) -> KV:
    """Keys and values of some tokens and of those after them."""
    return torch.cat((before[0], after[0]), 2), torch.cat((before[1], after[1]), 2)


ARCHITECTURE = Architecture(
    "wan", WanConfig, Wan, WanCodecConfig, WanCodec, Past, own_name=own_name, stays_single=stays_single
)
