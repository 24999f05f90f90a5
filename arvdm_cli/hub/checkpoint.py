"""Read and write checkpoints: a folder of config.json, model.safetensors and a sha256 manifest."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..device import DTYPES
from ..errors import CheckpointError, IntegrityError, NumericError, OutputError
from ..models import Architecture, architecture, architecture_of
from ..sampling.model import Model
from .build import build
from .registry import CONFIG, MANIFEST, WEIGHTS, read_config, read_text


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(model: Model, folder: Path, dtype: torch.dtype | None = torch.float16) -> None:
    """Write a checkpoint; each file is replaced whole, the manifest last.

    dtype: of the parameters; None leaves each in its own
    """
    config = {
        "format": 1,
        **model.card,
        "model": architecture_of(model.network).name,
        "network": asdict(model.network.config),
        "codec": asdict(model.codec.config),
        "diffusion": {"family": model.diffusion.family, **asdict(model.diffusion)},
        "sampling": asdict(model.sampling),
    }
    tensors = {}
    for part, module in (("network", model.network), ("codec", model.codec)):
        parameters = dict(module.named_parameters())
        for name, tensor in module.state_dict().items():
            tensor = tensor.to(dtype or tensor.dtype) if name in parameters else tensor
            tensors[f"{part}.{name}"] = tensor.cpu().contiguous()
    parts = {name: folder / f"{name}.part" for name in (CONFIG, WEIGHTS, MANIFEST)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, parts[WEIGHTS], metadata={"format": "pt"})
        parts[CONFIG].write_text(json.dumps(config, indent=2) + "\n")
        hashes = {name: digest(parts[name]) for name in (CONFIG, WEIGHTS)}
        parts[MANIFEST].write_text(json.dumps(hashes, indent=2) + "\n")
        for name, file in parts.items():
            file.chmod(0o644)
            os.replace(file, folder / name)
    except (OSError, SafetensorError) as error:  # the latter where the disk is full
        with suppress(OSError):
            for file in parts.values():
                file.unlink(missing_ok=True)
        raise OutputError(f"The checkpoint cannot be written to {folder}: {error}.") from error


def load(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Read a checkpoint, ready to sample.

    Raises: CheckpointError where a file is malformed or does not fit its config, IntegrityError where its hash is not
    the manifest's, NumericError where a weight is NaN
    """
    config = read_config(folder)
    # the makers of foreign files leave no manifest
    hashes = {} if config.get("weights") and not (folder / MANIFEST).exists() else verify(folder)
    where = str(folder / CONFIG)
    with torch.device("meta"):  # shapes only: the weights come from the file
        model = build(config, where)
    kind = architecture(config["model"])
    parts = {"network": (model.network, dtype), "codec": (model.codec, dtype if kind.half_codec else torch.float32)}
    files = {part: (config.get("weights") or {}).get(part, WEIGHTS) for part in parts}
    for part, (module, numbers) in parts.items():
        path = folder / files[part]
        prefix = f"{part}." if files[part] == WEIGHTS else ""  # in a file of its own a part's names stand bare
        fit(read_tensors(path, prefix), module, kind, numbers, path, prefix)
        module.to(device).eval().requires_grad_(False)
    model.sha256 = hashes.get(WEIGHTS) or digest(folder / files["network"])
    return model


def invent(config: dict[str, Any], folder: Path, dtype: torch.dtype) -> None:
    """Write a checkpoint of a config with weights drawn at random, for measuring speed."""
    torch.manual_seed(0)
    save(build(config, "the config"), folder, dtype)


def verify(folder: Path) -> dict[str, str]:
    """Compare a checkpoint's files with its manifest; returns the sha256 of each."""
    try:
        hashes = json.loads(read_text(folder / MANIFEST))
        for name, promised in hashes.items():
            if Path(name).name != name:
                raise IntegrityError(f"{folder / MANIFEST} names a file outside its folder: {name!r}.")
            if digest(folder / name) != promised:
                raise IntegrityError(f"{folder / name} is not the file that was saved: its sha256 differs.")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be used: {error}.") from error
    return hashes


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of a safetensors file, mapped into memory and not yet read; of names with a prefix, without it."""
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in list(file.keys()) if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}.") from error


def fit(
    tensors: dict[str, Tensor],
    module: nn.Module,
    kind: Architecture,
    dtype: torch.dtype | None,
    path: Path,
    prefix: str = "",
) -> None:
    """Put tensors read from a file into one part of a model.

    dtype: of the parameters; None leaves each in its own. What needs no change stays mapped from the file; buffers
        take the dtype they are made in
    prefix: of the names in the file, for messages
    """
    wanted, parameters = module.state_dict(), dict(module.named_parameters())
    held = {kind.own_name(name): tensor for name, tensor in tensors.items()}
    wrong = sorted(name for name in held.keys() ^ wanted.keys() if not kind.may_lack(name))
    held = {name: tensor for name, tensor in held.items() if name in wanted}
    wrong += [name for name, tensor in held.items() if tensor.shape != wanted[name].shape]
    numbers = (*DTYPES.values(), torch.float64)
    wrong += [n for n, tensor in held.items() if wanted[n].is_floating_point() != (tensor.dtype in numbers)]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit its config: {len(wrong)} tensors are missing, extra or of another shape or kind, "
            f"first {', '.join(prefix + name for name in wrong[:3])}."
        )
    for name, tensor in held.items():
        if not torch.isfinite(tensor).all():
            raise NumericError(f"{path} holds NaN or infinity in {prefix}{name}.")
        held[name] = tensor.to((dtype or tensor.dtype) if name in parameters else wanted[name].dtype)
    module.load_state_dict(held, strict=False, assign=True)
