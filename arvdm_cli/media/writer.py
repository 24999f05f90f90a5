"""Frames -> files, each as soon as it comes: uint8 (f, h, w, 3) into video files, folders of PNG and stdout.

A file grows beside its name ("out.part.mp4", playable all the while) and takes the name once it is whole, so a run that
fails neither leaves half a file there nor harms the one that was there before.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import OutputError, UsageError
from .formats import FORMATS, SIDE, _format, check_encoding, check_stdout
from .output import Encoding, Output, _numbers, _pattern

WAITING = 4  # frames that may wait for the encoder
PATIENCE = 2.0  # seconds that a reader of stdout gets to take the rest once a run is interrupted


class Writer:
    """Write frames as they come: `with Writer("out.mp4", 64, 64, Encoding(fps=15)) as writer: writer.write(frames)`.

    target: a name that ends in one of FORMATS; a folder ("frames/") or a pattern ("frames/%06d.png"); "-" for stdout
    comment: the file's comment tag, where its format has one
    facts: of the run, kept in the file where its format has room for them
    latents: the shape (c, h, w) of what is written to a format that holds latents; None: the caller has none
    keep: N resumes after N frames that an earlier run, with the same encoding, has left under this name or beside it

    A thread writes while the caller makes the next frames, and memory holds no more than WAITING of them.
    What goes wrong there is raised by the next `write` or `close`: OutputError, or BrokenPipeError when the reader of
    stdout is gone. Leaving the block on an error, Ctrl-C included, finishes the file with the frames it was given.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        height: int,
        width: int,
        encoding: Encoding,
        *,
        comment: str | None = None,
        facts: Mapping[str, str] | None = None,
        keep: int | None = None,
        latents: tuple[int, int, int] | None = None,
    ):
        scale = encoding.scale
        if scale < 1 or max(height, width) * scale > SIDE:
            limit = f"The scale must be at least 1, and each side at most {SIDE} pixels."
            raise UsageError(f"Frames of {width}x{height} cannot be written at scale {scale}.", hint=limit)
        name = os.fspath(target)
        check_encoding(name, encoding)
        kind = _format(name, encoding.format)
        form = FORMATS[kind]
        if name == "-":
            check_stdout()
        if form.latents and latents is None:
            raise UsageError(f"{kind} holds latents, not frames.", hint="Write frames as npy or npz.")
        if keep is not None and (not form.resumes or name == "-"):
            raise UsageError(f"Cannot resume a {'stream' if name == '-' else kind}.", hint="Write an mp4.")
        self.notes: list[str] = []  # for the user to see: what is not as one might expect
        self.facts = dict(facts or {})  # may be changed until the file is closed
        self.frames = 0  # handed to the encoder so far
        self._shape = latents if form.latents and latents else (height, width, 3)
        self._dtype = np.dtype(np.float32 if form.latents else np.uint8)
        self._scale = scale
        shape = self._shape if form.latents else (height * scale, width * scale, 3)
        output = Output(name, kind, shape, encoding, comment or "", keep, self.notes, self.facts)
        self._sink = form.open(output)
        self._error: BaseException | None = None
        self._closed = False
        self._ended = threading.Event()  # nothing more is written
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(OutputError, BrokenPipeError):  # the error that came first is the one to tell
                self._finish(PATIENCE if self.path is None else None)

    @property
    def path(self) -> Path | None:
        """The file or folder that grows, None for stdout; after `close`, what the user named."""
        return self._sink.path

    def write(self, frames: np.ndarray) -> None:
        """Add frames uint8 (f, h, w, 3), or latents float32 (f, c, h, w); wait while more than WAITING are ahead."""
        assert frames.dtype == self._dtype and frames.shape[1:] == self._shape, f"{frames.dtype} {frames.shape}"
        assert not self._closed, "the file is closed"
        for frame in frames:
            if self._error:
                raise self._error
            self._queue.put(frame.copy())

    def close(self) -> None:
        """Finish the file and give it its name; calling it again does nothing."""
        self._finish(None)

    def _finish(self, patience: float | None) -> None:
        if self._closed:
            return
        self._closed = True
        until = None if patience is None else time.monotonic() + patience
        try:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=patience)
            self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        finally:  # also when a second Ctrl-C ends the wait: then Python may take the thread for dead (its issue 90882)
            if not self._ended.is_set():
                self._sink.abandon()
        if self._error:
            raise self._error

    def _work(self) -> None:
        frame: np.ndarray | None = None
        try:
            while (frame := self._queue.get()) is not None:
                self._sink.write(self._enlarge(frame))
                self.frames += 1
            self._sink.close()
        except Exception as error:  # raised again in the caller's thread
            self._error = error
            self._sink.abandon()
        finally:
            self._ended.set()
            while frame is not None:  # so that the caller never waits for room
                frame = self._queue.get()

    def _enlarge(self, frame: np.ndarray) -> np.ndarray:
        return (
            frame if self._scale == 1 else frame.repeat(self._scale, 0).repeat(self._scale, 1)
        )  # (h * scale, w * scale, 3)


def occupied(target: str | os.PathLike[str], format: str | None = None) -> bool:
    """Tell whether writing to a target would replace something."""
    name = os.fspath(target)
    kind = _format(name, format)
    if name == "-":
        check_stdout()
        return False
    if kind != "png":
        return os.path.lexists(name)
    return bool(_numbers(*_pattern(name)))
