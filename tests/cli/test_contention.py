"""The use of cores, as /proc has it: what this program waits for, and what others use."""

import os

import pytest

from arvdm_cli.cli import contention


@pytest.fixture
def proc(tmp_path):
    """A /proc in which two threads waited for 2.5 and 1 s, with a child that worked for 5 + 7 + 11 + 13 ticks."""
    files = {
        "stat": "cpu  100 20 30 999999 888 4 6 77 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n",
        "self/task/7/schedstat": "123 2500000000 9\n",
        "self/task/7/children": "42 \n",
        "self/task/8/schedstat": "456 1000000000 9\n",
        "self/task/8/children": "",
        "42/stat": "42 (a (b) c) R " + " ".join(["0"] * 10) + " 5 7 11 13 20 0 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_time_without_a_core_is_that_of_all_threads(proc):
    assert contention.wait_time(proc) == 3.5


def test_what_cores_have_worked_has_neither_idle_time_nor_that_of_own_children(proc):
    assert contention.ticks(proc) == 100 + 20 + 30 + 4 + 6 - (5 + 7 + 11 + 13)


def test_a_child_that_has_just_ended_counts_for_nothing(proc):
    (proc / "42/stat").unlink()
    assert contention.ticks(proc) == 160


def test_a_system_that_does_not_tell_is_not_busy(tmp_path):
    assert contention.wait_time(tmp_path) == 0 and contention.other_time(tmp_path) == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the use of cores is read in /proc")
def test_this_system_tells_both():
    before, worked = contention.wait_time(), contention.ticks()
    assert 0 <= before <= contention.wait_time() and worked > 0
