"""Latents to frames, chunk by chunk, also where a frame depends on latents that came long before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard

import torch
from torch import Tensor

from .timing import Timing


class Codec(Protocol):
    """What decodes latents (b, f, c, h, w) to frames (b, f, 3, h, w) in [-1, 1]; see `models.codec.Codec`."""

    def decode(self, latents: Tensor) -> Tensor: ...


class CodecWithTime(Codec, Protocol):
    """A codec whose latents stand for several frames, which depend on the latents before; see `models.wan_codec`."""

    @property
    def frames_per_latent(self) -> int:
        """Frames of a latent; the first of a video is one frame."""

    @property
    def reach(self) -> int:
        """Latents before its own that a frame depends on, at most."""

    def decode_after(self, latents: Tensor, past: Sequence[object] | None) -> tuple[Tensor, Sequence[object]]:
        """Decode latents (b, f, c, h, w) that follow those that `past` was given after; None: they begin a video.

        Returns: frames, and the past of the latents that follow; nothing writes into either past
        """


def has_time(codec: Codec) -> TypeGuard[CodecWithTime]:
    """Whether latents of a codec stand for several frames."""
    return Timing.of(codec).per_latent > 1


def reach_of(codec: Codec) -> int:
    """Latents before its own that a frame depends on, at most."""
    return codec.reach if has_time(codec) else 0


class Decoder:
    """A codec that decodes one video, chunk after chunk, or any chunk of it.

    What the codec holds of the past takes gigabytes where frames are large, so it is not part of a saved state: after
    a resume it is computed again from the latents that it depends on, to the same numbers. It belongs to one thread.
    """

    def __init__(self, codec: Codec):
        self.codec = codec
        self._past: Sequence[object] | None = None
        self._end: int | None = None  # the latent after those that the past was left by

    @torch.no_grad()
    def __call__(self, clean: Tensor, before: Tensor | None, frame: int) -> Tensor:
        """Frames (b, f, 3, h, w) of clean latents (b, f, c, h, w) of which the first is new latent `frame`.

        before: latents (b, r, c, h, w) right before them, `reach` of the codec or all that there are; None as for none
        """
        if not has_time(self.codec):
            return self.codec.decode(clean)
        past = self._past if self._end == frame else self._rebuild(self.codec, before)
        frames, self._past = self.codec.decode_after(clean, past)
        self._end = frame + clean.shape[1]
        return frames

    @staticmethod
    def _rebuild(codec: CodecWithTime, before: Tensor | None) -> Sequence[object] | None:
        """The past that latents leave."""
        past: Sequence[object] | None = None
        for latent in before.split(1, 1) if before is not None and before.shape[1] else ():
            _, past = codec.decode_after(latent, past)  # one at a time, so that no frames pile up
        return past
