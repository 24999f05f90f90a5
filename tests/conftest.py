"""What all tests share: which of them skip themselves, two ways to run the command line, and true frames."""

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: a second thread costs more than it brings

quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("tests", max_examples=30, derandomize=True, **quiet)
settings.register_profile("fuzz", max_examples=800, print_blob=True, **quiet)  # `make fuzz`
settings.load_profile("tests")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("network") and os.environ.get("ARVDM_TEST_NETWORK") != "1":
            item.add_marker(pytest.mark.skip(reason="ARVDM_TEST_NETWORK=1 lets it reach the internet"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_users_own(tmp_path_factory):
    """Keep settings files of whoever runs the tests out of them."""
    assert not os.path.exists("arvdm.toml"), "arvdm.toml in this folder would set flags in the tests"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    """Run every test in a terminal of 80 columns with none of the user's settings."""
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

    def run(*args, **options):
        command = [sys.executable, "-m", "arvdm_cli", *map(str, args)]
        return subprocess.run(command, **({"capture_output": True, "text": True, "timeout": 600} | options))

    return run


@pytest.fixture(scope="session")
def clips():
    """True clips of two mazes; without a renderer, their tests skip themselves."""
    pytest.importorskip("labmaze")
    pytest.importorskip("vizdoom")
    from arvdm_cli.evaluation.truth import render
    from arvdm_cli.worlds.maze import World

    return render(World(), 2, 7)
