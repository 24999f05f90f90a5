"""`arvdm generate`: prompt in, video out, each frame as soon as it is clean."""

from __future__ import annotations

import hashlib
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from rich.text import Text
from typer import Option

from ..errors import ActionError, InputError, OutputError, OutputExistsError, UsageError
from .console import confirm_replacing, printable, progress, say, settings, warn, write_json
from .console import out as stdout

if TYPE_CHECKING:
    import torch

    from ..checkpoint import Model
    from ..runs import Saved
    from ..sampler import Actions, Sampling
    from ..schedules import Schedule
    from ..video import Writer


def generate(
    model: Annotated[str, Option("--model", "-m", help="Folder, short name, or owner/name[@revision].")] = "maze",
    prompt_frames: Annotated[
        list[str] | None,
        Option("--prompt-frames", "-p", help="Video, image, folder of images, or - for stdin; repeat for a batch."),
    ] = None,
    prompt_start: Annotated[
        int | None, Option(min=0, help="First frame of it; else the last ones the model can use.")
    ] = None,
    prompt_count: Annotated[int | None, Option(min=1, help="How many frames of it.")] = None,
    prompt_crop: Annotated[str | None, Option(metavar="WxH+X+Y", help="Part of its picture.")] = None,
    prompt_actions: Annotated[str | None, Option(help="Actions that led into the prompt's frames, if known.")] = None,
    length: Annotated[int | None, Option("--length", "-n", min=0, help="New frames; 0 until stopped.")] = None,
    actions: Annotated[
        str,
        Option("--actions", "-a", help='.jsonl, .csv, .npz, .npy, .pt, -, a phrase ("forward*20 left*4"), or random.'),
    ] = "random",
    schedule: Annotated[str | None, Option("--schedule", "-s", help="Preset or file; see `arvdm schedule`.")] = None,
    steps: Annotated[int | None, Option(min=1, help="Denoising steps; what they count, `arvdm schedule` says.")] = None,
    chunk: Annotated[int | None, Option(min=1, help="Frames that become clean in one AR step.")] = None,
    init_steps: Annotated[int | None, Option(min=1, help="Denoising steps of the initialization stage.")] = None,
    solver: Annotated[str | None, Option(help="euler, ddim, or heun, which calls the network twice a step.")] = None,
    eta: Annotated[float | None, Option(help="Share of the noise that ddim renews at every step, 0 to 1.")] = None,
    shift: Annotated[float | None, Option(help="Above 1, frames stay noisy for longer.")] = None,
    guidance: Annotated[float | None, Option(help="Above 1, actions are obeyed more; costs a second clip.")] = None,
    history_guidance: Annotated[float | None, Option(help="Above 1, memory counts more; costs a second call.")] = None,
    views: Annotated[
        str | None, Option(help="Show a long window whole, or by partition or lookahead, as FIFO-Diffusion does.")
    ] = None,
    view: Annotated[int | None, Option(min=1, help="Frames of one view.")] = None,
    context: Annotated[int | None, Option(min=0, help="Clean frames before the window.")] = None,
    memory_slots: Annotated[int | None, Option(min=0, help="Groups of past frames in memory; 0 for none.")] = None,
    eviction: Annotated[str | None, Option(help="stride, oldest or sink: which group leaves a full memory.")] = None,
    cache: Annotated[
        str | None, Option(help="exact, off or keep: encode the past once per AR step, at every step, or once for all.")
    ] = None,
    seed: Annotated[int | None, Option(help="Same seed, same frames; drawn and printed if not given.")] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help=".mp4, .mkv, .webm, .gif, .y4m, frames/%06d.png, or - for stdout.")
    ] = None,
    format: Annotated[str | None, Option(help="Format where the name does not tell: mp4, y4m, ...")] = None,
    fps: Annotated[float | None, Option(help="Frames per second written; the model's own if not given.")] = None,
    crf: Annotated[int | None, Option(help="Quality of a lossy codec, 0 best.")] = None,
    codec: Annotated[str | None, Option(help="h264, h265, vp9 or ffv1.")] = None,
    scale: Annotated[int, Option(min=1, help="Make each pixel a square of so many.")] = 1,
    include_prompt: Annotated[bool, Option(help="Write the prompt's frames first.")] = False,
    resume: Annotated[
        str | None, Option(help="auto: go on with a run that was broken off; never: begin anew; or its .state file.")
    ] = None,
    extend: Annotated[str | None, Option(help="Go on after the end of this video, by --length frames.")] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing output.")] = False,
    no_overwrite: Annotated[bool, Option("--no-overwrite", help="Never replace an existing output.")] = False,
    device: Annotated[str, Option(help="auto, cpu, cuda[:i] or mps.")] = "auto",
    dtype: Annotated[str, Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[int | None, Option(min=1, help="Threads of the CPU.")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the plan and make nothing.")] = False,
):
    """Generate a video, writing each frame as soon as it is clean."""
    from .. import checkpoint, generation, registry

    if extend:
        return lengthen(extend, length, actions, device, dtype, threads)
    sources: list[str | None] = [*prompt_frames] if prompt_frames else [None]
    if (actions == "-") + sources.count("-") > 1:
        raise UsageError("stdin can carry only one thing: a prompt or the actions.")
    drawn = secrets.randbelow(2**31) if seed is None else seed
    targets = name_outputs(output or f"{Path(model).name}-{drawn}.mp4", len(sources))
    states = [begun(target, resume, "-" in (actions, sources[0])) for target in targets]
    for target, saved in zip(targets, states, strict=True):
        if not dry_run and not saved:
            allow(target, format, yes, no_overwrite)
    if seed is None and states[0]:
        drawn = states[0][0].settings["seed"]
    seed = drawn

    chosen = checkpoint.choose_machine(device, dtype, threads)
    loaded = checkpoint.load(registry.resolve(model), *chosen)
    plan, sampling = generation.choose(
        loaded.sampling,
        schedule=schedule,
        steps=steps,
        chunk=chunk,
        init_steps=init_steps,
        solver=solver,
        eta=eta,
        shift=shift,
        guidance=guidance,
        history_guidance=history_guidance,
        views=views,
        view=view,
        context=context,
        slots=memory_slots,
        eviction=eviction,
        cache=cache,
    )
    trained = loaded.card.get("presets", [])
    if schedule and trained and schedule not in trained:
        warn(f"{model} was not trained for {schedule}; it was for {', '.join(trained)}.")
    made = Maker(model, loaded, plan, sampling, chosen)
    clips = [
        made.prepare(source, prompt_start, prompt_count, prompt_crop, prompt_actions, actions, length, seed + i)
        for i, source in enumerate(sources)
    ]
    if dry_run:
        return show_plan(made, clips, targets)
    encoding = {"fps": fps or loaded.fps, "crf": crf, "codec": codec, "scale": scale, "format": format}
    for clip, target, saved in zip(clips, targets, states, strict=True):
        asked = made.facts(clip, target) | {"include_prompt": include_prompt, "encoding": encoding}
        made.write(clip, target, asked, saved)


def begun(target: str, resume: str | None, streamed: bool) -> list[Saved]:
    """The states that a run may go on from, newest first; none where it begins anew."""
    from .. import runs

    if resume in (None, "never"):
        return []
    if runs.state_file(target) is None:
        raise UsageError(f"A run into {target!r} cannot be gone on with.", hint="Write an mp4.")
    if streamed:
        raise UsageError("A run that reads stdin cannot be gone on with.")
    return runs.saved_states(target) if resume == "auto" else [runs.load_state(Path(resume))]


def lengthen(target: str, length: int | None, actions: str, device: str, dtype: str, threads: int | None):
    """Go on after the end of a video, under all its own settings."""
    from .. import checkpoint, registry, runs, schedules
    from ..sampler import Sampling

    if not length:
        raise UsageError("--extend needs --length, the frames to add.")
    if actions == "-":
        raise UsageError("A run that reads stdin cannot be gone on with.")
    states = runs.saved_states(target)
    if not states:
        raise InputError(f"{target!r} has no state beside it to go on from.", hint="Was it made by arvdm generate?")
    asked = states[0].settings
    chosen = checkpoint.choose_machine(device, dtype, threads)
    loaded = checkpoint.load(registry.resolve(asked["model"]), *chosen)
    sampling = checkpoint.fill(Sampling, asked["sampling"], f"{target}'s sampling")
    levels = tuple(tuple(row) for row in asked["levels"])
    plan = schedules.Schedule(levels, asked["chunk"], asked["sampling"]["schedule"])
    made = Maker(asked["model"], loaded, plan, sampling, chosen)
    clip = made.empty(asked["seed"])
    clip.actions, _ = made.read_actions(actions, length, asked["seed"])
    clip.length = asked["length"] + length
    if actions != "random":  # rows of a file or a phrase lead into the frames that are added
        clip.actions = following(states[0], asked["length"], clip.actions)
    own = {"sha256": loaded.sha256, "device": str(made.device), "dtype": str(made.dtype).removeprefix("torch.")}
    made.write(clip, target, asked | own | {"length": clip.length}, states)


def following(saved: Saved, length: int, actions: Actions) -> Actions:
    """Actions whose first row leads into new frame `length`; before it, those that were saved."""
    import torch

    known = torch.from_numpy(saved.ahead).unsqueeze(0)[:, : length - saved.frames]

    def rows(first: int, count: int) -> torch.Tensor:
        old = known[:, max(0, first - saved.frames) :][:, :count]
        return torch.cat((old, actions(max(0, first - length), count - old.shape[1])), 1)

    return rows


def name_outputs(output: str, count: int) -> list[str]:
    """One name for one clip, else out-0.mp4, out-1.mp4, ..."""
    if count == 1:
        return [output]
    if output == "-":
        raise UsageError("stdout can carry only one video.", hint="Give -o a file name, or one prompt.")
    path = Path(output)
    return [str(path.with_name(f"{path.stem}-{i}{path.suffix}")) for i in range(count)]


def allow(target: str, format: str | None, yes: bool, never: bool):
    """Ask before an output is replaced, where there is somebody to ask."""
    from .. import runs
    from ..video import occupied

    state = runs.state_file(target)
    if state and state.exists() and not yes:
        saved = runs.saved_states(target)[0]
        if not saved.complete:
            raise OutputExistsError(
                f"{target!r} was broken off after {saved.frames} frames.",
                hint="--resume auto goes on with it, -y makes it anew.",
            )
    if occupied(target, format):
        confirm_replacing(target, yes, never)


def beside(source: str | None) -> str | None:
    """The file of actions that stands beside a prompt under the same stem, if there is one."""
    if source in (None, "-") or not Path(source).is_file():
        return None
    files = (Path(source).with_suffix(suffix) for suffix in (".jsonl", ".csv", ".npz"))
    return next((str(file) for file in files if file.is_file()), None)


class Clip:
    """One clip to make: its prompt, its actions, its seed and its length."""

    def __init__(self, source: str | None, prompt: Any, past: torch.Tensor, seed: int):
        self.source, self.prompt, self.past, self.seed = source, prompt, past, seed
        self.length: int | None = None  # new frames; None until stopped
        self.actions: Actions
        self.live = False  # whether actions come as frames are seen
        self.key = ""  # what tells the actions from others


class Maker:
    """A model, how it is sampled, and the machine it runs on."""

    def __init__(self, name: str, model: Model, schedule: Schedule, sampling: Sampling, machine: tuple[Any, Any]):
        self.name, self.model, self.schedule, self.sampling = name, model, schedule, sampling
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

        from .. import action_files, video

        config, names = self.model.codec.config, self.model.actions
        height, width = config.height, config.width
        reach = self.sampling.context + self.sampling.slots * self.sampling.group
        if source is None:
            frames = np.empty((0, height, width, 3), np.uint8)
        else:
            most = count or max(1, reach)
            read = video.read(source, start=first, count=most, fps=self.model.fps, crop=crop, size=(height, width))
            for note in read.notes:
                say(f"prompt: {note}")
            frames = read.frames
            if count and len(frames) < count:
                say(f"prompt: {len(frames)} frames, fewer than the {count} asked for")
        past = past or beside(source)
        led = torch.zeros(1, len(frames), len(names))  # a row of zeros is an unknown action
        if past is not None:
            say(f"prompt: actions from {past}, {action_files.recognise(past)}")
            known = action_files.read_clip(past, names, frames=len(frames))
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

        from .. import action_files
        from .. import actions as tracks
        from ..generation import given

        names = self.model.actions
        if not names:
            return given(torch.zeros(1, 0, 0)), None
        if source == "random":
            walk = self.model.card.get("walk")
            return endless(lambda frames: tracks.random(names, frames, seed, walk)), None
        if source == "-":
            return live(tracks.stream(sys.stdin.buffer, names), len(names), bool(length)), None
        track = action_files.read(source, names, frames=length or None)
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
        from .. import video

        config, encoding = self.model.codec.config, asked["encoding"]
        comment = f"arvdm {self.name} {self.model.sha256[:12]} {self.schedule.name} seed {asked['seed']}"
        shown = asked["prompt_frames"] if asked["include_prompt"] else 0
        lacking: OutputError | None = None
        for saved in states:
            try:
                keep = shown + saved.frames - len(saved.tail)
                writer = video.Writer(target, config.height, config.width, comment=comment, keep=keep, **encoding)
                return writer, saved
            except OutputError as error:
                lacking = error
        if lacking:
            raise lacking
        return video.Writer(target, config.height, config.width, comment=comment, **encoding), None

    def write(self, clip: Clip, target: str, asked: dict[str, Any], states: list[Saved]):
        """Make one clip, or the rest of it, and encode it, telling the sidecar whatever happens."""
        from .. import runs, video
        from ..generation import begin, generate_states

        for saved in states[:1]:
            runs.check_unchanged(saved.settings, asked)
            if saved.complete and saved.settings["length"] == asked["length"]:
                say(f"{target}: all {asked['length']} frames are there")
                return None
        with runs.hold(target):
            writer, saved_ = self.open(target, asked, states)
            if saved_ is None:
                runs.forget_states(target)
            run = runs.Run(asked, saved_.frames if saved_ else 0)
            keeper = runs.Keeper(
                None if clip.live else runs.state_file(target),
                asked,
                run.before,
                saved_.tail if saved_ else None,
                16 + round(asked["encoding"]["fps"]),  # frames that an encoder may hold back
                lambda first: clip.actions(first, self.schedule.chunk)[0].float().numpy(),
            )
            try:
                with writer, progress("frame", clip.length, "fps") as report:
                    for note in writer.notes:
                        say(note)
                    if saved_:
                        say(f"{target}: going on after {saved_.frames} frames")
                        writer.write(saved_.tail)
                        state = saved_.state
                    else:
                        if asked["include_prompt"]:
                            writer.write(clip.prompt)
                        state = begin(self.model, self.sampling, video.to_tensor(clip.prompt).unsqueeze(0), clip.past)
                    left = (clip.length or 0) - run.before
                    made = generate_states(
                        self.model, self.schedule, self.sampling, state, clip.actions, clip.seed, left, clip.live
                    )
                    try:
                        for part, reached in made if left or not clip.length else ():
                            frames = video.to_bytes(part[0])
                            writer.write(frames)
                            run.add(len(frames))
                            keeper.add(frames, reached)
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
                beside = runs.sidecar(target)
                if beside and run.before + run.frames:
                    runs.write(run, beside)
        facts = run.facts() | {"output": target}
        if settings.json:
            return write_json(facts, stderr=target == "-")
        say(f"seed {clip.seed}; {run.frames} frames in {run.seconds:.1f} s, {facts['frames_per_second']:.1f} frames/s")
        if target != "-":
            stdout.print(printable(target), soft_wrap=True)

    def measure(self, clip: Clip) -> tuple[float, int]:
        """New frames per second, and the most memory used so far in MB, over a second AR step of a clip."""
        import resource

        from .. import video
        from ..generation import begin, generate

        state = begin(self.model, self.sampling, video.to_tensor(clip.prompt).unsqueeze(0), clip.past)
        made = generate(self.model, self.schedule, self.sampling, state, clip.actions, clip.seed)
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
            "sampling": asdict(self.sampling),
            "levels": self.schedule.levels,
            "chunk": self.schedule.chunk,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def digest(data: bytes) -> str:
    """A name for some bytes that no others have."""
    return hashlib.sha256(data).hexdigest()


DEFAULT_LENGTH = 120  # new frames, where neither --length nor the actions say how many


class EndOfActions(Exception):
    """Live actions have ended, and with them a video without a length."""


def endless(draw: Callable[[int], Any]) -> Actions:
    """Actions that go on for ever, from a function whose longer tracks begin with its shorter ones."""
    import torch

    track = torch.from_numpy(draw(256))

    def rows(first: int, count: int) -> torch.Tensor:
        nonlocal track
        if first + count > len(track):
            track = torch.from_numpy(draw(2 * (first + count)))
        return track[first : first + count].unsqueeze(0)

    return rows


def live(stream: Any, width: int, keep_on: bool) -> Actions:
    """Actions read from a stream as they are asked for; rows that were used are forgotten.

    keep_on: after the stream's end actions are unknown, else the video ends there
    """
    import torch

    kept: list[torch.Tensor] = []
    start, ended = 0, False

    def rows(first: int, count: int) -> torch.Tensor:
        nonlocal start, ended
        del kept[: first - start]
        start = first
        while len(kept) < count and not ended:
            row = next(stream, None)
            ended = row is None
            if row is not None:
                kept.append(torch.from_numpy(row))
        if ended and not kept and not keep_on:
            raise EndOfActions
        missing = [torch.zeros(width)] * (count - len(kept))
        return torch.stack(kept[:count] + missing).unsqueeze(0)

    return rows


def show_plan(made: Maker, clips: list[Clip], targets: list[str]):
    """Print what would be made; how long it takes is measured on one AR step."""
    for clip, target in zip(clips, targets, strict=True):
        facts = made.facts(clip, target)
        rate, memory = made.measure(clip)
        facts["frames_per_second"] = round(rate, 2)
        facts["seconds"] = round(clip.length / rate, 1) if clip.length else None
        facts["peak_memory_mb"] = memory
        if settings.json:
            write_json(facts)
            continue
        table = Table.grid(padding=(0, 2))
        sampling = facts.pop("sampling")
        facts["levels"] = f"{made.schedule.window} frames in the window, {made.schedule.steps} denoising steps"
        for name, value in {**facts, **sampling}.items():
            table.add_row(Text(name, "dim"), Text(printable(str(value))))
        stdout.print(table)
