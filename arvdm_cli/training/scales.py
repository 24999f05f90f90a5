"""How large the actions of a data set are, so that a network sees steering in degrees as it sees a pressed button."""

from __future__ import annotations

import numpy as np

from ..data.batches import Episodes

EPISODES = 500  # that are looked at, evenly over all of training
SHARE = 99  # percent of an action's values that are at most its scale; a rare jump of a mouse does not set it
DIGITS = 2  # of a scale, which is an order of magnitude


def action_scales(episodes: Episodes) -> tuple[float, ...]:
    """The scale of each action: the 99th percentile of its absolute values where it is not 0.

    Zero stays zero, as a row of zeros is an unknown action. Returns () where every scale is 1, as for buttons.
    """
    if len(episodes.actions.shape) == 2 or not episodes.names:  # numbers of names
        return ()
    sizes = np.abs(episodes.actions[spread(episodes)].reshape(-1, len(episodes.names)))  # (n, a)
    scales = tuple(scale_of(column[column > 0]) for column in sizes.T)
    return scales if set(scales) != {1.0} else ()


def spread(episodes: Episodes) -> np.ndarray:
    """Numbers of up to EPISODES episodes, evenly over all of training."""
    return episodes.train[np.linspace(0, len(episodes.train) - 1, min(EPISODES, len(episodes.train))).astype(int)]


def scale_of(sizes: np.ndarray) -> float:
    """The scale of values that are not 0; 1 where there are none."""
    scale = float(np.percentile(sizes, SHARE)) if len(sizes) else 1.0
    return float(f"{scale:.{DIGITS}g}") if np.isfinite(scale) else 1.0


def scales_of(network: object) -> tuple[float, ...]:
    """The scales in a network's config; () where it has none."""
    return getattr(network, "action_scales", ())
