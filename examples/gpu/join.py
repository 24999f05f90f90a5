"""Checkpoints in small files, for a machine from which few and small ones come back.

python examples/gpu/join.py FOLDER CHECKPOINT puts them together again; `arvdm generate -m CHECKPOINT` loads the result.
"""

import hashlib
import json
import sys
from pathlib import Path

PART = 16_000_000  # bytes of a file, below 16 MiB
PARTS = 4  # files, so that those beside them find room in 64 MiB and in eight files
INDEX = "parts.json"


def split(checkpoints: dict[str, Path], out: Path, part: int = PART, parts: int = PARTS) -> list[str]:
    """Write checkpoints by name as parts and an index of them; gives the names for which there was room, in order.

    Small files stand in the index as text.
    Raises: ValueError where there is no room for the first
    """
    index, used, room = {}, [], parts
    for name, folder in checkpoints.items():
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        needed = sum(-(-len(data) // part) for file, data in files.items() if file.endswith(".safetensors"))
        if needed > room:
            if not used:
                raise ValueError(f"{folder} takes {needed} files of {part} bytes; there is room for {parts}.")
            continue
        room -= needed
        used.append(name)
        index[name] = {}
        for file, data in files.items():
            told = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if file.endswith(".safetensors"):
                pieces = {f"{name}.{i}": data[i * part : (i + 1) * part] for i in range(-(-len(data) // part))}
                for piece, content in pieces.items():
                    (out / piece).write_bytes(content)
                told["parts"] = {piece: hashlib.sha256(content).hexdigest() for piece, content in pieces.items()}
            else:
                told["text"] = data.decode()
            index[name][file] = told
    (out / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return used


def join(folder: Path, checkpoint: Path, name: str | None = None) -> list[Path]:
    """Write the checkpoint of a name, the first if none is given, that `split` left in a folder; gives its files.

    Raises: ValueError where a part is missing or not the one that was written; nothing is written then
    """
    index = json.loads((folder / INDEX).read_text())
    name = name or next(iter(index))
    if name not in index:
        raise ValueError(f"{folder} holds {', '.join(index)}, not {name}.")
    files = {}
    for file, told in index[name].items():
        if Path(file).name != file:
            raise ValueError(f"{folder / INDEX} names a file outside the checkpoint: {file!r}.")
        data = told.get("text", "").encode()
        for piece, digest in told.get("parts", {}).items():
            path = folder / Path(piece).name
            if not path.is_file():
                raise ValueError(f"{path} is missing.")
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise ValueError(f"{path} is not the part that was written: its sha256 differs.")
            data += content
        if hashlib.sha256(data).hexdigest() != told["sha256"]:
            raise ValueError(f"{file} is not what was split: its sha256 differs.")
        files[checkpoint / file] = data
    checkpoint.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        path.write_bytes(data)
    return list(files)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("python examples/gpu/join.py FOLDER CHECKPOINT [average or last]")
    try:
        for written in join(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]):
            print(written)
    except (OSError, ValueError) as error:
        sys.exit(f"join.py: {error}")
