"""One run while it lasts: frames go to the encoder, states to their file, counts to the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from torch import Tensor

from .. import media
from ..actions.sources import EndOfActions
from ..errors import OutputError
from ..sampling import generation
from ..sampling.model import Model
from ..sampling.state import State
from ..sampling.timing import Timing
from . import saver, sidecar
from .action_log import ActionLog
from .events import FramesWritten, Interrupted, Note, OnEvent, Resumed, Started
from .inputs import Inputs
from .output_check import check_output
from .settings import Settings
from .sidecar import Report
from .state_file import Saved, forget_states, state_file


class Recording:
    """A video that is being made; `make` is called once.

    states: the newest of them whose frames are in the output is resumed
    keep_state: whether a state is left beside a finished video, to extend it
    Raises: OutputError where the output cannot be written, or holds the frames of none of the states; InputError where
        it is not the video that the states describe
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        inputs: Inputs,
        states: Sequence[Saved],
        on_event: OnEvent,
        keep_state: bool = True,
    ):
        self.model, self.settings, self.inputs, self.on_event = model, settings, inputs, on_event
        self.keep_state = keep_state
        self.writer, self.saved = open_writer(model, settings, states)
        self.latents = media.holds_latents(settings.output, settings.encoding.format)
        self.before = self.saved.frames if self.saved else 0  # new frames of earlier runs
        self.noted = 0  # notes of the writer that were handed on
        self.again = 0  # frames handed to the encoder that this run has not made: of the prompt, or written again
        self.frames = 0  # new frames of this run
        self.complete = False
        self.started = time.time()
        self.first_frame: float | None = None  # seconds
        self.log = ActionLog(
            inputs.actions, model.actions, settings.plan.schedule.chunk, self.saved.phrase if self.saved else ""
        )
        self.saver = saver.StateSaver(
            None if inputs.live else state_file(settings.output),
            settings,
            self.saved,
            16 + round(settings.encoding.fps),  # frames that an encoder may hold back
            self.log,
            on_event,
            inputs.texts.features if inputs.texts else None,
        )

    def make(self) -> Report:
        """Make the frames and write them, and the sidecar whatever happens."""
        try:
            with self.writer:
                try:
                    self._write_all()
                finally:
                    self._add_actions()
            self._hand_on_notes()
            self.complete = True
            self.saver.save(complete=True, whole=True)
            forget_states(self.settings.output, but_last=self.keep_state)
        except BaseException:
            with suppress(OutputError):  # the error that came first is the one to tell
                self.saver.save(complete=False, whole=True)
            if self.saver.last:
                self.on_event(Interrupted(self.settings.output))
            raise
        finally:
            # a signal may have come between the writing of frames and their count
            self.frames = max(self.frames, self._written())
            report = self._report()
            sidecar.write(report)
        return report

    def _write_all(self) -> None:
        """Make frames and write them, until they are all there or actions end."""
        self._hand_on_notes()
        self.on_event(Started(self.settings.output, self.settings.length))
        state = self._begin()
        left = (self.settings.length or 0) - self.before
        if self.settings.length and left <= 0:
            return
        chunks = generation.generate_states(
            self.model, self.settings.plan, state, self.inputs.actions, self.settings.seed, left, self.inputs.live
        )
        with suppress(EndOfActions):
            for chunk in chunks:
                if not self.saved and not self.frames:
                    self._write_prompt(state)
                self._write(to_array(chunk.latents) if self.latents else media.to_bytes(chunk.frames[0]), chunk)

    def _hand_on_notes(self) -> None:
        """Hand on what the writer has noted since the last time."""
        for note in self.writer.notes[self.noted :]:
            self.on_event(Note(note))
        self.noted = len(self.writer.notes)

    def _begin(self) -> State:
        """The state of the sampler before the first new frame of this run."""
        if self.inputs.texts:
            self.inputs.texts.to_model(self.model)
        if self.saved is None:
            prompt = media.to_tensor(self.inputs.prompt).unsqueeze(0)
            return generation.begin(self.model, self.settings.plan, prompt, self.inputs.prompt_actions)
        self.on_event(Resumed(self.settings.output, self.before))
        self.saver.resume(self.saved)
        self.again = len(self.saved.tail)
        self.writer.write(self.saved.tail)
        return self.saved.state

    def _write_prompt(self, beginning: State) -> None:
        """Write the prompt's frames, if they are wanted; until here an earlier video can still be resumed."""
        shown = self.inputs.prompt if self.settings.include_prompt else self.inputs.prompt[:0]
        if self.latents:
            shown = to_array(generation.encode(self.model, media.to_tensor(shown).unsqueeze(0)))
        forget_states(self.settings.output)
        self.saver.begin(shown, beginning)
        self.again = len(shown)
        self.writer.write(shown)

    def _add_actions(self) -> None:
        """Give the writer the actions that led into the frames, for formats that have room for them."""
        phrase = self.log.phrase(self.before + self.frames)
        if phrase is not None:
            self.writer.facts["actions"] = phrase

    def _write(self, items: np.ndarray, chunk: generation.Chunk) -> None:
        """Write a chunk, as frames uint8 (f, h, w, 3) or latents float32 (f, c, h, w), and count its frames."""
        self.log.add(self.before + self.frames, chunk.count)
        self.writer.write(items)
        if self.first_frame is None:
            self.first_frame = time.time() - self.started
        self.frames += chunk.count
        self.saver.add(items, chunk)
        self.on_event(FramesWritten(self.before + self.frames, None if self.latents else items[-1]))

    def _written(self) -> int:
        """New frames of this run that the writer has taken."""
        items, settings = self.writer.frames - self.again, self.settings
        if not self.latents:
            return items
        latents = items + (self.saved.state.frame if self.saved else 0)
        frames = Timing.of(self.model.codec).frames(latents, settings.prompt_frames > 0)
        return min(frames, settings.length or frames) - self.before  # the last latent may hold more

    def _report(self) -> Report:
        frames = self.before + self.frames
        return Report(
            settings=self.settings,
            frames=frames,
            resumed_after=self.before,
            complete=self.complete,
            started=self.started,
            seconds=time.time() - self.started,
            first_frame_seconds=self.first_frame,
            action_phrase=self.log.phrase(frames),
        )


def open_writer(model: Model, settings: Settings, states: Sequence[Saved]) -> tuple[media.Writer, Saved | None]:
    """A writer, and the newest state whose frames the output holds.

    Raises: OutputError where there are states, and it holds the frames of none; InputError where it is another video
    """
    config, latent, plan = model.codec.config, model.network.config, settings.plan
    for saved in states[:1]:
        check_output(settings.output, saved, config.height, config.width)
    comment = f"arvdm {settings.model} {model.sha256[:12]} {plan.schedule.name} seed {settings.seed}"
    latents = media.holds_latents(settings.output, settings.encoding.format)
    shown = settings.prompt_frames if settings.include_prompt else 0
    if latents:
        shown = Timing.of(model.codec).latents(shown, prompted=False)

    def open_after(keep: int | None) -> media.Writer:
        return media.Writer(
            settings.output,
            config.height,
            config.width,
            settings.encoding,
            comment=comment,
            facts=facts_of(model, settings),
            keep=keep,
            latents=(latent.channels, latent.height, latent.width),
        )

    missing: OutputError | None = None
    for saved in states:
        try:
            made = saved.state.frame if latents else saved.frames
            return open_after(shown + made - len(saved.tail)), saved
        except OutputError as error:
            missing = error
    if missing:
        raise missing
    return open_after(None), None


def facts_of(model: Model, settings: Settings) -> dict[str, str]:
    """What a file of latents says of the run that made them; its actions are added as it closes."""
    return {
        "model": settings.model,
        "sha256": model.sha256,
        "seed": str(settings.seed),
        "fps": f"{settings.encoding.fps:g}",
        "schedule": settings.plan.sampling.schedule,
    }


def to_array(latents: Tensor) -> np.ndarray:
    """Latents (1, f, c, h, w) as float32 (f, c, h, w)."""
    array: np.ndarray = latents[0].float().cpu().numpy()
    return array
