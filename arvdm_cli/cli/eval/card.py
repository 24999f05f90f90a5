"""`arvdm eval`: measure a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Context, Option, Typer

from ...worlds.table import CLIP_SEED
from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Seed
from ..help import Command, Group
from . import drift, memory, pareto, predict, protocol
from .tables import WorldName, loader, resumes, run
from .truth import AllEpisodes, Data, Shown, Starts, check_data, recorded, rendered

IN_MAZES = ("mazes", "world", "clips", "trained_on")
IN_RECORDINGS = ("all_episodes", "starts", "shown", "length")

app = Typer(cls=Group, help="Measure checkpoints.", no_args_is_help=True, rich_markup_mode=None)
app.command(
    cls=Command,
    epilog="arvdm eval memory maze --quick\narvdm eval memory runs/mine --data data/play --gap 64",
)(memory.memory)
app.command(
    cls=Command,
    epilog="arvdm eval drift maze -o drift\narvdm eval drift runs/mine --data data/play",
)(drift.drift)
app.command(cls=Command, epilog="arvdm eval predict maze -s fifo -s rolling --measured pareto")(predict.predict)
app.command(cls=Command, epilog="arvdm eval pareto maze -s outpainting -s fifo -o pareto")(pareto.pareto)
app.command(
    cls=Command,
    epilog="arvdm eval protocol dmlab --data dmlab --far\narvdm eval protocol runs/mine --data data/dmlab --shown 36",
)(protocol.protocol)


@app.callback()
def eval_():
    """Measure checkpoints."""


@app.command(
    cls=Command,
    epilog="arvdm eval card maze -o card --mazes 8 --free-runs 0\narvdm eval card runs/mine --data data/play",
)
@flags.sampling()
def card(
    invocation: Context,
    model: flags.ModelArgument,
    out: Annotated[
        Path, Option("--out", "-o", metavar="FOLDER", help="Folder for card.md, card.json and contact sheets.")
    ] = Path("card"),
    mazes: Annotated[int, Option(min=1, help="Number of held-out mazes.")] = 32,
    seed: Seed = CLIP_SEED,
    world: WorldName = None,
    clips: Annotated[Path | None, Option(show_default="OUT/clips.npz", help="Cache file of the true frames.")] = None,
    trained_on: Annotated[
        Path | None, Option(metavar="FOLDER", help="Training episodes, to check that none of their mazes is used.")
    ] = None,
    data: Data = None,
    all_episodes: AllEpisodes = False,
    starts: Starts = 32,
    shown: Shown = None,
    length: Annotated[
        int | None, Option("--length", "-n", min=8, show_default="up to 64", help="New frames of stretches of --data.")
    ] = None,
    free_runs: Annotated[int, Option(min=0, help="Long roll-outs, each in its own maze; 0: none.")] = 8,
    free_frames: Annotated[int, Option(min=12, help="Frames of each long roll-out.")] = 600,
    *,
    chosen: flags.Choices,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing scorecard.")] = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Compute the scorecard of a checkpoint on held-out mazes, or on recorded episodes.

    With --data it holds what needs no exact world: figures of frames beside their truth, what the codec keeps,
    obedience to actions, and a long roll-out.
    """
    from ...evaluation.studies.card import CardStudy

    check_data(invocation, data, IN_MAZES, IN_RECORDINGS)
    study = CardStudy(
        model,
        loader(device, dtype, threads),
        source=recorded(data, seed, shown, all_episodes) if data else rendered(seed, world, clips),
        places=starts if data else mazes,
        trained=trained_on,
        free_runs=free_runs,
        free_frames=free_frames,
        length=length,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes)):
        stdout.print(printable(study.words(report.rows)))
        for each in report.tables:
            show_bars(each.rows)
        say(f"wrote card.md, card.json and contact sheets to {printable(str(out))}")


def show_bars(rows: Sequence[Sequence[str]]) -> None:
    """Print a table of a card, what was reached in green; the first row is its header."""
    styles = {"yes": "green", "NO": "bold red"}
    table = Table(*rows[0], box=None, padding=(0, 2, 0, 0))
    for row in rows[1:]:
        table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
    stdout.print()
    stdout.print(table)
