"""Which episodes of a folder a training has never seen, by what a checkpoint's card says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def held_out_of(card: Mapping[str, object], folder: Path, count: int, mark: str | None = None) -> int | None:
    """How many of the last episodes of a folder training held out; all where it was not trained on; None: not known.

    count: episodes in the folder; mark: its digest
    """
    folders, held_out = card.get("data_folders"), card.get("held_out")
    if not isinstance(folders, list) or not isinstance(held_out, int):
        return None
    digests = card.get("data_digests")
    number = place_of(folder, list(map(str, folders)), mark, digests if isinstance(digests, list) else [])
    if number is None:
        return count
    return min(count, len(range(number, held_out, len(folders))))  # as `data.batches.Episodes` holds them out


def place_of(folder: Path, folders: list[str], mark: str | None = None, digests: Sequence[object] = ()) -> int | None:
    """Which of the folders of a training a folder is: by its digest, wherever it is, else by its path or its name.

    Of several that it may be, the last, of which the fewest episodes were held out.
    """
    path = os.path.realpath(folder)
    paths = [os.path.realpath(each) for each in folders]
    for one, all_of_them in (
        (mark, digests),
        (path, paths),
        (os.path.basename(path), [os.path.basename(each) for each in paths]),
    ):
        if places := [number for number, other in enumerate(all_of_them) if other == one]:
            return places[-1]
    return None
