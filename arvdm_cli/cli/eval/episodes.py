"""`arvdm eval drift --episodes`: how well models continue recorded episodes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import OutputExistsError, UsageError
from ..console import printable, progress, say, settings, write_json
from .tables import across, draw, show, strip, told, writing


def continue_episodes(
    models: Sequence[str],
    folder: Path,
    starts: int,
    shown: int,
    length: int,
    seed: int,
    out: Path,
    yes: bool,
    machine: tuple[Any, ...],
    chosen: dict[str, Any],
) -> None:
    """Measure models on the episodes of a folder: OUT gets episodes.json, episodes.csv (by frame) and strips."""
    from ...evaluation import continuation
    from ...hub import checkpoint, registry
    from ...reports import results
    from ...sampling import generation

    if not models:
        raise UsageError("--episodes measures models.", hint="Name one.")
    if (out / "episodes.json").exists() and not yes:
        raise OutputExistsError(f"{out} holds a measurement.", hint="-y replaces it; -o chooses another folder.")
    cuts = continuation.cut(folder, starts, shown, length)
    report: dict[str, Any] = {"folder": str(folder), "shown": shown, "length": length, "seed": seed}
    report |= {"places": cuts.places, "models": {}}
    frames, tables = [], []
    for model in models:
        loaded = checkpoint.load(registry.resolve(model), *machine)
        plan = generation.choose(loaded.sampling, **chosen)
        with progress("frame", starts * length, "fps") as shown_:
            made = continuation.roll_out(loaded, cuts, plan, seed, told(shown_))
        by_range, by_frame = continuation.measure(made, cuts, plan.sampling.context)
        report["models"][model] = {"sha256": loaded.sha256, "schedule": plan.schedule.name, "ranges": by_range}
        frames += [{"model": model, **row} for row in by_frame]
        tables.append((f"{model}: {starts} starts in {folder}, {shown} frames shown", across(by_range, 0)))
        with writing(out):
            draw(out / strip(model, "episodes"), made, cuts.truth)
    with writing(out):
        results.write_csv(out / "episodes.csv", frames)
        results.save(out / "episodes.json", report)
    if settings.json:
        return write_json(report)
    show(tables)
    say(f"{printable(str(out))} holds episodes.json and by frame episodes.csv")
