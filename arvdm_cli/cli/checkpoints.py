"""`arvdm download`, `list`, `info` and `remove`: which checkpoints there are, and what one is."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from rich.text import Text
from typer import Argument, Option, confirm

from ..configs import Json
from ..errors import CheckpointError, OutputExistsError, UnknownModelError, UsageError
from . import completion, flags
from .console import confirm_replacing, printable, progress, say, settings, warn, write_json
from .console import out as stdout

if TYPE_CHECKING:
    from ..hub.download import Plan
    from ..hub.registry import Entry

Name = Annotated[str, Argument(autocompletion=completion.models, help=flags.NAMES)]


def list_():
    """List known checkpoints and those of training runs in ./runs."""
    from ..hub.download import show_size
    from ..hub.registry import entries, place, trained

    rows, table = [], Table.grid(padding=(0, 2))
    for entry in (*entries(), *trained()):
        folder = place(entry)
        size = size_of(entry, folder) if folder else None
        rows.append(vars(entry) | {"folder": folder, "here": folder is not None, "bytes": size})
        table.add_row(
            Text(printable(entry.name), "bold"),
            Text("here", "green") if folder else Text("not here", "dim"),
            Text(entry.size if size is None else show_size(size), no_wrap=True),
            printable(entry.summary),
        )
    if settings.json:
        return write_json({"checkpoints": rows})
    stdout.print(table)


def size_of(entry: Entry, folder: Path) -> int:
    """Bytes of a checkpoint on this machine."""
    from ..hub.registry import kept_files

    files = [folder / name for name in kept_files(entry)] or [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def info(name: Name):
    """Show what a checkpoint is: what it generates, its size and its source; with -v, its whole config."""
    from ..hub.registry import find, missing, place, read_config, resolve

    facts: Json = {}
    if not Path(name).exists():
        entry = find(name)
        if not entry.summary:
            resolve(name)  # nothing is known of it unless it is here
        facts = {"name": entry.name, "what": entry.summary, "licence": entry.licence, "use": entry.use}
        facts |= {"repository": f"{entry.repo}@{entry.revision}" if entry.repo else ""}
        if place(entry) is None:
            known = {key: fact for key, fact in outline(entry.config).items() if key in ("fps", "sampling")}
            facts |= known | {"size": entry.size, "here": False, "fetch": missing(entry).hint}
            return show_facts({key: fact for key, fact in facts.items() if fact != ""})
    folder = resolve(name)
    config = read_config(folder)
    if settings.json or settings.verbose:
        facts |= {"folder": str(folder), **config}
    else:
        facts = {"name": config.get("name", ""), **facts, **outline(config), "folder": str(folder)}
    show_facts({key: fact for key, fact in (facts | measures(folder)).items() if fact != ""})


OUTLINED = ("licence", "actions", "fps", "presets", "quality", "frames_per_second")  # of a config, in short


def outline(config: Json) -> Json:
    """What a config says that a user of the checkpoint wants to know."""
    codec, sampling = config.get("codec"), config.get("sampling")
    facts: Json = {}
    if isinstance(codec, dict) and {"width", "height"} <= codec.keys():
        facts["size"] = f"{codec['width']}x{codec['height']}"
    facts |= {key: config[key] for key in OUTLINED if key in config}
    if isinstance(sampling, dict):
        options = sampling.get("options")
        own = ", ".join(f"{name} {value}" for name, value in options.items()) if isinstance(options, dict) else ""
        past = f"context {sampling.get('context')}, memory {sampling.get('slots')} groups"
        facts["sampling"] = ", ".join(filter(None, (str(sampling.get("schedule", "")), own, past)))
        if "recipe" in config:
            facts["sampled as"] = config["recipe"] or "not known; choose with --schedule"
    return facts


def measures(folder: Path) -> Json:
    """How large a checkpoint is: parameters of each part, bytes on disk, and what its weights take in memory."""
    from ..hub.download import show_size
    from ..hub.sizes import count_parameters, show_count

    counts: dict[str, int] = {}
    with suppress(CheckpointError):  # what the checkpoint is can be told even where its weights cannot be read
        counts = count_parameters(folder)
    if settings.json:
        return {"parameters": counts}
    total = sum(number for part, number in counts.items() if part != "text encoder")  # which goes before they come
    card = folder / "README.md"
    return {
        "parameters": ", ".join(f"{part} {show_count(number)}" for part, number in counts.items()) or "not readable",
        "on disk": show_size(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())),
        "memory": f"{show_size(4 * total)} of weights in float32, {show_size(2 * total)} in bfloat16; torch and frames "
        "come on top"
        if total
        else "",
        "speed": "`arvdm bench` measures it here",
        "card": str(card) if card.is_file() else "",
    }


def show_facts(facts: Json):
    """Print facts, a line or more each."""
    if settings.json:
        return write_json(facts)
    table = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        if key in ("format",):
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, dict):
            value = "\n".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        lines = map(printable, str(value).splitlines())
        table.add_row(Text(key, "dim"), Text("\n".join(lines), overflow="fold"))
    stdout.print(table)


def download(
    name: Annotated[
        str, Argument(autocompletion=completion.models, help="Short name, or owner/name[@revision] on the Hub.")
    ],
    timeout: Annotated[float, Option(min=1, help="Give up after N seconds without new data.")] = 30.0,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be downloaded, and download nothing.")] = False,
):
    """Download a checkpoint from the Hub and verify every file."""
    from ..hub import download
    from ..hub.registry import find, hub_client, missing, place

    entry = find(name)
    here = place(entry)
    offline = settings.offline or hub_client().constants.HF_HUB_OFFLINE
    if here and (entry.repo is None or offline):
        say(f"{name} is already on this machine; no network request was made.")
        return show_fetched(entry, here)
    if entry.repo is None:
        raise missing(entry)
    if offline:
        raise UnknownModelError(
            f"{name} is not on this machine.", hint=f"When online, download it: arvdm download {name}"
        )
    plan = download.plan(entry, timeout)
    if dry_run:
        return show_plan(entry, plan)
    for file in plan.files:
        if not file.digest:
            warn(f"{file.name} cannot be verified: the server gives no hash for it.")
    tell_licence(entry, plan)
    total = -(-plan.size // MB)
    with progress("download", total=total, rate="MB_per_second") as report:
        folder = download.fetch(plan, lambda file, done: report(-(-done // MB) - 1, file=file), say, timeout)
    verified = sum(bool(file.digest) for file in plan.files)
    say(f"{name}: {len(plan.files)} files, {verified} verified by hash, {download.show_size(plan.size)} downloaded.")
    show_fetched(entry, folder, plan)


def convert(
    source: Annotated[
        Path, Argument(help="Folder with the original files, or one of them: .safetensors, .pt, .pth, .ckpt or .bin.")
    ],
    target: Annotated[Path, Argument(help="Folder to write.")],
    base: Annotated[
        str | None,
        Option(
            autocompletion=completion.models,
            help="Folder or name of a diffusers model, of whose network SOURCE holds other weights; the rest is taken.",
        ),
    ] = None,
    like: Annotated[
        str | None, Option(help="With --base: model that is sampled as SOURCE is; by its file name if it is known.")
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing checkpoint.")] = False,
    no_overwrite: Annotated[bool, Option("--no-overwrite", help="Never replace an existing checkpoint.")] = False,
):
    """Convert the weights of another project to an arvdm checkpoint.

    Writes config.json and model.safetensors. Pickled files are read without running code in them. Supported:
    Oasis-500M, FAR, folders of diffusers with a Wan; with --base Self-Forcing, Rolling Forcing and their kin.
    """
    from ..hub import convert
    from ..hub.layout import CONFIG, MANIFEST, WEIGHTS
    from ..hub.registry import resolve

    if like and not base:
        raise UsageError("--like needs --base.", hint="--base names the model that the rest is taken from.")
    if any((target / name).exists() for name in (CONFIG, WEIGHTS, MANIFEST)):
        confirm_replacing(str(target), yes, no_overwrite)
    if base:
        model = convert.join(source, resolve(base), target, like)
    else:
        model = convert.convert(source, target)
    if settings.json:
        return write_json({"source": source, "target": target, **model.card})
    print(target)


MB = 1_000_000  # bytes


def licence_of(entry: Entry, plan: Plan | None) -> str:
    """The licence of a checkpoint: the registry's word for it, or where it has none the Hub's."""
    found = plan.licence if plan else ""
    return found if found and (not entry.licence or entry.licence.startswith("not known")) else entry.licence


def tell_licence(entry: Entry, plan: Plan):
    """Warn before a download of a licence that has to be read."""
    licence = licence_of(entry, plan)
    if licence.startswith("other"):
        warn(f"{plan.repo} has a licence of its makers' own; read it before you use the model. Licence: {licence}.")


def show_plan(entry: Entry, plan: Plan):
    """Print what a download would fetch, and where to."""
    from ..hub.download import show_size

    tell_licence(entry, plan)
    files = [vars(file) for file in plan.files]
    if settings.json:
        facts = {"name": entry.name, "repo": plan.repo, "revision": plan.revision, "commit": plan.commit}
        facts |= {"licence": licence_of(entry, plan)}
        return write_json(facts | {"folder": plan.target, "files": files, "bytes": plan.size})
    table = Table.grid(padding=(0, 2))
    for file in plan.files:
        check = {64: "sha256 known", 40: "git hash known"}.get(len(file.digest), "no hash known")
        table.add_row(printable(file.name), show_size(file.size), check, "here" if file.here else "to download")
    stdout.print(table)
    stdout.print(f"{show_size(plan.size)} from {plan.repo} at {plan.commit}, to {plan.target}", soft_wrap=True)


def show_fetched(entry: Entry, folder: Path, plan: Plan | None = None):
    """Print where a checkpoint lies, and say plainly what it is."""
    from ..errors import CheckpointError
    from ..hub.registry import is_checkpoint, read_config

    what, licence = entry.summary, licence_of(entry, plan)
    if is_checkpoint(folder):
        try:
            config = read_config(folder)
            licence = licence or str(config.get("licence", ""))
            what = (
                what
                or f"{config.get('name', 'a checkpoint')}, as described by {entry.repo}; not made by the arvdm authors"
            )
        except CheckpointError as error:
            warn(f"{error} arvdm cannot run it.")
    say(f"{entry.name} is {what or 'not of a kind that arvdm knows'}.")
    say(f"Licence: {licence or 'not stated; see its page'}.")
    if entry.use:
        say(entry.use)
    if settings.json:
        files = [vars(file) for file in plan.files] if plan else None
        facts = {"name": entry.name, "repo": entry.repo, "commit": plan.commit if plan else None, "folder": folder}
        return write_json(facts | {"what": what, "licence": licence, "use": entry.use, "files": files})
    print(folder)


def remove(
    name: Annotated[
        str, Argument(autocompletion=completion.models, help="Short name, or owner/name[@revision] in the Hub's cache.")
    ],
    yes: Annotated[bool, Option("--yes", "-y", help="Delete without asking.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be deleted, and delete nothing.")] = False,
):
    """Delete a downloaded checkpoint from the Hub's cache."""
    from ..hub import download

    entry, folder = find_cached(name)
    at = bool(name.partition("@")[2])  # one revision only
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and (at or not path.is_symlink()))
    facts = {"name": name, "repo": entry.repo, "folder": folder, "bytes": size}
    if not dry_run:
        allow(f"{name} ({download.show_size(size)} in {folder})", yes)
        if entry.pickled and "/" not in name:
            download.remove_converted(str(entry.repo), folder)
        else:
            download.remove(str(entry.repo), folder.name if at else None)
    if settings.json:
        return write_json(facts | {"removed": not dry_run})
    done = "would be freed" if dry_run else "freed"
    stdout.print(f"{download.show_size(size)} {done}: {printable(str(folder))}", soft_wrap=True)


def find_cached(name: str) -> tuple[Entry, Path]:
    """Entry of a name in the Hub's cache, and its folder: of owner/name@revision that revision, else all of it."""
    from ..hub.registry import Entry, find, missing, place, snapshot, storage

    try:
        entry = find(name)
    except UnknownModelError:
        if not Path(name).exists():
            raise
        entry = Entry(name, "")  # a folder that can be nothing else
    folder = None
    if entry.pickled and "/" not in name:  # its repository may hold others
        folder = place(entry)
    elif entry.repo:
        folder = snapshot(entry.repo, entry.revision) if "@" in name else storage(entry.repo)
    if folder and folder.exists():
        return entry, folder
    if entry.repo and not Path(name).exists():
        raise missing(entry)
    raise UsageError(
        f"{name} is a folder or part of arvdm; `arvdm remove` deletes from the Hub's cache only.",
        hint="Delete your own folders with the shell.",
    )


def allow(what: str, yes: bool):
    """Ask before anything is deleted, where there is somebody to ask."""
    if yes or (sys.stdin and sys.stdin.isatty() and confirm(f"Delete {printable(what)}?", err=True)):
        return
    raise OutputExistsError(f"{what} was not deleted.", hint="Use -y to delete it without asking.")
