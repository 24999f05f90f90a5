"""What a run reads before it writes anything: the frames of its prompt, and actions."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .. import media
from ..actions import files, formats, phrases, sources, vpt
from ..actions.sources import endless, live
from ..actions.texts import check_frames
from ..data.episode import find_episode, read_episode, unseen
from ..errors import UsageError
from ..hub import registry
from ..sampling.config import Sampling
from ..sampling.generation import given
from ..sampling.model import Model
from ..sampling.state import Actions
from ..sampling.timing import Timing
from .events import Detail, Note, OnEvent, Warning_, ignore
from .request import PromptSource, Request, TextSource
from .texts import Texts, first_latents, read_texts, takes_none

DEFAULT_LENGTH = 120  # new frames, where neither the length nor the actions say how many


@dataclass(frozen=True)
class Inputs:
    """A prompt and actions, as read."""

    prompt: np.ndarray  # uint8 (f, h, w, 3), to be shown to the model; empty where an earlier run has shown it
    prompt_actions: torch.Tensor  # (1, f, a), that led into them
    prompt_frames: int  # of the prompt that the video begins with
    prompt_sha256: str  # of its frames and actions
    actions: Actions  # that lead into new frames
    key: str  # tells the actions from others: random, - or sha256
    length: int | None  # new frames; None: until stopped
    live: bool = False  # whether actions come as frames are seen
    texts: Texts | None = None  # prompts of text, whose rows the actions are


def read_inputs(request: Request, model: Model, on_event: OnEvent = ignore, texts: Texts | None = None) -> Inputs:
    """Read the prompt and the actions of a request.

    texts: as `read_texts` gives them; None: read here, where the model takes some
    Raises: VideoError, ActionError, and what `read_texts` raises
    """
    if not model.actions and (request.actions != "random" or request.prompt.actions):
        on_event(Warning_("the model has no actions, so --actions has no effect."))
    prompt, past = read_prompt(request.prompt, model, request.plan.sampling, on_event)
    actions, count = read_actions(request.actions, request.length, request.seed, model, on_event)
    key = request.actions if count is None else digest(actions(0, count).numpy().tobytes())
    inputs = gather(prompt, past, actions, key, new_frames(request.length, count), request.actions == "-")
    if not model.takes_prompts:
        if request.text != TextSource():
            raise takes_none(request.model)
        return inputs
    if request.text.negative and request.plan.sampling.guidance == 1:
        on_event(Warning_("--negative-prompt has no effect: --guidance is 1."))
    texts = texts or read_texts(registry.resolve(request.model), request.text, request.machine, on_event)
    return with_texts(inputs, model, texts, on_event) if texts else inputs


def with_texts(inputs: Inputs, model: Model, texts: Texts, on_event: OnEvent = ignore) -> Inputs:
    """Inputs whose actions are prompts of text.

    Raises: UsageError where one begins after the last frame
    """
    check_frames(texts.prompts, inputs.length)
    timing, prompted = Timing.of(model.codec), inputs.prompt_frames > 0
    starts = first_latents(texts.prompts, timing, prompted)
    for i in range(1, len(starts)):
        if starts[i - 1] == starts[i]:
            frames = " and ".join(str(frame) for frame, _ in texts.prompts[i - 1 : i + 1])
            on_event(Warning_(f"the prompts from frames {frames} on begin in one latent, which takes the later one."))
    past = texts.before(len(inputs.prompt))
    return replace(inputs, prompt_actions=past, actions=texts.rows(timing, prompted), texts=texts)


def gather(
    prompt: np.ndarray, past: torch.Tensor, actions: Actions, key: str, length: int | None, live: bool = False
) -> Inputs:
    """Inputs of a run that begins with a prompt uint8 (f, h, w, 3), into which actions `past` (1, f, a) led."""
    return Inputs(
        prompt=prompt,
        prompt_actions=past,
        prompt_frames=len(prompt),
        prompt_sha256=digest(prompt.tobytes() + past.numpy().tobytes()),
        actions=actions,
        key=key,
        length=length,
        live=live,
    )


def new_frames(length: int | None, actions: int | None) -> int | None:
    """How many new frames a request asks for, where `actions` of them have an action; None: until stopped."""
    if length or actions:
        return length or actions
    return None if length == 0 else DEFAULT_LENGTH


def usable(model: Model, sampling: Sampling) -> int:
    """How many of a prompt's last frames a model can use, at least 1."""
    latents = max(1, sampling.context + sampling.slots * sampling.group)
    return Timing.of(model.codec).frames(latents, prompted=False)


def crop(frames: np.ndarray, led: torch.Tensor, model: Model, on_event: OnEvent) -> tuple[np.ndarray, torch.Tensor]:
    """The last frames (f, h, w, 3) of a prompt that a model can encode, and the actions (1, f, a) that led into them.

    Where a latent stands for several frames, all but the first must be whole.
    """
    timing, count = Timing.of(model.codec), len(frames)
    used = timing.prompt(count)
    if used < count:
        on_event(Note(f"prompt: the last {used} of {count} frames are used; the model takes 1 + {timing.per_latent} k"))
    return frames[count - used :], led[:, led.shape[1] - used :]


def read_prompt(
    source: PromptSource, model: Model, sampling: Sampling, on_event: OnEvent
) -> tuple[np.ndarray, torch.Tensor]:
    """Frames uint8 (f, h, w, 3) in the model's size and rate: those asked for, else the last that it can use.

    Also actions (1, f, a) that led into them; zeros, the unknown action, where no file has them
    """
    return crop(*read_frames(source, model, sampling, on_event), model, on_event)


def read_frames(
    source: PromptSource, model: Model, sampling: Sampling, on_event: OnEvent
) -> tuple[np.ndarray, torch.Tensor]:
    """What `read_prompt` gives, before it is cropped to whole latents."""
    config, names = model.codec.config, model.actions
    if source.path is None:
        return np.empty((0, config.height, config.width, 3), np.uint8), torch.zeros(1, 0, len(names))
    if episode := find_episode(source.path):
        return from_episode(source, *episode, model, sampling, on_event)
    file = sources.of_prompt(source.actions, source.path) if names else None
    clip = media.read(
        source.path,
        start=source.start,
        count=source.count or usable(model, sampling),
        fps=model.fps,
        crop=source.crop,
        size=(config.height, config.width),
        fit=source.fit,
        whole=file is not None,  # it has a row for every frame
    )
    for note in clip.notes:
        on_event((Warning_ if note.startswith("damaged") else Note)(f"prompt: {note}"))
    if source.count and len(clip.frames) < source.count:
        on_event(Note(f"prompt: {len(clip.frames)} frames, fewer than the {source.count} requested"))
    led, notes, warning = sources.read_prompt(file, names, clip.clock, found=source.actions is None)
    if file is not None and not warning:
        on_event(Detail(f"prompt: actions from {file}, {formats.recognise(file)}"))
    for note in notes:
        on_event(Note(f"prompt: {note}"))
    for words in vpt.beyond_full(led, names):
        on_event(Warning_(f"prompt: {words}."))
    if warning:
        on_event(Warning_(f"prompt: {warning}"))
    return clip.frames, torch.from_numpy(led).unsqueeze(0)


def from_episode(
    source: PromptSource, folder: Path, number: int | None, model: Model, sampling: Sampling, on_event: OnEvent
) -> tuple[np.ndarray, torch.Tensor]:
    """What `read_frames` gives, from an episode of a data folder: the first that training has not seen, or `number`."""
    if source.crop or source.actions not in (None, *sources.UNKNOWN):
        what = "frames are stored as the model takes them" if source.crop else "episodes have their own actions"
        raise UsageError(f"{folder} is data, whose {what}.", hint="Leave out --prompt-crop and --prompt-actions.")
    if number is None:
        number = unseen(folder, model.card)[0]
    config = model.codec.config
    episode = read_episode(folder, number, model.actions, (config.height, config.width))
    if abs(episode.fps - model.fps) > 0.01 * model.fps:
        raise UsageError(f"The episodes of {folder} have {episode.fps:g} frames/s, the model has {model.fps:g}.")
    length, count = len(episode.frames), source.count or usable(model, sampling)
    first = max(0, length - count) if source.start is None else source.start
    if first >= length:
        raise UsageError(f"An episode of {folder} has {length} frames, so none is number {first}.")
    chosen = slice(first, first + count)
    if source.count and len(episode.frames[chosen]) < count:
        on_event(Note(f"prompt: {len(episode.frames[chosen])} frames, fewer than the {count} requested"))
    on_event(Note(f"prompt: episode {number} of {folder}"))
    led = np.zeros_like(episode.actions) if source.actions else episode.actions
    return episode.frames[chosen].copy(), torch.from_numpy(led[chosen].copy()).unsqueeze(0)


def read_actions(
    source: str, length: int | None, seed: int, model: Model, on_event: OnEvent
) -> tuple[Actions, int | None]:
    """Actions for the new frames, and how many there are where that is known."""
    names = model.actions
    if not names:
        return given(torch.zeros(1, 0, 0)), None
    if source == "random":
        walk = model.card.get("walk")
        return endless(lambda frames: phrases.random(names, frames, seed, walk)), None
    if source == "-":
        return live(phrases.stream(sys.stdin.buffer, names), len(names), bool(length)), None
    track = files.read(
        source, names, frames=length or None, fps=model.fps, on_note=lambda note: on_event(Note(f"actions: {note}"))
    )
    for words in vpt.beyond_full(track[: length or None], names):
        on_event(Warning_(f"actions: {words}."))
    if length and len(track) > length:
        on_event(Note(f"actions: the first {length} of {len(track)} are used"))
    return given(torch.from_numpy(track).unsqueeze(0)), len(track)


def digest(data: bytes) -> str:
    """sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
