"""`arvdm play`: drive a model while it generates."""

from __future__ import annotations

import secrets
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from ..errors import UsageError
from . import completion, flags
from .console import out as stdout
from .console import say, settings, warn, write_json
from .generate import show

if TYPE_CHECKING:
    from ..play.keys import KeyMap
    from ..play.opening import PlayRequest
    from ..play.session import Session

PAGE, BESIDE = "Page", "Beside the model"


@dataclass(frozen=True)
class Page:
    """Where the page is served."""

    host: Annotated[
        str, Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0: all of this machine.", rich_help_panel=PAGE)
    ] = "127.0.0.1"
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0: any free one.", rich_help_panel=PAGE)] = 0
    allow_host: Annotated[
        list[str] | None,
        Option(
            "--allow-host",
            metavar="NAME",
            help="Another name that leads to the page, such as that of a proxy; may be repeated.",
            rich_help_panel=PAGE,
        ),
    ] = None
    open: Annotated[bool, Option("--open", help="Open the page in the browser.", rich_help_panel=PAGE)] = False


@dataclass(frozen=True)
class Elsewhere:
    """Where a play is shown that is not on a page."""

    terminal: Annotated[bool, Option("--terminal", help="Play in this terminal.", rich_help_panel=flags.OUTPUT)] = False
    measure: Annotated[
        float | None,
        Option(
            metavar="SECONDS",
            min=1.0,
            show_default="off",
            help="Press keys by a clock for this long, without a screen, and print frames/s and key-to-frame times.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None


@flags.grouped
@flags.sampling()
def play(
    model: flags.ModelArgument = "maze-fast",
    prompt_frames: Annotated[
        list[str] | None,
        Option(
            "--prompt-frames",
            "-p",
            metavar="PATH",
            help="Video or image to begin from; repeat for a choice of them.",
            rich_help_panel=flags.PROMPT,
        ),
    ] = None,
    prompt_actions: flags.PromptActions = None,
    data: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Data folder whose last episodes to begin from.", rich_help_panel=flags.PROMPT),
    ] = None,
    truth: Annotated[
        str | None,
        Option(
            metavar="WORLD|ENV",
            help="World, or environment of Gymnasium, to show under the same actions.",
            rich_help_panel=BESIDE,
        ),
    ] = None,
    env_arg: Annotated[
        list[str] | None,
        Option(
            metavar="KEY=VALUE",
            help="Argument of the environment, as it was recorded with; repeat to set several.",
            rich_help_panel=BESIDE,
        ),
    ] = None,
    versus: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            autocompletion=completion.models,
            help="Second model to show under the same actions.",
            rich_help_panel=BESIDE,
        ),
    ] = None,
    policy: Annotated[
        str,
        Option(
            metavar="human|random|FILE",
            help="Who acts at first: human, random, or a file of actions.",
            rich_help_panel=flags.ACTIONS,
        ),
    ] = "human",
    keys: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="by the actions' names",
            help="File of keys in TOML; it is written where it does not exist.",
            rich_help_panel=flags.ACTIONS,
        ),
    ] = None,
    latency: Annotated[
        Literal["model", "low"],
        Option(
            help="low: as few frames per AR step as the schedule allows, so that keys are obeyed sooner.",
            rich_help_panel=flags.ACTIONS,
        ),
    ] = "model",
    speed: Annotated[
        float, Option(min=0.25, max=4, help="Speed, times the model's own.", rich_help_panel=flags.RUN)
    ] = 1.0,
    paused: Annotated[bool, Option("--paused", help="Begin paused.", rich_help_panel=flags.RUN)] = False,
    record: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Folder for a recording: the video, its actions, and the command that generates it again.",
            rich_help_panel=flags.RUN,
        ),
    ] = None,
    *,
    page: Page,
    elsewhere: Elsewhere,
    chosen: flags.Choices,
    seed: Annotated[
        int | None,
        Option(
            min=0,
            show_default="drawn and printed",
            help="Random seed; the same seed and keys give the same frames.",
            rich_help_panel=flags.SAMPLING_PANEL,
        ),
    ] = None,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    threads: flags.PlayThreads = None,
    compile: Annotated[
        bool, Option("--compile", help="Compile the network first.", rich_help_panel=flags.MACHINE)
    ] = False,
):
    """Drive a model in the browser: it obeys your keys while it generates.

    The address that is printed opens the page on this machine; Ctrl-C ends it. Keys follow from the names of the
    model's actions: W A S D and the arrows to move. P pauses, a period shows one frame, backspace goes back a second,
    R to the start, N draws another seed, M changes who acts, O takes a screenshot, [ and ] change the speed.
    """
    if elsewhere.terminal:
        from ..play.terminal import screen

        screen.check()
    from ..play.opening import PlayRequest
    from ..runs.request import Machine
    from .data.record import values_of

    seed = secrets.randbelow(2**31) if seed is None else seed
    machine = Machine(device, dtype, threads, compile)
    if prompt_actions and not prompt_frames:
        raise UsageError("--prompt-actions: there is no prompt.", hint="Give one with --prompt-frames.")
    request = PlayRequest(
        model, seed, tuple(prompt_frames or ()), prompt_actions, str(data) if data else None, chosen,
        latency == "low", truth, versus, policy, record, speed, paused, machine,
        arguments=values_of(env_arg or []),
    )  # fmt: skip
    if elsewhere.terminal or elsewhere.measure is not None:
        return play_elsewhere(request, keys, elsewhere)
    play_on_page(request, keys, page)


def play_elsewhere(request: PlayRequest, keys: Path | None, where: Elsewhere):
    """Play in the terminal, or measure how soon keys are obeyed."""
    from ..play.opening import open_session

    session = open_session(request, show)
    say(f"seed {request.seed}")
    with ExitStack() as stack:
        stack.callback(show_end, session)
        if where.measure is not None:
            from ..play.measuring import measure

            return show_answer(measure(session, where.measure).to_json())
        from ..play.terminal.player import play_in_terminal

        play_in_terminal(session, find_keys(keys, session))


def show_answer(facts: dict[str, object]):
    """Print what was measured."""
    if settings.json:
        return write_json(facts)
    for name, value in facts.items():
        stdout.print(f"{name.replace('_', ' ')}: {'-' if value is None else value}")


def show_end(session: Session):
    """Print how soon keys were obeyed, where a recording is, and the command that generates the same frames."""
    from ..play.measuring import percentile

    p50, p95 = (percentile(session.latencies, share) for share in (0.5, 0.95))
    if p50 is not None and p95 is not None:
        keys = len(session.latencies)
        say(f"{session.shown} frames; from key to frame {p50:.0f} ms, 95 % within {p95:.0f} ms ({keys} keys)")
    recorder = session.recorder
    if recorder and recorder.frames:
        say(f"{recorder.folder}: {recorder.frames} frames, which this command generates again:")
        say(shlex.join(recorder.command))


def play_on_page(request: PlayRequest, keys: Path | None, page: Page):
    """Play in the browser until the user ends it."""
    try:
        from ..play.web.server import ServerSettings, serve
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise UsageError("The page needs the package aiohttp.", hint="pip install aiohttp simplejpeg") from error
    from ..play.opening import open_session
    from ..play.web.security import is_loopback

    if not is_loopback(page.host):
        warn("The page can be opened from other machines, and what is sent is not encrypted: keep its address secret.")
    session = open_session(request, show)
    served = ServerSettings(page.host, page.port, tuple(page.allow_host or ()), request.model, request.paused)
    with ExitStack() as stack:
        stack.callback(show_end, session)
        serve(session, find_keys(keys, session), served, lambda url: show_address(url, page.open, request.seed))


def find_keys(path: Path | None, session: Session) -> KeyMap:
    """The keys of a file, or those that the actions' names suggest."""
    from ..play import keys

    if path is None:
        return keys.default(session.names)
    found, written = keys.read_or_write(path, session.names)
    if written:
        say(f"{path}: written with the default keys")
    return found


def show_address(url: str, open_it: bool, seed: int):
    """Print the address of the page, and open it if that is wanted."""
    say(f"seed {seed}; Ctrl-C ends it")
    stdout.print(url, soft_wrap=True, highlight=False)
    if open_it:
        import webbrowser

        if not webbrowser.open(url):
            warn("No browser could be opened.")
