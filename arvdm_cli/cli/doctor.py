"""`arvdm doctor`: what arvdm runs on here, and whether all of it works; no server is asked for anything."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table
from rich.text import Text
from typer import Context

from ..configs import Json
from ..errors import ArvdmError, OutputError, UsageError
from ..version import __version__
from .console import out as stdout
from .console import printable, settings, write_json

NEEDED = ("torch", "numpy", "typer", "rich", "imageio", "imageio-ffmpeg", "safetensors", "huggingface-hub")
OPTIONAL = (
    "pillow", "vizdoom", "labmaze", "aiohttp", "simplejpeg", "matplotlib", "torchmetrics", "scipy", "jinja2", "av",
    "pyarrow",
)  # fmt: skip
VARIABLES = (  # that change what arvdm does, beside those of its flags
    "ARVDM_REGISTRY", "ARVDM_HUB_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN",
    "HF_HUB_DISABLE_XET", "ALL_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "IMAGEIO_FFMPEG_EXE",
    "NO_COLOR", "TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
FRAMES, SIDE = 8, 64  # of the video that tries the encoder
LEAST = 1 << 20  # bytes, with less of which nothing can be written


def doctor(context: Context):
    """Show versions, devices and settings, and test the encoder.

    The exit code is 0 if there is no problem, else that of the first problem. No network request is made.
    """
    problems: list[ArvdmError] = []
    sections: dict[str, Json] = {}
    chosen = where_from(context)  # first: the Hub's client is given some settings of ours
    for name, check in CHECKS.items():
        sections[name] = {}
        try:
            check(sections[name])
        except ArvdmError as error:
            problems.append(error)
    sections["settings"] = chosen
    if settings.json:
        listed = [{"problem": str(error), "hint": error.hint, "code": error.code} for error in problems]
        write_json({**sections, "problems": listed})
    else:
        show(sections, problems)
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise type(first)(f"{first}{more}", hint=first.hint)


def versions(facts: Json):
    """Add the versions of arvdm, Python and every package."""
    facts |= {"arvdm": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in (*NEEDED, *OPTIONAL):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = None
    missing = [name for name in NEEDED if facts[name] is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed.", hint=f"pip install {' '.join(missing)}")


def devices(facts: Json):
    """Add what can compute, and in which numbers."""
    try:
        import torch

        from ..device import choose_machine
    except (ImportError, OSError) as error:  # OSError: a library that it was built with is missing
        raise UsageError(f"torch cannot be loaded: {error}.", hint="pip install --force-reinstall torch") from error

    facts["cpu"] = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used"
    with_memory = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    if with_memory:
        facts["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        facts[f"cuda:{i}"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    if torch.backends.mps.is_available():
        facts["mps"] = "available"
    device, dtype = choose_machine("auto", "auto", None)
    facts |= {"auto": str(device), "auto_dtype": str(dtype).removeprefix("torch.")}


def encoder(facts: Json):
    """Write a small video with every codec and read it back."""
    import numpy as np

    from .. import media
    from ..media import ffmpeg

    facts["ffmpeg"] = ffmpeg.executable()
    facts["ffmpeg_version"] = ffmpeg.version()
    frames = np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
    codecs = {codec: kind for kind, form in reversed(media.FORMATS.items()) for codec in form.codecs}
    broken: list[ArvdmError] = []
    with tempfile.TemporaryDirectory(prefix="arvdm-") as folder:
        for codec, kind in codecs.items():
            target = Path(folder, f"{codec}.{kind}")
            try:
                with media.Writer(target, SIDE, SIDE, media.Encoding(codec=codec)) as writer:
                    writer.write(frames)
                if len(media.read(target).frames) != FRAMES:
                    raise OutputError(
                        f"A test video of {FRAMES} frames in {codec} was read back with another number of frames."
                    )
                facts[codec] = "works"
            except ArvdmError as error:
                facts[codec] = str(error)
                broken.append(error)
    if broken:
        raise broken[0]


def hub(facts: Json):
    """Add where downloaded checkpoints lie, and which of those with a short name are here."""
    from ..hub.connection import without_login
    from ..hub.registry import entries, hub_client, place

    constants = hub_client().constants
    cache = Path(constants.HF_HUB_CACHE)
    facts |= {"cache": str(cache), "cache_bytes": size_of(cache), "endpoint": without_login(constants.ENDPOINT)}
    facts["offline"] = bool(settings.offline or constants.HF_HUB_OFFLINE)
    for entry in entries():
        folder = place(entry)
        facts[entry.name] = str(folder) if folder else "not here"


def space(facts: Json):
    """Add how much more can be written, and where."""
    from ..hub.registry import hub_client

    places = {"here": Path.cwd(), "temporary": Path(tempfile.gettempdir())}
    places["cache"] = Path(hub_client().constants.HF_HUB_CACHE)
    for name, place in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        facts[name] = str(place)
        facts[f"{name}_free_bytes"] = free = shutil.disk_usage(there).free
        if free < LEAST:
            raise OutputError(f"There is no free space in {place}.", hint="Free some space, or choose another folder.")


CHECKS: dict[str, Callable[[Json], None]] = {
    "versions": versions,
    "devices": devices,
    "encoder": encoder,
    "hub": hub,
    "space": space,
}


def where_from(context: Context) -> Json:
    """Value of each setting, and whether a flag, the environment, a file or nobody set it; no secret is shown."""
    from ..hub.connection import without_login

    origins: Json = {}
    root = context.find_root()
    beforehand = root.meta["settings"]
    for option in root.command.params:
        name = option.name
        if name is None or name not in root.params or name == "version":
            continue
        source = root.get_parameter_source(name)
        kind = source.name if source else ""
        named = {"COMMANDLINE": f"flag {option.opts[0]}", "ENVIRONMENT": f"environment {option.envvar}"}
        origin = beforehand[name,].origin if kind == "DEFAULT_MAP" else named.get(kind, "default")
        origins[name] = {"value": root.params[name], "from": origin}
    for name in VARIABLES:
        value = os.environ.get(name)
        text = "set" if value and "TOKEN" in name else without_login(value) if value else None
        origins[name] = {"value": text, "from": "default" if value is None else "environment"}
    for words, setting in beforehand.items():  # of other commands
        if len(words) > 1:
            origins[".".join(words)] = {"value": setting.value, "from": setting.origin}
    return origins


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder, links not counted."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                total += path.stat().st_size if path.exists() else 0
    return total


def show(sections: dict[str, Json], problems: list[ArvdmError]):
    """Print one section after the other, then the problems."""

    table = Table.grid(padding=(0, 2))
    for title, facts in sections.items():
        table.add_row(Text(title, "bold"))
        for name, value in facts.items():
            label = name.removesuffix("_bytes").replace("_", " ") if name.endswith("_bytes") else name
            text = text_of(name, value)
            table.add_row(Text(f"  {label}", "dim"), Text(text, overflow="fold"))
    for error in problems:
        table.add_row(Text("problem", "bold red"), Text(printable(str(error)), overflow="fold"))
    stdout.print(table)


def text_of(name: str, value: object) -> str:
    """A fact as text: a size in its unit, a setting with its origin."""
    from ..hub.download import show_size

    if isinstance(value, dict):
        text = "not set" if value["value"] is None else str(value["value"])
        return printable(text if value["from"] == "default" else f"{text} ({value['from']})")
    if name.endswith("_bytes") and isinstance(value, int):
        return show_size(value)
    return "not installed" if value is None else printable(str(value))
