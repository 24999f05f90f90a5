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

from .diffusion import DIFFUSIONS, Diffusion
from .errors import CheckpointError, ConfigError, IntegrityError, NumericError, OutputError, UsageError
from .models import MODELS, Kind
from .models.codec import Codec
from .models.dit import VideoDiT
from .models.oasis import OasisCodec, OasisDiT
from .registry import CONFIG, MANIFEST, WEIGHTS, read_config
from .sampler import Sampling


@dataclass
class Model:
    """A checkpoint in memory: networks, how to sample them, and what the card says."""

    network: VideoDiT | OasisDiT
    codec: Codec | OasisCodec
    diffusion: Diffusion
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
        "model": next(name for name, kind in MODELS.items() if isinstance(model.network, kind.network)),
        "network": asdict(model.network.config),
        "codec": asdict(model.codec.config),
        "diffusion": {"family": model.diffusion.family, **asdict(model.diffusion)},
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
    hashes = {} if "weights" in config else verify(folder)  # the makers of foreign files leave no manifest
    sections = {"network", "codec", "diffusion", "sampling", "model", "format", "weights"}
    try:
        kind, where = MODELS[config["model"]], str(folder / CONFIG)
        family = dict(config["diffusion"])
        with torch.device("meta"):  # shapes only: the weights come from the file
            network = kind.network(fill(kind.network_config, config["network"], where))
            codec = kind.codec(fill(kind.codec_config, config["codec"], where))
        diffusion = fill(DIFFUSIONS[family.pop("family", "flow")], family, where)
        sampling = fill(Sampling, config["sampling"], where)
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{folder / CONFIG} does not describe a model arvdm knows: {error}.") from error
    parts = {"network": (network, dtype), "codec": (codec, dtype if kind.half_codec else torch.float32)}
    files = {part: config.get("weights", {}).get(part, WEIGHTS) for part in parts}
    for part, (module, numbers) in parts.items():
        if Path(files[part]).name != files[part]:
            raise IntegrityError(f"{where} names a file outside its folder: {files[part]!r}.")
        prefix = f"{part}." if files[part] == WEIGHTS else ""  # in a file of its own a part's names stand bare
        read_weights(folder / files[part], prefix, module, kind, numbers)
        module.to(device).eval().requires_grad_(False)
    card = {key: value for key, value in config.items() if key not in sections}
    return Model(network, codec, diffusion, sampling, card, hashes.get(WEIGHTS) or digest(folder / files["network"]))


def verify(folder: Path) -> dict[str, str]:
    """Compare a checkpoint's files with its manifest; returns the sha256 of each."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text())
        for name, promised in hashes.items():
            if Path(name).name != name:
                raise IntegrityError(f"{folder / MANIFEST} names a file outside its folder: {name!r}.")
            if digest(folder / name) != promised:
                raise IntegrityError(f"{folder / name} is not the file that was saved: its sha256 differs.")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be used: {error}.") from error
    return hashes


def read_weights(path: Path, prefix: str, module: nn.Module, kind: Kind, dtype: torch.dtype) -> None:
    """Fill one part of a model from a safetensors file, in which its tensors' names begin with `prefix`.

    Parameters already of `dtype` stay where they are, mapped from the file; buffers keep the dtype they are made in.
    """
    wanted = module.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            names = {kind.own_name(n.removeprefix(prefix)): n for n in file.keys() if n.startswith(prefix)}  # noqa: SIM118
            wrong = sorted(name for name in names.keys() ^ wanted.keys() if not kind.may_lack(name))
            held = {name: file.get_slice(n).get_shape() for name, n in names.items() if name in wanted}
            wrong += [name for name, shape in held.items() if list(shape) != list(wanted[name].shape)]
            if wrong:
                raise CheckpointError(
                    f"{path} does not fit its config: {len(wrong)} tensors are missing, extra or of another shape, "
                    f"first {', '.join(prefix + name for name in wrong[:3])}."
                )
            read, parameters = {}, dict(module.named_parameters())
            for name in held:
                tensor = file.get_tensor(names[name])
                if not torch.isfinite(tensor).all():
                    raise NumericError(f"{path} holds NaN or infinity in {prefix}{name}.")
                read[name] = tensor.to(dtype if name in parameters else wanted[name].dtype)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}.") from error
    module.load_state_dict(read, strict=False, assign=True)
