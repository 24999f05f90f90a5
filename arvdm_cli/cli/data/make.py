"""`arvdm data make`: render episodes."""

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Context, Option

from ...errors import UsageError
from .. import flags
from ..console import out as stdout
from ..console import printable, progress, settings, write_json


def make(
    invocation: Context,
    name: Annotated[str, Argument(metavar="WORLD", help="What to render: maze.")],
    out: Annotated[
        Path,
        Option("--out", "-o", metavar="FOLDER", help="Folder for the episodes; an interrupted run in it is resumed."),
    ],
    episodes: Annotated[int, Option(min=1, help="Total number of episodes.")] = 1000,
    seed: Annotated[int, Option(help="Seed; a larger --episodes keeps the episodes of a smaller one.")] = 0,
    size: Annotated[int, Option(help="Width and height of a frame in pixels: 64 or 128.")] = 64,
    walls: Annotated[int | None, Option(show_default="8", help="Number of wall textures, at most 32.")] = None,
    floors: Annotated[int | None, Option(show_default="8", help="Number of floor textures, at most 29.")] = None,
    skies: Annotated[
        int | None, Option(show_default="1", help="Number of skies, at most 8; the first is plain.")
    ] = None,
    light: Annotated[
        float | None, Option(show_default="0", help="Variation of brightness and tint between mazes, 0 to 1.")
    ] = None,
    wide: Annotated[
        bool, Option("--wide", help="All walls, floors and skies, and light 1; flags given override it.")
    ] = False,
    turn: Annotated[float | None, Option(show_default="11.25", help="Rotation of one turn action, in degrees.")] = None,
    step: Annotated[
        float | None, Option(show_default="0.125", help="Distance of one forward action, in cells.")
    ] = None,
    frames: Annotated[int, Option(help="Frames per episode.")] = 300,
    posters: Annotated[int, Option(help="Posters on the walls of each maze, 0 to 64.")] = 0,
    bare: Annotated[float, Option(help="Share of mazes without posters, 0 to 1.")] = 0.0,
    like: Annotated[
        Literal["dmlab"] | None,
        Option(help="View, walk and actions as in recordings; dmlab: those of TECO. Flags given override it."),
    ] = None,
    workers: Annotated[int | None, Option(min=1, show_default="one per core", help="Worker processes.")] = None,
):
    """Render episodes: walks through random mazes, each maze with its own layout and textures."""
    if not posters:
        flags.refuse(invocation, ("bare",), "no maze has posters.", "Set their number with --posters N.")
    if name != "maze":
        raise UsageError(f"No world is called {name!r}.", hint="Choose from: maze.")

    from ...data import rendered
    from ...worlds import glide
    from ...worlds.maze import WIDE

    given = {"walls": walls, "floors": floors, "skies": skies, "light": light, "turn": turn, "step": step}
    chosen: dict[str, Any] = (glide.DMLAB if like else {}) | (dict(WIDE) if wide else {})
    chosen |= {name: value for name, value in given.items() if value is not None}
    world = rendered.MazeConfig(size=size, frames=frames, posters=posters, bare=bare, **chosen)
    with progress("episode", episodes) as report:

        def show(finished: int, _: int):
            if finished:
                report(finished - 1)

        rendered.make(world, episodes, seed, out, workers, show)

    finished = len(rendered.read(out))
    if settings.json:
        return write_json({"folder": str(out), "episodes": finished, "frames": frames, "seed": seed})
    stdout.print(f"{finished} episodes of {frames} frames in {printable(str(out))}", soft_wrap=True)
