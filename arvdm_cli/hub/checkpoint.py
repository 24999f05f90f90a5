"""Read and write checkpoints: a folder of config.json, model.safetensors and a sha256 manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..actions.phrases import parse
from ..errors import ActionError, CheckpointError, ConfigError, IntegrityError, NumericError, OutputError, UsageError
from ..media.decoder import FRAME_PIXELS
from ..models import MODELS, Kind
from ..sampling.diffusion import DIFFUSIONS, Diffusion
from ..sampling.sampler import Sampling
from ..sampling.schedules import PRESETS
from .registry import CONFIG, FOREIGN, MANIFEST, WEIGHTS, foreign_config, read_config, read_text


@dataclass
class Model:
    """A checkpoint in memory: networks, how to sample them, and what the card says."""

    network: Any  # a module that is a `sampler.Network`
    codec: Any  # a module with `encode` and `decode`; see models.codec.Codec
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
            near = get_close_matches(key, known, 1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{where} has an unknown key {key!r}.", hint=f"{meant}Known: {', '.join(known)}.")
        default = getattr(defaults, key)
        if is_dataclass(default) and isinstance(value, dict):
            value = fill(type(default), value, f"{where} [{key}]")
        elif isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(default, tuple) and isinstance(value, str) and default and isinstance(default[0], str):
            value = (value,)
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


def choose_machine(
    device: str, dtype: str, threads: int | None, deterministic: bool = False
) -> tuple[torch.device, torch.dtype]:
    """Where to run and in which numbers; `auto` takes the fastest there is.

    deterministic: sums are always taken in one order, which on a CPU is that of one thread
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
    elif threads:
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


def compile_network(model: Model, device: torch.device) -> Path:
    """Let what runs at every denoising step be compiled as it first runs; returns the folder that keeps it for later.

    Raises: UsageError where a CPU's code cannot be compiled, OutputError where it cannot be kept
    """
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise UsageError(
            f"There is no compiler {compiler!r} here to compile with.", hint="Install g++, or leave out --compile."
        )
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    kept = Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(base, "arvdm", "compiled")))
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "TORCHINDUCTOR_CACHE_DIR names another folder."
        raise OutputError(f"{kept} cannot be created: {error.strerror}.", hint=hint) from error
    model.network.compile()
    return kept


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
        "model": next(name for name, kind in MODELS.items() if isinstance(model.network, kind.network)),
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
    kind = MODELS[config["model"]]
    parts = {"network": (model.network, dtype), "codec": (model.codec, dtype if kind.half_codec else torch.float32)}
    files = {part: (config.get("weights") or {}).get(part, WEIGHTS) for part in parts}
    for part, (module, numbers) in parts.items():
        path = folder / files[part]
        prefix = f"{part}." if files[part] == WEIGHTS else ""  # in a file of its own a part's names stand bare
        fit(read_tensors(path, prefix), module, kind, numbers, path, prefix)
        module.to(device).eval().requires_grad_(False)
    model.sha256 = hashes.get(WEIGHTS) or digest(folder / files["network"])
    return model


SECTIONS = ("network", "codec", "diffusion", "sampling", "model", "format", "weights")


def build(config: dict[str, Any], where: str) -> Model:
    """A model with new weights, as a checkpoint's config describes it; `where` it stands, for messages."""
    try:
        kind, family = MODELS[config["model"]], dict(config["diffusion"])
        for name in dict(config.get("weights") or {}).values():
            if not isinstance(name, str) or Path(name).name != name:
                raise IntegrityError(f"{where} names a file outside its folder: {name!r}.")
        network = fill(kind.network_config, config["network"], where)
        codec = fill(kind.codec_config, config["codec"], where)
        card = {key: value for key, value in config.items() if key not in SECTIONS}
        check_sizes(network, codec)
        check_card(card, network.actions)
        sampling = fill(Sampling, config["sampling"], where)
        if sampling.schedule not in PRESETS:  # least of all a file of this machine
            raise ConfigError(f"no preset is called {sampling.schedule!r}")
        return Model(
            network=kind.network(network),
            codec=kind.codec(codec),
            diffusion=fill(DIFFUSIONS[family.pop("family", "flow")], family, where),
            sampling=sampling,
            card=card,
        )
    # the last is torch's word for a shape that cannot be
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{where} does not describe a model arvdm knows: {str(error).rstrip('.')}.") from error


LARGEST = 1 << 20  # number in a config: no feature, token or pixel is counted beyond
DEEPEST = 1000  # blocks


def check_sizes(network: Any, codec: Any) -> None:
    """Refuse a network and codec that do not fit each other, or that would fill memory as they are made."""
    for config in (network, codec):
        for field_ in fields(config):
            value = getattr(config, field_.name)
            most = DEEPEST if "depth" in field_.name or "blocks" in field_.name else LARGEST
            if type(value) is int and not 0 <= value <= most:
                raise ConfigError(f"{field_.name} is {value}; it lies between 0 and {most}")
            if type(value) is float and not isfinite(value):
                raise ConfigError(f"{field_.name} is {value}")
    if codec.height * codec.width > FRAME_PIXELS:
        raise ConfigError(f"frames of {codec.width}x{codec.height} are larger than 8K")
    (height, width), channels = codec.grid, codec.channels
    if (network.channels, network.height, network.width) != (channels, height, width):
        shape = f"{network.channels}x{network.height}x{network.width}"
        raise ConfigError(f"the network is for latents of {shape}, the codec makes {channels}x{height}x{width}")


def check_card(card: dict[str, Any], actions: int) -> None:
    """Refuse what a card says of actions and rate, where it cannot be used."""
    names, presets, walk = card.get("actions"), card.get("presets", []), card.get("walk")
    fps = card.get("fps", 15)
    if "actions" in card:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"actions is {brief(names)}, not a list of names")
        if len(names) != actions or len(set(names)) < len(names):
            raise ConfigError(f"actions is {brief(names)}; the network has {actions}, each of another name")
    if type(fps) not in (int, float) or not 0 < fps <= 1000:
        raise ConfigError(f"fps is {brief(fps)}, not a rate from above 0 to 1000")
    if not isinstance(presets, list) or not all(isinstance(name, str) for name in presets):
        raise ConfigError(f"presets is {brief(presets)}, not a list of names")
    if walk is not None:
        if not isinstance(walk, dict) or not all(type(n) in (int, float) and 0 < n < 1e9 for n in walk.values()):
            raise ConfigError(f"walk is {brief(walk)}, not phrases and how often each is taken")
        for phrase in walk:
            try:
                length = len(parse(phrase, names or ()))
            except ActionError as error:
                raise ConfigError(f"walk has the phrase {brief(phrase)}. {error}") from error
            if not 0 < length <= LONGEST:
                raise ConfigError(f"walk has a phrase of {length} actions; it has from 1 to {LONGEST}")


LONGEST = 10_000  # actions of a phrase of a walk


def brief(value: Any) -> str:
    """A value as short text."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


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


def unpickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, read without running any code in it."""
    try:
        # files older than PyTorch 1.6 are no archives and cannot be mapped
        kept = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch.load raises many kinds
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} holds no tensors that can be read without running code: {said}") from error
    for key in ("state_dict", "model", "module"):  # some files hold more than the weights
        if isinstance(kept, dict) and isinstance(kept.get(key), dict):
            kept = kept[key]
    if not isinstance(kept, dict) or not all(isinstance(value, Tensor) for value in kept.values()):
        raise CheckpointError(f"{path} is no table of tensors by name.")
    return {str(name): tensor for name, tensor in kept.items()}


def fit(
    tensors: dict[str, Tensor], module: nn.Module, kind: Kind, dtype: torch.dtype | None, path: Path, prefix: str = ""
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
    known = [read_config(source)] if own else [foreign_config(name) for name in FOREIGN.values()]
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
        fit(tensors, module, MODELS[config["model"]], None, path)
    save(model, target, None)
    return model
