"""VideoDiT: a diffusion transformer over context and window, with a noise level and an action for every frame."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sampling.memory import Memory
from .architecture import Architecture
from .codec import Codec, CodecConfig
from .compress import compression_of, memory_shape
from .config import DiTConfig
from .fusion import Group, fusion_of
from .layers import KV, Angles, Block, KVCache, delay, embed_actions, normalise, rotary_angles, sinusoids


def add_up(steps: Tensor) -> Tensor:
    """Cumulative sums of steps (b, f, ...); on the CPU where they must be reproducible, as a GPU's are not."""
    if steps.is_cuda and torch.are_deterministic_algorithms_enabled():
        return steps.cpu().cumsum(1).to(steps.device)
    return steps.cumsum(1)


@dataclass(frozen=True)
class Past:
    """Memory and context before a window, encoded once."""

    keys: list[KVCache]  # per block, of memory and context; empty when there is nothing
    last: Tensor  # (b, 1, c, h, w), the latent before the window
    pose: Tensor  # (b, 3), that it was seen from
    frames: int  # of context
    context: list[KV] = field(default_factory=list)  # per block, of context alone
    memory: object = None  # as the fusion encoded it

    def drop(self, frames: int) -> Past | None:
        """Forget the oldest frames of the context; what the others saw of them stays in them."""
        if frames >= self.frames:
            return None
        tokens = self.context[0][0].shape[2] // self.frames
        earlier = torch.tensor([[-frames]], device=self.pose.device, dtype=torch.float32)
        rest = [(k[:, :, frames * tokens :], v[:, :, frames * tokens :]) for k, v in self.context]
        context = [(delay(k.unsqueeze(2), earlier).squeeze(2), v) for k, v in rest]
        return Past([], self.last, self.pose, self.frames - frames, context)


class VideoDiT(nn.Module):
    """A transformer in which the window sees all of itself and everything before it.

    Context frames see the frames up to themselves, a memory group only itself, and nothing before the window sees
    the window, so keys and values of the past are the same at every denoising step. Attention runs over all
    positions of all frames at once: what was seen can be found from another place in the picture.
    Positions are rotary, in time, in the picture, and in the world, where a frame's pose is reckoned from the
    actions that led to it.
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Linear(2 * config.token_features, config.dim)
        self.level = nn.Sequential(
            nn.Linear(128, config.condition), nn.SiLU(), nn.Linear(config.condition, config.condition)
        )
        self.action = embed_actions(config.actions, config.condition, bias=False)
        self.no_action = nn.Parameter(torch.zeros(config.condition))
        self.blocks = nn.ModuleList(Block(config.dim, config.condition) for _ in range(config.depth))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.condition, 2 * config.dim))
        self.head = nn.Linear(config.dim, config.token_features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.fusion = fusion_of(config)(config)
        self.compression = compression_of(config)(config) if config.fusion != "none" else None
        self.register_load_state_dict_pre_hook(rename_tensors)

    @property
    def group(self) -> int:
        """Frames compressed together; 0 without memory."""
        return self.config.group if self.compression is not None else 0

    def hidden_matrices(self) -> set[str]:
        """Names of the weights that Muon trains: matrices inside blocks, but for those that modulate norms."""
        matrices = (name for name, weight in self.named_parameters() if "blocks" in name and weight.ndim == 2)
        return {name for name in matrices if ".modulation." not in name}

    def memory_weights(self) -> set[str]:
        """Names of the weights through which the past enters and shrinks."""
        return {name for name, _ in self.named_parameters() if name.startswith(("fusion.", "compression."))}

    @torch.no_grad()
    def complete(self, missing: AbstractSet[str]) -> None:
        """Let weights that a checkpoint lacks begin with what the others suggest."""
        weights = dict(self.named_parameters())
        if "compression.frame.weight" in missing & weights.keys():
            # a compressed token begins as what the trunk takes for a frame: the embedding of the group's mean
            frame = weights["compression.frame.weight"]
            frame.copy_(self.embed.weight[:, : frame.shape[1]])
            weights["compression.frame.bias"].copy_(self.embed.bias)

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor:
        """Poses (b, f, 3), x and y in cells and heading in degrees, that actions (b, f, a) lead to from one (b, 3)."""
        if not self.config.moves:
            return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)
        ahead, turn = (actions.float().contiguous() @ actions.new_tensor(self.config.moves)).unbind(-1)  # (b, f)
        heading = origin[:, 2:] + add_up(turn)
        radians = torch.deg2rad(heading)
        steps = torch.stack((ahead * radians.cos(), ahead * radians.sin()), -1)
        return torch.cat((origin[:, None, :2] + add_up(steps), heading.unsqueeze(-1)), -1)

    def condition(self, levels: Tensor, actions: Tensor) -> Tensor:
        """What modulates the norms of each frame: levels (b, f), actions (b, f, a); an action of zeros is unknown."""
        unknown = (actions == 0).all(-1, keepdim=True).to(self.no_action)
        level = self.level(sinusoids(1000 * levels, 128).to(self.no_action))
        action = self.action(self.config.scaled(actions).to(self.no_action))
        return level + action + unknown * self.no_action  # (b, f, condition)

    def compress(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Memory tokens (b, k, d) of a group: latents (b, g, c, h, w), actions (b, g, a), poses (b, g, 3)."""
        assert self.compression is not None, "a network without memory compresses nothing"
        return self.compression(latents, actions, poses)

    def empty_memory(self, batch: int, device: torch.device | str) -> Memory:
        """Memory before anything was seen."""
        instants, tokens, features = memory_shape(self.config)
        return Memory.empty(batch, tokens, features, self.config.actions, device, instants)

    def encode_memory(self, memory: Memory, earlier: object = None) -> object:
        """Encode memory for the fusion.

        earlier: what was returned before memory changed; groups that are still there are not encoded again
        """
        return self.fusion.encode_memory(self.encode_groups, memory, earlier)

    def encode_groups(self, memory: Memory) -> list[Group]:
        """Encode the groups of memory as if each began at time 0."""
        b, s, k, _ = memory.tokens.shape
        m = memory.instants
        tokens = memory.tokens.reshape(b * s, m, k // m, -1)
        if self.config.compression == "none":  # frames enter as others do, each beside the one before it
            tokens = self.embed(torch.cat((tokens, F.pad(tokens, (0, 0, 0, 0, 1, 0))[:, :-1]), -1))
        levels = torch.zeros(b, s * m, device=tokens.device)
        condition = self.condition(levels, memory.actions).reshape(b * s, m, -1)
        positions = self.config.memory_positions(memory, levels.new_zeros(b, s))
        angles = rotary_angles(positions.reshape(b * s, k, -1))
        x, keys = tokens.to(condition), []
        for i, block in enumerate(self.blocks):
            x, kv = block(x, condition, angles, last=i + 1 == len(self.blocks))
            keys.append(kv)
        by_group = (torch.stack(blocks).unflatten(1, (b, s)).unbind(2) for blocks in zip(*keys, strict=True))
        return [Group(*kv) for kv in zip(*by_group, strict=True)]

    def encode_context(
        self,
        context: Tensor,
        levels: Tensor,
        actions: Tensor,
        origin: Tensor,
        memory: object = None,
        *,
        past: Past | None = None,
    ) -> Past:
        """Encode the context, clean frames (b, f, c, h, w) at reported `levels` (b, f), on top of memory.

        actions: (b, f, a), origin: (b, 3), the pose before the first of them
        memory: as `encode_memory` returned it
        past: frames right before them, which stay as they were encoded; their pose counts, not `origin`
        """
        f = context.shape[1]
        past = past or Past([], torch.zeros_like(context[:, :1].sum(1, keepdim=True)), origin, 0)
        if f:
            poses = self.integrate_actions(actions, past.pose)
            tokens, angles = self.enter(context, past.last, past.frames, poses)
            n = tokens.shape[2]
            number = torch.arange(past.frames + f, device=context.device).repeat_interleave(n)
            mask = number[past.frames * n :].unsqueeze(1) >= number  # a context frame sees the frames up to itself
            condition = self.condition(levels, actions)
            keys: list[KV] = []
            for i, block in enumerate(self.blocks):
                before = KVCache(*past.context[i : i + 1])
                tokens, kv = block(tokens, condition, angles, before, mask, last=i + 1 == len(self.blocks))
                keys.append(before.append(*kv))
            # a copy, so that a compiled network sees one layout
            last = context[:, -1:].contiguous()
            past = Past([], last, poses[:, -1], past.frames + f, keys)
        sources = [*self.fusion.keys(memory), *([past.context] if past.context else [])]
        return replace(past, keys=[KVCache(*parts) for parts in zip(*sources, strict=True)], memory=memory)

    def advance(self, past: Past, frames: Tensor, actions: Tensor) -> Past:
        """Return the same past, for a window that begins after `frames` (b, f, c, h, w) with actions (b, f, a)."""
        pose = self.integrate_actions(actions, past.pose)[:, -1]
        return replace(past, last=frames[:, -1:], pose=pose, frames=past.frames + frames.shape[1])

    def enter(
        self, latents: Tensor, last: Tensor, time: int, poses: Tensor, memory: object = None
    ) -> tuple[Tensor, Angles]:
        """Tokens (b, f, n, d) of latents, each beside the frame before it, and their rotary angles.

        last: (b, k, c, h, w), the frames before the first of each of k windows that follow one another
        """
        f, k = latents.shape[1], last.shape[1]
        before = torch.cat((last.unsqueeze(2), latents.unflatten(1, (k, f // k))[:, :, :-1]), 2).flatten(1, 2)
        tokens = self.embed(self.config.patchify(torch.cat((latents, before), 2)).to(self.embed.weight))
        times = torch.arange(time, time + f, device=latents.device, dtype=torch.float32).expand(latents.shape[0], f)
        tokens = self.fusion.enter(tokens, times, poses, memory)
        return tokens, rotary_angles(self.config.positions(times, poses, self.config.grid))

    def forward(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        """Predict for a noisy window (b, f, c, h, w) at `levels` (b, f) with actions (b, f, a)."""
        if not torch.is_grad_enabled():
            for cache in past.keys:
                cache.allocate(window.shape[1] * self.config.grid[0] * self.config.grid[1])
        return self.predict(window, levels, actions, past)

    def compile(self, **options: Any) -> None:
        """Compile what runs at every denoising step, as it first runs; the past is allocated before."""
        self.predict = torch.compile(self.predict, **options)  # type: ignore[method-assign]

    def predict(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        """`forward`, once room for the window is allocated behind the past."""
        poses = self.integrate_actions(actions, past.pose)
        x, angles = self.enter(window, past.last, past.frames, poses, past.memory)
        return self.run(x, levels, actions, angles, past, None)

    def run(
        self,
        x: Tensor,
        levels: Tensor,
        actions: Tensor,
        angles: Angles,
        past: Past,
        mask: Tensor | None,
    ) -> Tensor:
        """Run tokens (b, f, n, d) of a window through the blocks, on top of the past, to latents (b, f, c, h, w)."""
        condition = self.condition(levels, actions)
        for i, block in enumerate(self.blocks):
            x, _ = block(x, condition, angles, past.keys[i] if past.keys else None, mask)
            x = self.fusion.after(i, x, angles, past.memory)
        shift, scale = self.modulation(condition).unsqueeze(2).chunk(2, -1)  # (b, f, 1, d)
        return self.config.unpatchify(self.head(torch.addcmul(shift, normalise(x), 1 + scale))).float()

    def forward_windows(
        self,
        clean: Tensor,
        reported: Tensor,
        noisy: Tensor,
        levels: Tensor,
        actions: Tensor,
        origin: Tensor,
        memory: object,
        size: int,
    ) -> Tensor:
        """Predict for many windows at once, as `forward` does for each alone; for training.

        The clip's last frames are cut into windows of `size`, each of which sees memory, the clean frames before it
        and itself; the clean frames are encoded once for all of them.

        clean: (b, f, c, h, w), the clip at `reported` levels (b, f) with actions (b, f, a)
        noisy: (b, k * size, c, h, w), its last frames at `levels` (b, k * size)
        """
        f, count = clean.shape[1], noisy.shape[1]
        first, length = f - count, f - size  # frames before the first window, and before the last
        past = self.encode_context(clean[:, :length], reported[:, :length], actions[:, :length], origin, memory)
        padded = torch.cat((torch.zeros_like(clean[:, :1]), clean), 1)
        last = padded[:, first:f:size]  # (b, k, c, h, w), the clean frame before each window
        x, angles = self.enter(noisy, last, first, self.integrate_actions(actions, origin)[:, first:], memory)

        n = x.shape[2]
        frame = torch.arange(f, device=clean.device)
        begin = frame[first:] - (frame[first:] - first) % size  # where each noisy frame's window begins
        before = frame[:length] < begin.unsqueeze(1)
        same = begin == begin.unsqueeze(1)
        mask = torch.cat((before, same), 1).repeat_interleave(n, 0).repeat_interleave(n, 1)
        remembered = len(past.keys[0]) - length * n if past.keys else 0  # tokens of memory, which every window sees
        mask = torch.cat((mask.new_ones(count * n, remembered), mask), 1)
        return self.run(x, levels, actions[:, first:], angles, past, mask)


def own_name(name: str) -> str:
    """The name of a tensor, by the name that it has in files of this or an earlier version."""
    return re.sub(r"(^|\.)drive\.", r"\1modulation.", name)


def rename_tensors(network: nn.Module, state: dict[str, Tensor], *_: object) -> None:
    """Give tensors of an earlier version the names of this one, before they are loaded."""
    for name in [name for name in state if own_name(name) != name]:
        state[own_name(name)] = state.pop(name)


ARCHITECTURE = Architecture("dit", DiTConfig, VideoDiT, CodecConfig, Codec, Past, own_name=own_name)
