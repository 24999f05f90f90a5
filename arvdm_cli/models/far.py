"""FAR: a long-context next-frame transformer, under the names of its makers' weights.

The newest frames enter at full detail, each older one as a few tokens: these are arvdm's memory, in groups of one
frame, prepended. FAR itself keeps every frame for ever, and was trained on up to 299 before the new one. Where memory
is full, one of the evictions of `sampling/memory.py` drops a frame, which is arvdm's addition.

Source: Gu et al., "Long-Context Autoregressive Video Modeling with Next-Frame Prediction", arXiv 2503.19325.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..sampling.memory import Memory
from .architecture import Architecture
from .dcae import DCAE, DCAEConfig
from .layers import EPS, KV, FeedForward, KVCache, Turns, attend, grid_turns, patchify, rms_norm, turn, unpatchify
from .oasis import modulated

CLEAN = -1.0  # what the network calls the level of a clean frame; others are 1000 times ours
BLOCK = 16  # old frames that are encoded together, where all of them are there
QUERIES = 64  # tokens that look at once on a CPU: large products, and few keys that only some of the tokens see
MODULATIONS = 256  # of the window's frame that are kept for later: FAR's 50 levels with 5 kinds of action, and some


@dataclass(frozen=True)
class FARConfig:
    """Shape of a FAR; saved beside its weights as config.json."""

    channels: int = 32  # of a latent
    height: int = 8  # of a latent
    width: int = 8  # of a latent
    patch: int = 1  # latent pixels per token side, of the window and context
    memory_patch: int = 4  # of frames in memory
    dim: int = 768  # features per token
    depth: int = 12  # transformer blocks
    heads: int = 12
    rotary: tuple[int, ...] = (16, 24, 24)  # features of a head that tell frame, row and column
    classes: int = 4  # kinds of action that the network was built with, one to a frame
    actions: int = 4  # of these, those that the data has; 0 for data without actions
    labels_follow: bool = False  # a frame carries the action taken after it, not the one that led into it
    bfloat16_positions: bool = False  # round the numbers of frames as the makers did: above 256 neighbours coincide

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotary", tuple(map(int, self.rotary)))
        sizes = (self.channels, self.patch, self.memory_patch, self.dim, self.depth, self.heads, self.classes)
        if min(*sizes, self.height, self.width) < 1 or self.actions < 0:
            raise ConfigError("The sizes of a FAR are above 0.")
        if len(self.rotary) != 3 or any(d < 2 or d % 2 for d in self.rotary):
            raise ConfigError(f"rotary is {self.rotary}.", hint="Give three even numbers above 0.")
        if self.dim != self.heads * sum(self.rotary):
            raise ConfigError(f"dim is {self.dim}, not {self.heads} heads of {sum(self.rotary)} features.")
        if any(side % p for side in (self.height, self.width) for p in (self.patch, self.memory_patch)):
            raise ConfigError(f"Patches of {self.patch} and {self.memory_patch} do not divide the latent's sides.")
        if self.actions > self.classes:
            raise ConfigError(
                f"There are {self.actions} actions, but {self.classes} classes.",
                hint=f"Set classes to {self.actions} or more.",
            )
        if self.memory_patch % self.patch:
            raise ConfigError(f"memory_patch is {self.memory_patch}, not a multiple of patch.")

    def grid(self, patch: int) -> tuple[int, int]:
        """Rows and columns of a frame's tokens."""
        return self.height // patch, self.width // patch

    def angles(self, frames: Tensor, patch: int) -> Turns:
        """Rotary angles (f * n, pairs) of all tokens of frames that stand at positions (f,)."""
        # in double precision, which the CPU always has
        times = frames.cpu().double()
        if self.bfloat16_positions:
            times = times.bfloat16().double()
        apart = patch // self.patch  # a token stands where its first corner does
        rows, columns = (torch.arange(side, dtype=torch.float64) * apart for side in self.grid(patch))
        cos, sin = grid_turns((times, rows, columns), self.rotary)
        return cos.to(frames.device), sin.to(frames.device)


def waves(times: Tensor) -> Tensor:
    """Cosines and sines (..., 256) of levels in the network's own scale."""
    # in this order and precision, as the weights were trained with: another moves the angles near 1000 by 6e-5
    index = torch.arange(128, dtype=torch.float32, device=times.device)
    angles = times.float().unsqueeze(-1) * torch.exp(-math.log(10_000) * index / 127)
    return torch.cat((angles.cos(), angles.sin()), -1)


def attend_to_past(q: Tensor, keys: Tensor, values: Tensor, frames: int) -> Tensor:
    """Attention of `frames` (b, heads, f * n, d), the newest of the keys: each sees those up to itself.

    On a CPU a few frames look at once, so that products with keys that they must not see are not computed.
    """
    n, before = q.shape[2] // frames, keys.shape[2] - q.shape[2]
    size = max(1, QUERIES // n) if q.device.type == "cpu" else frames
    seen = []
    for first in range(0, frames, size):
        part = q[:, :, first * n : (first + size) * n]
        end, mask = before + first * n + part.shape[2], None
        if part.shape[2] > n:
            number = torch.arange(part.shape[2], device=q.device) // n
            mask = F.pad(number.unsqueeze(1) >= number, (end - part.shape[2], 0), value=True)
        seen.append(attend(part, keys[:, :, :end], values[:, :, :end], mask))
    return torch.cat(seen, 2) if len(seen) > 1 else seen[0]


class Attention(nn.Module):
    """Attention over tokens of two kinds, each with projections and norms of its own."""

    def __init__(self, dim: int, heads: int, last: bool):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.norm_q, self.norm_k = (nn.RMSNorm(dim // heads, eps=EPS) for _ in range(2))
        self.norm_added_q, self.norm_added_k = (nn.RMSNorm(dim // heads, eps=EPS) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.to_add_out = nn.Identity() if last else nn.Linear(dim, dim)  # nothing reads an old frame after it

    def project(self, x: Tensor, old: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (b, heads, n, d / heads) of tokens (b, n, d), not yet turned to their positions."""
        q, k, v = (self.add_q_proj, self.add_k_proj, self.add_v_proj) if old else (self.to_q, self.to_k, self.to_v)
        q_norm, k_norm = (self.norm_added_q, self.norm_added_k) if old else (self.norm_q, self.norm_k)
        queries, keys, values = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return rms_norm(queries, EPS) * q_norm.weight, rms_norm(keys, EPS) * k_norm.weight, values

    def join(self, x: Tensor, old: bool) -> Tensor:
        """Heads (b, heads, n, d / heads) back to tokens (b, n, d)."""
        x = x.transpose(1, 2).flatten(2)
        return self.to_add_out(x) if old else self.to_out[0](x)


Modulation = tuple[Tensor, Tensor]  # of a block's attention, and of its MLP
Modulations = dict[tuple[float, ...], list[Modulation]]  # per block, by the level and action of a window's frame


class Block(nn.Module):
    """Attention and an MLP, modulated by each frame's level and action."""

    def __init__(self, dim: int, heads: int, last: bool):
        super().__init__()
        self.norm1 = nn.ModuleDict({"linear": nn.Linear(dim, 3 * dim)})
        self.norm2 = nn.ModuleDict({"linear": nn.Linear(dim, 3 * dim)})
        self.attn, self.mlp = Attention(dim, heads, last), FeedForward(dim, 4 * dim)

    def modulate(self, condition: Tensor, last: bool = False) -> Modulation:
        """What modulates attention and MLP, (b, f, 3 * d) each, under a condition (b, f, d) after SiLU.

        last: whether only the keys and values are needed, and the MLP is not
        """
        attention = self.norm1["linear"](condition)
        return attention, attention if last else self.norm2["linear"](condition)

    def forward(
        self, x: Tensor, modulation: Modulation, angles: Turns, past: KVCache, old: bool, last: bool
    ) -> tuple[Tensor, KV]:
        """Advance tokens (b, f, n, d), modulated as `modulate` says, on top of the past.

        old: whether the frames are memory's; last: whether only the keys and values are needed
        Returns the tokens and their own keys, not turned, and values.
        """
        shift, scale, gate = modulation[0].chunk(3, -1)
        q, k, v = self.attn.project(modulated(x, shift, scale).flatten(1, 2), old)
        if last:
            return x, (k, v)
        keys, values = past.append(turn(k, angles), v)
        seen = attend_to_past(turn(q, angles), keys, values, x.shape[1])
        x = torch.addcmul(x, gate.unsqueeze(2), self.attn.join(seen, old).unflatten(1, x.shape[1:3]))
        shift, scale, gate = modulation[1].chunk(3, -1)
        return torch.addcmul(x, gate.unsqueeze(2), self.mlp(modulated(x, shift, scale))), (k, v)


@dataclass(frozen=True)
class OldFrames:
    """Memory as it was encoded: each frame sees those before it."""

    memory: Memory
    parts: list[tuple[int, list[KV]]]  # frames that were encoded together, and per block their turned keys, and values
    modulations: Modulations  # of this video's windows so far

    @property
    def position(self) -> int:
        """Where the frame after memory stands; the oldest frame of memory stands at 0."""
        return self.memory.count - int(self.memory.numbers[0]) if len(self.memory) else 0

    def keys(self, block: int) -> list[KV]:
        """Keys and values of one block, oldest first."""
        return [keys[block] for _, keys in self.parts]


@dataclass(frozen=True)
class Past:
    """Memory and context before a window, encoded once."""

    keys: list[KVCache]  # per block, of memory and context; empty when there is nothing
    context: list[KV]  # per block, of context alone, the keys not turned
    frames: int = 0  # of context
    position: int = 0  # of the window's first frame
    modulations: Modulations | None = None  # of the video's windows so far, added to as others come

    def drop(self, frames: int) -> Past | None:
        """Drop the oldest frames; what the others saw of them stays in them."""
        if frames >= self.frames:
            return None
        first = frames * (self.context[0][0].shape[2] // self.frames)
        return Past([], [(k[:, :, first:], v[:, :, first:]) for k, v in self.context], self.frames - frames)


class FAR(nn.Module):
    """A frame-causal transformer over memory, context and window, with a noise level and an action for every frame.

    Of a row of actions the largest counts, as one action leads into a frame; a row of zeros is one that is unknown.
    """

    def __init__(self, config: FARConfig):
        super().__init__()
        self.config = config
        dim, c = config.dim, config.channels
        features, old_features = c * config.patch**2, c * config.memory_patch**2  # latent numbers under one token
        self.x_embedder, self.context_embedder = nn.Linear(features, dim), nn.Linear(old_features, dim)
        self.timestep_embedder = nn.ModuleDict({"linear_1": nn.Linear(256, dim), "linear_2": nn.Linear(dim, dim)})
        self.action_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(config.classes + 1, dim)})
        self.transformer_blocks = nn.ModuleList(
            Block(dim, config.heads, i + 1 == config.depth) for i in range(config.depth)
        )
        self.norm_out = nn.ModuleDict({"linear": nn.Linear(dim, 2 * dim)})
        # what it makes of old frames is never used
        self.proj_out, self.context_proj_out = nn.Linear(dim, features), nn.Linear(dim, old_features)
        self.initialise()

    def initialise(self) -> None:
        """Let every block begin as the identity, and the prediction as zero; as DiT, arXiv 2212.09748."""
        for name, part in self.named_modules():
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.02)
            elif isinstance(part, nn.Linear) and re.search(r"norm(1|2|_out)\.linear$|proj_out$", name):
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)

    def hidden_matrices(self) -> set[str]:
        """Names of the weights that Muon trains: matrices inside blocks, but for those that modulate norms."""
        matrices = (name for name, weight in self.transformer_blocks.named_parameters() if weight.ndim == 2)
        return {f"transformer_blocks.{name}" for name in matrices if not re.search(r"\.norm[12]\.", name)}

    def memory_weights(self) -> set[str]:
        """Names of the weights that only old frames pass through."""
        of_old = re.compile(r"(^context_|\.(add_|to_add_|norm_added_))")
        return {name for name, _ in self.named_parameters() if of_old.search(name)}

    @property
    def group(self) -> int:
        """Frames compressed together."""
        return 1

    @property
    def labels_follow(self) -> bool:
        """Whether a frame carries the action taken after it."""
        return self.config.labels_follow

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor:
        """Poses (b, f, 3): nothing is known of where an action leads."""
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)

    def embed_times(self, times: Tensor) -> Tensor:
        """Embeddings (..., d) of levels in the network's own scale."""
        x = waves(times).to(self.proj_out.weight)
        return self.timestep_embedder["linear_2"](F.silu(self.timestep_embedder["linear_1"](x)))

    def condition(self, times: Tensor, actions: Tensor) -> Tensor:
        """What modulates each frame's norms, (b, f, d): levels (b, f) in the network's scale, actions (b, f, a)."""
        label = torch.full(actions.shape[:-1], self.config.classes, device=actions.device)
        if self.config.actions:
            label = torch.where((actions == 0).all(-1), label, actions.argmax(-1))
        return self.embed_times(times) + self.action_embedder["embedding_table"](label)

    def empty_memory(self, batch: int, device: torch.device | str) -> Memory:
        """Memory before anything was seen."""
        (rows, columns), features = self.config.grid(self.config.memory_patch), self.context_embedder.in_features
        return Memory.empty(batch, rows * columns, features, self.config.actions, device)

    def compress(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Memory tokens (b, k, c * q * q) of a frame (b, 1, c, h, w): its latents, cut into large patches."""
        return patchify(latents, self.config.memory_patch).flatten(1, 2)

    def encode_memory(self, memory: Memory, earlier: OldFrames | None = None) -> OldFrames:
        """Encode memory; while nothing was evicted, frames that were encoded before are not encoded again.

        Memory alone says which frames are encoded together, so that the numbers are the same to the bit whenever that
        is done: the newest one by one, and again as a block when they fill one; all at once where frames were evicted.
        """
        s, done = len(memory), 0
        evicted = memory.count > s
        sizes = [s] if evicted and s else [BLOCK] * (s // BLOCK) + [1] * (s % BLOCK)
        parts: list[tuple[int, list[KV]]] = []
        shared = len(earlier.memory.shared_slots(memory)) if earlier and not evicted else 0
        for i, size in enumerate(sizes):
            if earlier and done + size <= shared and earlier.parts[i][0] == size:
                parts.append(earlier.parts[i])
            else:
                shared = 0
                parts.append(
                    (size, self.encode_old(memory.take(range(done, done + size)), int(memory.numbers[0]), parts))
                )
            done += size
        return OldFrames(memory, parts, earlier.modulations if earlier else {})

    def encode_old(self, memory: Memory, first: int, before: list[tuple[int, list[KV]]]) -> list[KV]:
        """Turned keys, and values, per block, of frames of memory, on top of those before them.

        first: the number of the frame that stands at 0
        """
        past = [KVCache(*(keys[i] for _, keys in before)) for i in range(self.config.depth)]
        x, condition, angles = self.enter_old(memory, first)
        _, keys = self.run(x, condition, angles, past, old=True, keys_only=True)
        return [(turn(k, angles), v) for k, v in keys]

    def enter_old(self, memory: Memory, first: int) -> tuple[Tensor, Tensor, Turns]:
        """Tokens (b, s, k, d) of frames of memory, what modulates them (b, s, d), and their angles."""
        x = self.context_embedder(memory.tokens.to(self.proj_out.weight))
        times = x.new_full(x.shape[:2], 2 * CLEAN)  # the mark of an old frame
        positions = (memory.numbers - first).to(x.device)
        return x, self.condition(times, memory.actions), self.config.angles(positions, self.config.memory_patch)

    def run(
        self,
        x: Tensor,
        condition: Tensor,
        angles: Turns,
        past: list[KVCache],
        old: bool = False,
        keys_only: bool = False,
        modulations: list[Modulation] | None = None,
    ) -> tuple[Tensor, list[KV]]:
        """Tokens (b, f, n, d) after all blocks, and of each block their keys, not turned, and values.

        old: whether the frames are memory's; keys_only: whether the tokens are not needed
        modulations: of each block; None where the condition has to be turned into them first
        """
        condition, keys = F.silu(condition), []
        for i, block in enumerate(self.transformer_blocks):
            last = keys_only and i + 1 == self.config.depth
            modulation = modulations[i] if modulations else block.modulate(condition, last)  # type: ignore[operator]
            x, kv = block(x, modulation, angles, past[i] if past else KVCache(), old, last)
            keys.append(kv)
        return x, keys

    def enter(self, latents: Tensor, levels: Tensor, actions: Tensor, position: int) -> tuple[Tensor, Tensor, Turns]:
        """Tokens (b, f, n, d) of frames (b, f, c, h, w) at `levels`, what modulates them, (b, f, d), their angles."""
        x = self.x_embedder(patchify(latents, self.config.patch).to(self.proj_out.weight))
        times = torch.where(levels == 0, CLEAN, 1000 * levels)
        positions = torch.arange(position, position + x.shape[1], device=x.device)
        return x, self.condition(times, actions), self.config.angles(positions, self.config.patch)

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
        past, f, first = past or Past([], []), context.shape[1], memory.position if memory else 0
        keys, frames = past.context, past.frames
        if f:
            x, condition, angles = self.enter(context, levels, actions, first + frames)
            seen = self.lay(memory, keys, first, frames)
            _, new = self.run(x, condition, angles, seen, keys_only=True)
            old = keys or [(k[:, :, :0], v[:, :, :0]) for k, v in new]
            pairs = zip(old, new, strict=True)
            keys = [(torch.cat((a, k), 2), torch.cat((b, v), 2)) for (a, b), (k, v) in pairs]
        laid = self.lay(memory, keys, first, frames + f)
        return Past(laid, keys, frames + f, first + frames + f, memory.modulations if memory else None)

    def lay(self, memory: OldFrames | None, context: list[KV], first: int, frames: int) -> list[KVCache]:
        """Per block, what memory and a context of `frames`, whose first stands at `first`, show to later frames."""
        angles = self.config.angles(torch.arange(first, first + frames), self.config.patch)
        laid = []
        for i in range(self.config.depth):
            parts = memory.keys(i) if memory else []
            if frames:
                k, v = context[i]
                parts = [*parts, (turn(k, (angles[0].to(k.device), angles[1].to(k.device))), v)]
            laid.append(KVCache(*parts))
        return laid if len(laid[0]) else []

    def advance(self, past: Past, frames: Tensor, actions: Tensor) -> Past:
        """Return the same past, for a window that begins after `frames` (b, f, c, h, w)."""
        return replace(past, position=past.position + frames.shape[1])

    def forward(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        """Predict the velocity of a noisy window (b, f, c, h, w) at `levels` (b, f) with actions (b, f, a)."""
        x, condition, angles = self.enter(window, levels, actions, past.position)
        modulations = self.look_up(condition, levels, actions, past.modulations)
        x, _ = self.run(x, condition, angles, past.keys, modulations=modulations)
        return self.read(x, condition, self.proj_out, self.config.patch)

    def forward_clip(self, clip: Tensor, levels: Tensor, actions: Tensor, window: int) -> Tensor:
        """Predict the velocities (b, window, c, h, w) of a clip's last frames, each of which sees those up to itself.

        clip: (b, f, c, h, w), frames before the last `window` are clean, and enter as memory does
        levels: (b, window), of the last frames, 0 where one is clean; actions: (b, f, a)
        """
        old = clip.shape[1] - window
        tokens = patchify(clip[:, :old], self.config.memory_patch)  # (b, old, k, c * q * q)
        poses = clip.new_zeros(len(clip), old, 3)
        memory = Memory(tokens, actions[:, :old], poses, torch.arange(old), count=old)
        parts = [(old, self.encode_old(memory, 0, []))] if old else []
        past = Past(self.lay(OldFrames(memory, parts, {}), [], old, 0), [], position=old)
        return self(clip[:, old:], levels, actions[:, old:], past)

    def look_up(
        self, condition: Tensor, levels: Tensor, actions: Tensor, seen: Modulations | None
    ) -> list[Modulation] | None:
        """Modulations of a window of one frame, computed where `seen` lacks them; None for other windows.

        A frame's weights for them are as many as half of those for its tokens, and products of one row read them all;
        but a video has few levels and actions.
        """
        if seen is None or levels.shape[1] != 1 or torch.is_grad_enabled():
            return None
        key = (*levels.flatten().tolist(), *actions.flatten().tolist())
        if key in seen:
            return seen[key]
        active = F.silu(condition)
        modulations = [block.modulate(active) for block in self.transformer_blocks]  # type: ignore[operator]
        if len(seen) < MODULATIONS:
            seen[key] = modulations
        return modulations

    def read(self, x: Tensor, condition: Tensor, projection: nn.Module, patch: int) -> Tensor:
        """Velocities (b, f, c, h, w) that tokens (b, f, n, d) end as."""
        scale, shift = self.norm_out["linear"](F.silu(condition)).chunk(2, -1)
        return unpatchify(projection(modulated(x, shift, scale)), patch, self.config.grid(patch)).float()


ARCHITECTURE = Architecture("far", FARConfig, FAR, DCAEConfig, DCAE, Past)
