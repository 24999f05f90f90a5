"""From prompt frames to new frames: codec, sampler and model put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import ConfigError, ScheduleError
from . import schedules
from .config import Plan, Sampling, flag_of
from .decoding import Decoder, reach_of
from .model import Model
from .network import Past, VideoNetwork, has_memory
from .sampler import Step, stream
from .schedules import Schedule
from .state import Actions, Noise, State, start
from .timing import Timing


def choose(sampling: Sampling, **chosen: Any) -> Plan:
    """Apply a user's choices to a checkpoint's sampling; what is None stays.

    chosen: names of `config.SETTINGS`, fields of Sampling and options of the preset; a schedule may hold its options,
        or be a Schedule itself
    """
    options = {name: value for name, value in chosen.items() if value is not None}
    if isinstance(schedule := options.get("schedule"), Schedule):
        return choose_around(schedule, sampling, options)
    changes = {name: options.pop(name) for name in list(options) if name in Sampling.__dataclass_fields__}
    if "schedule" in changes:
        changes["schedule"], options = schedules.merge(changes["schedule"], **options)
    if changes.get("schedule", sampling.schedule) == sampling.schedule:
        options = {**sampling.options, **options}
    sampling = replace(sampling, **changes, options=options)
    return Plan(schedules.choose(sampling.schedule, **sampling.options), sampling)


def beyond_training(own: Sampling, plan: Plan, unit: str = "frames") -> list[str]:
    """What a plan asks of a model beyond the settings that it was trained with, in words that hold both numbers.

    own: the checkpoint's, which says what those are; unit: what its sampler counts, see `Timing.unit`
    """
    trained = choose(own)
    sizes = {
        "context": (plan.sampling.context, trained.sampling.context),
        "chunk": (plan.schedule.chunk, trained.schedule.chunk),
        "memory": (plan.sampling.slots, trained.sampling.slots),
    }
    units = {"memory": "groups"}
    return [
        f"{name} is {asked} {units.get(name, unit)}, more than the {known} of training."
        for name, (asked, known) in sizes.items()
        if asked > known
        and (name != "chunk" or "chunk" in plan.sampling.options)  # other presets have chunks of theirs
    ]


def without_effect(model: Model, plan: Plan, chosen: Mapping[str, object]) -> list[str]:
    """Which of the choices change nothing under a plan, in words.

    chosen: as in `choose`
    """
    sampling, driven = plan.sampling, model.actions or model.takes_prompts
    idle = {
        "guidance": not driven and sampling.guidance != 1 and "the model has no actions",
        "view": sampling.views == "whole" and "the window is shown whole",
        "eviction": not sampling.slots and "there is no memory",
        "stabilization": not (sampling.context or sampling.slots) and "there are no clean frames before the window",
        "context_noise": not sampling.context and "there is no context",
    }
    return [f"{flag_of(name)} has no effect: {why}." for name, why in idle.items() if why and name in chosen]


def choose_around(schedule: Schedule, sampling: Sampling, chosen: Mapping[str, Any]) -> Plan:
    """Apply a user's choices beside a schedule that states all its levels.

    Raises: ScheduleError for options of presets, of which only `shift` fits it
    """
    changes = {name: value for name, value in chosen.items() if name in Sampling.__dataclass_fields__}
    options = {name: value for name, value in chosen.items() if name not in changes}
    if "shift" in options:
        schedule = schedules.shift(schedule, options.pop("shift"))
    for name in options:
        raise ScheduleError(f"The schedule sets all levels itself, so `{name}` has no effect.")
    return Plan(schedule, replace(sampling, **changes | {"schedule": schedule.name or "custom", "options": {}}))


@torch.no_grad()
def encode(model: Model, frames: Tensor) -> Tensor:
    """Latents (b, f, c, h, w) of frames (b, f, 3, h, w) in [-1, 1], on the model's device.

    A codec with time, whose latents depend on those before, encodes the last frames that it can, `Timing.prompt`.
    """
    device, timing = next(model.network.parameters()).device, Timing.of(model.codec)
    if timing.per_latent > 1:
        latents: Tensor = model.codec.encode(frames[:, frames.shape[1] - timing.prompt(frames.shape[1]) :].to(device))
        return latents
    # a few frames at a time, so that a long prompt takes no more memory than a short one
    return torch.cat([model.codec.encode(part.to(device)) for part in frames.split(16, dim=1)], 1)


def begin(model: Model, plan: Plan, prompt: Tensor, actions: Tensor) -> State:
    """Show the model a prompt: frames (b, f, 3, h, w) in [-1, 1], actions (b, f, a).

    A latent of several frames is given the action of the last.
    """
    timing, f = Timing.of(model.codec), prompt.shape[1]
    actions = actions[:, f - timing.prompt(f) :: timing.per_latent]
    return begin_latents(model, plan, encode(model, prompt), actions)


@torch.no_grad()
def begin_latents(model: Model, plan: Plan, latents: Tensor, actions: Tensor) -> State:
    """Show the model a prompt as its codec encoded it: latents (b, f, c, h, w), actions (b, f, a).

    Raises: ConfigError where memory is asked for and the network has none, or has groups of another size
    """
    check(model.network, plan.sampling)
    return start(model.network, plan.sampling, latents, actions.to(latents.device), reach_of(model.codec))


def check(network: VideoNetwork[Past], sampling: Sampling) -> None:
    """Refuse memory where the network has none, or has groups of another size."""
    if not sampling.slots:
        return
    if not has_memory(network):
        raise ConfigError(
            f"This network has no memory, so {sampling.slots} groups cannot be kept.", hint="--memory-slots 0"
        )
    if sampling.group != network.group:
        raise ConfigError(f"group is {sampling.group}; this network compresses {network.group} together.")


@dataclass(frozen=True)
class Chunk:
    """New frames, and where the video stands after the AR step that gave them."""

    step: Step
    count: int  # frames of the step that count: the last chunk of a length may be cut
    cut: bool  # whether some of its frames do not count
    held: int  # latents of the step that hold those that do
    decode: Callable[[], Tensor] = field(repr=False)  # gives all frames of the step

    @property
    def state(self) -> State:
        """After the whole AR step, from which a run can be resumed."""
        return self.step.state

    @property
    def latents(self) -> Tensor:
        """Clean latents (b, f, c, h, w); the last may hold frames that do not count."""
        return self.step.clean[:, : self.held]

    @cached_property
    def frames(self) -> Tensor:
        """Frames (b, f, 3, h, w) in [-1, 1], decoded when first used."""
        return self.decode()[:, : self.count]


def generate(model: Model, plan: Plan, state: State, actions: Actions, seed: int, length: int = 0) -> Iterator[Tensor]:
    """Yield new frames (b, chunk, 3, h, w) in [-1, 1] as they become clean; the last chunk may be shorter.

    length: new frames, 0 for as many as the caller takes
    """
    return (chunk.frames for chunk in generate_states(model, plan, state, actions, seed, length))


@torch.no_grad()
def generate_states(
    model: Model,
    plan: Plan,
    state: State,
    actions: Actions,
    seed: int,
    length: int = 0,
    live: bool = False,
) -> Iterator[Chunk]:
    """Yield the chunks of `generate`, each with its latents and the state after its AR step.

    On an accelerator the next AR step is sampled while a chunk is decoded and used.

    actions: of latents, where they stand for several frames
    live: whether actions come as frames are seen, so that none may be asked for early
    """
    noise = Noise(seed, state.context.shape[0], tuple(state.context.shape[2:]), state.context.device)
    steps = stream(plan, model.network, model.diffusion, state, noise, actions, known=not live)
    decoder, timing = Decoder(model.codec), Timing.of(model.codec)
    prompted = state.frame > 0 or (state.recent is not None and state.recent.shape[1] > 0)
    if length:
        steps = islice(steps, -(-timing.latents(length, prompted) // plan.schedule.chunk))
    if not live and state.context.device.type != "cpu":  # the cores of a CPU are busy as it is
        steps = ahead(steps)
    remaining = length
    for step in steps:
        whole = timing.frames(step.clean.shape[1], prompted)
        count = min(remaining, whole) if length else whole
        decode = partial(decoder, step.clean, state.recent, state.frame)
        yield Chunk(step, count, count < whole, timing.latents(count, prompted), decode)
        state, prompted, remaining = step.state, True, remaining - whole


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, computing the next one meanwhile."""
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
