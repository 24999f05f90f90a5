"""The use of cores is told: what this program waits for, and what others use."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the use of cores is told in /proc")


def test_time_without_a_core_is_counted_and_a_child_is_no_other_program():
    script = """if True:
        import os, subprocess, sys, time
        from arvdm_cli.cli.contention import others, waited
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        busy = [sys.executable, "-c", "while True: pass"]
        with subprocess.Popen(busy) as child:  # on the same core
            before, until = (waited(), others()), time.monotonic() + 2
            while time.monotonic() < until:
                pass
            print(waited() - before[0], others() - before[1])
            child.kill()
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    waiting, used = map(float, done.stdout.split())
    cores = os.cpu_count()
    assert 0.2 < waiting < 2.5 and -0.1 < used < 2 * (cores - 1) + 0.5  # the other cores may be busy


def test_what_other_programs_use_is_counted():
    script = (
        "import os, time; from arvdm_cli.cli.contention import others; a = others(); time.sleep(2); print(others() - a)"
    )
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        busy.kill()
    assert 0.5 < float(done.stdout) < 2 * os.cpu_count() + 0.5
