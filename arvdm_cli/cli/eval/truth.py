"""Where the commands that measure take true frames from: flags, and what they choose."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from ...evaluation.recorded.episodes import Recorded
    from ...evaluation.source import Rendered

Data = Annotated[
    Path | None,
    Option(metavar="FOLDER", help="Recorded episodes to measure on, instead of mazes; also imported or rendered ones."),
]
AllEpisodes = Annotated[
    bool, Option("--all-episodes", help="Measure all episodes of --data, also those that MODEL was trained on.")
]
Starts = Annotated[int, Option(min=1, help="Number of starting points, spread evenly over the episodes of --data.")]


def rendered(
    seed: int,
    variant: str | None = None,
    file: Path | None = None,
    folder: Path | None = None,
    needles: Path | None = None,
) -> "Rendered":
    """Rendered mazes; file, folder, needles: where true frames and tests of memory are kept."""
    from ...evaluation.source import Rendered

    return Rendered(seed, variant, file, folder, needles)


def recorded(folder: Path, seed: int, shown: int | None, every: bool) -> "Recorded":
    """Recorded episodes; shown: true frames before those that are made."""
    from ...evaluation.recorded.episodes import Recorded

    return Recorded(folder, seed, shown, every)
