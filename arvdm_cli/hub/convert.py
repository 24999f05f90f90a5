"""Foreign weights, pickled ones too, written as a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import load_pickled
from ..models import architecture
from ..sampling.model import Model
from .build import build
from .checkpoint import fit, read_tensors, save
from .registry import CONFIG, foreign, read_config


def unpickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, read without running any code in it."""
    content = load_pickled(path)
    for key in ("state_dict", "model", "module"):  # some files hold more than the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is not a table of tensors by name.")
    return {str(name): tensor for name, tensor in content.items()}


PICKLED = (".pt", ".pth", ".ckpt", ".bin")


def find_weights(path: Path) -> Path | None:
    """A file of weights, or the pickled one that stands in its place."""
    return next((file for suffix in (path.suffix, *PICKLED) if (file := path.with_suffix(suffix)).is_file()), None)


def convert(source: Path, target: Path) -> Model:
    """Write a checkpoint of foreign weights, safetensors or pickled, each tensor in its own dtype.

    source: a folder that holds the makers' files, by the names their safetensors have
    Raises: CheckpointError where a file is missing, holds something else, or would run code
    """
    own = (source / CONFIG).is_file()
    known = [read_config(source)] if own else [*foreign().values()]
    names = [name for config in known for name in config.get("weights", {}).values()]
    for config in known:
        files = {part: find_weights(source / name) for part, name in config.get("weights", {}).items()}
        if files and all(files.values()):
            break
    else:
        raise CheckpointError(
            f"{source} holds no weights that arvdm knows how to convert.",
            hint=f"It should hold {' and '.join(names)}, or these with {', '.join(PICKLED)}." if names else None,
        )
    with torch.device("meta"):
        model = build(config, str(source))
    for part, module in (("network", model.network), ("codec", model.codec)):
        path = files[part]
        assert path is not None
        tensors = unpickle(path) if path.suffix in PICKLED else read_tensors(path)
        fit(tensors, module, architecture(config["model"]), None, path)
    save(model, target, None)
    return model
