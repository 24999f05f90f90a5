"""`arvdm train`: fit a codec and a network to rendered episodes."""

import ast
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from ..errors import OutputExistsError, UsageError
from .console import out as stdout
from .console import printable, progress, say, settings, write_json


def train(
    ctx: typer.Context,
    config: Annotated[Path, Argument(help="A training file in TOML.")],
    resume: Annotated[bool, Option("--resume", help="Go on from the run's last saved state.")] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Start anew over an existing run.")] = False,
):
    """Train a model; `--key value` puts any key of the file to another value."""
    from ..training import configure
    from ..training import train as run

    chosen = configure(config, **overrides(ctx.args))
    folder = Path(chosen.out)
    if (folder / "state.pt").exists() and not resume and not yes:
        raise OutputExistsError(f"{folder} holds a run.", hint="--resume goes on with it, -y starts anew.")
    with progress("step", chosen.steps) as report:

        def show(event: dict[str, Any]):
            if event["event"] == "step":
                report(event["step"] - 1, loss=event["loss"])
            else:
                say(", ".join(f"{name} {value}" for name, value in event.items()))

        made = run(chosen, resume, show)
    if settings.json:
        return write_json({"checkpoint": str(made), "steps": chosen.steps})
    stdout.print(f"checkpoint in {printable(str(made))}", soft_wrap=True)


def overrides(args: list[str]) -> dict[str, Any]:
    """Read `--key value` pairs; a value is a Python literal, or else text."""
    chosen: dict[str, Any] = {}
    rest = iter(args)
    for flag in rest:
        name, equals, value = flag.partition("=")
        if not name.startswith("--"):
            raise UsageError(f"{flag!r} stands where a --key is expected.")
        if not equals:
            value = next(rest, "")
        try:
            chosen[name[2:].replace("-", "_")] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            chosen[name[2:].replace("-", "_")] = value
    return chosen
