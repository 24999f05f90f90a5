"""Frames, which users count, and latents, which the sampler counts: the one place where they are converted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """How many frames a latent stands for: the first of a video for one, each later one for `per_latent`.

    prompted, below: whether latents came before those that are counted, so that the first of a video is not among them
    """

    per_latent: int = 1

    @classmethod
    def of(cls, codec: object) -> Timing:
        """That of a codec; one that does not say encodes each frame by itself."""
        return cls(getattr(codec, "frames_per_latent", 1))

    @property
    def unit(self) -> str:
        """What the sampler counts, in a word."""
        return "frames" if self.per_latent == 1 else "latents"

    def frames(self, latents: int, prompted: bool) -> int:
        """Frames that latents decode to."""
        return latents * self.per_latent - self._missing(latents, prompted)

    def latents(self, frames: int, prompted: bool) -> int:
        """Latents that are needed for frames; the last may hold more of them."""
        return -(-(frames + self._missing(frames, prompted)) // self.per_latent)

    def prompt(self, frames: int) -> int:
        """How many frames of a prompt can be encoded: 1 + per_latent * k of them, or none of none."""
        return frames - (frames - 1) % self.per_latent if frames else 0

    def _missing(self, count: int, prompted: bool) -> int:
        """By how many frames the first latent falls short, if it is among those that are counted."""
        return 0 if prompted or not count else self.per_latent - 1
