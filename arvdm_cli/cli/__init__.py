"""The command line: which commands there are, the flags they all share, and how a run ends.

Nothing imported here loads torch, numpy or a codec; a command brings in what it needs when it runs.
"""

import errno
import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from typer import Option

from ..errors import ArvdmError, ArvdmWarning, MemoryLimitError, OutputError, UsageError
from ..version import __version__
from . import bench, checkpoints, config, data, doctor, generate, play, schedule, theory, upload
from .config import unread
from .console import Color, ProgressKind, Settings, coloured, configure, settings, show_error, warn
from .eval import card
from .help import Command, Group, path_of, show_help
from .train import command as train

if TYPE_CHECKING:
    from typer._click import Context


class Arvdm(Group):
    """The app, with every ending in one place: a result, an error in two lines, an exit code."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        config.require_finite(self)

    def main(self, args: Sequence[str] | None = None, *_: object, **__: object) -> NoReturn:
        configure(Settings())
        with closing_on_signals(), showing_warnings():
            sys.exit(self.run(args))

    def run(self, args: Sequence[str] | None) -> int | str | None:
        """Run a command line; returns its exit code."""
        try:
            code = super().main(self.hoist(sys.argv[1:] if args is None else args), "arvdm", standalone_mode=False)
            if sys.stdout:
                sys.stdout.flush()  # what cannot be written shows now, not while Python shuts down
        except BaseException as error:
            code = end(error)
        return code

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        command = next((arg for arg in args if not arg.startswith("-")), "")
        # help shows the defaults, also where a settings file is broken
        ctx.meta["help"] = command == "help" or not {"-h", "--help"}.isdisjoint(args)
        if ctx.meta["help"]:
            configure(Settings(color=color_of(args)))
            ctx.color = coloured()
        return super().parse_args(ctx, args)

    def invoke(self, ctx: "Context") -> None:
        super().invoke(ctx)  # what a command returns is no exit code

    def hoist(self, args: Sequence[str]) -> list[str]:
        """Move the app's own flags to the front, so that they may stand behind a command too."""
        flags = {flag: option for option in self.params for flag in option.opts}
        front: list[str] = []
        rest: list[str] = []
        waiting = iter(args)
        for arg in waiting:
            flag, equals, _ = arg.partition("=")
            if arg == "--":
                rest += [arg, *waiting]
            elif flag not in flags:
                rest.append(arg)
            elif equals or getattr(flags[flag], "is_flag", False):
                front.append(arg)
            else:
                front.append(f"{flag}={next(waiting, '')}")
        return front + rest


# no markup: help may hold brackets, and its pages are our own
app = typer.Typer(
    cls=Arvdm,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    cls=Command,
    epilog="arvdm generate --prompt-frames clip.mp4 --length 600 -o out.mp4\n"
    'arvdm generate --actions "forward*20 left*4" --schedule fifo --seed 1',
)(generate.generate)
app.command(
    cls=Command,
    epilog="arvdm play maze --truth maze --open\narvdm play -p clip.mp4 --terminal --record walk",
)(play.play)
app.command("list", cls=Command, epilog="arvdm list")(checkpoints.list_)
app.command(cls=Command, epilog="arvdm info maze")(checkpoints.info)
app.command(cls=Command, epilog="arvdm download minecraft\narvdm download minecraft --dry-run")(checkpoints.download)
app.command(cls=Command, epilog="arvdm remove minecraft --dry-run")(checkpoints.remove)
app.command(
    cls=Command, epilog="arvdm upload runs/play owner/play --private\narvdm upload runs/play owner/play --dry-run"
)(upload.upload)
app.add_typer(schedule.app, name="schedule")
app.add_typer(data.app, name="data")
app.add_typer(card.app, name="eval")
app.add_typer(theory.app, name="theory")
app.command(cls=Command, epilog="arvdm bench maze\narvdm bench maze -s fifo -s rolling --threads 1 --threads 2")(
    bench.bench
)
app.command(cls=Command, epilog="arvdm convert oasis-500m checkpoints/oasis")(checkpoints.convert)
app.command(cls=Command, epilog="arvdm doctor\narvdm doctor --json")(doctor.doctor)
app.add_typer(train.app, name="train")
app.command("help", cls=Command, epilog="arvdm help eval drift")(show_help)


def show_version(context: typer.Context, wanted: bool):
    if wanted and not context.resilient_parsing:
        print(f"arvdm {__version__}")
        raise typer.Exit


def color_of(args: Sequence[str]) -> Color:
    """When to show colours, before the flags are read."""
    chosen = next((arg.partition("=")[2] for arg in args if arg.startswith("--color=")), os.environ.get("ARVDM_COLOR"))
    return "always" if chosen == "always" else "never" if chosen == "never" else "auto"


@app.callback()
def begin(
    context: typer.Context,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print results, warnings and errors only.")] = False,
    verbose: Annotated[bool, Option("--verbose", "-v", help="Print details, too.")] = False,
    json: Annotated[bool, Option("--json", help="Print the result as one JSON object.")] = False,
    progress: Annotated[
        ProgressKind, Option(envvar="ARVDM_PROGRESS", help="Form of progress on stderr; json: one event per line.")
    ] = "auto",
    color: Annotated[
        Color, Option(envvar="ARVDM_COLOR", help="When to use colours; NO_COLOR turns them off, too.")
    ] = "auto",
    offline: Annotated[
        bool, Option("--offline", envvar="ARVDM_OFFLINE", help="Make no network request; HF_HUB_OFFLINE does the same.")
    ] = False,
    debug: Annotated[bool, Option("--debug", envvar="ARVDM_DEBUG", help="Print the traceback of an error.")] = False,
    config: Annotated[
        str | None,
        Option(
            "--config",
            metavar="FILE",
            envvar="ARVDM_CONFIG",
            callback=config.use,
            is_eager=True,
            help="Settings file in TOML: defaults of flags.",
        ),
    ] = None,
    version: Annotated[
        bool, Option("--version", "-V", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
):
    """Make long, action-conditioned video with auto-regressive video diffusion models.

    The options below may be given before or after a command. An environment variable such as ARVDM_GENERATE_STEPS or a
    settings file sets the default of any flag; `arvdm doctor` shows the values and where they come from.
    """
    configure(
        Settings(quiet=quiet, verbose=verbose, debug=debug, color=color, json=json, progress=progress, offline=offline)
    )
    for words in unread(context):
        warn(words)


@contextmanager
def closing_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a run as an error does, so that files are closed on the way out."""

    def leave(number: int, frame: FrameType | None):
        raise SystemExit(128 + number)

    before = {}
    with suppress(ValueError, AttributeError):  # only a main thread has signals, only some systems SIGHUP
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Print warnings of arvdm's own as the console does; those of other packages stay as they are."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_here(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ):
            if issubclass(category, ArvdmWarning):
                warn(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_here
        warnings.simplefilter("always", ArvdmWarning)
        yield


def end(error: BaseException) -> int | str | None:
    """Print what went wrong, if anything did; returns the exit code."""
    if isinstance(error, typer.Abort) and error.__cause__ is not None:
        error = error.__cause__  # an end of file that nobody asked the user for
    reading = error.__context__ if isinstance(error, SystemExit) else error  # Typer and rich exit on a broken pipe
    if isinstance(reading, BrokenPipeError):
        close_stdout()  # whoever reads it has seen enough
        return 0
    if isinstance(error, SystemExit):
        return error.code
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return 130
    if type(error).__name__ == "NoArgsIsHelpError":  # Typer keeps the class to itself
        print(error, file=sys.stderr)
        return UsageError.code
    if settings.debug:
        traceback.print_exception(error)
    message = recognise(error)
    show_error(message)
    return message.code


def recognise(error: BaseException) -> ArvdmError:
    """Turn any error into one of arvdm; an unexpected one is a bug."""
    if isinstance(error, ArvdmError):
        return error
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = path_of(context) if context else "arvdm"
        message = error.format_message().replace("Value error, ", "")
        return UsageError(message, hint=f"`{command} --help` lists the options.")
    if is_out_of_memory(error):
        return MemoryLimitError(
            "There is not enough memory.",
            hint="Lower what is held at once: --scale, --chunk, --context or --memory-slots; for training, `frames`.",
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return UsageError(f"The network cannot be compiled here: {error}", hint="Leave out --compile.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        close_stdout()
        return OutputError(f"Nothing more can be written: {error.strerror}.")
    return ArvdmError(
        f"{type(error).__name__}: {error} (this is a bug in arvdm)",
        hint="Run it again with --debug, and report the command with all that it prints to the authors of arvdm.",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out; torch, which is not imported here, says it in ways of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "Cannot allocate memory")


def close_stdout():
    """Let Python shut down without writing what is left for stdout."""
    with suppress(AttributeError, OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main():
    put_off_garbage()
    app()


def put_off_garbage():
    """Let Python first look for garbage when as many objects are there as torch brings in, all of which stay.

    Looking through them again and again would take a tenth of its import.
    """
    usual = gc.get_threshold()

    def from_now_on(phase: str, facts: dict[str, int]):
        if facts["generation"] < 2:  # no full one, which somebody asks for
            gc.callbacks.remove(from_now_on)
            gc.set_threshold(*usual)

    gc.callbacks.append(from_now_on)
    gc.set_threshold(OBJECTS)


OBJECTS = 250_000  # in containers, of torch and of what is imported before it
