"""`arvdm generate`: prompt in, video out, each frame as soon as it is clean."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from rich.text import Text
from typer import Option

from ..errors import InputError, OutputExistsError, UsageError
from . import flags
from .console import confirm_replacing, printable, say, settings, warn, write_json
from .console import out as stdout
from .maker import Clip, GenerationJob, following

if TYPE_CHECKING:
    import torch

    from ..runs.state_file import Saved
    from ..sampling.model import Model


@flags.sampling()
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
        Option(
            "--actions",
            "-a",
            help='What leads into the new frames: .jsonl, .csv, .npz, .npy, .pt, a phrase ("forward*20 left*4"), - for '
            "JSON lines on stdin, or random: phrases of the model's card, drawn from --seed.",
        ),
    ] = "random",
    *,
    chosen: flags.Choices,
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
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    threads: flags.Threads = None,
    deterministic: Annotated[
        bool,
        Option(
            "--deterministic",
            help="The same frames whatever --threads is and however many prompts there are; a CPU then uses one "
            "thread, so of n cores it is up to n times slower.",
        ),
    ] = False,
    compile: Annotated[
        bool,
        Option(
            "--compile",
            help="Compile the network first: a minute, less when it was done before; then frames come faster.",
        ),
    ] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the plan and make nothing.")] = False,
):
    """Generate a video, writing each frame as soon as it is clean."""
    if extend:
        return lengthen(extend, length, actions, device, dtype, threads, deterministic, compile)
    if compile and deterministic:
        raise UsageError("--compile sums as it likes, so it cannot be --deterministic.", hint="Leave out one of them.")
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
    folder = find(model, sources)

    from ..device import choose_machine
    from ..hub import checkpoint
    from ..sampling import generation  # these bring in torch: what can be told without has been told

    machine = choose_machine(device, dtype, threads, deterministic)
    loaded = checkpoint.load(folder, *machine)
    if compile:
        start_compiling(loaded, machine[0])
    plan = generation.choose(loaded.sampling, **chosen)
    trained = loaded.card.get("presets", [])
    if "schedule" in chosen and trained and plan.sampling.schedule not in trained:
        warn(f"{model} was not trained for {plan.sampling.schedule}; it was for {', '.join(trained)}.")
    made = GenerationJob(model, loaded, plan, machine)
    clips = [
        made.prepare(source, prompt_start, prompt_count, prompt_crop, prompt_actions, actions, length, seed + i)
        for i, source in enumerate(sources)
    ]
    if dry_run:
        return show_plan(made, clips, targets)
    encoding = {"fps": fps or loaded.fps, "crf": crf, "codec": codec, "scale": scale, "format": format}
    for clip, target, saved in zip(clips, targets, states, strict=True):
        asked = made.facts(clip, target) | {"include_prompt": include_prompt, "encoding": encoding}
        if deterministic:  # another run's frames may be others
            asked["deterministic"] = True
        if compile:
            asked["compiled"] = True
        made.write(clip, target, asked, saved)


def start_compiling(model: Model, device: torch.device):
    """Compile a network as it first runs, and say that this takes a while."""
    from ..device import compile_network

    kept = compile_network(model.network, device)
    say(f"the first frames wait until the network is compiled; {printable(str(kept))} keeps it for later")


def find(model: str, sources: list[str | None]) -> Path:
    """The checkpoint's folder; that the prompts can be read shows now, and not seconds later."""
    from ..hub import registry
    from ..media import decoder

    for source in sources:
        if source is not None:
            decoder.check(source)
    return registry.resolve(model)


def begun(target: str, resume: str | None, streamed: bool) -> list[Saved]:
    """The states that a run may go on from, newest first; none where it begins anew."""
    from ..runs import state_file

    if resume in (None, "never"):
        return []
    if state_file.state_file(target) is None:
        raise UsageError(f"A run into {target!r} cannot be gone on with.", hint="Write an mp4.")
    if streamed:
        raise UsageError("A run that reads stdin cannot be gone on with.")
    return state_file.saved_states(target) if resume == "auto" else [state_file.load_state(Path(resume))]


def lengthen(
    target: str,
    length: int | None,
    actions: str,
    device: str,
    dtype: str,
    threads: int | None,
    deterministic: bool,
    compile: bool,
):
    """Go on after the end of a video, under all its own settings."""
    from .. import configs
    from ..device import choose_machine
    from ..hub import checkpoint, registry
    from ..runs import state_file
    from ..sampling import schedules
    from ..sampling.config import Sampling
    from ..sampling.plan import Plan

    if not length:
        raise UsageError("--extend needs --length, the frames to add.")
    if actions == "-":
        raise UsageError("A run that reads stdin cannot be gone on with.")
    states = state_file.saved_states(target)
    if not states or not (states[0].frames or states[0].complete):  # none, or of a run that wrote nothing
        raise InputError(f"{target!r} has no state beside it to go on from.", hint="Was it made by arvdm generate?")
    asked = states[0].settings
    if compile and not asked.get("compiled"):
        raise UsageError(f"{target!r} was made without --compile, so it goes on without.", hint="Leave out --compile.")
    if deterministic and asked.get("compiled"):
        raise UsageError(f"{target!r} was made with --compile, so it cannot go on with --deterministic.")
    chosen = choose_machine(device, dtype, threads, deterministic or asked.get("deterministic", False))
    loaded = checkpoint.load(registry.resolve(asked["model"]), *chosen)
    if asked.get("compiled"):
        start_compiling(loaded, chosen[0])
    sampling = configs.fill(Sampling, asked["sampling"], f"{target}'s sampling")
    levels = tuple(tuple(row) for row in asked["levels"])
    plan = Plan(schedules.Schedule(levels, asked["chunk"], asked["sampling"]["schedule"]), sampling)
    made = GenerationJob(asked["model"], loaded, plan, chosen)
    clip = made.empty(asked["seed"])
    clip.actions, _ = made.read_actions(actions, length, asked["seed"])
    clip.length = asked["length"] + length
    if actions != "random":  # rows of a file or a phrase lead into the frames that are added
        clip.actions = following(states[0], asked["length"], clip.actions)
    own = {"sha256": loaded.sha256, "device": str(made.device), "dtype": str(made.dtype).removeprefix("torch.")}
    made.write(clip, target, asked | own | {"length": clip.length}, states)


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
    from ..media import occupied
    from ..runs import state_file

    state = state_file.state_file(target)
    if state and state.exists() and not yes:
        saved = state_file.saved_states(target)[0]
        if saved.frames and not saved.complete:
            raise OutputExistsError(
                f"{target!r} was broken off after {saved.frames} frames.",
                hint="--resume auto goes on with it, -y makes it anew.",
            )
    if occupied(target, format):
        confirm_replacing(target, yes, never)


def show_plan(made: GenerationJob, clips: list[Clip], targets: list[str]):
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
        facts["levels"] = (
            f"{made.plan.schedule.window} frames in the window, {made.plan.schedule.steps} denoising steps"
        )
        for name, value in {**facts, **sampling}.items():
            table.add_row(Text(name, "dim"), Text(printable(str(value))))
        stdout.print(table)
