"""A finished video made longer, under its own settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..actions.texts import Prompts
from ..errors import InputError, UsageError
from ..hub import registry
from ..sampling.model import Model
from ..sampling.state import Actions
from ..sampling.timing import Timing
from .events import OnEvent, ignore
from .inputs import Inputs, read_actions, with_texts
from .job import Job, load
from .request import Machine, PromptSource, Request
from .settings import Settings
from .sidecar import Report
from .state_file import Saved, saved_states
from .texts import Texts, add_texts, encode_added, place_added


def extend(
    output: str,
    length: int,
    actions: str,
    machine: Machine,
    on_event: OnEvent = ignore,
    keep_state: bool = True,
    prompts: Prompts = (),
) -> Report:
    """Add new frames after the end of a video, or after the last frame of an interrupted run.

    length: frames to add
    actions: those that lead into them, as in a Request; random ones continue those of the video
    keep_state: as in a Request
    prompts: of text, from added frames on, of which the first is frame 0; before them, the video's own last one
    Raises: InputError where no state is saved beside the video, or it is not the video of that state; UsageError where
        it cannot be extended in this way
    """
    if actions == "-":
        raise UsageError("Cannot resume a run that reads stdin.")
    states = saved_states(output)
    if not states or not (states[0].frames or states[0].complete):  # none, or of a run that wrote nothing
        raise InputError(
            f"{output!r} has no state file to resume from.",
            hint="Only videos written by `arvdm generate` with --keep-state can be extended.",
        )
    before, folder = states[0].settings, registry.resolve(states[0].settings.model)
    machine = machine_for(before, machine)
    features = encode_added(folder, states[0], prompts, machine, on_event)  # before the network needs the room
    model, machine = load(folder, machine, on_event)
    texts = None
    if features is not None:
        placed = place_added(before, prompts, end_of(states[0]), Timing.of(model.codec))
        texts = Texts(placed, before.negative_prompt, features)
        states = [add_texts(saved, texts) for saved in states]
    request = Request(
        model=before.model,
        output=output,
        seed=before.seed,
        plan=before.plan,
        encoding=before.encoding,
        prompt=PromptSource(before.prompt),
        actions=actions,
        length=length,
        include_prompt=before.include_prompt,
        machine=replace(machine, deterministic=before.deterministic),
        keep_state=keep_state,
    )
    inputs = extended_inputs(request, model, states[0], on_event)
    if texts:
        inputs = with_texts(inputs, model, texts, on_event)
    return Job(request, model, inputs).resume(states, on_event)


def machine_for(before: Settings, machine: Machine) -> Machine:
    """The machine that a video is extended on: compiled, and deterministic, where it was made so, in its dtype.

    Raises: UsageError where it is to be what the video is not
    """
    if machine.compile and not before.compiled:
        raise UsageError(
            f"{before.output!r} was generated without --compile, so it is extended without it.",
            hint="Leave out --compile.",
        )
    if machine.deterministic and before.compiled:
        raise UsageError(
            f"{before.output!r} was generated with --compile, so it cannot be extended with --deterministic."
        )
    return replace(
        machine,
        dtype=before.dtype if machine.dtype == "auto" else machine.dtype,
        compile=before.compiled,
        deterministic=machine.deterministic or before.deterministic,
    )


def end_of(saved: Saved) -> int:
    """After how many new frames a video is extended."""
    length = saved.settings.length
    return saved.frames if length is None else length  # one without a length was stopped


def extended_inputs(request: Request, model: Model, saved: Saved, on_event: OnEvent) -> Inputs:
    """The inputs of a longer run whose prompt was shown by an earlier one."""
    before, config = saved.settings, model.codec.config
    end = end_of(saved)
    actions, _ = read_actions(request.actions, request.length, request.seed, model, on_event)
    if request.actions != "random":  # rows of a file or a phrase lead into the frames that are added
        latents = Timing.of(model.codec).latents(end, before.prompt_frames > 0)  # those of old frames stay as they are
        actions = following(saved, latents, actions)
    return Inputs(
        prompt=np.empty((0, config.height, config.width, 3), np.uint8),
        prompt_actions=torch.zeros(1, 0, len(model.actions)),
        prompt_frames=before.prompt_frames,
        prompt_sha256=before.prompt_sha256,
        actions=actions,
        key=before.actions,
        length=end + (request.length or 0),
    )


def following(saved: Saved, length: int, actions: Actions) -> Actions:
    """Actions whose first row leads into new latent `length`; before it, those that were saved."""
    start = saved.state.frame
    known = torch.from_numpy(saved.ahead).unsqueeze(0)[:, : length - start]

    def rows(first: int, count: int) -> torch.Tensor:
        old = known[:, max(0, first - start) :][:, :count]
        return torch.cat((old, actions(max(0, first - length), count - old.shape[1])), 1)

    return rows
