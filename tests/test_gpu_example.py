"""examples/gpu: what comes back in parts is what was written, and what is asked wrongly is said."""

import importlib.util
import json
import shutil
import struct
import subprocess

import pytest

from arvdm_cli.hub import checkpoint
from arvdm_cli.models import MODELS
from arvdm_cli.training.config import configure
from support.paths import EXAMPLES
from support.tiny import model

FOLDER = EXAMPLES / "gpu"


def script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


parts, wheels = script("join"), script("slim")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "average"
    checkpoint.save(model(), folder)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("part", [1_000, 65_536, 10**9])
def test_parts_joined_are_the_checkpoint_to_the_bit_and_none_is_larger_than_asked_for(folder, tmp_path, part):
    size = (folder / "model.safetensors").stat().st_size
    assert parts.split({"average": folder}, tmp_path, part, 1000) == ["average"]
    pieces = list(tmp_path.glob("average.*"))
    assert len(pieces) == -(-size // part) and max(path.stat().st_size for path in pieces) <= part
    parts.join(tmp_path, tmp_path / "joined")
    assert contents(tmp_path / "joined") == contents(folder)
    assert checkpoint.load(tmp_path / "joined").card["name"] == "tiny"


def test_what_comes_back_fits_eight_files_of_16_MiB_and_64_in_all():
    beside = 3_000_000  # results, metrics, a sheet and the index
    assert parts.PART <= 16 << 20 and parts.PARTS * parts.PART + beside <= 64 << 20 and parts.PARTS + 4 <= 8


def test_of_two_checkpoints_the_second_is_left_out_where_there_is_no_room(folder, tmp_path):
    size = (folder / "model.safetensors").stat().st_size
    other = shutil.copytree(folder, tmp_path / "last")
    for room, names in ((3, ["average"]), (4, ["average", "last"])):
        out = tmp_path / str(room)
        out.mkdir()
        assert parts.split({"average": folder, "last": other}, out, size // 2 + 1, room) == names
        assert len([path for path in out.iterdir() if path.name != parts.INDEX]) == 2 * len(names)
    parts.join(tmp_path / "4", tmp_path / "joined", "last")
    assert contents(tmp_path / "joined") == contents(other)
    with pytest.raises(ValueError, match="holds average, not last"):
        parts.join(tmp_path / "3", tmp_path / "none", "last")
    with pytest.raises(ValueError, match="there is room for 1"):
        parts.split({"average": folder}, tmp_path, size // 2 + 1, 1)


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_a_part_that_is_missing_or_changed_is_named_and_nothing_is_written(folder, tmp_path, harm):
    parts.split({"average": folder}, tmp_path, 65_536, 1000)
    hurt = tmp_path / "average.1"
    if harm == "missing":
        hurt.unlink()
    else:
        hurt.write_bytes(hurt.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"average\.1 is (missing|not the part)"):
        parts.join(tmp_path, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_part_may_not_lead_out_of_its_folder(folder, tmp_path):
    parts.split({"average": folder}, tmp_path)
    index = json.loads((tmp_path / parts.INDEX).read_text())
    index["average"]["../config.json"] = index["average"].pop("config.json")
    (tmp_path / parts.INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="outside"):
        parts.join(tmp_path, tmp_path / "joined")


@pytest.mark.parametrize(
    ("words", "said"), [(["dance"], "'dance'; choose measure, render or train"), ([], "''"), (["train"], "OUT")]
)
def test_an_unknown_stage_and_a_missing_folder_are_refused(tmp_path, words, said):
    done = subprocess.run([FOLDER / "run.sh", *words], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and said in done.stderr and not list(tmp_path.iterdir())


def test_the_training_files_can_be_read_and_what_the_large_one_trains_comes_back():
    large, tiny = configure(FOLDER / "train.toml"), configure(FOLDER / "tiny.toml")
    assert large.network.dim > tiny.network.dim and large.codec == tiny.codec
    network = MODELS["dit"].network(large.network)
    codec = MODELS["dit"].codec(large.codec)
    numbers = sum(weight.numel() for module in (network, codec) for weight in module.parameters())
    assert 2 * numbers + (1 << 20) <= parts.PART * parts.PARTS


def test_a_stripped_file_of_lumps_keeps_what_a_level_of_our_own_needs():
    lumps = [(b"PLAYPAL", b"colours"), (b"MAP01", b""), (b"THINGS", b"a monster"), (b"D_RUNNIN", b"music")]
    lumps += [(b"DSPISTOL", b"bang"), (b"S_START", b""), (b"TROOA1", b"a sprite"), (b"S_END", b"")]
    lumps += [(b"F1_START", b""), (b"FLAT", b"a floor"), (b"F1_END", b"")]
    body, table = b"", b""
    for name, data in lumps:
        table += struct.pack("<ii8s", 12 + len(body), len(data), name)
        body += data
    small = wheels.strip(struct.pack("<4sii", b"IWAD", len(lumps), 12 + len(body)) + body + table)
    count, start = struct.unpack("<ii", small[4:12])
    rows = [struct.unpack("<ii8s", small[start + 16 * i :][:16]) for i in range(count)]
    kept = {name.rstrip(b"\0"): small[place : place + size] for place, size, name in rows}
    assert kept[b"PLAYPAL"] == b"colours" and kept[b"FLAT"] == b"a floor" and len(small) == start + 16 * count
    assert {b"S_START", b"S_END", b"MAP01"} <= kept.keys()
    assert not {b"THINGS", b"D_RUNNIN", b"DSPISTOL", b"TROOA1"} & kept.keys()


def test_the_renderer_is_brought_in_the_versions_that_are_pinned():
    assert [line.partition("==")[0] for line in wheels.pinned()] == ["vizdoom", "labmaze"]
    assert all("==" in line and ";" not in line for line in wheels.pinned())
