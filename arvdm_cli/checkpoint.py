"""Read and write checkpoints: a folder of config.json, model.safetensors and a sha256 manifest."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .diffusion import FlowMatching
from .errors import CheckpointError, ConfigError, IntegrityError, NumericError, OutputError, UsageError
from .models import MODELS
from .models.codec import Codec, CodecConfig
from .models.dit import VideoDiT
from .registry import CONFIG, MANIFEST, WEIGHTS, read_config
from .sampler import Sampling


@dataclass
class Model:
    """A checkpoint in memory: networks, how to sample them, and what the card says."""

    network: VideoDiT
    codec: Codec
    diffusion: FlowMatching
    sampling: Sampling
    card: dict[str, Any] = field(default_factory=dict)  # name, actions, fps, licence, data, training, ...
    sha256: str = ""

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions, in the order of their numbers."""
        return tuple(self.card.get("actions", ()))

    @property
    def fps(self) -> float:
        """Frames per second the model was trained at."""
        return float(self.card.get("fps", 15))


def fill(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a config dataclass from plain values, naming the key that does not fit."""
    known = [f.name for f in fields(kind)]
    defaults, built = kind(), {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}.", hint=f"Known: {', '.join(known)}.")
        default = getattr(defaults, key)
        if is_dataclass(default) and isinstance(value, dict):
            value = fill(type(default), value, f"{where} [{key}]")
        elif isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ConfigError(f"{where}: {key} is {value!r}, not {type(default).__name__}.")
        built[key] = value
    return kind(**built)


def fast_half(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return True
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_machine(device: str, dtype: str, threads: int | None) -> tuple[torch.device, torch.dtype]:
    """Where to run and in which numbers; `auto` takes the fastest there is."""
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"The device {device!r} cannot be used here.", hint="--device cpu always can.") from error
    if dtype == "auto":
        return chosen, torch.bfloat16 if fast_half(chosen) else torch.float32
    if dtype not in DTYPES:
        raise UsageError(f"No dtype is called {dtype!r}.", hint=f"Choose from: auto, {', '.join(DTYPES)}.")
    return chosen, DTYPES[dtype]


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(model: Model, folder: Path) -> None:
    """Write a checkpoint in half precision; each file is replaced whole, the manifest last."""
    config = {
        "format": 1,
        **model.card,
        "model": next(name for name, (_, kind) in MODELS.items() if isinstance(model.network, kind)),
        "network": asdict(model.network.config),
        "codec": asdict(model.codec.config),
        "diffusion": asdict(model.diffusion),
        "sampling": asdict(model.sampling),
    }
    tensors = {
        f"{part}.{name}": (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for part, module in (("network", model.network), ("codec", model.codec))
        for name, tensor in module.state_dict().items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = {name: folder / f"{name}.part" for name in (CONFIG, WEIGHTS, MANIFEST)}
        save_file(tensors, parts[WEIGHTS], metadata={"format": "pt"})
        parts[CONFIG].write_text(json.dumps(config, indent=2) + "\n")
        hashes = {name: digest(parts[name]) for name in (CONFIG, WEIGHTS)}
        parts[MANIFEST].write_text(json.dumps(hashes, indent=2) + "\n")
        for name, part in parts.items():
            part.chmod(0o644)
            os.replace(part, folder / name)
    except OSError as error:
        raise OutputError(f"The checkpoint cannot be written to {folder}: {error}.") from error


def load(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Read a checkpoint, ready to sample.

    Raises: CheckpointError where a file is malformed or does not fit its config, IntegrityError where its hash is not
    the manifest's, NumericError where a weight is NaN
    """
    config = read_config(folder)
    try:
        hashes = json.loads((folder / MANIFEST).read_text())
        for name, promised in hashes.items():
            if Path(name).name != name:
                raise IntegrityError(f"{folder / MANIFEST} names a file outside its folder: {name!r}.")
            if digest(folder / name) != promised:
                raise IntegrityError(f"{folder / name} is not the file that was saved: its sha256 differs.")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be used: {error}.") from error
    sections = {"network", "codec", "diffusion", "sampling", "model", "format"}
    try:
        kind, network_class = MODELS[config["model"]]
        where = str(folder / CONFIG)
        network = network_class(fill(kind, config["network"], where))
        codec = Codec(fill(CodecConfig, config["codec"], where))
        diffusion = fill(FlowMatching, config["diffusion"], where)
        sampling = fill(Sampling, config["sampling"], where)
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{folder / CONFIG} does not describe a model arvdm knows: {error}.") from error
    for part, module in (("network", network), ("codec", codec)):
        read_weights(folder / WEIGHTS, part, module)
    network.to(device, dtype).eval().requires_grad_(False)
    codec.to(device).eval().requires_grad_(False)
    card = {key: value for key, value in config.items() if key not in sections}
    return Model(network, codec, diffusion, sampling, card, hashes.get(WEIGHTS, ""))


def read_weights(path: Path, part: str, module: nn.Module) -> None:
    """Fill one part of a model from a safetensors file."""
    wanted = {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            names = {name for name in list(file.keys()) if name.startswith(f"{part}.")}
            wrong = sorted(names ^ wanted.keys())
            wrong += [n for n in names & wanted.keys() if list(file.get_slice(n).get_shape()) != list(wanted[n].shape)]
            if wrong:
                raise CheckpointError(
                    f"{path} does not fit its config: {len(wrong)} tensors are missing, extra or of another shape, "
                    f"first {', '.join(wrong[:3])}."
                )
            for name, tensor in wanted.items():
                read = file.get_tensor(name)
                if not torch.isfinite(read).all():
                    raise NumericError(f"{path} holds NaN or infinity in {name}.")
                tensor.copy_(read)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}.") from error
