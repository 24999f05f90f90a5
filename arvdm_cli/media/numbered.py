"""Folders of numbered images: frames/%06d.png."""

import os
import re
from pathlib import Path

from ..errors import UsageError

NUMBERED = re.compile(r"%(?:0(\d{1,2}))?d")


def _pattern(name: str) -> tuple[Path, str]:
    """Split a target for images into its folder and the pattern of their names."""
    if not name.lower().endswith(".png"):
        return Path(name), "%06d.png"
    path = Path(name)
    if len(NUMBERED.findall(path.name)) != 1 or path.name.count("%") != 1:
        raise UsageError(f"{name!r} names one image for many frames.", hint="Put a number in: frames/%06d.png.")
    return path.parent, path.name


def _numbers(folder: Path, pattern: str) -> list[int]:
    """List the numbers of the images that a pattern has in a folder."""
    before, _, _ = pattern.partition("%")
    after = NUMBERED.split(pattern)[-1]
    names = os.listdir(folder) if folder.is_dir() else []
    found = (re.fullmatch(f"{re.escape(before)}([0-9]+){re.escape(after)}", name) for name in names)
    return [int(match[1]) for match in found if match]
