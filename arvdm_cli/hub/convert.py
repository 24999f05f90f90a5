"""Foreign weights, pickled ones too, written as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..configs import Json
from ..errors import CheckpointError
from ..files import load_pickled
from ..sampling.model import Model
from .build import build, kind_of
from .checkpoint import fit, save, weights_of
from .layout import CONFIG, PICKLED, index_of
from .registry import foreign, read_config
from .weights import read_weights


def unpickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, read without running any code in it."""
    content = load_pickled(path)
    for key in ("params_ema", "state_dict", "model", "module"):  # some files hold more than the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is not a table of tensors by name.")
    return {str(name): tensor for name, tensor in content.items()}


def find_weights(folder: Path, name: str) -> Path | None:
    """A file of weights, in shards or not, or the pickled one that stands in its place, there or one folder below."""
    if (folder / name).is_file() or index_of(folder / name).is_file():
        return folder / name
    pickled = [Path(name).with_suffix(suffix).name for suffix in PICKLED]
    places = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    return next((place / file for place in places for file in pickled if (place / file).is_file()), None)


def convert(source: Path, target: Path) -> Model:
    """Write a checkpoint of foreign weights, safetensors or pickled, each tensor in its own dtype.

    source: a folder that holds the makers' files, by the names their safetensors have
    Raises: CheckpointError where a file is missing, holds something else, or would run code
    """
    return rewrite(*recognise(source), target)


def rewrite(config: Json, files: Mapping[str, Path], target: Path) -> Model:
    """Write a checkpoint of foreign weights in the file of each part of a model; as `convert`."""
    with torch.device("meta"):
        model = build(config, "its config")
    for part, module in (("network", model.network), ("codec", model.codec)):
        path = files[part]
        tensors = unpickle(path) if path.suffix in PICKLED else read_weights(path.parent, path.name)
        fit(tensors, module, kind_of(config), None, path)
    save(model, target, None)
    return model


def recognise(source: Path) -> tuple[Json, dict[str, Path]]:
    """Config of the makers' files in a folder, and the file of each part of the model.

    Raises: CheckpointError where a file is missing
    """
    configs = [read_config(source)] if (source / CONFIG).is_file() else [*foreign().values()]
    names: list[str] = []
    for config in configs:
        weights = weights_of(config) if config.get("weights") else {}
        files = {part: path for part, name in weights.items() if (path := find_weights(source, name))}
        if files and len(files) == len(weights):
            return config, files
        names += weights.values()
    raise CheckpointError(
        f"{source} contains no weights that arvdm can convert.",
        hint=f"It should contain {' and '.join(names)}, or these with the suffix {', '.join(PICKLED)}."
        if names
        else None,
    )
