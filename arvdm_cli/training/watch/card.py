"""What a run says of its model in the model card."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from ...actions.phrases import UNKNOWN
from ...data.batches import Episodes, Part
from ...data.clip_folder import RECORDED, Clips
from ...hub.card import ModelCard
from ...hub.sizes import show_count
from ...sampling.generation import choose
from ...sampling.model import Model
from ..config import TrainConfig
from ..events import Validated
from .curve import name_of
from .data import DataFacts
from .verdict import OBEYED, TITLES

Spans = Sequence[tuple[int, int]]


def card_of(
    config: TrainConfig, model: Model, episodes: Episodes, facts: DataFacts, event: Validated | None, spans: Spans
) -> ModelCard:
    """The card of a run's model.

    event: the last validation; None before the first
    """
    names = list(model.actions)
    figures = {title: getattr(event, name) for name, title in TITLES.items()} if event else None
    sayable = [name for name in names if not set(name) & set(" \t\n*+=") and name != UNKNOWN]
    return ModelCard(
        name=config.name,
        licence=str(config.card.get("licence", "")),
        facts=facts_of(config, model, episodes, facts),
        ranges=[name_of(span) for span in spans],
        figures=figures,
        verdict=event.verdict if event else "",
        measured=f"Measured after step {event.step} on {count_of(facts.held_out, 'held-out episode')}, each continued "
        "with its own actions; pixels that change are those that differ from the last frame shown."
        if event
        else "",
        limits=limits_of(model, event),
        phrase=" ".join(f"{name}*10" for name in sayable[1:3] or sayable[:1]),
    )


def facts_of(config: TrainConfig, model: Model, episodes: Episodes, facts: DataFacts) -> dict[str, str]:
    """Rows of the card's first table."""
    record, codec, sampling = model.card["training"], model.codec.config, model.sampling
    counts = [sum(weight.numel() for weight in part.parameters()) for part in (model.network, model.codec)]
    device = torch.device(record["device"])
    plan = choose(sampling)
    past = f"{sampling.context} frames" + (f" and a memory of {sampling.slots * sampling.group}" * bool(sampling.slots))
    rows = {
        "frames": f"{codec.width}x{codec.height} pixels, {model.fps:g} frames/s",
        "actions": ", ".join(model.actions) or "none",
        "network": f"{type(model.network).__name__}, {show_count(counts[0])} parameters; codec {show_count(counts[1])}",
        "sampling": f"{sampling.schedule}, chunk {plan.schedule.chunk}, {plan.schedule.steps} steps; sees {past}",
        "data": "; ".join(source_of(folder, part) for folder, part in episodes.parts.items())
        + f": {count_of(facts.episodes, 'episode')}, {show_time(3600 * facts.hours)}, and {facts.held_out} held out",
        "described as": str(config.card.get("data", "")),
        "training": f"codec {config.codec_steps} steps, network {record['steps']} steps of about {config.frames} "
        f"frames: {show_count(record['steps'] * config.frames)} frames seen in {show_time(3600 * record['hours'])}",
        "machine": machine_of(device),
        "licence": str(config.card.get("licence", "")) or "not stated",
    }
    return {name: text for name, text in rows.items() if text}


def source_of(folder: str, part: Part) -> str:
    """Where the episodes of a folder come from, without the path of this machine."""
    name = Path(folder).resolve().name
    if not isinstance(part, Clips):
        return f"{name}, rendered"
    source = part.settings.source
    recorded = part.settings.format == RECORDED  # then the source is the name of an environment
    return f"{name}, {'recorded from' if recorded else 'imported from'} {source if recorded else Path(source).name}"


def machine_of(device: torch.device) -> str:
    """The machine that a model is trained on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    cores = f"{count_of(torch.get_num_threads(), 'thread')} on {count_of(os.cpu_count() or 1, 'core')}"
    return f"{platform.machine()}, {cores}, torch {torch.__version__}"


def count_of(number: int, noun: str) -> str:
    """A number of things, as people say it."""
    return f"{number} {noun}{'s' * (number != 1)}"


def limits_of(model: Model, event: Validated | None) -> list[str]:
    """What a model cannot do, as far as that is known."""
    sampling = model.sampling
    found = ["It knows scenes like those of its data only, and may continue others wrongly."]
    past = sampling.context + sampling.slots * sampling.group
    found.append(f"It sees at most {past} frames back; what left the view earlier is made up when it returns.")
    if event and event.psnr[-1] <= event.repeat[-1]:
        found.append("Far ahead its frames are no closer to the truth than the last frame that it was shown.")
    if event and event.obeyed is not None and event.obeyed < OBEYED:
        found.append("It hardly obeys actions.")
    if not model.actions:
        found.append("It takes no actions.")
    return found


def show_time(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
