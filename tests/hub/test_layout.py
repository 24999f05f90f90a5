"""Names that a checkpoint's files give, and where its folder lies."""

from pathlib import Path

import pytest

from arvdm_cli.hub.layout import is_inside, repository_of


@pytest.mark.parametrize("name", ["a.safetensors", "a..b", ".a"])
def test_a_plain_name_is_inside_its_folder(name):
    assert is_inside(name) and is_inside(f"vae/{name}", 1)
    assert not is_inside(f"vae/{name}") and not is_inside(f"a/vae/{name}", 1)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "/a", "C:a", "C:\\a", "a\\b", "a/", "/", "a//b", "./a", "vae/..", "a\0b", 7, None]
)
def test_a_name_that_leaves_its_folder_on_some_system_is_not_inside(name):
    assert not is_inside(name) and not is_inside(name, 1)


def test_a_folder_of_the_hubs_cache_tells_its_repository_and_commit():
    folder = Path("/x/hub/models--some--bo-dy--v2/snapshots/c0ffee")
    assert repository_of(folder) == ("some/bo-dy--v2", "c0ffee")
    assert repository_of(folder.parent) is None and repository_of(Path("maze")) is None
