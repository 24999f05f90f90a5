"""What the tests of this folder share."""

import pytest

from support.videos import scene, write


@pytest.fixture(scope="module")
def frames():
    return scene()


@pytest.fixture(scope="module")
def clip(frames, tmp_path_factory):
    """A clip that keeps every pixel."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write(path, frames, codec="ffv1")
    return path
