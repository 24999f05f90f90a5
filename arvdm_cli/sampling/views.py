"""How a long window is shown to the network: whole, or in parts."""

from __future__ import annotations

from collections.abc import Callable

View = tuple[slice, slice]  # frames of the window that a network call reads, and those of them that it writes


def whole(window: int, size: int) -> list[View]:
    """One call that reads and writes the whole window."""
    return [(slice(0, window), slice(0, window))]


def partition(window: int, size: int) -> list[View]:
    """Calls on parts of `size` frames, each of which reads and writes itself alone: a long window, a short network.

    Source: FIFO-Diffusion, arXiv 2405.11473, latent partitioning.
    """
    parts = [slice(begin, min(begin + size, window)) for begin in range(0, window, size)]
    return [(part, part) for part in parts]


def lookahead(window: int, size: int) -> list[View]:
    """Calls on parts of `size` frames, each of which writes its later half alone, after cleaner frames; twice as many.

    Source: FIFO-Diffusion, arXiv 2405.11473, lookahead denoising.
    """
    half = max(1, size // 2)
    writes = [slice(begin, min(begin + half, window)) for begin in range(0, window, half)]
    return [(slice(max(0, write.start - half), write.stop), write) for write in writes]


VIEWS: dict[str, Callable[[int, int], list[View]]] = {
    "whole": whole,
    "partition": partition,
    "lookahead": lookahead,
}
