"""How past frames outside the window enter the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .layers import rotary_angles

if TYPE_CHECKING:
    from ..memory import Memory
    from .dit import VideoDiT

Keys = list[tuple[Tensor, Tensor]]  # per block: keys and values (b, heads, n, HEAD)


def none(network: VideoDiT, memory: Memory) -> Keys:
    """Leave memory out: the network sees its window and context only."""
    return []


def prepend(network: VideoDiT, memory: Memory) -> Keys:
    """Stand memory before the context on the time axis, at level 0 and with its own actions; its outputs are dropped.

    A group sees only itself, so its keys and values change only when memory does.

    Source: Meta-ARVDM, arXiv 2503.10704v2, prepending.
    """
    b, s, k, d = memory.tokens.shape
    if s == 0:
        return []
    config = network.config
    side = round(k**0.5)
    # beyond its reach a group looks no older: frame 100 and frame 100,000 obey one law
    ages = memory.ages.clamp(max=config.reach).to(memory.tokens.device, torch.float32)
    times = (-(ages + 0.5) * config.group - 0.5).expand(b, s)
    positions = config.positions(times, memory.places, (side, side)).reshape(b * s, k, -1)
    angles = rotary_angles(positions)
    condition = network.condition(torch.zeros(b, s, device=memory.tokens.device), memory.actions)  # (b, s, condition)

    x, condition = memory.tokens.reshape(b * s, 1, k, d).to(condition), condition.reshape(b * s, 1, -1)
    keys: Keys = []
    for block in network.blocks:
        x, (key, value) = block(x, condition, angles)
        keys.append(tuple(t.unflatten(0, (b, s)).transpose(1, 2).flatten(2, 3) for t in (key, value)))
    return keys


FUSIONS = {"none": none, "prepend": prepend}
