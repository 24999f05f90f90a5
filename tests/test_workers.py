"""Processes that work for another one end with it, and close what they have opened."""

import os
import signal
import subprocess
import sys
import time

import pytest

from arvdm_cli import workers
from arvdm_cli.errors import ArvdmError
from arvdm_cli.workers import in_order, render_all, uninterrupted
from support.jobs import square
from support.paths import ROOT, TESTS
from support.processes import session

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found in /proc")


def begin(tmp_path):
    """A process that has more jobs done than there are processes, once the first have begun; and their numbers."""
    script = f"""if True:
        from arvdm_cli.workers import render_all
        from support.jobs import hold
        render_all(hold, [({str(tmp_path / "begun")!r},)] * 12, lambda *_: None)
    """
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{TESTS}"}
    process = subprocess.Popen([sys.executable, "-c", script], env=env, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists() or not (workers := (tmp_path / "begun").read_text().split()):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    return process, [int(worker) for worker in workers]


def test_results_come_in_the_order_of_their_jobs():
    told = []
    assert render_all(square, [(i,) for i in range(9)], lambda done, total: told.append((done, total))) == [
        i**2 for i in range(9)
    ]
    assert told == [(i + 1, 9) for i in range(9)]


def test_results_of_a_long_list_come_one_by_one_in_order_and_few_of_them_wait():
    begun = []
    jobs = ((begun.append(i) or i,) for i in range(40))
    for number, result in enumerate(in_order(square, jobs, 2, ahead=3)):
        assert result == number**2 and len(begun) <= number + 6
    assert number == 39
    with pytest.raises(TypeError):
        list(in_order(square, [(1,), ("four",)], 2))


def test_an_error_of_a_job_is_raised_here():
    with pytest.raises(TypeError):
        render_all(square, [("four",)], lambda *_: None)


def wait_until_all_have_ended(process):
    until = time.monotonic() + 30
    while left := session(process.pid):
        assert time.monotonic() < until, left
        time.sleep(0.05)


def test_all_of_them_end_with_a_parent_that_is_killed_also_where_jobs_wait(tmp_path):
    process, _ = begin(tmp_path)
    process.kill()
    process.communicate()
    wait_until_all_have_ended(process)


def test_one_that_is_ended_is_an_error_and_ends_the_others(tmp_path):
    process, (worker, *_) = begin(tmp_path)
    os.kill(worker, signal.SIGTERM)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 1 and ArvdmError.__name__ in told.decode() and "ended early" in told.decode()
    wait_until_all_have_ended(process)


def test_one_whose_end_is_caught_between_two_jobs_ends_all_the_same(tmp_path):
    script = f"""if True:
        import signal, time
        from arvdm_cli import workers
        workers.PATIENCE = 0.2
        signal.signal(signal.SIGTERM, workers._leave)
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:  # as a pool does
            open({str(tmp_path / "caught")!r}, "w").close()
        time.sleep(60)
    """
    process = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=600)
    assert (tmp_path / "caught").exists() and process.returncode == -signal.SIGALRM


@pytest.mark.slow
@pytest.mark.parametrize("again", [None, 0.0, 0.001, 0.01])
def test_ctrl_c_ends_all_of_them_at_once_also_where_it_comes_twice(tmp_path, again):
    process, _ = begin(tmp_path)
    process.send_signal(signal.SIGINT)
    if again is not None:
        time.sleep(again)
        process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=600)
    assert process.returncode != 0 and b"KeyboardInterrupt" in told
    wait_until_all_have_ended(process)


def test_a_signal_that_comes_while_another_one_closes_the_pipe_is_handled_as_the_first():
    heard = []

    class Pipe:
        closed = False

        def close(self):
            if self.closed:
                raise OSError("Bad file descriptor")
            self.closed = True
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with workers._closing_at_signals(Pipe()):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_block_that_is_not_to_be_interrupted_comes_after_it(number):
    came, done = [], []
    before = signal.signal(number, lambda *_: came.append(len(done)))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            with uninterrupted():
                signal.raise_signal(number)
            done.append(1)
        assert came == [1]
        signal.raise_signal(number)
        assert came == [1, 1]
    finally:
        signal.signal(number, before)
