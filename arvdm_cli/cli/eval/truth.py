"""Where the commands that measure take true frames from: flags, and what they choose."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from ...errors import InputError
from .. import flags

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
Shown = Annotated[
    int | None,
    Option("--shown", min=1, show_default="up to 64", help="True frames before those to generate, with --data."),
]


def check_data(invocation: Context, data: Path | None, in_mazes: Sequence[str], in_recordings: Sequence[str]) -> None:
    """Refuse flags of mazes with recorded episodes, and the other way round, and a folder that is not there."""
    flags.refuse(invocation, in_mazes if data else in_recordings, f"{'not' if data else 'only'} for --data.")
    if data and not data.exists():
        raise InputError(f"{str(data)!r} does not exist.")


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


def recorded(folder: Path, seed: int, shown: int | None, every: bool, frames: int = 8) -> "Recorded":
    """Recorded episodes; shown: true frames before those that are made; frames: made up to a return."""
    from ...evaluation.recorded.episodes import Recorded

    return Recorded(folder, seed, shown, every, frames)
