"""What the sampler needs of a network, and what a network writes of the past.

Axes: b clips, f frames, c channels, h rows and w columns of a latent, a numbers in an action, k tokens of a group of
memory, d features of a token. Frames are latents of about unit variance; levels lie in [0, 1], 0 clean, 1 noise.
"""

from __future__ import annotations

from typing import Protocol, Self, TypeGuard, TypeVar

import torch
from torch import Tensor

from .memory import Memory


class EncodedPast(Protocol):
    """The frames before a window as a network encoded them: a frozen dataclass of tensors, numbers, lists and tuples.

    It is saved with a run, so it holds nothing else, and nothing writes into its tensors.
    """

    @property
    def frames(self) -> int:
        """Clean frames in it, those of memory aside."""

    def drop(self, frames: int) -> Self | None:
        """The same without its oldest `frames` frames and without what memory added; None where none is left.

        With 0 it drops memory alone. What the other frames saw of those that leave may stay in them.
        """


class LatentShape(Protocol):
    """The least that a network's config says, a frozen dataclass saved as `network` in config.json."""

    @property
    def channels(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def actions(self) -> int:
        """Numbers in an action."""


Past = TypeVar("Past", bound=EncodedPast)
MemoryPast = TypeVar("MemoryPast")


class VideoNetwork(Protocol[Past]):
    """A network that denoises a window of frames after a past; `models.oasis.OasisDiT` is one.

    It is a torch module. An action of zeros is one that is unknown.
    """

    @property
    def config(self) -> LatentShape: ...

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor:
        """Return the poses that actions lead to, one after the other.

        actions: (b, f, a), origin: (b, 3), the pose before the first of them; the pose before the first frame is 0
        Returns: (b, f, 3) in the network's own units; `origin` again for each frame where nothing is known of motion
        """

    def encode_context(
        self, context: Tensor, levels: Tensor, actions: Tensor, origin: Tensor, *, past: Past | None = None
    ) -> Past:
        """Encode the clean frames right before a window.

        context: (b, f, c, h, w), f from 0 on, levels: (b, f), what the network is to take their noise for
        actions: (b, f, a), that led into them, origin: (b, 3), the pose before the first of them
        past: encoded frames right before these, which stay as they were encoded
        Returns: the past of a window that follows, of `past` and `context` together
        """

    def advance(self, past: Past, frames: Tensor, actions: Tensor) -> Past:
        """Return the same past, for a window that begins later by `frames`, which themselves stay unseen.

        frames: (b, f, c, h, w), noisy, f from 1 on, actions: (b, f, a), that led into them
        """

    def __call__(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        """Predict what the model's diffusion is told to expect: clean latents, velocity, v or noise.

        window: (b, f, c, h, w), levels: (b, f), of each frame, actions: (b, f, a), that lead into them
        Returns: (b, f, c, h, w)
        """


class MemoryNetwork(VideoNetwork[Past], Protocol[Past, MemoryPast]):
    """A network that also sees frames that have left the context, a group of them at a time, compressed.

    `models.dit.VideoDiT` is one.
    """

    @property
    def group(self) -> int:
        """Frames compressed together; 0 where the network was built without memory."""

    def empty_memory(self, batch: int, device: torch.device | str) -> Memory:
        """Return memory before anything was seen, its tensors in the shapes that `compress` fills."""

    def compress(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Compress a group of g frames as it leaves the context.

        latents: (b, g, c, h, w), clean, actions: (b, g, a), poses: (b, g, 3)
        Returns: (b, k, d), what memory keeps
        """

    def encode_memory(self, memory: Memory, earlier: MemoryPast | None = None) -> MemoryPast:
        """Encode memory; called when it changes, not at every denoising step.

        memory: groups in any number of slots, also none
        earlier: what this returned for this video's memory before; what still holds may be taken over, if that
            gives the same numbers to the bit
        Returns: what `encode_context` takes; it is not saved
        """

    def encode_context(
        self,
        context: Tensor,
        levels: Tensor,
        actions: Tensor,
        origin: Tensor,
        memory: MemoryPast | None = None,
        *,
        past: Past | None = None,
    ) -> Past:
        """Encode the clean frames right before a window, on top of memory.

        memory: what `encode_memory` returned; None where there is none. The rest as in `VideoNetwork`
        """


def labels_follow(network: VideoNetwork[Past]) -> bool:
    """Whether a network takes as a frame's action the one that is taken after it, not the one that led into it."""
    return bool(getattr(network, "labels_follow", False))


def has_memory(network: VideoNetwork[Past]) -> TypeGuard[MemoryNetwork[Past, object]]:
    """Whether a network was built with memory."""
    return getattr(network, "group", 0) > 0
