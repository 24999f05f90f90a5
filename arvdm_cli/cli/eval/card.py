"""`arvdm eval`: measure a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Argument, Option, Typer

from .. import flags
from ..console import out as stdout
from ..console import printable, say
from ..flags import Seed
from . import drift, memory, pareto, predict
from .tables import CLIP_SEED, WorldName, loader, resumes, run

app = Typer(help="Measure checkpoints.", no_args_is_help=True)
app.command()(memory.memory)
app.command()(drift.drift)
app.command()(predict.predict)
app.command()(pareto.pareto)


@app.callback()
def eval_():
    """Measure checkpoints."""


@app.command()
@flags.sampling()
def card(
    model: Annotated[str, Argument(help="A folder, a short name, or owner/name on the Hub.")],
    out: Annotated[Path, Option("--out", "-o", help="Folder for card.md, card.json and contact sheets.")] = Path(
        "card"
    ),
    mazes: Annotated[int, Option(min=1, help="Mazes that training never saw.")] = 32,
    seed: Seed = CLIP_SEED,
    world: WorldName = None,
    clips: Annotated[Path | None, Option(help="File that keeps the true frames; OUT/clips.npz if not given.")] = None,
    data: Annotated[Path | None, Option(help="Training episodes, to be sure that none of their mazes is used.")] = None,
    free_runs: Annotated[int, Option(min=0, help="Mazes of a long run each; 0 for none.")] = 8,
    free_frames: Annotated[int, Option(min=12, help="Frames of a long run.")] = 600,
    *,
    chosen: flags.Choices,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing card.")] = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Make the figures of a maze checkpoint's card, on mazes that training never saw."""
    from ...evaluation.studies.card import CardStudy

    study = CardStudy(
        model,
        loader(device, dtype, threads),
        mazes=mazes,
        seed=seed,
        variant=world,
        clips=clips,
        data=data,
        free_runs=free_runs,
        free_frames=free_frames,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes)):
        stdout.print(printable(study.words(report.rows)))
        for each in report.tables:
            show_bars(each.rows)
        say(f"{printable(str(out))} holds card.md, card.json and the contact sheets")


def show_bars(rows: Sequence[Sequence[str]]) -> None:
    """Print a table of a card, what was reached in green; the first row is its header."""
    styles = {"yes": "green", "NO": "bold red"}
    table = Table(*rows[0], box=None, padding=(0, 2, 0, 0))
    for row in rows[1:]:
        table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
    stdout.print()
    stdout.print(table)
