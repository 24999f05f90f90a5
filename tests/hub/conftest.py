"""What the tests of this folder share."""

from types import SimpleNamespace

import pytest
from huggingface_hub import constants


@pytest.fixture
def run(arvdm, hub, home, monkeypatch):
    """Run a command in this process, with the client's settings as a process of its own would read them."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))

    def run(*args, **more):
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        result = arvdm(*args)
        return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    return run
