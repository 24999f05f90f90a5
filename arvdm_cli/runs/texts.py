"""Prompts of text along a run: read before the network is loaded, kept in its state, added as a video is extended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..actions.texts import Prompts, check_frames, rows
from ..configs import fill, table
from ..device import DTYPES, choose_machine
from ..errors import ConfigError, UsageError
from ..hub import checkpoint
from ..hub.build import kind_of
from ..hub.layout import CONFIG
from ..hub.registry import read_config
from ..hub.texts import Encoder, stacked
from ..models import Architecture
from ..sampling.model import Model
from ..sampling.state import Actions, State
from ..sampling.timing import Timing
from .events import Note, OnEvent, ignore
from .request import Machine, TextSource
from .settings import Settings
from .state_file import Saved

HINT = "--prompt (in Python: text) describes the video in words."


@dataclass(frozen=True)
class Texts:
    """What a video is to show, in words and as features of them."""

    prompts: Prompts  # from which new frame on, and the text
    negative: str
    features: Tensor  # (p + 1, n, d) of tokens, those of the negative prompt first; zeros behind the last of a text

    def rows(self, timing: Timing, prompted: bool, first: int = 0) -> Actions:
        """Actions (1, f, p) that choose, of each latent, the prompt of the frames that it holds.

        prompted: whether frames come before the new ones; first: latent that holds new frame 0
        """
        return rows([first + latent for latent in first_latents(self.prompts, timing, prompted)])

    def before(self, frames: int) -> Tensor:
        """Actions (1, f, p) for frames before the new ones: the first prompt describes them, too."""
        return torch.eye(len(self.prompts))[:1].expand(1, frames, -1)

    def describe(self, state: State) -> State:
        """A state whose frames so far are described by the first prompt."""
        first = torch.eye(len(self.prompts))[0]
        return change_actions(state, lambda actions: first.to(actions).expand(*actions.shape[:-1], -1))

    def to_model(self, model: Model) -> None:
        """Let a model generate by these texts."""
        tokens = model.network.config.tokens
        model.network.set_prompts(F.pad(self.features, (0, 0, 0, tokens - self.features.shape[1])))


class TextShape(Protocol):
    """What the config of a network says of the texts that it reads."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def tokens(self) -> int: ...
    @property
    def text(self) -> int:
        """Features of a token."""


def read_texts(
    folder: Path,
    source: TextSource,
    machine: Machine,
    on_event: OnEvent = ignore,
    saved: Saved | None = None,
    unread: bool = False,
    length: int | None = None,
) -> Texts | None:
    """Read the texts of a request for the checkpoint in a folder; None where it takes none.

    It is called before the network is loaded: the encoder of the texts may be larger.

    saved: where a run stood that is resumed, under the same texts; they are not encoded again
    unread: whether the texts are not encoded, for what does not depend on them
    length: new frames, where that is known; None or 0: without end
    Raises: UsageError where texts are given to a model that takes none, or none to one that needs them; CheckpointError
    where there is no encoder; ConfigError where a package is missing, or the texts are not those of the saved run
    """
    config = read_config(folder)
    kind = text_network(config)
    if kind is None:
        if source != TextSource():
            raise takes_none(str(config.get("name", folder.name)))
        return None
    if not source.prompts:
        raise UsageError("This model generates from a text, and none is given.", hint=HINT)
    check_frames(source.prompts, length)
    checkpoint.check(folder)  # before minutes go into its texts
    negative = str(config.get("negative_prompt", "")) if source.negative is None else source.negative
    if saved and saved.texts is not None:
        saved.settings.check_unchanged(replace(saved.settings, prompts=source.prompts, negative_prompt=negative))
        return Texts(source.prompts, negative, saved.texts)
    # in single precision, the encoder would be twice as large as its file
    encoder = encoder_of(folder, config, kind, DTYPES.get(machine.dtype, torch.bfloat16))
    if unread:
        encoder.check()
        return Texts(source.prompts, negative, torch.zeros(len(source.prompts) + 1, 1, encoder.width))
    words = [negative, *(text for _, text in source.prompts)]
    return Texts(source.prompts, negative, encode(encoder, words, machine, on_event))


def encode_added(
    folder: Path, saved: Saved, added: Prompts, machine: Machine, on_event: OnEvent = ignore
) -> Tensor | None:
    """Features of the texts of a video, and of prompts that are added as it is extended; None of a model without texts.

    Raises: as `read_texts`
    """
    before = saved.settings
    if saved.texts is None:
        if added:
            raise takes_none(before.model)
        return None
    if not added:
        return saved.texts
    config = read_config(folder)
    kind = text_network(config)
    assert kind, "a state with texts of a model that takes none"
    encoder = encoder_of(folder, config, kind, saved.texts.dtype)
    return stacked([*saved.texts, *encode(encoder, [text for _, text in added], machine, on_event)])


def place_added(before: Settings, added: Prompts, end: int, timing: Timing) -> Prompts:
    """The prompts of a video that is extended after its first `end` new frames, all counted from its first new frame.

    added: those of the frames that are added, of which the first is frame 0; a latent with older frames stays as it was
    """
    prompted = before.prompt_frames > 0
    first = timing.frames(timing.latents(end, prompted), prompted)
    return (*before.prompts, *((max(first, end + frame), text) for frame, text in added))


def add_texts(saved: Saved, texts: Texts) -> Saved:
    """A state as if its run had been given all these texts, of which those that it had come first."""
    settings = replace(saved.settings, prompts=texts.prompts)
    state = change_actions(saved.state, lambda actions: F.pad(actions, (0, len(texts.prompts) - actions.shape[-1])))
    return replace(saved, settings=settings, state=state, texts=texts.features)


def change_actions(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """A state with all its actions (b, f, p) changed.

    Where a network keeps clean frames as its past, with their actions, it takes them from the context again.
    """
    memory = replace(state.memory, actions=change(state.memory.actions))
    cache = None if getattr(state.cache, "clean", None) else state.cache
    return replace(state, actions=change(state.actions), memory=memory, cache=cache)


def first_latents(prompts: Prompts, timing: Timing, prompted: bool) -> list[int]:
    """The latent of each prompt that holds the frame at which it begins.

    prompted: whether frames come before the new ones
    """
    return [timing.latents(frame + 1, prompted) - 1 for frame, _ in prompts]


def text_network(config: Mapping[str, object]) -> Architecture | None:
    """The architecture of a checkpoint whose network takes prompts of text; None of any other."""
    try:
        kind = kind_of(config)
    except (KeyError, ConfigError):  # loading it says what is wrong
        return None
    return kind if getattr(kind.network, "takes_prompts", False) else None


def encoder_of(folder: Path, config: Mapping[str, object], kind: Architecture, dtype: torch.dtype) -> Encoder:
    """The encoder of a checkpoint in a folder, for the network that its config describes."""
    network: TextShape = fill(kind.network_config, table(config, "network"), str(folder / CONFIG))
    return Encoder(folder, network.tokens, network.text, dtype)


def encode(encoder: Encoder, texts: Sequence[str], machine: Machine, on_event: OnEvent) -> Tensor:
    """Features (p, n, d) of texts, encoded on a machine where the cache does not hold them."""

    def find_device() -> torch.device:
        return choose_machine(machine.device, machine.dtype, machine.threads, machine.deterministic)[0]

    return encoder.encode(texts, find_device, lambda words: on_event(Note(words)))


def takes_none(name: str) -> UsageError:
    """The error for texts that a model cannot read."""
    return UsageError(f"{name} takes no prompt of text.", hint="--prompt-frames gives it frames to continue.")
