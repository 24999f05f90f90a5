"""What is refused before the first step, so that a run does not end half-way for its settings."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import product

import torch
from torch import nn

from ..data.batches import Episodes, needed
from ..errors import ConfigError
from ..hub.build import check_metadata, check_sizes
from ..models.codec import CodecConfig
from ..sampling.generation import choose
from ..sampling.model import Model
from .config import TrainConfig
from .network import find_architecture, group_of, trains_by_frames
from .recipes.windows import OWN, spans
from .scales import action_scales, spread
from .start import check_start


def fitted(config: TrainConfig, episodes: Episodes, scales: tuple[float, ...] | None = None) -> TrainConfig:
    """The same, with the scales of the data's actions, and for a network without actions where the data has none.

    scales: those with which the weights were trained; None: the weights are new
    """
    network = config.network
    changes: dict[str, object] = {}
    if not episodes.names and network.actions:
        changes = {"actions": 0} | ({"moves": ()} if hasattr(network, "moves") else {})
    elif getattr(network, "action_scales", None) == ():
        changes = {"action_scales": action_scales(episodes) if scales is None else scales}
    return replace(config, network=replace(network, **changes))


def check(config: TrainConfig, episodes: Episodes, source: Model | None = None) -> None:
    """Refuse keys that do not fit each other, the data, or the checkpoint `source` that the run starts from.

    Raises: ConfigError with the keys and their values
    """
    codec = source.codec.config if source and not config.new_codec else config.codec
    check_data(config, codec, episodes)
    try:
        check_sizes(config.network, codec)
        check_metadata({"actions": list(episodes.names), "fps": episodes.fps, **config.card}, config.network.actions)
    except ConfigError as error:
        raise ConfigError(f"[network], [codec] and [card] do not fit: {error}.", hint=error.hint) from error
    if config.codec_steps < 1 and codec is config.codec:
        raise ConfigError(f"codec_steps is {config.codec_steps}, but no codec is given to start from.")
    schedule = choose(config.sampling).schedule
    with torch.device("meta"):  # shapes only
        network = find_architecture(config.architecture).network(config.network)
    check_network(config, network)
    if source:
        check_start(network, source, config)
    check_keys(config, by_frames=trains_by_frames(network))
    if trains_by_frames(network):
        check_frames(config, episodes, schedule.window)
    else:
        check_lengths(config, episodes, group_of(network), schedule.window if config.distill else None)


def check_network(config: TrainConfig, network: nn.Module) -> None:
    """Refuse what a network lacks: memory, groups of that size, blocks to compile."""
    sampling, group = config.sampling, group_of(network)
    if sampling.slots and not group:
        raise ConfigError(
            f"slots is {sampling.slots} under [sampling], and the network has no memory.", hint="Write slots = 0."
        )
    if sampling.slots and sampling.group != group:
        raise ConfigError(
            f"group is {sampling.group} under [sampling], and {group} under [network].",
            hint="Set both to the same value.",
        )
    if config.compile and not isinstance(getattr(network, "blocks", None), nn.ModuleList):
        raise ConfigError(f"compile is true, and {type(network).__name__} has no blocks.", hint="Leave out compile.")


FITS = "`arvdm train init DATA` writes a file that fits."


def check_data(config: TrainConfig, codec: CodecConfig, episodes: Episodes) -> None:
    """Refuse a network or a codec of another shape than the data, and data in which nothing follows."""
    names, count, network = episodes.names, len(episodes.names), config.network
    length, height, width = episodes.pictures.shape[1:4]
    folder = config.data[0]
    known = f"the data in {folder} has {count}: {', '.join(names)}"
    if network.actions != count:
        hint = f"Write actions = {count} under [network], and {count} moves or none; {FITS}"
        raise ConfigError(f"The network has {network.actions} actions; {known}.", hint=hint)
    given = config.card.get("actions", names)
    if not isinstance(given, list | tuple) or len(given) != count:
        hint = "Leave out actions under [card] to take the data's own."
        raise ConfigError(f"The card names the actions {given}; {known}.", hint=hint)
    if (codec.height, codec.width) != (height, width):
        message = f"The codec takes frames of {codec.width}x{codec.height}; {folder} has other sizes:"
        hint = f"Write height = {height} and width = {width} under [codec], an eighth of them under [network]; {FITS}"
        raise ConfigError(f"{message} {width}x{height}.", hint=hint)
    if length < 2:
        raise ConfigError(f"The episodes of {folder} have 1 frame, so there is nothing to predict.")


def check_lengths(config: TrainConfig, episodes: Episodes, group: int, window: int | None) -> None:
    """Refuse episodes that are shorter than the longest clip, with the memory before it, that may be drawn."""
    length = episodes.pictures.shape[1]
    windows = (window,) if window else config.windows
    clips = [(context, 0, 0) for context in config.contexts]  # context, own frames, groups
    if config.early < 1:
        groups = config.groups if group else (0,)
        contexts = {(context, 0) for context in config.contexts} if config.own_frames < 1 else set()
        if config.own_frames:
            contexts |= {(config.sampling.context, min(config.sampling.context, own)) for own in OWN}
        clips = [(*each, many) for each, many in product(sorted(contexts), groups)] + clips * (config.early > 0)
    for (context, own, many), size in product(clips, windows):
        all_windows = spans(config, context, size)
        frames = needed(context, own, all_windows, many, group)
        if frames > length:
            of_memory = f" after {many} groups of {group} frames (groups)" if many else ""
            raise ConfigError(
                f"Episodes of {length} frames are too short for a clip of {context} frames of context, {own} of the "
                f"network's own and {all_windows} of windows{of_memory}: {frames} frames.",
                hint="Lower groups, contexts, windows, clip_frames, or context under [sampling].",
            )


LEVELS = ("level_mean", "level_std", "pure_noise")
WINDOWS_ONLY = ("contexts", "windows", "groups", "revisit", "turn", "context_noise", "own_frames", *LEVELS, "distill")
FRAMES_ONLY = ("memory_frames", "clean_context")


def check_keys(config: TrainConfig, by_frames: bool) -> None:
    """Refuse keys that say nothing to a network which is trained by frames, or by windows."""
    defaults = {f.name: f.default for f in fields(TrainConfig)}
    for name in WINDOWS_ONLY if by_frames else FRAMES_ONLY:
        if getattr(config, name) != defaults[name]:
            how = "by frames, each at a level of its own" if by_frames else "by windows"
            given = json.dumps(getattr(config, name))
            message = f"{name} is {given}, but the architecture {config.architecture} is trained {how}."
            use = f"; {' and '.join(FRAMES_ONLY)} set what it is shown" if by_frames else ""
            raise ConfigError(message, hint=f"Leave out {name}{use}.")


def check_frames(config: TrainConfig, episodes: Episodes, window: int) -> None:
    """Refuse what training by frames, or sampling after it, cannot use.

    window: of the schedule in [sampling]
    """
    length, sampling = episodes.pictures.shape[1], config.sampling
    needed = config.memory_frames + config.clip_frames
    if needed > length:
        raise ConfigError(
            f"Episodes of {length} frames are too short for {config.memory_frames} frames in memory (memory_frames) "
            f"and a clip of {config.clip_frames} (clip_frames): {needed} frames.",
            hint="Lower memory_frames or clip_frames.",
        )
    if config.diffusion.prediction != "velocity":
        raise ConfigError(
            f"prediction is {config.diffusion.prediction!r} under [diffusion], but training by frames predicts the "
            "velocity.",
            hint='Write prediction = "velocity" under [diffusion].',
        )
    if sampling.stabilization:
        raise ConfigError(
            f"stabilization is {sampling.stabilization} under [sampling], but in training by frames a clean frame has "
            "the level 0.",
            hint="Write stabilization = 0.0 under [sampling].",
        )
    if sampling.context + window > config.clip_frames:
        raise ConfigError(
            f"context is {sampling.context} under [sampling] and the window {window}: more frames than clip_frames, "
            f"{config.clip_frames}.",
            hint=f"Write context = {max(0, config.clip_frames - window)} under [sampling], or raise clip_frames.",
        )
    if len(episodes.names) and not one_action_each(episodes):
        raise ConfigError(
            f"The actions in {config.data[0]} are numbers, or several at once, but {config.architecture} takes one "
            "action a frame.",
            hint="Use data with one named action a frame, or another architecture.",
        )


def one_action_each(episodes: Episodes) -> bool:
    """Whether the frames of training have one action each, or none; judged on up to 500 episodes."""
    actions = episodes.one_hot(spread(episodes))
    return bool(((actions == 0) | (actions == 1)).all() and (actions.sum(-1) <= 1).all())
