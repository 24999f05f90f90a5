"""Names of checkpoints -> folders: a path, a short name, or a repository on the Hub, in this order."""

import json
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from .errors import CheckpointError, UnknownModelError

CONFIG, WEIGHTS, MANIFEST = "config.json", "model.safetensors", "sha256.json"
FOREIGN = {"oasis500m.safetensors": "oasis.json"}  # a file that tells whose checkpoint it is -> config in models/


@dataclass(frozen=True)
class Entry:
    """A checkpoint with a short name."""

    name: str
    summary: str
    folder: str | None  # where it lies on this machine, None where it does not


def entries() -> list[Entry]:
    """All short names."""
    table = tomllib.loads(files(__package__).joinpath("registry.toml").read_text())
    return [Entry(name, known["summary"], _shipped(known["folder"])) for name, known in table.items()]


def _shipped(name: str) -> str | None:
    """A checkpoint that came with the package, or stands in the repository of an editable install."""
    package = Path(__file__).parent
    for folder in (package / "checkpoints" / name, package.parent / "checkpoints" / name):
        if (folder / CONFIG).is_file():
            return str(folder)
    return None


def resolve(name: str) -> Path:
    """Find a checkpoint's folder.

    Raises: UnknownModelError where nothing answers to the name
    """
    path = Path(name)
    if path.exists():
        if not (path / CONFIG).is_file():
            raise CheckpointError(
                f"{name!r} is no checkpoint: it holds no {CONFIG}.", hint="A checkpoint is a folder; see `arvdm list`."
            )
        return path
    known = {entry.name: entry for entry in entries()}
    if name in known:
        folder = known[name].folder
        if folder is None:
            raise UnknownModelError(f"{name} is not on this machine.", hint="Install arvdm anew; it ships with it.")
        return Path(folder)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _cached(name)
    near = get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
    raise UnknownModelError(f"No model is called {name!r}.", hint=f"Known: {', '.join(near)}; or give a folder.")


def _cached(name: str) -> Path:
    """A repository that the Hub's cache holds, as owner/name[@revision]."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise UnknownModelError(
            f"{name!r} is neither a folder nor in the Hub's cache.", hint=f"hf download {repository} fetches it."
        ) from error
    return resolve(str(folder))


def read_config(folder: Path) -> dict[str, Any]:
    """The plain values of a checkpoint's config.json; foreign checkpoints, which have none, are described here."""
    own = next((own for mark, own in FOREIGN.items() if (folder / mark).is_file()), None)
    if own and not (folder / CONFIG).is_file():
        return foreign_config(own)
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {error}.") from error
    if not isinstance(config, dict) or config.get("format") != 1:
        raise CheckpointError(f"{folder / CONFIG} is not a checkpoint config of format 1.")
    return config


def foreign_config(own: str) -> dict[str, Any]:
    """What the config.json of a foreign checkpoint would say."""
    return json.loads(files(__package__).joinpath("models", own).read_text())
