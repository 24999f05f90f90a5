"""Where a run stands, in a file beside its video: named tensors and plain values, so that reading runs no code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import CheckpointError, OutputError, OutputExistsError, UsageError
from ..media import resumes
from ..models import MODELS
from ..sampling.memory import Memory
from ..sampling.solvers import History
from ..sampling.state import State
from .settings import Settings
from .sidecar import sidecar

KINDS: dict[str, type] = {  # what a state of the sampler is made of
    "state": State,
    "memory": Memory,
    "history": History,
    **{f"{name} past": kind.past for name, kind in MODELS.items()},
}
Tree = dict[str, object]  # plain values, and names of tensors
NAMES = {kind: name for name, kind in KINDS.items()}
SAVED_AS = {  # fields that have another name in files: that of the first version that wrote them
    ("state", "cache"): "kept",
    ("memory", "poses"): "places",
    ("dit past", "pose"): "place",
    ("dit past", "memory"): "remembered",
}
FIELDS = {(kind, saved): name for (kind, name), saved in SAVED_AS.items()}


def to_tensors(state: object) -> tuple[dict[str, Tensor], Tree]:
    """Take a state of the sampler apart: its tensors by name, and a tree of plain values that holds their names."""
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()  # in memory: a file holds each tensor under one name

    def part(value: object, path: str) -> Tree:
        if isinstance(value, Tensor):
            place = value.untyped_storage().data_ptr()
            tensors[path] = value.clone() if place in places else value.contiguous()
            places.add(place)
            return {"tensor": path, "device": str(value.device)}
        if is_dataclass(value) and not isinstance(value, type):
            kind, parts = NAMES[type(value)], {}
            for field in fields(value):
                name = SAVED_AS.get((kind, field.name), field.name)
                parts[name] = part(getattr(value, field.name), f"{path}.{name}")
            return {"kind": kind, "parts": parts}
        if isinstance(value, list | tuple):
            each = [part(item, f"{path}.{i}") for i, item in enumerate(value)]
            return {"list" if isinstance(value, list) else "tuple": each}
        assert value is None or isinstance(value, bool | int | float | str)
        return {"value": value}

    return tensors, part(state, "state")


def from_tensors(tensors: dict[str, Tensor], tree: object) -> object:
    """Put together what `to_tensors` took apart.

    Raises: CheckpointError where the two do not fit
    """

    def whole(node: object) -> object:
        if not isinstance(node, dict):
            raise TypeError(f"{node!r} is not a table")
        ((form, value), *rest) = node.items()
        if form == "tensor":
            return tensors[value].to(node["device"])
        if form == "kind":
            ((_, parts),) = rest
            return KINDS[value](**{FIELDS.get((value, name), name): whole(part) for name, part in parts.items()})
        if form in ("list", "tuple"):
            each = [whole(item) for item in value]
            return each if form == "list" else tuple(each)
        if form == "value":
            return value
        raise KeyError(form)

    try:
        return whole(tree)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"A saved state is inconsistent: {error!r}.") from error


FORMAT = 1  # of the file of a state
TEXTS = "texts"  # name of a tensor in it
INVALID = (  # what reading a file that is not a state may raise
    OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError,
)  # fmt: skip


@dataclass(frozen=True)
class Fingerprint:
    """Frames of a file as they were written: together those that are kept when it is resumed, and each that follows."""

    count: int  # frames that are kept
    digest: str  # sha256 of their checksums
    rest: tuple[str, ...]  # checksums of those after them, which are written again

    @classmethod
    def of(cls, checksums: Sequence[str], kept: int) -> Fingerprint:
        return cls(kept, digest(checksums[:kept]), tuple(checksums[kept:]))

    def fits(self, checksums: Sequence[str]) -> bool:
        """Whether frames are the first of those that were written, with all that are to be kept among them."""
        after = checksums[self.count :]
        return digest(checksums[: self.count]) == self.digest and after == self.rest[: len(after)]


def digest(checksums: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()


@dataclass(frozen=True)
class Saved:
    """Where a run stood after an AR step."""

    settings: Settings
    frames: int  # new frames made so far
    complete: bool  # whether that was all that was asked for
    tail: np.ndarray  # uint8 (f, h, w, 3), or latents, the last of them: the encoder may have lost them
    ahead: np.ndarray  # float32 (f, a), actions that lead into the frames after them, a chunk or more
    state: State
    phrase: str | None = None  # the actions that led into the frames made so far; earlier versions did not keep them
    fingerprint: Fingerprint | None = None  # of the file, if it was whole; earlier versions did not keep it
    texts: Tensor | None = None  # features (p + 1, n, d) of the prompts of text, the negative one's first


def state_file(target: str) -> Path | None:
    """Where the state of a video's run goes: out.mp4 -> out.state; what cannot be resumed has none."""
    beside = sidecar(target)
    return None if beside is None or not resumes(target) else beside.with_suffix(".state")


def older(path: Path) -> Path:
    """Where the state before the last one stays."""
    return path.with_name(path.name + ".old")


def save_state(path: Path, saved: Saved) -> None:
    """Write a state whole, and keep the one before it."""
    tensors, tree = to_tensors(saved.state)
    arrays = {"tail": saved.tail, "ahead": saved.ahead}
    run = {
        "format": FORMAT, "settings": saved.settings.to_json(), "frames": saved.frames, "complete": saved.complete,
        "phrase": saved.phrase, "fingerprint": saved.fingerprint and asdict(saved.fingerprint), "tree": tree,
    }  # fmt: skip
    data = save(
        {name: tensor.cpu() for name, tensor in tensors.items()}
        | {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}
        | ({} if saved.texts is None else {TEXTS: saved.texts.contiguous()}),
        {"run": json.dumps(run)},
    )
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            os.replace(path, older(path))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def load_state(path: Path) -> Saved:
    """Read a state.

    Raises: CheckpointError where the file is none
    """
    try:
        with safe_open(path, "pt") as file:
            run = json.loads((file.metadata() or {})["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if run["format"] != FORMAT:
            raise CheckpointError(f"{path} is a state of format {run['format']}, not {FORMAT}.")
        settings = Settings.from_json(run["settings"])
        tail, ahead = (tensors.pop(name).numpy() for name in ("tail", "ahead"))
        texts = tensors.pop(TEXTS, None)
        state, phrase = from_tensors(tensors, run["tree"]), run.get("phrase")
        if not isinstance(state, State) or not isinstance(phrase, str | None):
            raise ValueError("it has other contents")
        if state.cache is not None and state.cached < 0:
            raise ValueError("it was saved by an earlier version, under whose --cache keep a frame saw fewer others")
        known = run.get("fingerprint")
        fingerprint = known and Fingerprint(int(known["count"]), str(known["digest"]), tuple(map(str, known["rest"])))
        frames, complete = int(run["frames"]), bool(run["complete"])
        return Saved(settings, frames, complete, tail, ahead, state, phrase, fingerprint or None, texts)
    except INVALID as error:
        reason = str(error).rstrip(".")
        raise CheckpointError(
            f"{path} is not a valid saved state: {reason}.", hint="-y makes the video from its beginning."
        ) from error


def saved_states(target: str) -> list[Saved]:
    """The states saved beside a video, the newest first; one that cannot be read is left out if another can."""
    path = state_file(target)
    if path is None:
        return []
    states, broken = [], None
    for file in (path, older(path)):
        if file.exists():
            try:
                states.append(load_state(file))
            except CheckpointError as error:
                broken = broken or error
    if broken and not states:
        raise broken
    return states


def resumable(target: str, resume: str | None, streamed: bool) -> list[Saved]:
    """The states from which a run may resume, the newest first; none where it is to start from its beginning.

    resume: auto for those beside the video, never or None, or a file of a state
    streamed: whether it reads stdin
    Raises: UsageError where such a run cannot resume, CheckpointError where no state can be read
    """
    if resume in (None, "never"):
        return []
    if state_file(target) is None:
        raise UsageError(f"Cannot resume a run that writes to {target!r}.", hint="Write an mp4.")
    if streamed:
        raise UsageError("Cannot resume a run that reads stdin.")
    return saved_states(target) if resume == "auto" else [load_state(Path(resume))]


def check_finished(target: str) -> None:
    """Refuse to replace a video that an interrupted run has started.

    Raises: OutputExistsError
    """
    path = state_file(target)
    if path and path.exists():
        saved = saved_states(target)[0]
        if saved.frames and not saved.complete:
            raise OutputExistsError(
                f"{target!r} was interrupted after {saved.frames} frames.",
                hint="--resume auto resumes it, -y makes it from its beginning.",
            )


def forget_states(target: str, but_last: bool = False) -> None:
    """Remove the states of a run, or those before the last."""
    path = state_file(target)
    if path is not None:
        for file in (older(path),) if but_last else (path, older(path)):
            file.unlink(missing_ok=True)
