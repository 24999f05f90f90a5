"""Tensors of a checkpoint: a safetensors file, or shards of it that an index lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..configs import table
from ..errors import CheckpointError, ConfigError, IntegrityError
from .layout import index_of, is_inside, read_text, repository_of

LONGEST_INDEX = 1 << 24  # bytes


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_weights(folder: Path, name: str, hashes: Mapping[str, str]) -> str:
    """sha256 of a file of weights; of shards, that of their names and digests.

    hashes: digests that are known already, by file name
    """
    files = {path.name: path for path in files_of(folder, name)}
    digests = {file: hashes.get(file) or digest(files[file]) for file in sorted(files)}
    if [*files.values()] == [folder / name]:
        return digests[Path(name).name]
    return hashlib.sha256("".join(f"{file} {digests[file]}\n" for file in digests).encode()).hexdigest()


def files_of(folder: Path, name: str) -> dict[Path, list[str] | None]:
    """Files that hold the weights of a name, with the tensors to read of each; None: all of them.

    Raises: CheckpointError where there is neither the file nor an index that can be read, or a shard is missing,
    IntegrityError where the index names a file outside its folder
    """
    index = index_of(folder / name)
    if (folder / name).is_file() or not index.is_file():
        return {folder / name: None}
    try:
        content = json.loads(read_text(index, LONGEST_INDEX))
        if not isinstance(content, dict):
            raise ConfigError("it is not a table")
        places = table(content, "weight_map")
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{index} cannot be used: {str(error).rstrip('.')}.") from error
    shards: dict[str, list[str]] = {}
    for tensor, file in places.items():
        if not isinstance(file, str) or not is_inside(file) or not file.endswith(".safetensors"):
            raise IntegrityError(f"{index} names {file!r}, not a .safetensors file of its folder.")
        shards.setdefault(file, []).append(tensor)
    home = index.parent
    if absent := [file for file in sorted(shards) if not (home / file).is_file()]:
        raise missing_file(home / absent[0], index.name, len(absent), len(shards))
    return {home / file: tensors for file, tensors in sorted(shards.items())}


def missing_file(path: Path, listed_in: str, absent: int = 1, total: int = 1) -> CheckpointError:
    """The error for a file that a checkpoint lists and does not hold, of `absent` such files of `total`."""
    more = f" ({absent} of {total} shards are missing)" if total > 1 else ""
    hint = f"Copy {path.name} into {path.parent} from where the checkpoint came from."
    if cached := repository_of(path.parent) or repository_of(path.parent.parent):
        hint = f"To download it: arvdm download {'@'.join(cached)}"
    return CheckpointError(f"{path} is missing, but {listed_in} lists it{more}.", hint=hint)


def read_weights(folder: Path, name: str, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of the weights of a name, mapped into memory and not yet read; of names with a prefix, without it.

    Raises: as `files_of`; CheckpointError also where a file cannot be read, or lacks a tensor of the index
    """
    tensors: dict[str, Tensor] = {}
    for path, names in files_of(folder, name).items():
        tensors |= read_tensors(path, prefix, names)
    return tensors


def read_tensors(path: Path, prefix: str = "", names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Tensors of one safetensors file, mapped into memory and not yet read; of names with a prefix, without it.

    names: those to read; None: all
    Raises: CheckpointError where the file cannot be read or lacks one of the names
    """
    try:
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            if missing := sorted(set(names or ()) - held):
                raise CheckpointError(f"{path} lacks {len(missing)} tensors of its index, first {missing[0]!r}.")
            wanted = [name for name in sorted(held if names is None else names) if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in wanted}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}.") from error
