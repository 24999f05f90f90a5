"""Frame sizes as flags give them."""

import re

from ...errors import UsageError


def size_of(text: str | None) -> tuple[int, int] | None:
    """Read "64" or "96x64", width before height, as height and width."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise UsageError(f"{text!r} is not a size.", hint="Write 64, or 96x64 for 96 wide and 64 high.")
    return int(match[2] or match[1]), int(match[1])
