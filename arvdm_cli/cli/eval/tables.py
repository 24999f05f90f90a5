"""What the commands that measure share: their flags, how they go on after a stop, true frames, tables."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.table import Table
from typer import Option

from ...errors import OutputError, UsageError
from ...sampling import schedules
from ...worlds.table import VARIANTS
from ..console import out as stdout
from ..console import printable, progress, say

if TYPE_CHECKING:
    import numpy as np

    from ...evaluation.truth import Truth
    from ...sampling.model import Model
    from ...worlds.world import Needle, World

    Variant = str
else:
    Variant = Literal[tuple(VARIANTS)]

CLIP_SEED, NEEDLE_SEED, DRIFT_SEED = 1_000_000, 2_000_000, 3_000_000  # of mazes for clips, needles and roll-outs

Rows = list[dict[str, Any]]
Cells = list[list[str]]

WorldName = Annotated[
    Variant | None,
    Option(
        "--world",
        help="Mazes of 8 + 8 textures under one sky (narrow), or of all textures, skies and lights (wide). "
        "[default: the checkpoint's own, else narrow]",
    ),
]


def begun(file: Path, asked: dict[str, Any], yes: bool, again: bool = False) -> dict[str, Any]:
    """A measurement of rows that was stopped, to go on with, or a new one.

    again: one that was finished goes on too
    """
    from ...reports import results

    report = results.resume(file, asked, yes, again)
    if report is None:
        return {"asked": asked, "complete": False, "rows": []}
    say(f"{printable(str(file.parent))}: going on after {len(report['rows'])} rows")
    return report


def check_schedules(given: Sequence[str] | None) -> None:
    """Raise ScheduleError where one of them cannot be built."""
    for text in given or ():
        schedules.choose(text)


def schedules_of(model: "Model", given: Sequence[str] | None) -> list[str]:
    """The schedules to measure a model under, as they are spelled: those given, else the presets it was trained for."""
    return list(given or model.card.get("presets") or [model.sampling.schedule])


def missing(report: dict[str, Any], **point: Any) -> bool:
    """Whether a measurement has no row of a point yet."""
    return not any(all(row[name] == value for name, value in point.items()) for row in report["rows"])


def told(shown: Callable[..., None]) -> Callable[[int, int], None]:
    """Progress of the library as one of the terminal."""
    return lambda done, total: shown(done - 1)


def take_truth(folder: Path, world: "World", mazes: int, length: int, seed: int) -> "Truth":
    """Read the true frames of roll-outs from a folder, or render them into it."""
    from ...evaluation import truth

    with progress("maze", mazes) as shown:
        return truth.take(folder / world.file_name(seed), world, "drift", mazes, length, seed, told(shown))


def take_needles(folder: Path, world: "World", kind: str, gap: int, worlds: int, seed: int) -> "Sequence[Needle]":
    """Read needle tests from a folder, or render them into it."""
    from ...worlds.world import NeedleWorld

    if not isinstance(world, NeedleWorld):
        raise UsageError("The checkpoint's world has no needle tests.", hint="--world narrow")
    with progress("world", worlds) as shown:
        return world.needles(folder, kind, gap, worlds, seed, told(shown))


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Write into a folder, which is made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}.") from error


def strip(model: str, *what: object) -> str:
    """Name the file of a strip of pictures."""
    return "-".join((re.sub("[^A-Za-z0-9.]+", "-", model).strip("-"), *map(str, what))) + ".png"


def cell(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(rows: Cells, title: str | None = None, left: Sequence[str] = ()) -> Table:
    """A table for the terminal; the first row is its header.

    left: columns to set flush left, besides the first
    """
    title = None if title is None else printable(title)
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(rows[0]):
        shown.add_column(name, justify="left" if number == 0 or name in left else "right")
    for row in rows[1:]:
        shown.add_row(*map(printable, row))
    return shown


def show(tables: Iterable[tuple[str, Cells]], left: Sequence[str] = ()) -> None:
    """Print tables under their titles; `left` as in `table`."""
    for title, rows in tables:
        stdout.print(printable(title), soft_wrap=True)
        stdout.print(table(rows, left=left))
        stdout.print()


SHOWN = 3  # mazes in a strip
COLUMNS = (  # of a model's table: what, figure, digits
    ("PSNR, dB", "psnr", 2),
    ("... repeat-last", "psnr_repeat_last", 2),
    ("... mean of context", "psnr_mean_context", 2),
    ("SSIM", "ssim", 3),
    ("... repeat-last", "ssim_repeat_last", 3),
    ("... mean of context", "ssim_mean_context", 3),
    ("MS-SSIM", "ms_ssim", 3),
    ("LPIPS", "lpips", 3),
    ("colour error", "colour_error", 3),
    ("contrast / truth's", "contrast", 2),
    ("sharpness / truth's", "sharpness", 2),
    ("turns the right way", "motion", 2),
    ("... of the truth", "motion_truth", 2),
)


def across(rows: Rows, scales: int) -> Cells:
    """A table of ranges from left to right."""
    told = [["frames", *(row["frames"] for row in rows)], ["frames measured", *(str(row["count"]) for row in rows)]]
    for title, name, digits in COLUMNS:
        if name in rows[0]:
            title = f"{title}, {scales} scales" if name == "ms_ssim" else title
            told.append([title, *(cell(row[name], digits) for row in rows)])
    return told


def draw(file: Path, made: "np.ndarray", truth: "np.ndarray") -> None:
    """Draw some mazes at the end of every range of frames: what was true above what was made."""
    import numpy as np

    from ...evaluation.drift import ranges
    from ...media import contact_sheet

    at = [last - 1 for _, last in ranges(made.shape[1])]
    pairs = np.stack((truth[:SHOWN, at], made[:SHOWN, at]), 1)  # (mazes, 2, ranges, h, w, 3)
    contact_sheet(pairs.reshape(-1, *pairs.shape[3:]), len(at), file)
