"""arvdm from Python: load a checkpoint, stream frames from it, write videos.

What a command does is done here too, on the same library, and prints nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import count
from typing import overload

import numpy as np
import torch
from torch import Tensor

from .actions import arrays, phrases, sources
from .actions.texts import parse
from .errors import ActionError, CheckpointError, ConfigError, UsageError, VideoError
from .hub import registry
from .media import Clip, Encoding, fit, to_bytes, to_tensor
from .runs import inputs, job
from .runs.events import OnEvent, ignore
from .runs.request import Machine, PromptSource, Request, TextSource
from .runs.sidecar import Report
from .runs.texts import Texts, read_texts
from .sampling import generation
from .sampling.config import SETTINGS, Plan
from .sampling.model import Model
from .sampling.schedules import Schedule
from .sampling.state import Actions as ActionSource
from .sampling.state import State
from .sampling.timing import Timing

__all__ = ["Actions", "Chunk", "Encoding", "Model", "Prompt", "Report", "Schedule", "generate", "load", "stream"]

# One action: a word of a phrase ("forward+jump"), the index of a name, a number for each name, or None for unknown
Action = str | int | Sequence[float] | Mapping[str, float] | np.ndarray | None
# A phrase, a file or "random"; rows (f, a) or indices (f,); or what is asked for the action into each new frame
Actions = str | os.PathLike[str] | np.ndarray | Tensor | Sequence[Action] | Callable[[int], Action]
# A file; uint8 frames (f, h, w, 3), which are fitted to the model's size; or floats (f, 3, h, w) in [-1, 1]
Prompt = str | os.PathLike[str] | np.ndarray | Tensor
Text = str | Sequence[str | tuple[int, str]]  # one text, or several, each from a frame on: "60:snow", (60, "snow")
Setting = float | str | None


@dataclass(frozen=True)
class Chunk:
    """Frames that became clean in one AR step, and where the video stands after it."""

    inner: generation.Chunk = field(repr=False)

    @cached_property
    def frames(self) -> np.ndarray:
        """Frames uint8 (f, h, w, 3), decoded when first used."""
        return to_bytes(self.inner.frames[0])

    @property
    def latents(self) -> Tensor:
        """Clean latents (f, c, h, w) of about unit variance, on the model's device."""
        return self.inner.latents[0]

    @property
    def state(self) -> State:
        """The video after these frames, for `stream(..., state=...)`; of constant size, and nothing writes into it."""
        return self.inner.state

    def __len__(self) -> int:
        """How many frames there are."""
        return self.inner.count


def load(
    name: str | os.PathLike[str],
    device: str = "auto",
    dtype: str = "auto",
    *,
    threads: int | None = None,
    deterministic: bool = False,
) -> Model:
    """Load a checkpoint that is on this machine.

    name: a folder, a short name as `arvdm list` shows them, or owner/name[@revision] of the Hub
    device: auto, cpu, cuda, mps, ...; auto takes the fastest
    dtype: auto, float32, bfloat16 or float16
    threads: of the CPU, None for as many as torch takes
    deterministic: the same frames whatever the threads, for the whole process; slower
    Returns: a model with `actions` (names), `fps`, `sampling` (its own settings), `card`, `codec` and `network`
    Raises: UnknownModelError, CheckpointError, IntegrityError; UsageError for a device that cannot be used
    """
    source = os.fspath(name)
    machine = Machine(device, dtype, threads, deterministic=deterministic)
    model, _ = job.load(registry.resolve(source), machine)
    model.source = source
    return model


def stream(
    model: Model,
    prompt: Prompt | None = None,
    actions: Actions = "random",
    *,
    seed: int,
    schedule: str | Schedule | None = None,
    prompt_actions: Actions | None = None,
    state: State | None = None,
    text: Text | None = None,
    negative_text: str | None = None,
    **settings: Setting,
) -> Iterator[Chunk]:
    """Yield new frames, one chunk per AR step as soon as it is clean, for as long as the caller takes them.

    prompt: what the video continues; of a longer one the last frames that the model can use
    actions: lead into the new frames, the first row into the first frame yielded; after the last they are unknown.
        random goes on as the seed draws it. A callable is asked once for each frame, in order and as late as the
        schedule allows, with the frame's number; the window's frames are asked for at the first step
    seed: the same seed gives the same frames
    schedule: a preset with or without options ("rolling:blocks=2"), a file or a Schedule; None: the model's own
    prompt_actions: led into the prompt's frames; None: the file beside it, if there is one, else unknown
    state: of a chunk; the video goes on after it, under the same schedule, or branches off by other actions or seed
    text: what the video shows, for a model that reads text; of several texts each begins at a frame, (60, "snow") or
        "60:snow", that of the first one 0, which is the first frame yielded; the first text describes what comes before
    negative_text: what guidance leads away from; None: the checkpoint's own
    settings: those of `arvdm generate`: steps, chunk, init_steps, solver, guidance, context, slots, cache, ...
    Yields: chunks of `frames` uint8 (f, h, w, 3), `latents` (f, c, h, w) and `state`
    Raises: VideoError, ActionError, ScheduleError, ConfigError, UsageError; NumericError while frames are made
    """
    plan = choose(model, schedule, settings)
    texts = find_texts(model, text, negative_text, ignore)
    if texts:
        model = replace(model, network=copy(model.network))  # shares the weights; other videos may have other texts
        texts.to_model(model)
    if state is None:
        clip, led = read_prompt(model, plan, prompt, prompt_actions, ignore)
        led = texts.before(len(clip)) if texts else led
        state = generation.begin(model, plan, to_tensor(clip).unsqueeze(0), led)
        prompted = len(clip) > 0
    else:
        check_state(plan, state, prompt)
        state, prompted = texts.describe(state) if texts else state, True
    rows, _ = read_actions(model, actions, seed, None, ignore, state.frame)
    if texts:
        rows = texts.rows(Timing.of(model.codec), prompted, state.frame)
    return map(Chunk, generation.generate_states(model, plan, state, rows, seed, live=is_live(actions)))


@overload
def generate(
    model: Model | str | os.PathLike[str],
    output: str | os.PathLike[str],
    prompt: Prompt | None = None,
    actions: Actions = "random",
    *,
    seed: int,
    length: int | None = None,
    schedule: str | Schedule | None = None,
    prompt_actions: Actions | None = None,
    include_prompt: bool = False,
    text: Text | None = None,
    negative_text: str | None = None,
    encoding: Encoding | None = None,
    on_event: OnEvent = ignore,
    **settings: Setting,
) -> Report: ...


@overload
def generate(
    model: Model | str | os.PathLike[str],
    output: None = None,
    prompt: Prompt | None = None,
    actions: Actions = "random",
    *,
    seed: int,
    length: int | None = None,
    schedule: str | Schedule | None = None,
    prompt_actions: Actions | None = None,
    include_prompt: bool = False,
    text: Text | None = None,
    negative_text: str | None = None,
    encoding: None = None,
    on_event: OnEvent = ignore,
    **settings: Setting,
) -> np.ndarray: ...


def generate(
    model: Model | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    prompt: Prompt | None = None,
    actions: Actions = "random",
    *,
    seed: int,
    length: int | None = None,
    schedule: str | Schedule | None = None,
    prompt_actions: Actions | None = None,
    include_prompt: bool = False,
    text: Text | None = None,
    negative_text: str | None = None,
    encoding: Encoding | None = None,
    on_event: OnEvent = ignore,
    **settings: Setting,
) -> Report | np.ndarray:
    """Write a video as `arvdm generate` does, replacing one of that name, or return its frames.

    model: a loaded one, or a name for `load`
    output: a video, a folder of images or arrays, by its ending; None: the frames are returned
    length: new frames, 0 until stopped; None: as many as there are actions, else 120
    include_prompt: the prompt's frames come first
    encoding: None: the format's own, at the model's frames per second
    text: as in `stream`; frames are counted from the first new one
    on_event: called with each event of the run, see `runs.events`; what it raises stops the run, which leaves a video
        of the frames made so far
    The others, and what is raised, as in `stream`; OutputError where the output cannot be written.
    Returns: the report of the run, or frames uint8 (f, h, w, 3)
    """
    texts = find_texts(model, text, negative_text, on_event)
    if not isinstance(model, Model):
        model = load(model)
    plan = choose(model, schedule, settings)
    clip, led = read_prompt(model, plan, prompt, prompt_actions, on_event)
    rows, known = read_actions(model, actions, seed, length, on_event)
    frames = inputs.new_frames(length, known)
    key = "live" if is_live(actions) else "random"
    if known is not None:
        key = inputs.digest(rows(0, known).numpy().tobytes())
    read = inputs.gather(clip, led, rows, key, frames, is_live(actions))
    if texts:
        read = inputs.with_texts(read, model, texts, on_event)
    if output is None:
        if frames is None:
            raise UsageError(
                f"A length of {length} means an endless video, which cannot be returned.",
                hint="Give a length, or call stream.",
            )
        if texts:
            texts.to_model(model)
        begun = generation.begin(model, plan, to_tensor(clip).unsqueeze(0), read.prompt_actions)
        chunks = generation.generate_states(model, plan, begun, read.actions, seed, frames, read.live)
        new = [to_bytes(chunk.frames[0]) for chunk in chunks]
        return np.concatenate([clip, *new] if include_prompt else new)
    request = Request(
        model=model.source or str(model.card.get("name", "")),
        output=os.fspath(output),
        seed=seed,
        plan=plan,
        encoding=encoding or Encoding(model.fps),
        prompt=PromptSource(path_of(prompt)),
        actions=key,
        length=length,
        include_prompt=include_prompt,
        machine=machine_of(model),
    )
    return job.Job(request, model, read).run(on_event)


def find_texts(
    model: Model | str | os.PathLike[str], text: Text | None, negative: str | None, on_event: OnEvent
) -> Texts | None:
    """The texts of a video, encoded; None for a model that takes none.

    Raises: UsageError where they do not fit the model, CheckpointError where it was not loaded from a checkpoint
    """
    given = [] if text is None else [text] if isinstance(text, str) else text
    words = [each if isinstance(each, str) else f"{each[0]}:{each[1]}" for each in given]
    source = TextSource(parse(words), negative)
    if isinstance(model, Model):
        if not model.takes_prompts and source == TextSource():
            return None
        name, machine = model.source, Machine(machine_of(model).device)
        if not name:
            raise CheckpointError("The model was not loaded from a checkpoint, so it has no encoder of texts.")
    else:
        name, machine = os.fspath(model), Machine()
    return read_texts(registry.resolve(name), source, machine, on_event)


def choose(model: Model, schedule: str | Schedule | None, settings: Mapping[str, Setting]) -> Plan:
    """How a model is sampled; raises UsageError for a setting that is unknown or of another type."""
    check_settings(settings)
    return generation.choose(model.sampling, schedule=schedule, **settings)


def check_settings(settings: Mapping[str, Setting]) -> None:
    """Raise UsageError for a setting that is unknown or of another type."""
    for name, value in settings.items():
        if name not in SETTINGS:
            near = get_close_matches(name, SETTINGS, n=1, cutoff=0.5) or SETTINGS
            raise UsageError(f"No setting is called {name!r}.", hint=f"Choose from: {', '.join(near)}.")
        kind = SETTINGS[name].kind
        if value is not None and not (isinstance(value, kind) or (kind is float and isinstance(value, int))):
            raise UsageError(f"The setting {name} is {value!r}; it takes a value of type {kind.__name__}.")


def read_prompt(
    model: Model, plan: Plan, prompt: Prompt | None, prompt_actions: Actions | None, on_event: OnEvent
) -> tuple[np.ndarray, Tensor]:
    """Frames uint8 (f, h, w, 3) in the model's size, the last that it can use, and actions (1, f, a) that led there."""
    path, file = path_of(prompt), path_of(prompt_actions)
    if prompt_actions is not None and file is None:
        file = phrases.UNKNOWN  # until the rows are read
    if path is not None or prompt is None:
        clip, led = inputs.read_prompt(PromptSource(path, actions=file), model, plan.sampling, on_event)
    else:
        assert isinstance(prompt, np.ndarray | Tensor)
        whole = fit_frames(prompt, model)
        track, *_ = sources.read_prompt(sources.of_prompt(file, None), model.actions, whole.clock, found=False)
        last = slice(-inputs.usable(model, plan.sampling), None)
        led = torch.from_numpy(track[last]).unsqueeze(0)
        clip, led = inputs.crop(whole.frames[last], led, model, on_event)
    if prompt_actions is None or isinstance(prompt_actions, str | os.PathLike):
        return clip, led
    rows, known = read_actions(model, prompt_actions, 0, None, on_event)
    if known is None or known < len(clip):
        seen = "no fixed number of" if known is None else known
        raise ActionError(f"The prompt has {len(clip)} frames and {seen} actions.", hint="Give one for each frame.")
    return clip, rows(known - len(clip), len(clip))


def fit_frames(prompt: np.ndarray | Tensor, model: Model) -> Clip:
    """A clip of frames uint8 (f, h, w, 3) in the model's size.

    Raises: VideoError where they are neither uint8 (f, h, w, 3) nor floats (f, 3, h, w) in [-1, 1]
    """
    config = model.codec.config
    values = torch.as_tensor(prompt).detach()
    if values.is_floating_point() and values.ndim == 4 and values.shape[1] == 3:
        if values.numel() and not values.abs().max() <= 1.01:  # nor NaN; codecs overshoot a little
            raise VideoError(f"The prompt's values reach {values.abs().max():g}, beyond [-1, 1].")
        frames = to_bytes(values)
    else:
        frames = values.cpu().numpy()
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise VideoError(
            f"The prompt is {frames.dtype} {frames.shape}, not uint8 (f, h, w, 3).",
            hint="Floats are taken as (f, 3, h, w) in [-1, 1].",
        )
    if not len(frames):
        frames = frames.reshape(0, config.height, config.width, 3)
    clip = Clip(frames, None, "the prompt")
    return clip if frames.shape[1:3] == (config.height, config.width) else fit(clip, config.height, config.width)


def read_actions(
    model: Model, actions: Actions, seed: int, length: int | None, on_event: OnEvent, first: int = 0
) -> tuple[ActionSource, int | None]:
    """Actions for new frames, and how many there are where that is known.

    first: the new frame that the first row leads into
    Raises: ActionError where they do not fit the model
    """
    names = model.actions
    if callable(actions):
        row = (
            phrases.read_row(plain(actions(frame)), names, f"The action into frame {frame}") for frame in count(first)
        )
        return sources.live(row, len(names), keep_on=True), None
    if isinstance(actions, str | os.PathLike):
        rows, known = inputs.read_actions(os.fspath(actions), length, seed, model, on_event)
        if known is None:  # random goes on from any frame
            return rows, None
    else:
        track = read_track(actions, names)
        rows, known = generation.given(torch.from_numpy(track).unsqueeze(0)), len(track)
    return lambda frame, count: rows(frame - first, count), known


def read_track(actions: np.ndarray | Tensor | Sequence[Action], names: Sequence[str]) -> np.ndarray:
    """Rows float32 (f, a) of an array, a tensor or a list of actions."""
    if isinstance(actions, Tensor):
        actions = actions.detach().cpu().numpy()
    if isinstance(actions, np.ndarray):
        return arrays.from_array(actions, names, "actions").values
    rows = (phrases.read_row(plain(each), names, f"Action {at}") for at, each in enumerate(actions))
    return phrases.stack(rows, names, "A list of actions")


def plain(action: Action) -> object:
    """An action as JSON gives it."""
    if isinstance(action, np.ndarray | np.generic):
        return action.tolist()
    return list(action) if isinstance(action, tuple) else action


def is_live(actions: Actions) -> bool:
    """Whether actions are asked for while frames are seen."""
    return callable(actions) or (isinstance(actions, str) and actions == "-")


def path_of(source: Prompt | Actions | None) -> str | None:
    """The file of a prompt, or the file or phrase of actions; None where it is in memory, or there is none."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else None


def check_state(plan: Plan, state: State, prompt: Prompt | None) -> None:
    """Refuse a state that a prompt or another schedule is given with."""
    if prompt is not None:
        raise UsageError("A video continues a state or a prompt, not both.")
    window = None if state.window is None else state.window.shape[1]
    if window not in (None, plan.schedule.window):
        raise ConfigError(
            f"The state has a window of {window} frames, but the schedule one of {plan.schedule.window}.",
            hint="Use the schedule and options of the state.",
        )


def machine_of(model: Model) -> Machine:
    """What a loaded model computes on."""
    weights: Tensor = next(model.network.parameters())
    dtype = str(weights.dtype).removeprefix("torch.")
    return Machine(str(weights.device), dtype, deterministic=torch.are_deterministic_algorithms_enabled())
