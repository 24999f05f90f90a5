"""From prompt frames to new frames: codec, sampler and model put together."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import ConfigError
from . import schedules
from .config import Sampling
from .model import Model
from .plan import Plan
from .sampler import stream
from .state import Actions, Noise, State, start


def choose(sampling: Sampling, **chosen: Any) -> Plan:
    """Put a user's choices above a checkpoint's own; what is left at None stays.

    chosen: names of `config.SETTINGS`, fields of Sampling and options of the preset; a schedule may hold its options
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    own = {name: given.pop(name) for name in list(given) if name in Sampling.__dataclass_fields__}
    if "schedule" in own:
        own["schedule"], given = schedules.merge(own["schedule"], **given)
    options = sampling.options if own.get("schedule", sampling.schedule) == sampling.schedule else {}
    sampling = replace(sampling, **own, options={**options, **given})
    return Plan(schedules.choose(sampling.schedule, **sampling.options), sampling)


@torch.no_grad()
def encode(model: Model, frames: Tensor) -> Tensor:
    """Latents (b, f, c, h, w) of frames (b, f, 3, h, w) in [-1, 1], on the model's device."""
    device = next(model.network.parameters()).device
    # a few frames at a time, so that a long prompt takes no more memory than a short one
    return torch.cat([model.codec.encode(part.to(device)) for part in frames.split(16, dim=1)], 1)


def begin(model: Model, plan: Plan, prompt: Tensor, actions: Tensor) -> State:
    """Show the model a prompt: frames (b, f, 3, h, w) in [-1, 1], actions (b, f, a)."""
    return begin_latents(model, plan, encode(model, prompt), actions)


@torch.no_grad()
def begin_latents(model: Model, plan: Plan, latents: Tensor, actions: Tensor) -> State:
    """Show the model a prompt as its codec encoded it: latents (b, f, c, h, w), actions (b, f, a).

    Raises: ConfigError where memory is asked for and the network has none, or has groups of another size
    """
    network = model.network
    check(network, plan.sampling)
    memory = network.empty_memory(latents.shape[0], latents.device)
    return start(network, plan.sampling, latents, actions.to(latents.device), memory)


def check(network: Any, sampling: Sampling) -> None:
    """Refuse memory where the network has none, or has groups of another size."""
    if sampling.slots and network.compression is None:
        raise ConfigError(f"This network has no memory to hold {sampling.slots} groups in.", hint="--memory-slots 0")
    if sampling.slots and sampling.group != network.config.group:
        raise ConfigError(f"group is {sampling.group}; this network compresses {network.config.group} together.")


def generate(model: Model, plan: Plan, state: State, actions: Actions, seed: int, length: int = 0) -> Iterator[Tensor]:
    """Yield new frames (b, chunk, 3, h, w) in [-1, 1] as they become clean; the last chunk may be shorter.

    length: new frames, 0 for as many as the caller takes
    """
    return (frames for frames, _ in generate_states(model, plan, state, actions, seed, length))


@torch.no_grad()
def generate_states(
    model: Model,
    plan: Plan,
    state: State,
    actions: Actions,
    seed: int,
    length: int = 0,
    live: bool = False,
) -> Iterator[tuple[Tensor, State]]:
    """Yield what `generate` yields, each with the state after its AR step, from which a run can go on.

    On an accelerator the next AR step is sampled while frames are decoded and used.

    live: whether actions come as frames are seen, so that none may be asked for early
    """
    noise = Noise(seed, state.context.shape[0], tuple(state.context.shape[2:]), state.context.device)
    chunks = stream(plan, model.network, model.diffusion, state, noise, actions)
    if length:
        chunks = islice(chunks, -(-length // plan.schedule.chunk))
    steps: Iterator[tuple[Tensor, State]] = ((chunk, replace(state)) for chunk in chunks)
    if not live and state.context.device.type != "cpu":  # the cores of a CPU are busy as it is
        steps = ahead(steps)
    left = length
    for chunk, reached in steps:
        frames = model.codec.decode(chunk)
        yield frames[:, :left] if 0 < left < frames.shape[1] else frames, reached
        left -= chunk.shape[1]


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same, the next one being made meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def given(actions: Tensor) -> Actions:
    """Actions (b, f, a) for the new frames; beyond them they are unknown."""

    def rows(first: int, count: int) -> Tensor:
        part = actions[:, first : first + count]
        return torch.cat((part, part.new_zeros(part.shape[0], count - part.shape[1], part.shape[2])), 1)

    return rows
