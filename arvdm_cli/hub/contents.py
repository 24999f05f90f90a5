"""Which files of a repository make up a checkpoint, and in what order they are fetched."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from ..errors import CheckpointError, IntegrityError
from .card import README, SAMPLE
from .layout import CONFIG, MANIFEST, PIPELINE, WEIGHTS
from .pipelines import PARTS, TRANSFORMER
from .registry import Entry, foreign

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

ADAPTERS = {"adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"}
WEIGHTS_OF_PART = re.compile(r"(diffusion_pytorch_model|model)(-\d+-of-\d+)?\.safetensors(\.index\.json)?")


def check_name(name: str, repo: str) -> None:
    """Refuse a file name that would leave its folder, on any system."""
    parts = PureWindowsPath(name)  # takes both slashes, and knows drives
    if not name or parts.anchor or ".." in parts.parts:
        raise IntegrityError(
            f"{repo} lists a file outside its folder: {name!r}.",
            hint="Nothing was downloaded; do not trust this source.",
        )


def choose(names: list[str], entry: Entry) -> list[str]:
    """The files of a repository that make up a checkpoint: its config and its safetensors, and never a pickle.

    Of a folder of diffusers the parts that are used, and of several variants of weights the plain one.
    Raises: CheckpointError where it is not a checkpoint, or has a second network
    """
    if PIPELINE in names and not {WEIGHTS, f"{WEIGHTS}.index.json"}.intersection(names):
        return choose_parts(names, entry)
    if not {CONFIG, *foreign(), *(f"{name}.index.json" for name in foreign())}.intersection(names):
        if ADAPTERS.intersection(names):
            raise CheckpointError(f"{entry.name} is a LoRA, which changes a model and is none; arvdm cannot apply it.")
        raise CheckpointError(f"{entry.name} is not a checkpoint: it contains no {CONFIG}.")
    if not any(_is_weights(name) for name in names):
        raise CheckpointError(
            f"{entry.name} contains no .safetensors file.",
            hint="Weights that can run code when they are loaded are never downloaded.",
        )
    wanted = {CONFIG, MANIFEST, README, SAMPLE}
    return [name for name in names if name in wanted or _is_weights(name.removesuffix(".index.json"))]


def choose_parts(names: list[str], entry: Entry) -> list[str]:
    """The files that are used of a folder of diffusers: configs, tokenizer and safetensors of its parts."""
    if second := next((name for name in names if name.startswith(f"{TRANSFORMER}_")), None):
        raise CheckpointError(f"{entry.name} has a second network, {second.partition('/')[0]}; arvdm can only run one.")
    wanted = [name for name in (PIPELINE, README) if name in names]
    for name in names:
        part, _, file = name.partition("/")
        if part not in PARTS or "/" in file:
            continue
        index = file.endswith(".index.json")
        if WEIGHTS_OF_PART.fullmatch(file) or (file.endswith(".json") and not index):
            wanted.append(name)
    if not any(name.startswith(f"{TRANSFORMER}/") and name.endswith(".safetensors") for name in wanted):
        raise CheckpointError(
            f"{entry.name} contains no .safetensors file in {TRANSFORMER}.",
            hint="Weights that can run code when they are loaded are never downloaded.",
        )
    return wanted


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name


def order(name: str) -> int:
    """When a file is fetched: before the weights what says whether they can be used; last what marks a checkpoint."""
    if name in (CONFIG, PIPELINE, *foreign()):
        return 2
    return 0 if "/" in name and name.endswith(".json") else 1


def licence_of(found: ModelInfo) -> str:
    """The licence that the Hub knows of a repository, by the tags of its card."""
    tags = [tag for tag in found.tags or () if isinstance(tag, str)]
    return next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), "")
