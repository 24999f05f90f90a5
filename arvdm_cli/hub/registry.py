"""Names of checkpoints -> folders: a path, a short name, or a repository on the Hub, in this order.

Nothing is fetched here: what is not on this machine is an error that says how to fetch it.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from ..configs import Json, table
from ..errors import CheckpointError, ConfigError, UnknownModelError
from . import pipelines
from .layout import CONFIG, MANIFEST, PICKLED, PIPELINE, WEIGHTS, index_of, is_inside, read_text, repository_of


@dataclass(frozen=True)
class Entry:
    """A checkpoint and what is known of it: one that has a short name, or any repository of the Hub."""

    name: str
    summary: str  # what it is, plainly
    folder: str | None = None  # where it lies on this machine; None where it does not, or comes from the Hub
    repo: str | None = None  # owner/name on the Hub
    revision: str = "main"
    # name -> sha256, its first eight digits where no more is known, or "" for none; no files: ask the Hub
    files: dict[str, str] = field(default_factory=dict)
    size: str = ""  # about how much there is to fetch
    licence: str = ""
    use: str = ""  # how it may be used, and how arvdm uses it
    config: Json = field(default_factory=dict)  # of a foreign checkpoint: what its config.json would say
    # classes of diffusers, and names of the makers' files, that are sampled as this config says wherever they lie
    known_by: tuple[str, ...] = ()

    @property
    def marker(self) -> str | None:
        """The file by which a folder of a foreign checkpoint is known: its network's weights; None of diffusers."""
        name = table(self.config, "weights").get("network") if "weights" in self.config else None
        return None if name is None else str(name)

    @property
    def pickled(self) -> bool:
        """Whether its weights are pickled; they are kept as a checkpoint of safetensors instead."""
        return any(name.endswith(PICKLED) for name in self.files)

    @property
    def recipe(self) -> Json:
        """What its config says of sampling, without what is true of its own weights alone."""
        kept = ("network", "codec", "sampling", "fps", "presets", "negative_prompt")
        return {key: self.config[key] for key in kept if key in self.config} | {"recipe": self.name}


def entries() -> list[Entry]:
    """Entries of all short names; those of the file that ARVDM_REGISTRY names take precedence over the package's."""
    by_name: dict[str, Entry] = {}
    for entry, base in _listed():
        folder = None
        if entry.folder and base is None:
            folder = _shipped(entry.folder)
        elif entry.folder and base and is_checkpoint(base / entry.folder):
            folder = str(base / entry.folder)
        by_name.setdefault(entry.name, replace(entry, folder=folder))
    return list(by_name.values())


def _listed() -> Iterator[tuple[Entry, Path | None]]:
    """Yield every entry of the user's registry, with its folder, and of the package's, as they stand there."""
    if chosen := os.environ.get("ARVDM_REGISTRY"):
        path = Path(chosen).expanduser()
        try:
            text = read_text(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"ARVDM_REGISTRY names {chosen!r}, which cannot be read: {error}.") from error
        for entry in read_registry(text, str(path)):
            yield entry, path.parent
    for entry in read_registry(files(__package__).joinpath("registry.toml").read_text("utf-8"), "registry.toml"):
        yield entry, None


def foreign() -> dict[str, Json]:
    """The configs of foreign checkpoints, which have none themselves, by the file that marks their folder."""
    configs: dict[str, Json] = {}
    for entry, _ in _listed():  # the user's first
        if entry.marker:
            configs.setdefault(entry.marker, entry.config)
    return configs


def read_registry(text: str, where: str) -> list[Entry]:
    """Read a registry file.

    where: the file, for messages
    Raises: ConfigError, which names the key that does not fit
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.") from error
    return [_entry(name, facts, where) for name, facts in tables.items()]


KINDS = {"files": (dict, "a table"), "config": (dict, "a table"), "known_by": (list, "a list")}  # of an entry's keys


def _entry(name: str, facts: object, where: str) -> Entry:
    """An entry of a registry from its table."""
    if not isinstance(facts, dict):
        raise ConfigError(f"{where}: {name} is {facts!r}, not a table.", hint="An entry begins with [name].")
    keys = [key for key in Entry.__annotations__ if key != "name"]
    for key, value in facts.items():
        if key not in keys:
            near = get_close_matches(key, keys, n=1) or keys
            raise ConfigError(f"{where}: [{name}] has an unknown key {key!r}.", hint=f"Known: {', '.join(near)}.")
        kind, title = KINDS.get(key, (str, "a text"))
        if not isinstance(value, kind):
            raise ConfigError(f"{where}: {key} of [{name}] is {value!r}, not {title}.")
    entry = Entry(name, **{"summary": "", **facts, "known_by": tuple(map(str, facts.get("known_by", ())))})
    for file, digest in entry.files.items():
        if not isinstance(digest, str) or not re.fullmatch("([0-9a-f]{8}|[0-9a-f]{64})?", digest):
            raise ConfigError(f"{where}: {file!r} in files of [{name}] is {digest!r}, neither a sha256 nor empty.")
        model = str(entry.config.get("name", ""))
        if file.endswith(PICKLED) and not (digest and re.fullmatch(r"\w[\w-]*", model, re.ASCII)):
            raise ConfigError(
                f"{where}: {file!r} in files of [{name}] is pickled, so it needs a sha256 and a named config."
            )
    weights = entry.config.get("weights", {})
    for part in weights.values() if isinstance(weights, dict) else [weights]:
        if not is_inside(part):
            raise ConfigError(f"{where}: weights in the config of [{name}] name {part!r}, not a file of its folder.")
    if "summary" not in facts:
        raise ConfigError(f"{where}: [{name}] has no summary.", hint="Add `summary`, one line that says what it is.")
    if (entry.folder is None) == (entry.repo is None):
        raise ConfigError(f"{where}: [{name}] must have either folder or repo.")
    if entry.repo is not None and not hub_id(f"{entry.repo}@{entry.revision}"):
        raise ConfigError(f"{where}: repo of [{name}] is {entry.repo!r}, not owner/name, or its revision is not valid.")
    return entry


def _shipped(name: str) -> str | None:
    """A checkpoint that came with the package, or stands in the repository of an editable install."""
    package = Path(__file__).parent.parent
    for folder in (package / "checkpoints" / name, package.parent / "checkpoints" / name):
        if is_checkpoint(folder):
            return str(folder)
    return None


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a checkpoint: arvdm's own, one of diffusers, or one of the foreign formats it reads."""
    own = (folder / CONFIG).is_file() or (folder / PIPELINE).is_file()
    return own or any(is_marked(folder, marker) for marker in foreign())


def is_marked(folder: Path, marker: str) -> bool:
    """Whether a folder holds the weights by which a foreign format is known, in shards or not."""
    return (folder / marker).is_file() or index_of(folder / marker).is_file()


def trained() -> list[Entry]:
    """Checkpoints of training runs, runs/*/checkpoint below the current folder, by the names that `resolve` takes."""
    runs = []
    for folder in sorted(Path("runs").glob("*/checkpoint")):
        if is_checkpoint(folder):
            try:
                summary = str(read_config(folder).get("name", "a model"))
            except CheckpointError:
                summary = "a checkpoint that cannot be read"
            runs.append(Entry(str(folder.parent), f"{summary}; trained here", folder=str(folder)))
    return runs


def resolve(name: str) -> Path:
    """Find a checkpoint's folder on this machine; of a training run's folder, the checkpoint in it.

    Raises: UnknownModelError where nothing answers to the name, CheckpointError where what answers is no checkpoint
    """
    folder = Path(name)
    if not folder.exists():
        entry = find(name)
        if (local := place(entry)) is None:
            raise missing(entry)
        folder = local
    if not is_checkpoint(folder) and is_checkpoint(folder / "checkpoint"):
        return folder / "checkpoint"
    if not is_checkpoint(folder):
        raise CheckpointError(
            f"{name!r} is not a checkpoint: it contains no {CONFIG}.",
            hint="Give the folder of a checkpoint; `arvdm list` shows those that are known.",
        )
    return folder


def missing(entry: Entry) -> UnknownModelError:
    """The error for a checkpoint that is known, but not on this machine."""
    fetch = f"To download it: arvdm download {entry.name}"
    if not entry.repo:
        fetch = "The folder in the registry is missing; reinstall arvdm to restore the checkpoints that ship with it."
    return UnknownModelError(f"{entry.name} is not on this machine.", hint=fetch)


def find(name: str) -> Entry:
    """Find the entry of a short name, or of owner/name[@revision].

    Raises: UnknownModelError where it is neither
    """
    by_name = {entry.name: entry for entry in entries()}
    if name in by_name:
        return by_name[name]
    if hub := hub_id(name):
        repo, revision = hub
        for entry in by_name.values():
            if entry.repo == repo:  # a short name's repository under its full name; hashes hold for one revision
                same = revision in (None, entry.revision) or entry.pickled  # a pickle is pinned whatever the revision
                hashes = entry.files if same else dict.fromkeys(entry.files, "")
                return replace(entry, name=name, revision=revision or entry.revision, files=hashes)
        return Entry(name, "", repo=repo, revision=revision or "main")
    near = get_close_matches(name, by_name, n=3, cutoff=0.4) or list(by_name)
    raise UnknownModelError(
        f"No model is called {name!r}.", hint=f"Known: {', '.join(near)}; or give the path of a folder."
    )


def hub_id(name: str) -> tuple[str, str | None] | None:
    """Split owner/name[@revision]; None where it is something else."""
    match = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*?)(?:@(\w[\w./-]*))?", name, re.ASCII)
    return None if match is None or ".." in name else (match[1], match[2])


def place(entry: Entry) -> Path | None:
    """Folder of a checkpoint on this machine; None where it is not here, or not all of it."""
    if entry.folder is not None:
        return Path(entry.folder)
    folder = snapshot(entry.repo, entry.revision) if entry.repo else None
    if folder and entry.pickled:
        folder = converted_folder(folder, entry.config)
    if folder and entry.config and not entry.files and not is_checkpoint(folder):
        return None  # what makes it a checkpoint is fetched last
    return folder if folder and all((folder / name).is_file() for name in kept_files(entry)) else None


def converted_folder(snapshot: Path, config: Json) -> Path:
    """Where a checkpoint converted from pickled files lies: a repository may hold several."""
    return snapshot / str(config["name"])


def kept_files(entry: Entry) -> tuple[str, ...]:
    """Names of the files that an entry is kept as on this machine; () where only the Hub knows."""
    return (CONFIG, WEIGHTS, MANIFEST) if entry.pickled else tuple(entry.files)


def snapshot(repo: str, revision: str) -> Path | None:
    """The folder of a repository in the Hub's cache, at a branch, a tag or a commit."""
    home = storage(repo)
    reference = home / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    folder = home / "snapshots" / commit
    return folder if folder.is_dir() else None


def storage(repo: str) -> Path:
    """Folder of a repository in the Hub's cache, whether it exists or not."""
    return Path(hub_client().constants.HF_HUB_CACHE).absolute() / f"models--{repo.replace('/', '--')}"


def hub_client() -> ModuleType:
    """Import the Hub's client, which reads its settings once, as it is imported."""
    if endpoint := os.environ.get("HF_ENDPOINT"):
        try:
            url = urlsplit(endpoint)
            sound = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:  # of the port, or of brackets
            sound = False
        if not sound:
            raise ConfigError(f"HF_ENDPOINT is {endpoint!r}, not an address such as https://huggingface.co.")
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    import huggingface_hub.constants
    import huggingface_hub.utils

    return huggingface_hub


CLIENT_SETTINGS = {
    # plain HTTP: time limits, mirrors and hash checks hold for it, and it leaves no second copy in a cache of chunks
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # send nothing that was not asked for
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
}


def read_config(folder: Path) -> Json:
    """Plain values of a checkpoint's config.json, or what it would say: of a folder of diffusers, of foreign weights.

    Raises: CheckpointError where there is none that arvdm knows
    """
    makers = next((config for marker, config in foreign().items() if is_marked(folder, marker)), None)
    if not (folder / CONFIG).is_file():
        if (folder / PIPELINE).is_file():
            return _read_pipeline(folder)
        if makers:
            return makers
    try:
        config = json.loads(read_text(folder / CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {error}.") from error
    if not isinstance(config, dict) or config.get("format") != 1:
        if makers:  # their config.json has a form of its own
            return makers
        if (folder / PIPELINE).is_file():
            return _read_pipeline(folder)
        raise CheckpointError(f"{folder / CONFIG} is not a checkpoint config of format 1.")
    return config


def _read_pipeline(folder: Path) -> Json:
    """Config of a folder of diffusers, sampled as the entry of its repository says, else that of its classes."""
    known, (repo, _) = [entry for entry, _ in _listed() if entry.config], repository_of(folder) or ("", "")
    name = {"name": repo.partition("/")[2] or folder.resolve().name}
    if entry := next((entry for entry in known if repo and entry.repo == repo), None):
        return name | pipelines.describe(folder, {**entry.config, "recipe": entry.name})
    for kind in pipelines.classes_of(folder):
        if entry := next((entry for entry in known if kind in entry.known_by), None):
            return name | pipelines.describe(folder, entry.recipe)
    return name | pipelines.describe(folder, None)


def describe(name: str) -> Json:
    """Config of a checkpoint, also of a foreign one that is not on this machine."""
    if not Path(name).exists():
        entry = find(name)
        configs = foreign()
        config = entry.config or next((configs[file] for file in entry.files if file in configs), {})
        if config and place(entry) is None:
            return config
    return read_config(resolve(name))
