"""Read and write checkpoints: a folder of config.json, model.safetensors or its shards, and a sha256 manifest."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..configs import table
from ..device import DTYPES
from ..errors import ArvdmWarning, CheckpointError, IntegrityError, NumericError, OutputError
from ..models import Architecture, architecture_of, codec_architecture
from ..sampling.model import Model
from .build import build, kind_of
from .layout import CONFIG, MANIFEST, WEIGHTS, index_of, read_text
from .registry import read_config
from .weights import digest, digest_weights, files_of, missing_file, read_weights


def save(
    model: Model, folder: Path, dtype: torch.dtype | None = torch.float16, kind: Architecture | None = None
) -> None:
    """Write a checkpoint; each file is replaced whole, the manifest last.

    dtype: of the parameters; None leaves each in its own
    kind: of the network, where that is not of an installed architecture
    Raises: ConfigError where the kind is not known, OutputError where the checkpoint cannot be written
    """
    kind = kind or architecture_of(model.network)
    codec = codec_architecture(kind, model.codec)
    config = {
        "format": 1,
        **model.card,
        "model": kind.name,
        **({"codec_model": codec} if codec else {}),
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

    Warns with an ArvdmWarning where no manifest vouches for a file of a checkpoint in arvdm's own form, or it is not
    known how frames of a folder of diffusers are sampled.
    Raises: CheckpointError where a file is malformed or does not fit its config, IntegrityError where its hash is not
    the manifest's, NumericError where a weight is NaN
    """
    config = read_config(folder)
    hashes = verify(folder) if (folder / MANIFEST).exists() else {}
    where = str(folder / CONFIG)
    with torch.device("meta"):  # shapes only: the weights come from the file
        model = build(config, where)
    kind = kind_of(config)
    parts = {"network": (model.network, dtype), "codec": (model.codec, dtype if kind.half_codec else torch.float32)}
    files = weights_of(config)
    if not config.get("weights"):  # the makers of foreign files leave no manifest
        warn_of_unverified(folder, hashes)
    if config.get("recipe") == "":
        text = f"{folder} does not say how its frames are sampled, so outpainting is used; choose with --schedule."
        warnings.warn(text, ArvdmWarning, stacklevel=2)
    for part, (module, numbers) in parts.items():
        prefix = f"{part}." if files[part] == WEIGHTS else ""  # in a file of its own a part's names stand bare
        fit(read_weights(folder, files[part], prefix), module, kind, numbers, folder / files[part], prefix)
        module.to(device).eval().requires_grad_(False)
    model.sha256 = digest_weights(folder, files["network"], hashes)
    return model


def check(folder: Path) -> None:
    """Refuse a checkpoint whose model cannot be built, or whose files are not all there, without reading its weights.

    Raises: as `load`
    """
    config = read_config(folder)
    with torch.device("meta"):
        build(config, str(folder / CONFIG))
    for name in weights_of(config).values():
        for path in files_of(folder, name):
            if not path.is_file():
                raise missing_file(path, "its config")


def weights_of(config: Mapping[str, object]) -> dict[str, str]:
    """Names of the files of weights, by the part of the model that they hold."""
    names = table(config, "weights") if config.get("weights") else {}
    return {part: str(names.get(part, WEIGHTS)) for part in ("network", "codec")}


def warn_of_unverified(folder: Path, hashes: Mapping[str, str]) -> None:
    """Warn where the manifest has no hash of a file that is read."""
    names = [CONFIG, *(path.name for path in files_of(folder, WEIGHTS))]
    if WEIGHTS not in names:
        names.insert(1, index_of(folder / WEIGHTS).name)
    if unverified := [name for name in names if name not in hashes]:
        names_text = ", ".join(unverified[:3]) + (", ..." if len(unverified) > 3 else "")
        text = f"{folder}: no {MANIFEST} confirms the hash of {names_text}; use it only if you trust its source."
        warnings.warn(text, ArvdmWarning, stacklevel=3)


def invent(config: Mapping[str, object], folder: Path, dtype: torch.dtype) -> None:
    """Write a checkpoint of a config with weights drawn at random, for measuring speed."""
    torch.manual_seed(0)
    save(build(config, "the config"), folder, dtype)


def verify(folder: Path) -> dict[str, str]:
    """Compare a checkpoint's files with its manifest; returns the sha256 of each."""
    try:
        hashes = json.loads(read_text(folder / MANIFEST))
        for name, promised in hashes.items():
            if Path(name).name != name:
                raise IntegrityError(f"{folder / MANIFEST} lists a file outside its folder: {name!r}.")
            if not (folder / name).exists():
                raise missing_file(folder / name, MANIFEST)
            if digest(folder / name) != promised:
                raise IntegrityError(f"{folder / name} differs from the file that was saved: its sha256 is another.")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be used: {error}.") from error
    return hashes


def fit(
    tensors: dict[str, Tensor],
    module: nn.Module,
    kind: Architecture,
    dtype: torch.dtype | None,
    path: Path,
    prefix: str = "",
) -> None:
    """Put tensors read from a file into one part of a model.

    dtype: of the parameters, but for those that stay single; None leaves each in its own. What needs no change stays
        mapped from the file; buffers take the dtype they are made in
    prefix: of the names in the file, for messages
    """
    wanted, parameters = module.state_dict(), dict(module.named_parameters())
    renamed = {kind.own_name(name): tensor for name, tensor in tensors.items()}
    wrong = sorted(name for name in renamed.keys() ^ wanted.keys() if not kind.may_lack(name))
    fitting = {name: tensor for name, tensor in renamed.items() if name in wanted}
    wrong += [name for name, tensor in fitting.items() if tensor.shape != wanted[name].shape]
    numbers = (*DTYPES.values(), torch.float64)
    wrong += [n for n, tensor in fitting.items() if wanted[n].is_floating_point() != (tensor.dtype in numbers)]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit its config: {len(wrong)} tensors are missing, unexpected or of another shape or "
            f"dtype, first {', '.join(prefix + name for name in wrong[:3])}."
        )
    for name, tensor in fitting.items():
        if not torch.isfinite(tensor).all():
            raise NumericError(f"{path} contains NaN or infinity in {prefix}{name}.")
        chosen = torch.float32 if dtype and kind.stays_single(name) else dtype or tensor.dtype
        fitting[name] = tensor.to(chosen if name in parameters else wanted[name].dtype)
    module.load_state_dict(fitting, strict=False, assign=True)
