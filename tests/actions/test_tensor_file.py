"""A lone tensor is read as torch saved it; nothing else is, and nothing of the file ever runs."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from arvdm_cli.actions import tensor_file
from arvdm_cli.errors import ActionError

T = torch.arange(200.0).reshape(8, 25)
TENSORS = {
    "plain": T,
    "slice": T[3:],
    "column": T[:, 4],
    "steps": T[1::3, ::2],
    "turned": T.t(),
    "batch": T[None],
    "repeated": T[:1].expand(40, 25),
    "empty": T[:0],
    "long": torch.arange(70_000).reshape(-1, 25),
    "gradient": T.clone().requires_grad_(),
    **{str(kind): T.to(kind) for kind in (torch.float64, torch.float16, torch.int32, torch.int8, torch.bool)},
}


def read(tmp_path, data):
    (tmp_path / "a.pt").write_bytes(data)
    return tensor_file.read(tmp_path / "a.pt", "a.pt")


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_a_tensor_is_read_as_torch_saved_it(tmp_path, tensor):
    for value in (tensor, {"actions": tensor}):
        array = read(tmp_path, saved(value))
        expected = tensor.detach().numpy()
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_a_slice_is_read_as_the_slice_and_not_as_the_whole(tmp_path):
    data = saved(T[3:])
    assert len(data) >= len(saved(T))  # all of it is in the file
    np.testing.assert_array_equal(read(tmp_path, data), T.numpy()[3:])


def test_no_torch_is_needed(tmp_path):
    (tmp_path / "a.pt").write_bytes(saved(T))
    code = (
        "import sys; from pathlib import Path; from arvdm_cli.actions.tensor_file import read\n"
        "print(read(Path(sys.argv[1]), 'a').sum(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.pt"], capture_output=True, text=True)
    assert done.stdout.split() == ["19900.0", "False"], done.stderr


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_runs_nothing(tmp_path):
    canary = Canary(tmp_path / "canary")
    evil = {
        "alone": saved(canary),
        "beside a tensor": saved({"actions": T, "more": canary}),
        "as the key": saved({canary: T}),
        "old": saved(canary, _use_new_zipfile_serialization=False),
        "bare": pickle.dumps(canary),
        "in an archive of ours": rebuilt(lambda program: pickle.dumps(canary, 2)),
        "before the tensor": rebuilt(lambda program: pickle.dumps(canary, 2)[:-1] + b"0" + program[2:]),
        "by name": rebuilt(lambda program: program.replace(b"collections\nOrderedDict", b"os\ngetcwd")),
    }
    for name, data in evil.items():
        with pytest.raises(ActionError) as caught:
            read(tmp_path, data)
        assert caught.value.code == 3, name
        assert not (tmp_path / "canary").exists(), name
    pickle.loads(evil["bare"])
    assert (tmp_path / "canary").exists()  # it would have run


def rebuilt(change, tensor=T, **records):
    """A file of torch.save with its pickle changed, and records left out (None) or put in the place of others."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(tensor))) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            key = name.partition("/")[2]
            data = records.get(key, old.read(name))
            if data is not None and key == "data.pkl":
                changed = change(data)
                assert changed != data or change is same
                new.writestr(name, changed)
            elif data is not None:
                new.writestr(name, data)
    return file.getvalue()


def same(program):
    return program


COUNT = b"K\xc8"  # 200 numbers in the storage
SHAPE = b"K\x08K\x19\x86"  # (8, 25)
HUGE = b"\x8a\x08" + b"\xff" * 7 + b"\x0f"  # about 10 ** 18
BAD = {
    "nothing": b"",
    "garbage": b"garbage",
    "cut": saved(T)[:-100],
    "half": saved(T)[: len(saved(T)) // 2],
    "old": saved(T, _use_new_zipfile_serialization=False),
    "no tensor": saved([1, 2]),
    "two tensors": saved({"a": T, "b": T}),
    "a list": saved([T]),
    "a module's weights": saved(OrderedDict(a=T)),
    "a parameter": saved(torch.nn.Parameter(T)),
    "bfloat16": saved(T.bfloat16()),
    "sparse": saved(T.to_sparse()),
    "no pickle": rebuilt(same, **{"data.pkl": None}),
    "no storage": rebuilt(same, **{"data/0": None}),
    "short storage": rebuilt(same, **{"data/0": b"\0" * 796}),
    "endless pickle": rebuilt(lambda program: program + b"0" * (1 << 20)),
    "cut pickle": rebuilt(lambda program: program[:-20]),
    "count too large for memory": rebuilt(lambda program: program.replace(COUNT, HUGE)),
    "count larger than the storage": rebuilt(lambda program: program.replace(COUNT, b"M\xff\xff")),
    "shape larger than the storage": rebuilt(lambda program: program.replace(SHAPE, b"K\x09K\x19\x86")),
    "huge shape": rebuilt(lambda program: program.replace(SHAPE, HUGE + HUGE + b"\x86")),
    "huge shape of one number": rebuilt(lambda p: p.replace(SHAPE + b"q\x06K\x19K\x01", HUGE + b"K\x19\x86K\0K\0")),
    "negative shape": rebuilt(lambda program: program.replace(SHAPE, b"J\xff\xff\xff\xffK\x19\x86")),
    "offset beyond": rebuilt(lambda program: program.replace(b"QK\0", b"QK\xc8")),
    "more axes than strides": rebuilt(lambda program: program.replace(SHAPE, b"K\x01K\x08K\x19\x87")),
    "a bomb": rebuilt(lambda program: b"\x80\x02cbuiltins\nbytearray\n" + HUGE + b"\x85R."),
}


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(ActionError) as caught:
        read(tmp_path, BAD[name])
    assert caught.value.code == 3
    assert str(caught.value).startswith("'a.pt' ") and len(str(caught.value).splitlines()) == 1


def test_without_the_change_it_is_read(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, rebuilt(same)), T.numpy())
