"""`arvdm generate`: prompt in, video out, each frame as soon as it is clean."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from rich.text import Text
from typer import Context, Option

from ..errors import UsageError
from ..runs import events
from ..sampling.timing import Timing
from . import completion, flags
from .console import confirm_replacing, detail, printable, progress, say, settings, warn, write_json
from .console import out as stdout
from .prompt_flags import PromptFlags

if TYPE_CHECKING:
    import numpy as np

    from ..actions.texts import Prompts
    from ..media import Encoding
    from ..runs.events import Event, OnEvent
    from ..runs.job import Job
    from ..runs.request import Machine
    from ..runs.sidecar import Report
    from ..runs.state_file import Saved
    from ..sampling.config import Plan
    from ..sampling.model import Model


WITH_EXTEND = {
    "extend", "length", "actions", "prompt", "device", "dtype", "threads", "deterministic", "compile", "keep_state",
    "preview",
}  # fmt: skip


@flags.grouped
@flags.sampling()
def generate(
    invocation: Context,
    model: Annotated[str, Option("--model", "-m", autocompletion=completion.models, help=flags.NAMES)] = "maze",
    *,
    prompts: PromptFlags,
    length: Annotated[
        int | None,
        Option(
            "--length",
            "-n",
            min=0,
            show_default="that of --actions, else 120",
            help="Number of new frames; 0: until stopped.",
            rich_help_panel=flags.ACTIONS,
        ),
    ] = None,
    actions: Annotated[
        str,
        Option(
            "--actions",
            "-a",
            help="Actions that lead into the new frames: a file (.jsonl, .csv, .npz, .npy, .pt), a phrase "
            '("forward*20 left*4"), - for JSON lines on stdin, or random (a walk drawn from --seed).',
            rich_help_panel=flags.ACTIONS,
        ),
    ] = "random",
    schedule: Annotated[
        list[str] | None,
        Option(
            "--schedule",
            "-s",
            help="Preset, with options as in rolling:blocks=2,chunk=4, or a file; `arvdm schedule` lists the presets. "
            "Repeat to compare: one file for each, and -o with all of them side by side.",
            show_default="the checkpoint's own",
            autocompletion=completion.presets,
            rich_help_panel=flags.SAMPLING_PANEL,
        ),
    ] = None,
    chosen: flags.Choices,
    seed: Annotated[
        int | None,
        Option(
            show_default="drawn and printed",
            help="Random seed; the same seed gives the same frames.",
            rich_help_panel=flags.SAMPLING_PANEL,
        ),
    ] = None,
    output: Annotated[
        str | None,
        Option(
            "--output",
            "-o",
            metavar="PATH",
            show_default="MODEL-SEED.mp4",
            help="Output: a video (.mp4, .mkv, .webm, .gif, .y4m), images (frames/%06d.png), arrays (.npy, .npz), "
            "latents (.safetensors), or - for stdout.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    format: Annotated[
        str | None,
        Option(
            autocompletion=completion.words(*completion.FORMATS),
            show_default="that of the name; y4m on stdout",
            metavar="FORMAT",
            help=f"Output format: {', '.join(completion.FORMATS)}.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    fps: Annotated[
        float | None,
        Option(show_default="the model's own", help="Frames per second of the output.", rich_help_panel=flags.OUTPUT),
    ] = None,
    crf: Annotated[
        int | None,
        Option(
            show_default="18",
            help="Constant rate factor of a lossy codec; 0: best quality.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    codec: Annotated[
        str | None,
        Option(
            metavar="|".join(completion.CODECS),
            autocompletion=completion.words(*completion.CODECS),
            show_default="the format's own",
            help="Video codec.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    scale: Annotated[int, Option(min=1, help="Enlarge each pixel N times.", rich_help_panel=flags.OUTPUT)] = 1,
    include_prompt: Annotated[
        bool, Option(help="Write the prompt's frames first.", rich_help_panel=flags.OUTPUT)
    ] = False,
    resume: Annotated[
        str | None,
        Option(
            metavar="auto|never|FILE",
            help="Resume an interrupted run from the state file of the output (auto) or from FILE; never: start from "
            "the beginning.",
            rich_help_panel=flags.RUN,
        ),
    ] = None,
    extend: Annotated[
        str | None,
        Option(metavar="VIDEO", help="Add --length frames to the end of this video.", rich_help_panel=flags.RUN),
    ] = None,
    keep_state: Annotated[
        bool, Option(help="Keep the .state file of a finished video; --extend needs it.", rich_help_panel=flags.RUN)
    ] = True,
    yes: Annotated[
        bool, Option("--yes", "-y", help="Replace an existing output.", rich_help_panel=flags.OUTPUT)
    ] = False,
    no_overwrite: Annotated[
        bool, Option("--no-overwrite", help="Never replace an existing output.", rich_help_panel=flags.OUTPUT)
    ] = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    threads: flags.Threads = None,
    deterministic: Annotated[
        bool,
        Option(
            "--deterministic",
            help="Same frames for any --threads and any number of prompts; runs on one CPU thread, so up to N times "
            "slower on N cores.",
            rich_help_panel=flags.MACHINE,
        ),
    ] = False,
    compile: Annotated[
        bool,
        Option(
            "--compile",
            help="Compile the network first: takes about a minute, less when cached; frames are then generated faster.",
            rich_help_panel=flags.MACHINE,
        ),
    ] = False,
    preview: Annotated[
        bool, Option("--preview", help="Draw the newest frame in the terminal meanwhile.", rich_help_panel=flags.RUN)
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the plan and expected time; generate nothing.", rich_help_panel=flags.RUN)
    ] = False,
):
    """Generate a video; each frame is written as soon as it is clean."""
    from ..runs.request import Machine, Request

    machine, text = Machine(device, dtype, threads, compile, deterministic), prompts.text
    check_flags(invocation, extend, prompts)
    if preview:
        check_preview()
    if extend:
        return lengthen(extend, length, actions, text.prompts, machine, keep_state, preview)
    drawn = secrets.randbelow(2**31) if seed is None else seed
    name = f"{Path(model).name}-{'SEED' if seed is None and dry_run else drawn}.mp4" if output is None else output
    encoding = choose_encoding(name, fps, crf, codec, scale, format)
    schedules: list[str | None] = [*schedule] if schedule else [None]
    takes = list_takes(prompts.sources, schedules, name)
    check_streams(takes, actions, length)
    states = find_states([take.target for take in takes], resume, streamed="-" in (actions, takes[0].prompt))
    if not dry_run:
        allow_all(takes, states, format, yes, no_overwrite)
    if seed is None and states[0]:
        drawn = states[0][0].settings.seed
    folder = find(model, [take.prompt for take in takes])

    from ..runs.inputs import read_inputs
    from ..runs.job import Job, load  # these bring in torch: what can be told without has been told
    from ..runs.texts import read_texts

    resumed = next((saved[0] for saved in states if saved), None)
    texts = read_texts(folder, text, machine, show, resumed, dry_run, length)  # their encoder goes before the network
    loaded, machine = load(folder, machine, show)
    encoding = replace(encoding, fps=loaded.fps if fps is None else fps)
    plans = {
        each: choose_plan(model, loaded, chosen | ({"schedule": each} if each else {}), length) for each in schedules
    }
    jobs = []
    for take in takes:
        request = Request(
            model, take.target, drawn + take.number, plans[take.schedule], encoding, prompts.frames_from(take.prompt),
            actions, length, include_prompt, machine, keep_state, text,
        )  # fmt: skip
        listen = show if take.schedule in (None, takes[0].schedule) else events.ignore
        jobs.append(Job(request, loaded, read_inputs(request, loaded, listen, texts)))
    carry_out(takes, jobs, states, seed, dry_run, preview)


def check_flags(invocation: Context, extend: str | None, prompts: PromptFlags):
    """Refuse flags that cannot be obeyed."""
    if extend:
        idle = flags.given(invocation).keys() - WITH_EXTEND
        flags.refuse(invocation, idle, "a video is extended under its own settings.", "Leave them out.")
    else:
        prompts.check(invocation)


def choose_encoding(
    name: str, fps: float | None, crf: int | None, codec: str | None, scale: int, format: str | None
) -> Encoding:
    """How frames become a file, at the model's rate where `fps` is None; says where a rate is kept if not in it.

    Raises: UsageError where the format of the output cannot have that
    """
    from .. import media
    from ..runs.sidecar import sidecar

    encoding = media.Encoding(media.Encoding.fps if fps is None else fps, crf, codec, scale, format)
    media.check_encoding(name, encoding)
    suffix = Path(name).suffix.removeprefix(".").lower()
    if format is not None and suffix in media.FORMATS and suffix != format:
        warn(f"{name} is written as {format} (--format), which is not what its name says.")
    if fps is not None and not media.keeps_rate(name, encoding.format):
        kind = encoding.format or suffix or "png"
        say(f"{name}: {kind} stores no frame rate; --fps {fps:g} is kept in {sidecar(name)}")
    return encoding


@dataclass(frozen=True)
class Take:
    """One video of a command: a prompt under a schedule."""

    prompt: str | None
    number: int  # of the prompt
    schedule: str | None  # None: the checkpoint's own
    target: str
    together: str | None = None  # the video that shows it beside those of the other schedules


def list_takes(prompts: Sequence[str | None], schedules: Sequence[str | None], output: str) -> list[Take]:
    """The videos of a command: out.mp4; out-0.mp4, out-1.mp4 of prompts; out-fifo.mp4, out-rolling.mp4 of schedules.

    Raises: UsageError where two would have one name, or the output has no place for all of them
    """
    outputs = name_outputs(output, len(prompts))
    if len(schedules) == 1:
        return [Take(prompt, i, schedules[0], outputs[i]) for i, prompt in enumerate(prompts)]
    if output == "-":
        raise UsageError("stdout can take only one video.", hint="Give -o a file name, or one schedule.")
    if not Path(output).suffix or Path(output).suffix.lower() == ".png":
        raise UsageError("Images cannot show schedules side by side.", hint="Write a video, such as -o out.mp4.")
    words = [re.sub(r"[^\w.=]+", "-", Path(str(text)).name).strip("-") for text in schedules]
    if len(set(words)) < len(words):
        raise UsageError(f"Two of these schedules are the same: {', '.join(words)}.")
    return [
        Take(prompt, i, schedule, str(path.with_name(f"{path.stem}-{word}{path.suffix}")), outputs[i])
        for i, prompt in enumerate(prompts)
        for path in [Path(outputs[i])]
        for schedule, word in zip(schedules, words, strict=True)
    ]


def check_streams(takes: Sequence[Take], actions: str, length: int | None):
    """Refuse to read stdin for two things, or twice, and to compare videos without an end."""
    prompts = [take.prompt for take in takes]
    if takes[0].together and (length == 0 or "-" in (actions, *prompts)):
        raise UsageError(
            "Comparing schedules needs a fixed length, and stdin can be read only once.",
            hint="Give --length, and files instead of -.",
        )
    if (actions == "-") + prompts.count("-") > 1:
        raise UsageError("stdin can be read only once: as a prompt or as the actions.")


def allow_all(takes: Sequence[Take], states: Sequence[list[Saved]], format: str | None, yes: bool, never: bool):
    """Ask before outputs are replaced; those that are resumed, and what shows them together, need no leave."""
    wanted = {take.target: None for take, saved in zip(takes, states, strict=True) if not saved}
    wanted |= {take.together: None for take, saved in zip(takes, states, strict=True) if take.together and not saved}
    for target in wanted:
        allow(target, format, yes, never)


def carry_out(
    takes: list[Take], jobs: list[Job], states: list[list[Saved]], seed: int | None, dry_run: bool, preview: bool
):
    """Make all videos, and the comparison of their schedules; in a dry run, print how."""
    for job, saved in zip(jobs, states, strict=True):
        if dry_run:
            show_plan(job, seed)
        else:
            show_run(partial(job.resume, saved), preview)
    if not dry_run:
        compare(takes, jobs)


def compare(takes: Sequence[Take], jobs: Sequence[Job]):
    """Write the videos of several schedules next to each other, for each prompt."""
    from ..media.montage import side_by_side

    groups: dict[str, list[tuple[Take, Job]]] = {}
    for take, job in zip(takes, jobs, strict=True):
        if take.together:
            groups.setdefault(take.together, []).append((take, job))
    for target, members in groups.items():
        job = members[0][1]
        encoding, config = job.request.encoding, job.model.codec.config
        size = config.height * encoding.scale, config.width * encoding.scale
        sources = [Path(take.target) for take, _ in members]
        side_by_side(sources, [str(take.schedule) for take, _ in members], size, target, replace(encoding, scale=1))
        if settings.json:
            write_json({"output": target, "side_by_side": [str(source) for source in sources]})
        else:
            stdout.print(printable(target), soft_wrap=True)


def find_states(targets: list[str], resume: str | None, streamed: bool) -> list[list[Saved]]:
    """For each output the states that its run may resume from."""
    if resume in (None, "never"):
        return [[] for _ in targets]
    from ..runs import state_file

    return [state_file.resumable(target, resume, streamed) for target in targets]


def allow(target: str, format: str | None, yes: bool, never: bool):
    """Ask before an output is replaced, where there is somebody to ask."""
    from ..media import occupied
    from ..runs import state_file

    if not yes:
        state_file.check_finished(target)
    if occupied(target, format):
        confirm_replacing(target, yes, never)


def find(model: str, sources: list[str | None]) -> Path:
    """The checkpoint's folder; that the prompts can be read shows now, and not seconds later."""
    from ..data.episode import find_episode
    from ..hub import registry
    from ..media import decoder

    for source in sources:
        if source is not None and not find_episode(source):
            decoder.check(source)
    return registry.resolve(model)


def choose_plan(name: str, model: Model, chosen: flags.Choices, length: int | None) -> Plan:
    """How the model is sampled, with a warning where it was not trained for that."""
    from ..sampling import generation

    plan = generation.choose(model.sampling, **chosen)
    trained = model.card.get("presets", [])
    if "schedule" in chosen and trained and plan.sampling.schedule not in trained:
        warn(f"{name} was not trained for the schedule {plan.sampling.schedule}, but for {', '.join(trained)}.")
    timing = Timing.of(model.codec)
    beyond = generation.beyond_training(model.sampling, plan, timing.unit)
    for words in (*beyond, *generation.without_effect(model, plan, chosen)):
        warn(words)
    if "chunk" in chosen and 0 < (needed := timing.latents(length or 0, prompted=False)) < plan.schedule.chunk:
        frames = timing.frames(plan.schedule.chunk, prompted=False)
        warn(f"an AR step generates {frames} frames, but --length is {length}; --chunk {needed} is faster.")
    return plan


def lengthen(
    target: str,
    length: int | None,
    actions: str,
    prompts: Prompts,
    machine: Machine,
    keep_state: bool,
    preview: bool,
):
    """Add frames after the end of a video, under all its own settings."""
    from ..runs.extension import extend

    if not length:
        raise UsageError("--extend needs --length, the number of frames to add.")
    run = partial(extend, target, length, actions, machine, keep_state=keep_state, prompts=prompts)
    show_run(run, preview)


def name_outputs(output: str, count: int) -> list[str]:
    """One name for one clip, else out-0.mp4, out-1.mp4, ..."""
    if count == 1:
        return [output]
    if output == "-":
        raise UsageError("stdout can take only one video.", hint="Give -o a file name, or one prompt.")
    path = Path(output)
    return [str(path.with_name(f"{path.stem}-{i}{path.suffix}")) for i in range(count)]


# What is shown


def show(event: Event):
    """Print what a run says, but for its progress."""
    match event:
        case events.Warning_(message):
            warn(message)
        case events.Note(message):
            say(message)
        case events.Detail(message):
            detail(message)
        case events.Resumed(output, frames):
            say(f"{output}: resuming after {frames} frames")
        case events.Interrupted(output):
            say(f"{output}: interrupted; to resume, repeat the command with --resume auto")
        case events.AlreadyComplete(output, frames):
            say(f"{output}: all {frames} frames are already written")


def check_preview():
    """Refuse to draw where there is no terminal."""
    if not (sys.stderr and sys.stderr.isatty()):
        raise UsageError("--preview draws on the terminal of stderr, and there is none.", hint="Leave out --preview.")


def listener(stack: ExitStack, preview: bool = False) -> OnEvent:
    """Show the events of one run, and its progress until the stack is closed; preview: its newest frame, too."""
    report: Callable[..., None] | None = None
    draw: Callable[[np.ndarray, int, int | None], None] | None = None
    total: int | None = None

    def listen(event: Event):
        nonlocal report, draw, total
        match event:
            case events.Started(_, length) if preview:
                from ..play.terminal.preview import drawing

                draw, total = stack.enter_context(drawing()), length
            case events.Started(_, length):
                report = stack.enter_context(progress("frame", length, "fps"))
            case events.FramesWritten(frames, newest) if draw and newest is not None:
                draw(newest, frames, total)
            case events.FramesWritten(frames) if report:
                report(frames - 1)
            case events.Interrupted():
                stack.close()  # the last line of progress comes first
                show(event)
            case _:
                show(event)

    return listen


def show_run(run: Callable[[OnEvent], Report], preview: bool = False):
    """Carry out a run, showing its events and then what it has made."""
    with ExitStack() as stack:
        made = run(listener(stack, preview))
    if settings.json:
        return write_json(made.to_json(), stderr=made.output == "-")
    if made.seconds:
        rate = made.frames_per_second or 0.0
        say(f"seed {made.seed}; {made.new_frames} frames in {made.seconds:.1f} s, {rate:.1f} frames/s")
    if made.output != "-":
        stdout.print(printable(made.output), soft_wrap=True)


def show_plan(job: Job, seed: int | None):
    """Print what would be made; how long it takes is measured on one AR step.

    seed: None where it is not given, so that it is drawn when the video is made
    """
    asked = job.settings
    facts = asked.to_json() | job.measure().to_json()
    if seed is None:
        facts["seed"] = None if settings.json else "drawn when the video is made"
    if settings.json:
        return write_json(facts)
    schedule = asked.plan.schedule
    unit = Timing.of(job.model.codec).unit
    facts["levels"] = f"{schedule.window} {unit} in the window, {schedule.steps} denoising steps"
    table = Table.grid(padding=(0, 2))
    for name, value in (facts | asdict(asked.plan.sampling) | asdict(asked.encoding)).items():
        if name not in ("sampling", "encoding"):
            table.add_row(Text(name, "dim"), Text(printable(str(value))))
    stdout.print(table)
