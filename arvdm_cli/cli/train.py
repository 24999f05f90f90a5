"""`arvdm train`: fit a codec and a network to rendered episodes."""

import ast
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import OutputExistsError, UsageError
from .console import out as stdout
from .console import printable, progress, say, settings, write_json


def train(
    words: Annotated[
        list[str], Argument(metavar="CONFIG...", help="Training files in TOML, one run each; then --key value.")
    ],
    resume: Annotated[
        bool, Option("--resume", help="Go on from each run's last saved state; begin those that have none.")
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Start anew over an existing run.")] = False,
):
    """Train models in turn; `--key value` puts any key of their files to another value."""
    from ..training.config import configure
    from ..training.loop import steps_of
    from ..training.loop import train as run

    flags = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    plans = [configure(Path(file), **overrides(words[flags:])) for file in words[:flags]]
    if not plans:
        raise UsageError("No training file is given.", hint="arvdm train examples/train-maze.toml")
    for plan in plans:
        if (Path(plan.out) / "state.pt").exists() and not resume and not yes:
            raise OutputExistsError(f"{plan.out} holds a run.", hint="--resume goes on with it, -y starts anew.")
    if len({plan.out for plan in plans}) < len(plans):
        raise UsageError("Two of these runs have one and the same folder.", hint="Each file needs an `out` of its own.")
    runs = []
    for plan in plans:
        with progress("step", plan.steps) as report:

            def show(event: dict[str, Any], report: Any = report) -> None:
                if event["event"] == "step":
                    report(event["step"] - 1, loss=event["loss"])
                else:
                    say(", ".join(f"{name} {value}" for name, value in event.items()))

            made = run(plan, resume and (Path(plan.out) / "state.pt").exists(), show)
        runs.append({"checkpoint": str(made), "steps": steps_of(made)})
        if not settings.json:
            stdout.print(f"checkpoint in {printable(str(made))}", soft_wrap=True)
    if settings.json:
        write_json({"runs": runs})


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
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: too many brackets
            chosen[name[2:].replace("-", "_")] = value
    return chosen
