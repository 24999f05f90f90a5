"""`arvdm data inspect`: count what a folder of episodes holds, check it and draw it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Option

from ...errors import DataError, OutputError, OutputExistsError
from .. import flags
from ..console import out as stdout
from ..console import printable, progress, settings, write_json

if TYPE_CHECKING:
    from ...data.clip_folder import Clips
    from ...data.rendered import Dataset


def inspect(
    invocation: Context,
    folder: Annotated[Path, Argument(help="Folder written by `arvdm data make`, `import` or `record`.")],
    sheet: Annotated[Path | None, Option(help="Write a contact sheet of some episodes to this image.")] = None,
    every: Annotated[int, Option(min=1, help="Frames between two pictures of the sheet.")] = 20,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing contact sheet.")] = False,
):
    """Count episodes, frames and actions in a folder, and check every frame."""
    from ...data import batches, clip_folder, rendered

    if not sheet:
        flags.refuse(invocation, ("every",), "no sheet is written.", "Add --sheet FILE.")
    if sheet and sheet.exists() and not yes:
        raise OutputExistsError(f"{sheet} exists.", hint="Use -y to replace it.")
    data = batches.read(folder)
    broken = {}
    with progress("episode", len(data)) as report:
        for index in range(len(data)):
            problem = (
                clip_folder.check(data, index) if isinstance(data, clip_folder.Clips) else rendered.check(data, index)
            )
            if problem:
                broken[index] = problem
            report(index)
    if sheet:
        draw_sheet(data, sheet, every)

    facts = count_clips(data, folder) if isinstance(data, clip_folder.Clips) else count(data)
    if settings.json:
        write_json(facts | {"broken": broken})
    elif isinstance(data, clip_folder.Clips):
        show_clips(facts)
    else:
        show_facts(facts)
    if broken:
        index, problem = next(iter(broken.items()))
        raise DataError(f"{folder}: episode {index} is broken ({len(broken)} of {len(data)} are): {problem}.")


def count(data: "Dataset") -> dict[str, Any]:
    """Count episodes, frames, kinds and actions, and the frames that show a pose seen before in their episode."""
    import numpy as np

    from ...data.rendered import KINDS, revisits

    kinds = np.bincount(data.kinds, minlength=len(KINDS))
    actions = np.bincount(data.actions.ravel(), minlength=len(data.names))
    return {
        "episodes": len(data),
        "planned": data.planned,
        "frames": data.actions.size,
        "world": vars(data.world) | {"fps": data.world.fps},
        "seed": data.seed,
        "kinds": dict(zip(KINDS, kinds.tolist(), strict=False)),
        "actions": dict(zip(data.names, actions.tolist(), strict=False)),
        "revisits": sum(map(revisits, data.poses)) / max(data.actions.size, 1),  # share of frames
    }


def told(value: float | str) -> str:
    """Write a setting."""
    return value if isinstance(value, str) else f"{value:g}"


def show_facts(facts: dict[str, Any]):
    """Print what `count` gave as a table."""
    table = Table.grid(padding=(0, 2))
    finished, planned = facts["episodes"], facts["planned"]
    rows = [
        ("episodes", f"{finished}" if finished == planned else f"{finished} of {planned} are finished"),
        ("frames", f"{facts['frames']}, {facts['revisits']:.1%} of them from a pose seen before"),
        ("world", ", ".join(f"{name} {told(value)}" for name, value in facts["world"].items())),
        ("seed", str(facts["seed"])),
    ]
    for name in ("kinds", "actions"):
        total = max(sum(facts[name].values()), 1)
        rows.append((name, ", ".join(f"{what} {n} ({n / total:.1%})" for what, n in facts[name].items())))
    for name, value in rows:
        table.add_row(Text(name, "dim"), value)
    stdout.print(table)


def count_clips(data: "Clips", folder: Path) -> dict[str, Any]:
    """Count the clips of a folder, their episodes and frames, and the frames that each action led into."""
    from ...data.clip_folder import RECORDED
    from ...record.recorder import read_facts

    led = [(data.actions[:, :, number] != 0).sum() for number in range(len(data.names))]
    known = sum(episode.any(-1).sum() for episode in data.actions)
    frames = data.actions.shape[0] * data.actions.shape[1]
    return {
        "episodes": len(data),
        "clips": len(data.files),
        "frames": frames,
        "source": vars(data.settings),
        "actions": {name: int(count) for name, count in zip(data.names, led, strict=True)},
        "unknown": frames - int(known),
        "recorded": read_facts(folder) if data.settings.format == RECORDED else None,
    }


def show_clips(facts: dict[str, Any]):
    """Print what `count_clips` gave as a table."""
    table = Table.grid(padding=(0, 2))
    source, total = facts["source"], facts["frames"]
    stay = ", in their videos" if source["encoded"] else ""
    height, width = source["size"]
    led = facts["actions"] and facts["actions"] | {"unknown": facts["unknown"]}
    recorded = facts["recorded"]
    rows = [
        ("episodes", f"{facts['episodes']}" + ("" if recorded else f", from {facts['clips']} clips")),
        ("frames", f"{total}, {source['frames']} an episode, {width}x{height}, {source['fps']:g} fps{stay}"),
        ("source", f"{source['format']}, {printable(source['source'])}"),
        (
            "actions",
            ", ".join(f"{name} {n} ({n / total:.1%})" for name, n in led.items()) if facts["actions"] else "none",
        ),
    ]
    if recorded:
        play = f"policy {recorded['policy']['name']}, seed {recorded['seed']}, skip {recorded['skip']}"
        rows.append(("recorded", printable(play)))
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(value))
    stdout.print(table)


def draw_sheet(data: "Dataset | Clips", file: Path, every: int):
    """Draw a contact sheet: two episodes of each kind, or ten imported ones, one a row, with every n-th frame."""
    import numpy as np
    from PIL import Image

    from ...data.rendered import Dataset

    if isinstance(data, Dataset):
        rows = [index for kind in np.unique(data.kinds) for index in np.flatnonzero(data.kinds == kind)[:2]]
    else:
        rows = np.linspace(0, len(data) - 1, min(10, len(data))).astype(int).tolist()
    if not rows:
        raise DataError("The folder has no complete episode yet, so there is nothing to draw.")
    pictures = data.frames[rows, ::every]  # (rows, columns, h, w, c)
    r, n, h, w, c = pictures.shape
    try:
        Image.fromarray(pictures.swapaxes(1, 2).reshape(r * h, n * w, c)).save(file)
    except (OSError, ValueError) as error:  # ValueError: no format has this suffix
        raise OutputError(
            f"{file} cannot be written: {error}", hint="Use an image file name, such as sheet.png."
        ) from error
