"""A play written down as it goes: a video, its actions, and the command that makes the same frames again."""

from __future__ import annotations

import shlex
import shutil
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import media
from ..actions import files, lines
from ..errors import OutputExistsError
from ..files import _written, replacing
from ..runs import sidecar
from ..runs.action_log import ActionLog
from ..runs.inputs import digest
from ..runs.output_check import contents
from ..runs.request import Machine
from ..runs.settings import Settings
from ..runs.sidecar import Report
from ..runs.state_file import Fingerprint, Saved, forget_states, save_state, state_file
from ..sampling.config import Plan, flag_of
from ..sampling.generation import given
from ..sampling.model import Model
from ..sampling.state import State
from .start import Start

VIDEO, ACTIONS, COMMAND, PROMPT = "play.mp4", "play.jsonl", "command.txt", "prompt"


@dataclass(frozen=True)
class Recipe:
    """What a recorded play has in common with a run of `arvdm generate`."""

    model: str  # as a user names it
    plan: Plan
    chosen: Mapping[str, object]  # settings of sampling that were chosen, by their names in `sampling.config.SETTINGS`
    machine: Machine


class Recorder:
    """A folder with a play's video and actions, of the branch that is played now; called from one thread.

    play.mp4 grows as play.part.mp4, which plays at any time; after a rewind the frames before it are in play.base.mp4.
    play.jsonl has the action into every frame before the frame is shown, and beyond: a window that is longer than its
    chunk reads ahead. command.txt makes the same frames again, of a play that was killed too.

    Raises: OutputExistsError where the folder has other contents, OutputError where it cannot be written
    """

    def __init__(self, folder: Path, model: Model, recipe: Recipe):
        self.folder, self.model, self.recipe = folder, model, recipe
        self.frames = 0
        self._seed = 0
        self._rows = np.zeros((0, len(model.actions)), np.float32)
        self._recent: deque[np.ndarray] = deque(maxlen=16 + round(model.fps))  # the last frames written
        self._prompt: Start | None = None
        self._writer: media.Writer | None = None
        self._started = time.time()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputExistsError(f"{folder} exists and is not empty.", hint="Choose another folder.")
        with _written(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def video(self) -> Path:
        return self.folder / VIDEO

    def begin(self, start: Start, seed: int) -> None:
        """Record from the beginning, under a start and a seed; what was recorded before is dropped."""
        if self._writer:
            self._writer.close()
        with _written(str(self.folder)):
            for path in (self.video, self.folder / ACTIONS, self.folder / COMMAND, self.folder / f"{PROMPT}.jsonl"):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.folder / PROMPT, ignore_errors=True)
        self._seed, self._prompt, self._started = seed, start, time.time()
        self._rows, self.frames = self._rows[:0], 0
        self._recent.clear()
        self._write_prompt(start)
        self._writer = self._open(None)

    def _write_prompt(self, start: Start) -> None:
        """Write the frames of the start as images, which lose nothing, and the actions that led into them."""
        if len(start.frames):
            height, width = start.frames.shape[1:3]
            with media.Writer(f"{self.folder / PROMPT}/", height, width, media.Encoding()) as images:
                images.write(start.frames)
            if self.model.actions:
                files.write(self.folder / f"{PROMPT}.jsonl", start.actions, self.model.actions)

    def _open(self, keep: int | None) -> media.Writer:
        config, recipe = self.model.codec.config, self.recipe
        comment = f"arvdm play {recipe.model} {recipe.plan.schedule.name} seed {self._seed}"
        encoding = media.Encoding(self.model.fps)
        return media.Writer(self.video, config.height, config.width, encoding, comment=comment, keep=keep or None)

    def take_actions(self, rows: np.ndarray) -> None:
        """Write the actions (f, a) that were read since the last call: `rows` has all of them, the old ones too."""
        new = rows[len(self._rows) :]
        self._rows = rows.copy()
        if self.model.actions and len(new):
            with _written(str(self.folder)), (self.folder / ACTIONS).open("ab") as file:
                lines.write(file, new, self.model.actions)

    def write(self, picture: np.ndarray) -> None:
        """Write the next frame, uint8 (h, w, 3)."""
        assert self._writer is not None
        self._writer.write(picture[None])
        self._recent.append(picture)
        self.frames += 1
        self._write_command()

    def _write_command(self) -> None:
        with replacing(self.folder / COMMAND) as part:
            part.write_text(shlex.join(self.command) + "\n")

    def cut(self, frames: int, rows: np.ndarray) -> None:
        """Drop what comes after the first `frames` frames, and the actions beyond `rows` (f, a)."""
        if frames < self.frames:
            assert self._writer is not None
            self._writer.close()
            self._recent = deque(list(self._recent)[: len(self._recent) - self.frames + frames], self._recent.maxlen)
            self._writer = self._open(frames)
            self.frames = frames
            self._write_command()
        if self.model.actions:
            files.write(self.folder / ACTIONS, rows, self.model.actions)
        self._rows = rows.copy()

    @property
    def command(self) -> list[str]:
        """The command that makes the frames again, to the bit on the same machine."""
        recipe, machine = self.recipe, self.recipe.machine
        words = ["arvdm", "generate", "--model", recipe.model]
        if self._prompt is not None and len(self._prompt.frames):
            words += ["--prompt-frames", str(self.folder / PROMPT)]
            if self.model.actions:
                words += ["--prompt-actions", str(self.folder / f"{PROMPT}.jsonl")]
        if self.model.actions:
            words += ["--actions", str(self.folder / ACTIONS)]
        words += ["--length", str(self.frames), "--seed", str(self._seed)]
        for name, value in recipe.chosen.items():
            words += [flag_of(name), str(value)]
        words += ["--device", machine.device, "--dtype", machine.dtype]
        words += ["--threads", str(machine.threads)] if machine.threads else []
        words += ["--deterministic"] if machine.deterministic else []
        return [*words, "--output", str(self.folder / "again.mp4")]

    def close(self, frames: int, state: object) -> None:
        """Finish the video, and save its settings and a state from which `arvdm generate --extend` continues.

        frames, state: new frames before an AR step, at most those written, and the model's state there
        """
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        if not self.frames:
            return
        settings = self._settings()
        sidecar.write(Report(settings, self.frames, 0, True, self._started, time.time() - self._started,
                             action_phrase=self._phrase(self.frames)))  # fmt: skip
        if isinstance(state, State) and frames:
            self._save_state(settings, frames, state)

    def _save_state(self, settings: Settings, frames: int, state: State) -> None:
        recent = list(self._recent)[: len(self._recent) - self.frames + frames]
        if not recent:
            return
        held, path = contents(settings.output, settings.encoding), state_file(settings.output)
        assert path is not None
        tail = np.stack(recent)
        fingerprint = Fingerprint.of(held.frames, frames - len(tail)) if held else None
        ahead = given(torch.from_numpy(self._rows).unsqueeze(0))(frames, self.recipe.plan.schedule.chunk)[0].numpy()
        forget_states(settings.output)
        phrase = self._phrase(frames)
        save_state(path, Saved(settings, frames, True, tail, ahead, state, phrase, fingerprint))

    def _phrase(self, frames: int) -> str | None:
        rows = given(torch.from_numpy(self._rows).unsqueeze(0))
        log = ActionLog(rows, self.model.actions, self.recipe.plan.schedule.chunk, "")
        log.add(0, frames)
        return log.phrase(frames)

    def _settings(self) -> Settings:
        recipe, start = self.recipe, self._prompt
        assert start is not None
        return Settings(
            output=str(self.video),
            model=recipe.model,
            sha256=self.model.sha256,
            prompt=str(self.folder / PROMPT) if len(start.frames) else None,
            prompt_frames=len(start.frames),
            prompt_sha256=digest(start.frames.tobytes() + start.actions.tobytes()),
            actions=digest(self._rows.tobytes()),
            length=self.frames,
            seed=self._seed,
            plan=recipe.plan,
            device=recipe.machine.device,
            dtype=recipe.machine.dtype,
            include_prompt=False,
            encoding=media.Encoding(self.model.fps),
            deterministic=recipe.machine.deterministic,
        )
