"""`arvdm eval memory`: what models still know of what they saw."""

import json
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from typer import Argument, Option

from ..errors import OutputError, OutputExistsError, UsageError
from .console import out as stdout
from .console import printable, progress, say, settings, write_json


def memory(
    models: Annotated[list[str], Argument(metavar="MODEL...", help="Folders, short names, or owner/name on the Hub.")],
    out: Annotated[Path, Option("--out", "-o", help="Folder for memory.json and strips of frames.")] = Path("memory"),
    kind: Annotated[
        list[str] | None, Option(help="theme, colour, blocks2 or blocks4; repeat for more. [default: theme, colour]")
    ] = None,
    gap: Annotated[
        list[int] | None, Option(min=1, help="Frames out of view; repeat for more. [default: 16, 64, 128]")
    ] = None,
    control: Annotated[
        list[str] | None, Option(help="memory, none, other, unseen, context or truth; repeat. [default: all]")
    ] = None,
    worlds: Annotated[int, Option(min=1, help="Mazes that training never saw, for each kind and gap.")] = 64,
    frames: Annotated[int, Option(min=1, max=12, help="Frames made and compared after the return.")] = 8,
    seed: Annotated[int, Option(help="Same seed, same mazes; more of them extend fewer.")] = 2_000_000,
    needles: Annotated[Path | None, Option(help="Folder that keeps the tests; OUT/needles if not given.")] = None,
    schedule: Annotated[str | None, Option("--schedule", "-s", help="Preset or file; see `arvdm schedule`.")] = None,
    steps: Annotated[int | None, Option(min=1, help="Denoising steps; what they count, `arvdm schedule` says.")] = None,
    memory_slots: Annotated[int | None, Option(min=0, help="Groups of past frames in memory; 0 for none.")] = None,
    eviction: Annotated[str | None, Option(help="stride, oldest or sink: which group leaves a full memory.")] = None,
    history_guidance: Annotated[float | None, Option(help="Above 1, memory counts more.")] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing measurement.")] = False,
    device: Annotated[str, Option(help="auto, cpu, cuda[:i] or mps.")] = "auto",
    dtype: Annotated[str, Option(help="auto, float32, bfloat16 or float16.")] = "float32",
    threads: Annotated[int | None, Option(min=1, help="Threads of the CPU.")] = None,
):
    """Take needle tests: a thing is shown, goes out of view, and comes back; is it drawn as it was?

    Truth is fed up to the return, so memory alone is measured. The share of worlds in which the true candidate is the
    nearest stands beside chance, and beside controls that must be at chance or at 100 %.
    """
    if (out / "memory.json").exists() and not yes:
        raise OutputExistsError(f"{out} holds a measurement.", hint="-y replaces it; -o chooses another folder.")

    import numpy as np

    from .. import checkpoint, evaluation, generation, registry, retrieval
    from .. import needles as haystack
    from ..video import contact_sheet

    for name in control or []:
        if name not in retrieval.CONTROLS:
            raise UsageError(f"No control is called {name!r}.", hint=f"Choose from: {', '.join(retrieval.CONTROLS)}.")
    asked = [(k, g) for k in kind or ("theme", "colour") for g in gap or (16, 64, 128)]
    machine = checkpoint.choose_machine(device, dtype, threads)
    report: dict[str, Any] = {"worlds": worlds, "frames": frames, "seed": seed, "models": []}
    for model in models:
        loaded = checkpoint.load(registry.resolve(model), *machine)
        plan, sampling = generation.choose(
            loaded.sampling,
            schedule=schedule,
            steps=steps,
            slots=memory_slots,
            eviction=eviction,
            history_guidance=history_guidance,
        )
        world = evaluation.world_of(loaded)
        tests = {}
        for k, g in asked:
            file = (needles or out / "needles") / f"{k}-{g}-{world.size}-{seed}.npz"
            with progress("world", worlds) as shown:

                def tell(done: int, total: int, shown: Any = shown) -> None:
                    shown(done - 1)

                tests[f"{k} {g}"] = haystack.take(file, world, k, g, worlds, seed, progress=tell)
        used = tuple(control or retrieval.CONTROLS)
        total = len(asked) * sum(name != "truth" for name in used) * worlds * frames
        with progress("frame", total, "fps") as shown:
            rows, made = retrieval.measure(
                loaded, tests, plan, sampling, used, frames, progress=lambda done, _: shown(done - 1)
            )
        facts = {"model": model, "sha256": loaded.sha256, "sampling": {"schedule": plan.name, **vars(sampling)}}
        report["models"].append(facts | {"rows": rows})
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, pictures in made.items():
                test = tests[name.split("/")[0]]
                truth = np.stack([each.candidates[each.truth, :frames] for each in test])
                pairs = np.stack((truth[:4], pictures[:4]), 1)  # (worlds, 2, f, h, w, 3)
                sheet = f"{Path(model).name}-{name.replace('/', '-').replace(' ', '-')}.png"
                contact_sheet(pairs.reshape(-1, *pairs.shape[3:]), frames, out / sheet)
            (out / "memory.json").write_text(json.dumps(report, indent=1) + "\n")
        except OSError as error:
            raise OutputError(f"{out} cannot be written: {error}.") from error
        if not settings.json:
            stdout.print(table(model, rows))
    if settings.json:
        return write_json(report)
    say(f"{printable(str(out))} holds memory.json and strips: truth above what was made")


def table(model: str, rows: list[dict[str, Any]]) -> Table:
    """How many worlds each test and control found, and by which way one came back in them."""
    shown = Table(title=printable(model), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for title in ("test", "control", "found", "95 %", "chance", "way back", "loop", "margin"):
        shown.add_column(title, justify="left" if title in ("test", "control") else "right")
    for row in rows:
        ways = ("-" if row[way] is None else f"{row[way]:.0%}" for way in ("top1_inverse", "top1_loop"))
        shown.add_row(
            row["test"],
            row["control"],
            f"{row['top1']:.0%}",
            f"{100 * row['low']:.0f}-{row['high']:.0%}",
            f"{row['chance']:.0%}",
            *ways,
            f"{row['margin']:+.1f} dB",
        )
    return shown
