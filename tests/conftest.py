"""What all tests share: which of them skip themselves, ways to run the command line, and what they run it on."""

import functools
import gc
import os
import subprocess
from collections import Counter

import pytest
import typer
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

pytest.register_assert_rewrite("support")  # its asserts say as much as those of tests

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: a second thread costs more than it brings

quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("tests", max_examples=30, derandomize=True, **quiet)
settings.register_profile("fuzz", max_examples=800, print_blob=True, **quiet)  # `make fuzz`
settings.load_profile("tests")

# Files that take longest, which xdist begins with: what is left for the end is short, and all workers share it
LONGEST = ("test_documents", "test_kills", "test_faults", "test_resume", "test_page", "test_minecraft")


def pytest_collection_modifyitems(items):
    count = Counter(item.path for item in items)
    rank = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (rank.get(item.path.stem, len(rank)), -count[item.path], str(item.path)))
    for item in items:
        if item.get_closest_marker("network") and os.environ.get("ARVDM_TEST_NETWORK") != "1":
            item.add_marker(pytest.mark.skip(reason="ARVDM_TEST_NETWORK=1 lets it reach the internet"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if item.get_closest_marker("browser"):
            from support.browser import chromium

            if chromium() is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium"))
        if item.get_closest_marker("mps"):
            import torch

            if not torch.backends.mps.is_available():
                item.add_marker(pytest.mark.skip(reason="no GPU of Apple's"))


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # thousands of tests and all modules, which stay to the end: no collection need look at them again


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_users_own(tmp_path_factory):
    """Keep settings files of whoever runs the tests out of them."""
    assert not os.path.exists("arvdm.toml"), "arvdm.toml in this folder would set flags in the tests"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True, scope="session")
def parsers_that_are_built_once():
    """Let typer's runner build the parser of an app once, not for each of the thousands of commands that tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command), raising=False)
        yield


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    """Run every test in a terminal of 80 columns with none of the user's settings, nor those of the test before."""
    from arvdm_cli.cli import console

    console.configure(console.Settings())
    for name in list(os.environ):
        if name.startswith("ARVDM_") or name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def arvdm():
    """Run a command in this process: `arvdm("schedule", "list").stdout`, `.stderr`, `.exit_code`."""
    from arvdm_cli.cli import app

    def run(*args, **options):
        return CliRunner().invoke(app, [str(arg) for arg in args], **options)

    return run


@pytest.fixture
def shell():
    """Run a command as a user does, in a process of its own: `.stdout`, `.stderr`, `.returncode`."""
    from support import warm

    def run(*args, **options):
        command = warm.command("-m", "arvdm_cli", *args)
        return subprocess.run(command, **({"capture_output": True, "text": True, "timeout": 600} | options))

    return run


@pytest.fixture(scope="session")
def clips():
    """True clips of two mazes; without a renderer, their tests skip themselves."""
    pytest.importorskip("labmaze")
    pytest.importorskip("vizdoom")
    from arvdm_cli.evaluation.truth import LENGTH, render
    from arvdm_cli.worlds.maze_world import MazeWorld

    return render(MazeWorld(), "revisit", 2, LENGTH, 7)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint folder of 16x16 frames whose weights mean nothing."""
    from support.checkpoints import save_small

    return save_small(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A prompt of 8 frames of 20x16 at 15 frames a second."""
    import numpy as np

    from support.videos import write

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write(path, np.random.default_rng(0).integers(0, 255, (8, 16, 20, 3), np.uint8))
    return path


@pytest.fixture(scope="module")
def long_mp4(tmp_path_factory):
    """An mp4 of 200 noisy frames with its index in front, and the end of that index."""
    import numpy as np

    from support.videos import run_ffmpeg, write

    path = tmp_path_factory.mktemp("long") / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    write(path.with_name("b.mp4"), noise)
    run_ffmpeg("-i", path.with_name("b.mp4"), "-c", "copy", "-movflags", "+faststart", path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that nothing has disturbed, and the data and the file it was made from."""
    from support import warm
    from support.paths import ROOT
    from support.tiny import render
    from support.training import TRAIN

    made = tmp_path_factory.mktemp("trained")
    render(made / "data")
    (made / "run.toml").write_text(TRAIN)
    command = warm.command("-m", "arvdm_cli", "train", "run.toml", "-q")
    subprocess.run(command, cwd=made, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    return made


@pytest.fixture
def hub():
    """A Hub on this machine with one repository, some/body."""
    from support.hub import FILES
    from support.loopback_hub import LoopbackHub

    served = LoopbackHub()
    served.add("some/body", dict(FILES))
    yield served
    served.close()


@pytest.fixture
def home(tmp_path):
    """Where the Hub's client keeps its cache and its login."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_stored")
    return tmp_path / "home"


@pytest.fixture
def env(hub, home):
    """The environment of a process that knows the Hub on this machine and no other."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ARVDM_"))}
    return kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)}


@pytest.fixture
def run_apart(shell, env):
    """Run a command in a process of its own: `run_apart("download", "some/body", HF_TOKEN="...")`."""

    def run(*args, **more):
        return shell(*args, env=env | more)

    return run
