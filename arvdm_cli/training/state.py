"""The saved state of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigError
from ..files import load_pickled, replacing


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a run's state, replacing the old one whole."""
    with replacing(path, hint="The state before it is kept.") as part:
        try:
            torch.save(state, part)
        except RuntimeError as error:  # torch's word for a full disk, and for a folder that is not there
            raise OSError(str(error).splitlines()[0].rstrip(".")) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read a run's state without running any code in it."""
    try:
        state = load_pickled(path)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no run to resume: {path} is missing.", hint="Leave out --resume.") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is not the state of a run.")
    return state
