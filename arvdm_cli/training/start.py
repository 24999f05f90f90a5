"""The weights of a checkpoint that a run starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..data.batches import Episodes
from ..errors import ConfigError
from ..models.codec import Codec
from ..models.config import DiTConfig
from ..models.dit import VideoDiT
from ..sampling.model import Model
from .config import TrainConfig
from .network import memory_weights
from .state import Weights

TOKENS = ("embed.", "compression.frame.", "head.")  # of a VideoDiT: weights that read or write tokens of latents


def start_from(network: nn.Module, source: Model, codec: Codec, episodes: Episodes, config: TrainConfig) -> None:
    """Let a network start with the weights of a checkpoint, translated where its codec is another one."""
    weights: Weights = source.network.state_dict()
    if codec is not source.codec:
        weights = translated(weights, source.codec, codec, episodes, config)
    adopt(network, weights, config)


def check_start(network: nn.Module, source: Model, config: TrainConfig) -> None:
    """Refuse a checkpoint of another kind of network, or one whose weights are of another shape.

    Raises: ConfigError
    """
    if not config.start_network:
        if config.new_codec:
            message = f"start_network is false and new_codec true, so nothing of {config.start} is used."
            raise ConfigError(message, hint="Leave out start, or one of the two.")
        return
    if type(source.network) is not type(network):
        kinds = f"a {type(source.network).__name__}, not a {type(network).__name__}"
        hint = "Leave out start, or write start_network = false to start with its codec."
        raise ConfigError(f"Cannot start from {config.start}: it is {kinds}.", hint=hint)
    if config.new_codec and not isinstance(network, VideoDiT):
        raise ConfigError("new_codec is true, but only the weights of a VideoDiT can be translated to another codec.")
    weights = source.network.state_dict()
    if config.new_codec:
        weights = {name: weight for name, weight in weights.items() if not name.startswith(TOKENS)}
    shared(network, weights, config)


def shared(network: nn.Module, weights: Weights, config: TrainConfig) -> Weights:
    """Those of some weights that a network takes to start with.

    Raises: ConfigError where one is of another shape
    """
    own, of_memory = network.state_dict(), memory_weights(network)
    taken = {name: weight for name, weight in weights.items() if name in own}
    if not config.start_memory:
        taken = {name: weight for name, weight in taken.items() if name not in of_memory}
    for name, weight in taken.items():
        if weight.shape != own[name].shape:
            shapes = f"{tuple(weight.shape)}, here it is {tuple(own[name].shape)}"
            raise ConfigError(
                f"Cannot start from {config.start}: its {name} is {shapes}.",
                hint="Give [network] the same shape, or leave out start.",
            )
    return taken


def adopt(network: nn.Module, weights: Weights, config: TrainConfig) -> None:
    """Take the weights that a network shares with the one it starts from; the others stay as they are."""
    taken = shared(network, weights, config)
    network.load_state_dict(taken, strict=False)
    if isinstance(network, VideoDiT):
        network.complete(network.state_dict().keys() - taken.keys())


@torch.no_grad()
def translated(weights: Weights, before: Codec, codec: Codec, episodes: Episodes, config: TrainConfig) -> Weights:
    """Weights of a VideoDiT whose latents come from another codec than those that it was trained on.

    What reads or writes tokens of latents passes a linear map between tokens of both codecs, fitted by least squares.
    before: the codec of `weights`; codec: the one to translate to
    """
    assert isinstance(config.network, DiTConfig)
    draw = np.random.default_rng((config.seed, 2))
    frames = torch.cat([episodes.random_frames(128, draw) for _ in range(8)]).to(next(codec.parameters()).device)
    tokens = []
    for each in (before, codec):
        cut = replace(config.network, channels=each.config.channels)
        latents = torch.cat([each.encode(part) for part in frames.split(64)])
        tokens.append(cut.patchify(latents).flatten(0, 2))  # (n, features)
    old, new = tokens
    one = torch.ones_like(new[:, :1])
    into = torch.linalg.lstsq(torch.cat((new, one), 1), old).solution  # (new features + 1, old features)
    back = torch.linalg.lstsq(torch.cat((old, one), 1), new).solution
    out = dict(weights)
    for name in ("embed", "compression.frame"):  # embed reads a frame beside the one before it
        if f"{name}.weight" in weights:
            parts = weights[f"{name}.weight"].split(old.shape[1], 1)
            out[f"{name}.weight"] = torch.cat([part @ into[:-1].T for part in parts], 1)
            out[f"{name}.bias"] = weights[f"{name}.bias"] + sum(part @ into[-1] for part in parts)
    out["head.weight"] = back[:-1].T @ weights["head.weight"]
    out["head.bias"] = back[:-1].T @ weights["head.bias"] + back[-1]
    return out
