"""What a model makes in the place of true frames, with the true actions; all frames are in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from threading import Event, Lock

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, UsageError
from ..media import to_bytes, to_tensor
from ..sampling.config import Plan
from ..sampling.generation import begin, begin_latents, encode, generate, given
from ..sampling.model import Model
from ..sampling.state import State
from ..workers import Progress, no_progress
from .truth import Truth

NONE = "none"  # the action that says that nothing is done
BATCH = 8  # clips that one core makes together


@dataclass(frozen=True)
class Task:
    """Clips to continue: their histories, the actions of history and new frames, and how to sample."""

    history: np.ndarray  # uint8 (clips, f, h, w, 3)
    actions: Tensor  # (clips, f + new frames, a)
    plan: Plan
    latents: Tensor | None = None  # the histories as the codec encodes them, (clips, f, c, h, w), where that is known
    other: np.ndarray | None = None  # for each clip the number of the one whose memory takes its own's place
    after: Tensor | None = None  # (clips, a), the action after the last new frame, where it is known

    def begin(self, model: Model, clips: np.ndarray) -> State:
        """Show the model the histories of some clips."""
        actions = self.actions[clips, : self.history.shape[1]]
        if self.latents is not None:
            return begin_latents(model, self.plan, self.latents[clips], actions)
        return begin(model, self.plan, prompt(self.history[clips]), actions)

    @property
    def length(self) -> int:
        """New frames of each clip."""
        return self.actions.shape[1] - self.history.shape[1]

    @property
    def frames(self) -> int:
        """New frames of all clips together."""
        return len(self.history) * self.length


def prompt(frames: np.ndarray) -> Tensor:
    """Bytes (b, f, h, w, 3) as a prompt: (b, f, 3, h, w) in [-1, 1]."""
    return to_tensor(frames.reshape(-1, *frames.shape[2:])).unflatten(0, frames.shape[:2])


@contextmanager
def cores(model: Model | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads that have a core each: where pictures are small, that is faster than all cores for one after the other.

    model: what the threads will run; one that is not on the CPU has a single thread
    """
    threads = torch.get_num_threads()
    on_cpu = model is None or next(model.network.parameters()).device.type == "cpu"
    try:
        with ThreadPoolExecutor(threads if on_cpu else 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def encode_all(model: Model, frames: np.ndarray, progress: Progress = no_progress) -> Tensor:
    """Latents (n, f, c, h, w) of clips, bytes (n, f, h, w, 3), a core for each."""
    done = count()

    def run(clip: np.ndarray) -> Tensor:
        latents = encode(model, prompt(clip[None]))[0]
        progress(next(done) + 1, len(frames))
        return latents

    with cores(model) as pool:
        return torch.stack(list(pool.map(run, frames)))


def make(model: Model, tasks: dict[str, Task], seed: int, progress: Progress = no_progress) -> dict[str, np.ndarray]:
    """Make the new frames of every task: uint8 (clips, length, h, w, 3). Clip i has seed + i in all of them.

    progress: called with frames made, from whichever thread made them
    """
    output = {name: np.empty((len(t.history), t.length, *t.history.shape[2:]), np.uint8) for name, t in tasks.items()}
    total = sum(task.frames for task in tasks.values())
    done, lock, stop = 0, Lock(), Event()

    def run(name: str, first: int) -> None:
        nonlocal done
        task, clips = tasks[name], slice(first, first + BATCH)
        history, actions = task.history[clips], task.actions[clips]
        b, f = history.shape[:2]
        state = task.begin(model, np.arange(len(task.history))[clips])
        if task.other is not None:
            state = replace(state, memory=task.begin(model, task.other[clips]).memory)
        if task.after is not None:
            actions = torch.cat((actions, task.after[clips, None]), 1)
        onward = given(actions[:, f:].to(state.context.device))
        at = 0
        for part in generate(model, task.plan, state, onward, seed + first, task.length):
            count = part.shape[1]
            output[name][clips, at : at + count] = to_bytes(part.flatten(0, 1)).reshape(b, count, *history.shape[2:])
            at += count
            with lock:
                done += b * count
                progress(done, total)
            if stop.is_set():
                return

    parts = [(name, first) for name, task in tasks.items() for first in range(0, len(task.history), BATCH)]
    parts.sort(key=lambda part: -tasks[part[0]].length)  # the longest first, so that no core waits at the end
    with cores(model) as pool:
        try:
            for future in wait([pool.submit(run, *part) for part in parts], return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return output


def require_no_text(model: Model) -> Model:
    """A model that generates without a text.

    Raises: UsageError
    """
    if model.takes_prompts:
        raise UsageError(
            "The model generates from a text, and evaluations of models give none.",
            hint="Generate videos with --prompt, and measure them: arvdm eval drift --videos FOLDER",
        )
    return model


def action_rows(model: Model, names: Sequence[str], actions: np.ndarray) -> Tensor:
    """Actions of a world or of recordings as the model's own rows (..., f, a), matched by name.

    names: what the world or the recordings call them
    actions: numbers of names, integers (..., f), or rows of them, floats (..., f, names)
    A model without actions is given none; a name that only the model has stays 0. So does every action where nothing
    is done, for a model that has no name for it.

    Raises: CheckpointError where the model lacks one of the names; UsageError where it generates from a text
    """
    require_no_text(model)
    rows = actions if actions.dtype.kind == "f" else np.eye(len(names), dtype=np.float32)[actions.astype(np.int64)]
    if rows is actions and not model.actions:
        return torch.zeros(*actions.shape[:-1], getattr(model.network.config, "actions", 0))
    known = [number for number, name in enumerate(names) if name != NONE or name in model.actions]
    names, rows = [names[number] for number in known], rows[..., known]
    if missing := [name for name in names if name not in model.actions]:
        raise CheckpointError(
            f"The checkpoint's actions are {', '.join(model.actions) or 'unknown'}; it lacks {', '.join(missing)}.",
            hint="Give a model that was trained on data with these actions.",
        )
    ours = torch.zeros(*rows.shape[:-1], len(model.actions))
    ours[..., [model.actions.index(name) for name in names]] = torch.from_numpy(np.ascontiguousarray(rows))
    return ours


def tasks_of(model: Model, truth: Truth, plan: Plan) -> dict[str, Task]:
    """What there is to make of each kind of walks."""
    return {
        kind: Task(truth.history(kind), action_rows(model, truth.world.actions, actions), plan)
        for kind, actions in zip(truth.kinds, truth.actions, strict=True)
    }
