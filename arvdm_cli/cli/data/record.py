"""`arvdm data record`: play an environment, and record what it shows and what was done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from ...errors import UsageError
from .. import flags
from ..console import out as stdout
from ..console import printable, progress, say, settings, write_json
from .size import size_of

if TYPE_CHECKING:
    from ...record.environment import Argument as Value
    from ...record.recorder import Recording


def record(
    invocation: Context,
    name: Annotated[
        str,
        Argument(
            metavar="ENV",
            help="Environment: CarRacing-v3 and other names of Gymnasium, ALE/Pong-v5, VizdoomBasic-v1, "
            "procgen/coinrun, retro/GAME, or module:Name-v0 of your own.",
        ),
    ],
    out: Annotated[
        Path,
        Option("--out", "-o", metavar="FOLDER", help="Folder for the episodes; an interrupted run in it is resumed."),
    ],
    episodes: Annotated[int, Option(min=1, help="Total number of episodes.")] = 200,
    frames: Annotated[int, Option(help="Frames per episode; a game that ends sooner is followed by another.")] = 300,
    seed: Annotated[int, Option(help="Seed; a larger --episodes keeps the episodes of a smaller one.")] = 0,
    size: Annotated[
        str | None,
        Option(
            metavar="N|WxH",
            show_default="64, or that of smaller pictures",
            help="Frame size in pixels, multiples of 8.",
        ),
    ] = None,
    fit: flags.Fit = "stretch",
    skip: Annotated[
        int | None,
        Option(min=1, show_default="about 15 frames a second", help="Frames of the game for each action."),
    ] = None,
    sticky: Annotated[
        bool, Option("--sticky", help="Let Atari games ignore a quarter of the actions, as they do by default.")
    ] = False,
    fps: Annotated[
        float | None, Option(show_default="the true rate", help="Frames per second of the episodes.")
    ] = None,
    policy: Annotated[
        str,
        Option(metavar="POLICY", help="Player: random, an action file, module:NAME, or a .zip of Stable-Baselines3."),
    ] = "random",
    hold: Annotated[float, Option(min=1, help="Mean number of frames for which random play holds an action.")] = 3.0,
    trust: Annotated[bool, Option("--trust", help="Load a .zip as the policy, although it can run any code.")] = False,
    env_arg: Annotated[
        list[str] | None, Option(metavar="KEY=VALUE", help="Argument of the environment; repeat to set several.")
    ] = None,
    workers: Annotated[int | None, Option(min=1, show_default="one per core", help="Worker processes.")] = None,
):
    """Record episodes of a game or a simulation for training.

    Each frame is stored with the action that led into it. Where a game ends within an episode, its last frame is
    followed by the action reset and the first frame of the next game.
    """
    if policy != "random":
        flags.refuse(invocation, ("hold",), "only random play holds actions.")

    from ...record import policies, recorder
    from ...record.environment import Wish
    from ...record.game import Game

    wish = Wish(name, values_of(env_arg or []), skip, sticky)
    player = policies.choose(policy, hold, trust)
    with Game(wish) as game:
        recording = recorder.prepare(game, wish, player, seed, size_of(size), frames, fps, fit)
        describe(recording)
        held = 0
        with progress("episode", episodes) as report:
            for held in recorder.record(recording, episodes, out, workers):
                if 0 < held <= episodes:
                    report(held - 1)
    show_result(recording, out, held)


def values_of(words: list[str]) -> "tuple[tuple[str, Value], ...]":
    """Read KEY=VALUE, where a value is a number, true, false or a string."""
    given: dict[str, Value] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key.isidentifier() or not equals:
            raise UsageError(f"--env-arg {word!r} is not KEY=VALUE.", hint="For example --env-arg mode=1.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        given[key] = value if isinstance(value, bool | int | float) else text
    return tuple(given.items())


def describe(recording: "Recording") -> None:
    """Say what is recorded."""
    chosen, (height, width) = recording.plan.settings, recording.native
    names = [*chosen.actions]
    listed = ", ".join(names if len(names) <= 20 else [*names[:18], "...", names[-1]])
    say(f"{chosen.source}: {len(names)} actions: {listed}")
    say(
        f"frames: {width}x{height}, stored as {chosen.size[1]}x{chosen.size[0]}; {chosen.fps:.3g} a second; "
        f"frames of the game for each action: {recording.game.skip}"
    )


def show_result(recording: "Recording", out: Path, episodes: int) -> None:
    """Print what the folder holds."""
    chosen = recording.plan.settings
    if settings.json:
        facts = {"folder": str(out), "environment": chosen.source, "episodes": episodes, "frames": chosen.frames}
        facts |= {"actions": chosen.actions, "fps": chosen.fps, "size": chosen.size}
        return write_json(facts | {"skip": recording.game.skip, "seed": recording.plan.seed})
    stdout.print(f"{episodes} episodes of {chosen.frames} frames in {printable(str(out))}", soft_wrap=True)
