"""Recorded actions: those that open-oasis publishes, and frames of VPT."""

import numpy as np

from support.paths import FIXTURES

OASIS = np.load(FIXTURES / "oasis-actions.npy")  # 40 rows, as published


def frame(*keys, buttons=(), clicked=(), dx=0.0, dy=0.0, hotbar=0, gui=False, **more):
    """A frame as it is recorded, with some of what else stands there."""
    return {
        "mouse": {"x": 640.0, "y": 360.0, "dx": dx, "dy": dy, "scaledX": 0.0, "scaledY": 0.0, "dwheel": 0.0}
        | {"buttons": [*buttons], "newButtons": [*clicked]},
        "keyboard": {"keys": [f"key.keyboard.{key}" for key in keys], "newKeys": [], "chars": ""},
        "isGuiOpen": gui,
        "hotbar": hotbar,
        "yaw": -179.8,
        "pitch": 12.0,
        "tick": 7,
        "milli": 1649000000000,
        "inventory": [{"type": "oak_log", "quantity": 3}],
        "stats": {"minecraft.custom:minecraft.jump": 4},
    } | more
