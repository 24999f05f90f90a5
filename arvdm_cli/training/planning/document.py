"""A training file as text: keys in groups, each with what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ...configs import Json, describe
from ...errors import ConfigError
from ..config import TABLES, TrainConfig
from .facts import DataFacts
from .rate import Estimate

COLUMN = 34  # where comments begin, if the value is short
OWN = {  # what a key of a planned run means, where more can be said than in help
    "data": "folders written by `arvdm data make`, `import` or `record`: one, or a list of one kind",
    "held_out": "last episodes of the data, for validation only",
    "minutes": "time limit of the whole run, by which the learning rates fall",
    "codec_steps": "steps of the codec (frames <-> latents), which is trained first",
    "steps": "of the network, trained on the codec's latents: twice what is expected, so the time ends the run",
    "frames": "frames of a step; fewer take less memory",
    "groups": "groups of frames in memory, drawn uniformly; [0]: no memory",
    "codec.linear": "a linear map of patches beside the convolutions: a good codec from the first step",
    "codec.channels": "numbers of a latent at each place; [network] has the same",
    "network.height": "of a latent: an eighth of the frame's",
    "network.width": "of a latent: an eighth of the frame's",
    "network.actions": "as many as the data has; each is divided by its size in the data",
    "sampling.options": "of the schedule: frames that become clean together, and denoising steps for them",
    "sampling.schedule": "how the model is sampled unless flags say otherwise",
    "card.actions": "their names, as the data has them",
    "card.fps": "frames per second",
    "card.data": "what the model was trained on",
}
TITLES = {
    "codec": "frames <-> latents",
    "network": "latents and actions -> next latents",
    "sampling": "defaults of generate",
    "card": "what the model says of itself; its licence belongs here",
}


def write_document(values: Json, data: DataFacts, hours: float, takes: Estimate) -> str:
    """A training file that `configure` reads back as these values.

    hours: the wanted time
    """
    actions = f"{len(data.names)} actions" if data.names else "no actions"
    lines = [
        f"# {data.episodes} episodes of {data.length} frames, {data.width}x{data.height}, {data.fps:g} frames/s, "
        f"{actions}.",
        f"# Planned for {hours:g} hours at {takes.frames_per_second:.3g} frames/s, as measured on {takes.device}.",
        f"# Codec: {takes.codec_parameters:,} parameters; network: {takes.network_parameters:,} parameters.",
        "# `arvdm train --help` lists all keys with their defaults.",
        "",
    ]
    helps = {each.name: each.help for each in describe(TrainConfig)}
    flat = {key: value for key, value in values.items() if not is_table(key, value)}
    lines += [line(key, value, OWN.get(key, helps.get(key, ""))) for key, value in flat.items()]
    for name, table in values.items():
        if is_table(name, table):
            lines += ["", *section(name, table)]
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("A folder of the data has a name that is not text.", hint="Rename the folder.") from error
    return text


def is_table(name: str, value: object) -> bool:
    """Whether a value stands under a heading of its own."""
    return isinstance(value, Mapping)


def section(name: str, table: object) -> Iterator[str]:
    """The lines of a table."""
    assert isinstance(table, Mapping)
    helps = {each.name: each.help for each in describe(TABLES[name])} if name in TABLES else {}
    yield line(f"[{quoted(name)}]", None, TITLES.get(name, ""))
    for key, value in table.items():
        yield line(quoted(key), value, OWN.get(f"{name}.{key}", helps.get(key, "")))


def line(key: str, value: object, comment: str) -> str:
    """A key with its value, and behind it what it means."""
    text = key if value is None else f"{key} = {toml(value)}"
    comment = comment.rstrip(".")
    return f"{text.ljust(COLUMN)}  # {comment}" if comment else text


def quoted(key: str) -> str:
    """A key as TOML writes it."""
    bare = key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key)
    return key if bare else toml(key)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):  # as JSON does, but for one control character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{quoted(key)} = {toml(item)}" for key, item in value.items()) + " }"
    return repr(value)
