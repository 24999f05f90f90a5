"""What `arvdm generate` makes: a clip's prompt and actions read, its frames made and written, its state kept."""

from __future__ import annotations

import hashlib
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import ActionError, OutputError
from .console import out as stdout
from .console import printable, progress, say, settings, warn, write_json

if TYPE_CHECKING:
    import torch

    from ..media import Writer
    from ..runs.state_file import Saved
    from ..sampling.model import Model
    from ..sampling.plan import Plan
    from ..sampling.state import Actions
from ..actions.sources import EndOfActions, beside, endless, live

DEFAULT_LENGTH = 120  # new frames, where neither --length nor the actions say how many


class Clip:
    """One clip to make: its prompt, its actions, its seed and its length."""

    def __init__(self, source: str | None, prompt: Any, past: torch.Tensor, seed: int):
        self.source, self.prompt, self.past, self.seed = source, prompt, past, seed
        self.length: int | None = None  # new frames; None until stopped
        self.actions: Actions
        self.live = False  # whether actions come as frames are seen
        self.key = ""  # what tells the actions from others


class GenerationJob:
    """A model, how it is sampled, and the machine it runs on."""

    def __init__(self, name: str, model: Model, plan: Plan, machine: tuple[Any, Any]):
        self.name, self.model, self.plan = name, model, plan
        self.device, self.dtype = machine

    def prepare(
        self,
        source: str | None,
        first: int | None,
        count: int | None,
        crop: str | None,
        past: str | None,
        actions: str,
        length: int | None,
        seed: int,
    ) -> Clip:
        """Read a prompt and actions, before anything is written."""
        import numpy as np
        import torch

        from .. import media
        from ..actions import files

        config, names = self.model.codec.config, self.model.actions
        height, width = config.height, config.width
        sampling = self.plan.sampling
        reach = sampling.context + sampling.slots * sampling.group
        if source is None:
            frames = np.empty((0, height, width, 3), np.uint8)
        else:
            most = count or max(1, reach)
            read = media.read(source, start=first, count=most, fps=self.model.fps, crop=crop, size=(height, width))
            for note in read.notes:
                (warn if note.startswith("damaged") else say)(f"prompt: {note}")
            frames = read.frames
            if count and len(frames) < count:
                say(f"prompt: {len(frames)} frames, fewer than the {count} asked for")
        past = past or beside(source)
        led = torch.zeros(1, len(frames), len(names))  # a row of zeros is an unknown action
        if past is not None:
            say(f"prompt: actions from {past}, {files.recognise(past)}")
            known = files.read_clip(past, names, frames=len(frames))
            start = first if first is not None else len(known) - len(frames)
            if len(known) < start + len(frames):
                raise ActionError(f"{past!r} holds {len(known)} actions, none for frame {start + len(frames) - 1}.")
            led = torch.from_numpy(known[start : start + len(frames)]).unsqueeze(0)
        clip = Clip(source, frames, led, seed)
        clip.actions, given = self.read_actions(actions, length, seed)
        clip.live = actions == "-"
        clip.key = actions if given is None else digest(clip.actions(0, given).numpy().tobytes())
        clip.length = length if length else (given if length == 0 or given else DEFAULT_LENGTH)
        if length == 0 and given is None:
            clip.length = None
        return clip

    def read_actions(self, source: str, length: int | None, seed: int) -> tuple[Actions, int | None]:
        """Actions for the new frames, and how many there are where that is known."""
        import torch

        from ..actions import files
        from ..actions import phrases as tracks
        from ..sampling.generation import given

        names = self.model.actions
        if not names:
            return given(torch.zeros(1, 0, 0)), None
        if source == "random":
            walk = self.model.card.get("walk")
            return endless(lambda frames: tracks.random(names, frames, seed, walk)), None
        if source == "-":
            return live(tracks.stream(sys.stdin.buffer, names), len(names), bool(length)), None
        track = files.read(source, names, frames=length or None)
        if length and len(track) > length:
            say(f"actions: the first {length} of {len(track)} are used")
        return given(torch.from_numpy(track).unsqueeze(0)), len(track)

    def empty(self, seed: int) -> Clip:
        """A clip whose prompt was shown by an earlier run."""
        import numpy as np
        import torch

        config = self.model.codec.config
        shape = (0, config.height, config.width, 3)
        return Clip(None, np.empty(shape, np.uint8), torch.zeros(1, 0, len(self.model.actions)), seed)

    def open(self, target: str, asked: dict[str, Any], states: list[Saved]) -> tuple[Writer, Saved | None]:
        """A writer, and the newest state from which the frames that are there can be gone on with."""
        from .. import media

        config, encoding = self.model.codec.config, asked["encoding"]
        comment = f"arvdm {self.name} {self.model.sha256[:12]} {self.plan.schedule.name} seed {asked['seed']}"
        shown = asked["prompt_frames"] if asked["include_prompt"] else 0
        lacking: OutputError | None = None
        for saved in states:
            try:
                keep = shown + saved.frames - len(saved.tail)
                writer = media.Writer(
                    target, config.height, config.width, media.Encoding(**encoding), comment=comment, keep=keep
                )
                return writer, saved
            except OutputError as error:
                lacking = error
        if lacking:
            raise lacking
        return media.Writer(target, config.height, config.width, media.Encoding(**encoding), comment=comment), None

    def write(self, clip: Clip, target: str, asked: dict[str, Any], states: list[Saved]):
        """Make one clip, or the rest of it, and encode it, telling the sidecar whatever happens."""
        from .. import media
        from ..runs import saver, sidecar, state_file
        from ..sampling.generation import begin, generate_states

        for saved in states[:1]:
            state_file.check_unchanged(saved.settings, asked)
            if saved.complete and saved.settings["length"] == asked["length"]:
                say(f"{target}: all {asked['length']} frames are there")
                return None
        with sidecar.hold(target):
            writer, saved_ = self.open(target, asked, states)
            run = sidecar.Run(asked, saved_.frames if saved_ else 0)
            older = 0  # frames handed to the encoder that were not made now
            keeper = saver.StateSaver(
                None if clip.live else state_file.state_file(target),
                asked,
                run.before,
                saved_.tail if saved_ else None,
                16 + round(asked["encoding"]["fps"]),  # frames that an encoder may hold back
                lambda first: clip.actions(first, self.plan.schedule.chunk)[0].float().numpy(),
            )
            try:
                with writer, progress("frame", clip.length, "fps") as report:
                    for note in writer.notes:
                        say(note)
                    if saved_:
                        say(f"{target}: going on after {saved_.frames} frames")
                        writer.write(saved_.tail)
                        older = len(saved_.tail)
                        state = saved_.state
                    else:
                        state = begin(self.model, self.plan, media.to_tensor(clip.prompt).unsqueeze(0), clip.past)
                        shown = clip.prompt if asked["include_prompt"] else clip.prompt[:0]
                    left = (clip.length or 0) - run.before
                    made = generate_states(self.model, self.plan, state, clip.actions, clip.seed, left, clip.live)
                    try:
                        for chunk in made if left or not clip.length else ():
                            frames = media.to_bytes(chunk.frames[0])
                            if not saved_ and not run.frames:  # until here an earlier video can be gone on with
                                state_file.forget_states(target)
                                keeper.begin(shown, state)
                                writer.write(shown)
                                older = len(shown)
                            writer.write(frames)
                            run.add(len(frames))
                            keeper.add(frames, chunk.state)
                            report(run.before + run.frames - 1)
                    except EndOfActions:
                        pass
                    run.complete = True
                keeper.save(complete=True)
            except BaseException:
                with suppress(OutputError):  # the error that came first is the one to tell
                    keeper.save(complete=False)
                if keeper.last:
                    say(f"{target}: broken off; the same command with --resume auto goes on")
                raise
            finally:
                # a signal may have come between the writing of frames and their count
                run.frames = max(run.frames, writer.frames - older)
                beside = sidecar.sidecar(target)
                if beside and run.before + run.frames:
                    sidecar.write(run, beside)
        facts = run.facts() | {"output": target}
        if settings.json:
            return write_json(facts, stderr=target == "-")
        say(f"seed {clip.seed}; {run.frames} frames in {run.seconds:.1f} s, {facts['frames_per_second']:.1f} frames/s")
        if target != "-":
            stdout.print(printable(target), soft_wrap=True)

    def measure(self, clip: Clip) -> tuple[float, int]:
        """New frames per second, and the most memory used so far in MB, over a second AR step of a clip."""
        import resource

        from .. import media
        from ..sampling.generation import begin, generate

        state = begin(self.model, self.plan, media.to_tensor(clip.prompt).unsqueeze(0), clip.past)
        made = generate(self.model, self.plan, state, clip.actions, clip.seed)
        next(made)
        started = time.perf_counter()
        frames = next(made).shape[1]
        seconds = time.perf_counter() - started
        return frames / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    def facts(self, clip: Clip, target: str) -> dict[str, Any]:
        """Every setting of one clip, for its sidecar."""
        from dataclasses import asdict

        return {
            "output": target,
            "model": self.name,
            "sha256": self.model.sha256,
            "prompt": clip.source,
            "prompt_frames": len(clip.prompt),
            "prompt_sha256": digest(clip.prompt.tobytes() + clip.past.numpy().tobytes()),
            "actions": clip.key,
            "length": clip.length,
            "seed": clip.seed,
            "sampling": asdict(self.plan.sampling),
            "levels": self.plan.schedule.levels,
            "chunk": self.plan.schedule.chunk,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def digest(data: bytes) -> str:
    """A name for some bytes that no others have."""
    return hashlib.sha256(data).hexdigest()


def following(saved: Saved, length: int, actions: Actions) -> Actions:
    """Actions whose first row leads into new frame `length`; before it, those that were saved."""
    import torch

    known = torch.from_numpy(saved.ahead).unsqueeze(0)[:, : length - saved.frames]

    def rows(first: int, count: int) -> torch.Tensor:
        old = known[:, max(0, first - saved.frames) :][:, :count]
        return torch.cat((old, actions(max(0, first - length), count - old.shape[1])), 1)

    return rows
