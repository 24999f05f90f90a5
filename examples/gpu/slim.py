"""Make a wheel of vizdoom small: without what a level of arvdm's own never shows, and packed more tightly.

Its frames stay the same to the bit: a maze brings textures, flats and palette of its own.
"""

import base64
import csv
import hashlib
import io
import os
import struct
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("vizdoom", "labmaze")  # of what pyproject.toml names for rendering; pillow is wherever torch is
LIMIT = 64 << 20  # bytes that such a machine takes at a time
LEVEL = b"THINGS LINEDEFS SIDEDEFS VERTEXES SEGS SSECTORS NODES SECTORS REJECT BLOCKMAP".split()


def pinned() -> list[str]:
    """The renderer's packages, in the versions that pyproject.toml pins."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["data"]
    return [line.partition(";")[0].strip() for line in extras if line.startswith(NEEDED)]


def strip(wad: bytes) -> bytes:
    """A game's file of lumps without its levels, music, sounds, sprites and wall patches."""
    count, table = struct.unpack("<ii", wad[4:12])
    lumps, kept, section = bytearray(wad[:12]), [], b""
    for number in range(count):
        place, size, name = struct.unpack("<ii8s", wad[table + 16 * number : table + 16 * number + 16])
        name = name.rstrip(b"\0")
        section = name if name.endswith(b"_START") else section
        shown = name not in LEVEL and not name.startswith((b"D_", b"DS", b"DP"))
        if size == 0 or (shown and section not in (b"S_START", b"P1_START")):
            kept.append((len(lumps) if size else 0, size, name))
            lumps += wad[place : place + size]
        section = b"" if name.endswith(b"_END") else section
    head = struct.pack("<4sii", wad[:4], len(kept), len(lumps))
    return head + bytes(lumps[12:]) + b"".join(struct.pack("<ii8s", *lump) for lump in kept)


def slim(wheel: Path) -> None:
    """Replace a wheel of vizdoom by a small one, its record made anew."""
    small, record = wheel.with_suffix(".part"), io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(small, "w", zipfile.ZIP_LZMA) as target:
        for entry in source.infolist():
            name = entry.filename
            # the folder of scenarios has to be there
            if name.endswith("freedoom1.wad") or ("/scenarios/" in name and not name.endswith("/basic.cfg")):
                continue
            data, entry.compress_type = source.read(entry), zipfile.ZIP_LZMA
            if name.endswith(".dist-info/RECORD"):
                last = entry
                continue
            if name.endswith("freedoom2.wad"):
                data = strip(data)
            target.writestr(entry, data)
            if not entry.is_dir():
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                rows.writerow([name, f"sha256={digest}", len(data)])
        rows.writerow([last.filename, "", ""])
        target.writestr(last, record.getvalue())
    os.replace(small, wheel)


def sizes() -> dict[str, int]:
    """Bytes of what travels: the tree as git sees it, the wheels, and the checkpoint to start from, if there is one."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    folders = {"wheels": ROOT / "examples/gpu/wheels", "start": ROOT / "runs/gpu-start/checkpoint"}
    carried = {name: [path for path in folder.rglob("*") if path.is_file()] for name, folder in folders.items()}
    files = {"tree": [ROOT / name for name in set(listed) if (ROOT / name).is_file()], **carried}
    return {name: sum(path.stat().st_size for path in paths) for name, paths in files.items()}


if __name__ == "__main__":
    if sys.argv[1:] == ["--pinned"]:
        print(*pinned())
    elif sys.argv[1:] == ["--sizes"]:
        found = sizes()
        total = sum(found.values())
        print(", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in found.items()), end="; ")
        print(f"{total / 2**20:.1f} MiB in all, {'within' if total <= LIMIT else 'MORE THAN'} {LIMIT >> 20} MiB")
    else:
        for file in sys.argv[1:]:
            slim(Path(file))
