"""One generation: a request, the model that answers it, and all that it has read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .. import media
from ..device import choose_machine, compile_network, peak_memory_mb
from ..hub import checkpoint, registry
from ..sampling import generation
from ..sampling.model import Model
from . import sidecar
from .events import AlreadyComplete, Note, OnEvent, Warning_, ignore
from .inputs import Inputs, read_inputs
from .recording import Recording
from .request import Machine, Request
from .settings import Settings
from .sidecar import Report
from .state_file import Saved, forget_states
from .texts import read_texts


@dataclass(frozen=True)
class Estimate:
    """What a run would take."""

    frames_per_second: float
    seconds: float | None  # for all new frames; None: until stopped
    peak_memory_mb: int | None  # None where the system does not report it

    def to_json(self) -> dict[str, object]:
        return {
            "frames_per_second": round(self.frames_per_second, 2),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "peak_memory_mb": self.peak_memory_mb,
        }


class Job:
    """A request that can be carried out: `Job(request, model).run()`.

    model: as `load` gives it, on the request's machine
    inputs: as `read_inputs` gives them; None: read here, and their notes are not shown
    Raises: VideoError, ActionError where the inputs cannot be read
    """

    def __init__(self, request: Request, model: Model, inputs: Inputs | None = None):
        self.request, self.model = request, model
        self.inputs = inputs or read_inputs(request, model)

    @classmethod
    def load(cls, request: Request, on_event: OnEvent = ignore) -> Job:
        """Load the model that a request names, and read its inputs."""
        folder = registry.resolve(request.model)
        # its encoder goes before the network comes
        texts = read_texts(folder, request.text, request.machine, on_event, length=request.length)
        model, machine = load(folder, request.machine, on_event)
        request = replace(request, machine=machine)
        return cls(request, model, read_inputs(request, model, on_event, texts))

    @property
    def settings(self) -> Settings:
        """All that decides the frames."""
        request, inputs = self.request, self.inputs
        return Settings(
            output=request.output,
            model=request.model,
            sha256=self.model.sha256,
            prompt=request.prompt.path,
            prompt_frames=inputs.prompt_frames,
            prompt_sha256=inputs.prompt_sha256,
            actions=inputs.key,
            length=inputs.length,
            seed=request.seed,
            plan=request.plan,
            device=request.machine.device,
            dtype=request.machine.dtype,
            include_prompt=request.include_prompt,
            encoding=request.encoding,
            deterministic=request.machine.deterministic,
            compiled=request.machine.compile,
            prompts=inputs.texts.prompts if inputs.texts else (),
            negative_prompt=inputs.texts.negative if inputs.texts else "",
        )

    def run(self, on_event: OnEvent = ignore) -> Report:
        """Make the video from its beginning.

        Raises: OutputBusyError where another run writes it, OutputError where it cannot be written
        """
        return self.resume((), on_event)

    def resume(self, states: Sequence[Saved], on_event: OnEvent = ignore) -> Report:
        """Make the frames that earlier runs have left out.

        states: as `state_file.resumable` gives them, the newest first; from none a video is made from its beginning
        Raises: ConfigError where the settings are others than before, else as `run`
        """
        settings = self.settings
        for saved in states[:1]:
            saved.settings.check_unchanged(settings)
            if saved.complete and saved.settings.length == settings.length:
                frames = settings.length or saved.frames  # a state is saved before a last chunk that was cut
                on_event(AlreadyComplete(settings.output, frames))
                forget_states(settings.output, but_last=self.request.keep_state)
                return Report(settings, frames, frames, True, time.time(), 0.0)
        if not states and (other := sidecar.other_output(settings.output)):
            beside = sidecar.sidecar(settings.output)
            on_event(Warning_(f"{beside} described {other}, and is replaced: {other} can no longer be extended."))
        with sidecar.hold(settings.output):
            keep = self.request.keep_state
            return Recording(self.model, settings, self.inputs, states, on_event, keep).make()

    def measure(self) -> Estimate:
        """Time the second AR step, and tell the most memory used so far."""
        inputs, plan = self.inputs, self.request.plan
        prompt = media.to_tensor(inputs.prompt).unsqueeze(0)
        if inputs.texts:
            inputs.texts.to_model(self.model)
        state = generation.begin(self.model, plan, prompt, inputs.prompt_actions)
        chunks = generation.generate(self.model, plan, state, inputs.actions, self.request.seed)
        next(chunks)
        started = time.perf_counter()
        frames = next(chunks).shape[1]
        rate = frames / (time.perf_counter() - started)
        peak = peak_memory_mb(torch.device("cpu"))
        return Estimate(rate, inputs.length / rate if inputs.length else None, peak)


def load(folder: Path, machine: Machine, on_event: OnEvent = ignore) -> tuple[Model, Machine]:
    """Load a checkpoint onto a machine; gives the machine too, with the names of its device and its numbers."""
    device, dtype = choose_machine(machine.device, machine.dtype, machine.threads, machine.deterministic)
    model = checkpoint.load(folder, device, dtype)
    if machine.compile:
        cache = compile_network(model.network, device)
        on_event(Note(f"compiling the network before the first frame; {cache} stores it for later runs"))
    return model, replace(machine, device=str(device), dtype=str(dtype).removeprefix("torch."))
