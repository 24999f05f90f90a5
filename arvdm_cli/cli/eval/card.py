"""`arvdm eval`: measure a checkpoint."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from rich.text import Text
from typer import Argument, Option, Typer

from ...errors import OutputExistsError
from .. import flags
from ..console import out as stdout
from ..console import printable, progress, say, settings, write_json
from ..flags import Seed
from . import drift, memory, pareto, predict
from .tables import CLIP_SEED, WorldName, told, writing

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
    free_runs: Annotated[int, Option(min=0, help="Mazes from which a long run goes on; 0 for none.")] = 8,
    free_frames: Annotated[int, Option(min=12, help="Frames of a long run.")] = 600,
    *,
    chosen: flags.Choices,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing card.")] = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Make the figures of a maze checkpoint's card, on mazes that training never saw."""
    if (out / "card.json").exists() and not yes:
        raise OutputExistsError(f"{out} holds a card.", hint="-y replaces it; -o chooses another folder.")

    from ...data import rendered
    from ...device import choose_machine
    from ...evaluation.scorecard import measure_card, plan_card, sheets
    from ...evaluation.truth import LENGTH, check_unseen, take, world_of
    from ...hub import checkpoint, registry
    from ...media import contact_sheet
    from ...sampling import generation

    loaded = checkpoint.load(registry.resolve(model), *choose_machine(device, dtype, threads))
    plan = generation.choose(loaded.sampling, **chosen)
    if data:
        check_unseen(mazes, seed, rendered.read(data).seeds)
    with progress("maze", mazes) as report:
        kept = clips or out / "clips.npz"
        truth = take(kept, world_of(loaded, world), "revisit", mazes, LENGTH, seed, told(report))
    tasks = plan_card(loaded, truth, plan, free_runs, free_frames)
    with progress("frame", sum(task.frames for task in tasks.values()), "fps") as report:
        measured = measure_card(loaded, truth, tasks, told(report))
    with writing(out):
        for name, frames, columns in sheets(measured, truth):
            contact_sheet(frames, columns, out / f"{name}.png")
        (out / "card.md").write_text(markdown(measured.card))
        (out / "card.json").write_text(json.dumps(measured.card, indent=1) + "\n")  # last: a card is whole or absent
    if settings.json:
        return write_json(measured.card)
    show(measured.card)
    say(f"{printable(str(out))} holds card.md, card.json and the contact sheets")


Rows = list[tuple[str, ...]]


def tables(card: dict[str, Any]) -> Iterator[tuple[str, Rows]]:
    """Yield the tables of a card, each with a title; the first row is its header."""
    from ...evaluation.scorecard import RANGES

    yield verdict(card)
    titles = {"new": "New ground", "back": "Returns: way back", "spin": "Returns: spin", "returns": "Returns: both"}
    columns = {
        "made": "",
        "repeat_last": "repeat-last",
        "mean_context": "mean of context",
        "mean_history": "mean of history",
    }
    for kind, title in titles.items():
        figures = card[kind]
        rows: Rows = [(f"{title}, frames", *RANGES)]
        for figure, digits in (("psnr", 2), ("ssim", 3)):
            for column, name in columns.items():
                values = figures[figure][column]["by_range"]
                label = f"{figure.upper()}, {name}" if name else figure.upper()
                rows.append((label, *(f"{values[frames]:.{digits}f}" for frames in RANGES)))
        rows.append(("sharpness", *(f"{figures['sharpness'][frames]:.2f}" for frames in RANGES)))
        late = figures["colour_error"]["made"]["by_range"]
        rows.append(("colour error", *(f"{late[frames]:.3f}" for frames in RANGES)))
        yield title, rows
    if card["memory"]:
        yield "Memory", memory_rows(card["memory"])
    if card["free"]:
        yield "Free run", free(card["free"])


def verdict(card: dict[str, Any]) -> tuple[str, Rows]:
    """What was reached of what must and what should be."""
    rows: Rows = [("", "what", "asked", "found", "")]
    for bar in card["verdict"]:
        found = "not measured" if bar["value"] is None else f"{bar['value']:.3f}"
        reached = {True: "yes", False: "NO", None: ""}[bar["passed"]]
        rows.append(
            (bar["level"], bar["name"], bar["asked"], f"{found} ({bar['note']})" if bar["note"] else found, reached)
        )
    return "Musts and goals", rows


def memory_rows(figures: dict[str, Any]) -> Rows:
    """What memory gains on returns, in dB."""
    rows: Rows = [("Memory's gain, dB", "mean", figures["interval"], "frames a maze")]
    for kind in ("back", "spin", "both"):
        found = figures[kind]
        if found["gain"] is None:
            rows.append((kind, "none beyond the context", "", "0"))
        else:
            span = f"{found['low']:.2f} to {found['high']:.2f}"
            rows.append((kind, f"{found['gain']:.2f}", span, f"{found['frames']:.0f}"))
    return rows


def free(figures: dict[str, Any]) -> Rows:
    """What is left at the end of long runs."""
    rows: Rows = [(f"Free run, end of {figures['frames']} frames", "made", "true frames")]
    for name, label in (
        ("contrast", "contrast"),
        ("colour_spread", "colour spread"),
        ("scene", "share of frames with sky above and none below"),
    ):
        if name not in figures:  # in a world of several skies
            continue
        rows.append((label, f"{figures[name]['made']:.3f}", f"{figures[name]['truth']:.3f}"))
    turns = [figures["turns"][column] for column in ("made", "truth")]
    shares = ("none" if turn["share"] is None else f"{turn['share']:.3f} of {turn['of']}" for turn in turns)
    rows.append(("turns that move the right way", *shares))
    return rows


def about(card: dict[str, Any]) -> str:
    """What was measured, in one line."""
    sampler = f"{card['schedule']}, chunk {card['chunk']}, {card['steps']} denoising steps"
    return (
        f"{card['model']} {card['sha256'][:12]}: {card['mazes']} unseen mazes (seed {card['seed']}), {card['history']} "
        f"true frames, then {card['length']} made with true actions; {sampler}, context {card['sampling']['context']}, "
        f"{card['sampling']['slots']} memory slots; {card['frames_per_second']:.0f} frames/s"
    )


def show(card: dict[str, Any]):
    """Print a card."""
    styles = {"yes": "green", "NO": "bold red"}
    stdout.print(printable(about(card)))
    for _, (header, *rows) in tables(card):
        table = Table(*header, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
        stdout.print()
        stdout.print(table)


def markdown(card: dict[str, Any]) -> str:
    """Write a card's tables as Markdown."""
    parts = [f"{about(card)}.\n"]
    for title, rows in tables(card):
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        parts.append(f"### {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)
