"""Foreign weights, pickled ones too, written as a checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..configs import Json, table
from ..errors import CheckpointError, OutputError, UsageError
from ..files import load_pickled, replacing
from ..sampling.model import Model
from . import pipelines
from .build import build, kind_of
from .checkpoint import fit, save, weights_of
from .layout import CONFIG, PICKLED, PIPELINE, index_of
from .pipelines import TEXT_ENCODER, TOKENIZER
from .registry import Entry, entries, foreign, read_config
from .weights import read_weights


def unpickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, read without running any code in it."""
    content = load_pickled(path)
    # some files hold more than the weights
    for key in ("generator_ema", "generator", "params_ema", "state_dict", "model", "module"):
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
    config, files = recognise(source)
    model = rewrite(config, files, target)
    copy_encoder(source, target)
    return model


def rewrite(config: Json, files: Mapping[str, Path], target: Path) -> Model:
    """Write a checkpoint of foreign weights in the file of each part of a model; as `convert`."""
    return write(config, {part: (path, read(path)) for part, path in files.items()}, target)


def join(source: Path, base: Path, target: Path, like: str | None = None) -> Model:
    """Write a checkpoint of a network's weights by its makers, and of all else in a folder of diffusers.

    source: file of the weights, or a folder with one such file
    base: its codec, text encoder and tokenizer are taken, and the shape of its network
    like: entry of the registry that says how the network is sampled; None: the one that knows the file's name
    Raises: CheckpointError as `convert`; UsageError where it is not known how the network is sampled
    """
    path = only_file(source)
    if not (base / PIPELINE).is_file():
        raise CheckpointError(f"{base} is not a folder of diffusers: it contains no {PIPELINE}.")
    config = pipelines.describe(base, find_recipe(path, like).recipe)
    tensors = read(path)
    config |= {"name": path.stem, "data": f"weights of {path.name} by their makers"}
    config["network"] = table(config, "network") | {"rates": any("fps_embedding" in name for name in tensors)}
    name = weights_of(config)["codec"]
    model = write(config, {"network": (path, tensors), "codec": (base / name, read_weights(base, name))}, target)
    copy_encoder(base, target)
    return model


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a file of weights, pickled or not, or of its shards."""
    return unpickle(path) if path.suffix in PICKLED else read_weights(path.parent, path.name)


def write(config: Json, parts: Mapping[str, tuple[Path, dict[str, Tensor]]], target: Path) -> Model:
    """Write a checkpoint of the tensors of each part of a model, and the file that they come from."""
    with torch.device("meta"):
        model = build(config, "its config")
    for part, module in (("network", model.network), ("codec", model.codec)):
        path, tensors = parts[part]
        fit(tensors, module, kind_of(config), None, path)
    save(model, target, None)
    return model


def only_file(source: Path) -> Path:
    """The one file of weights that is meant by its path or its folder's.

    Raises: CheckpointError where there is none, or more than one
    """
    found = [source] if source.is_file() else sorted(source.glob("*")) if source.is_dir() else []
    files = [path for path in found if path.suffix in (*PICKLED, ".safetensors") and path.is_file()]
    if len(files) != 1:
        raise CheckpointError(f"{source} contains {len(files)} files of weights.", hint="Give the path of one file.")
    return files[0]


def find_recipe(path: Path, like: str | None) -> Entry:
    """The entry of the registry by which a network of a file is sampled.

    Raises: UsageError where there is none
    """
    known = [entry for entry in entries() if entry.known_by]
    if entry := next((entry for entry in known if (entry.name == like if like else path.name in entry.known_by)), None):
        return entry
    names = ", ".join(entry.name for entry in known)
    raise UsageError(f"{like or path.name} does not say how frames are sampled.", hint=f"Choose with --like: {names}.")


def copy_encoder(base: Path, target: Path) -> None:
    """Take over text encoder and tokenizer, as links to the same files where the disk can do that.

    Raises: OutputError
    """
    for part in (TEXT_ENCODER, TOKENIZER):
        try:
            for path in sorted((base / part).glob("*")):
                if path.suffix in (".json", ".safetensors"):
                    (target / part).mkdir(exist_ok=True)
                    with replacing(target / part / path.name) as copy:
                        link(path.resolve(), copy)
        except OSError as error:
            raise OutputError(f"{target / part} cannot be written: {error.strerror or error}.") from error


def link(path: Path, copy: Path) -> None:
    """Make a second name of a file, or a copy where it lies on another disk."""
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)


def recognise(source: Path) -> tuple[Json, dict[str, Path]]:
    """Config of the makers' files in a folder, and the file of each part of the model.

    Raises: CheckpointError where a file is missing
    """
    described = (source / CONFIG).is_file() or (source / PIPELINE).is_file()
    configs = [read_config(source)] if described else [*foreign().values()]
    names: list[str] = []
    for config in configs:
        weights = weights_of(config) if config.get("weights") else {}
        files = {part: path for part, name in weights.items() if (path := find_weights(source, name))}
        if files and len(files) == len(weights):
            return config, files
        names += weights.values()
    hint = f"It should contain {' and '.join(names)}, or these with the suffix {', '.join(PICKLED)}." if names else None
    if source.is_file():
        hint = "A training of Self-Forcing or its kin needs --base, a model that has the codec and the text encoder."
    raise CheckpointError(
        f"{source} contains no weights that arvdm can convert.",
        hint=hint,
    )
