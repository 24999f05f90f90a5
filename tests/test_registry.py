"""Names of checkpoints: a path, a short name, a repository of the Hub, in this order."""

import json

import pytest
from huggingface_hub import constants

from arvdm_cli import registry
from arvdm_cli.errors import CheckpointError, UnknownModelError
from arvdm_cli.registry import CONFIG, Entry, entries, read_config, resolve

HERE, THERE = "a" * 40, "b" * 40  # commits


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text('{"format": 1}')
    return folder


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty Hub's cache, an empty working directory, and two short names, one of them not shipped."""
    shipped = checkpoint(tmp_path / "package" / "maze")
    known = [Entry("maze", "Mazes", str(shipped)), Entry("mine", "Ores", None), Entry("own/er", "Odd", str(shipped))]
    monkeypatch.setattr(registry, "entries", lambda: known)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "hub"


def fetched(hub, name, commit=HERE, revision="main"):
    """A repository in the Hub's cache."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return checkpoint(repository / "snapshots" / commit)


def test_a_short_name_leads_to_what_came_with_the_package(tmp_path):
    assert resolve("maze") == tmp_path / "package" / "maze"


def test_a_folder_comes_before_a_short_name(tmp_path):
    checkpoint(tmp_path / "work" / "maze")
    assert resolve("maze").resolve() == tmp_path / "work" / "maze"


def test_a_folder_comes_before_a_repository(hub, tmp_path):
    fetched(hub, "some/body")
    checkpoint(tmp_path / "work" / "some" / "body")
    assert resolve("some/body").resolve() == tmp_path / "work" / "some" / "body"


def test_a_short_name_comes_before_a_repository(hub, tmp_path):
    fetched(hub, "own/er")
    assert resolve("own/er") == tmp_path / "package" / "maze"


def test_a_repository_is_found_in_the_hubs_cache_by_name_and_revision(hub):
    first = fetched(hub, "some/body")
    second = fetched(hub, "some/body", THERE, "v2")
    assert resolve("some/body") == resolve("some/body@main") == resolve(f"some/body@{HERE}") == first
    assert resolve("some/body@v2") == resolve(f"some/body@{THERE}") == second


def test_a_repository_without_a_config_is_no_checkpoint(hub):
    (fetched(hub, "some/body") / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=CONFIG):
        resolve("some/body")


@pytest.mark.parametrize("name", ["some/body", "some/body@v2", "some body/x", "some/", "/x/y/z", "~/x", "./x", "a/b/c"])
def test_what_nobody_answers_to_is_named(name):
    with pytest.raises(UnknownModelError) as caught:
        resolve(name)
    assert repr(name) in str(caught.value) and caught.value.hint and caught.value.code == 4


def test_a_repository_that_was_not_fetched_says_how_to_fetch_it():
    with pytest.raises(UnknownModelError) as caught:
        resolve("some/body@v2")
    assert "hf download some/body" in str(caught.value.hint)


@pytest.mark.parametrize(("name", "meant"), [("maz", "maze"), ("Maze", "maze"), ("maze2", "maze"), ("min", "mine")])
def test_the_nearest_names_are_suggested(name, meant):
    with pytest.raises(UnknownModelError, match="No model is called") as caught:
        resolve(name)
    assert meant in str(caught.value.hint)


def test_a_name_unlike_any_is_answered_with_all_of_them():
    with pytest.raises(UnknownModelError) as caught:
        resolve("xyz")
    assert "maze, mine" in str(caught.value.hint)


def test_a_known_model_that_is_not_here_says_so():
    with pytest.raises(UnknownModelError, match="mine is not on this machine"):
        resolve("mine")


def test_a_folder_or_file_that_is_no_checkpoint_says_so(tmp_path):
    (tmp_path / "work" / "empty").mkdir()
    (tmp_path / "work" / "weights.pt").write_bytes(b"")
    for name in ("empty", "weights.pt", str(tmp_path), "."):
        with pytest.raises(CheckpointError, match=CONFIG):
            resolve(name)


def test_every_short_name_says_what_it_is_and_its_folder_if_there_is_one_is_a_checkpoint():
    assert entries()
    for entry in entries():
        assert entry.name and entry.summary
        assert entry.folder is None or read_config(resolve(entry.folder))["format"] == 1


@pytest.mark.parametrize("content", ["", "[", "[]", "7", '{"format": 2}', "\xff", "[" * 100_000])
def test_a_config_that_cannot_be_read_or_is_of_another_format_is_named(tmp_path, content):
    (tmp_path / CONFIG).write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=CONFIG):
        read_config(tmp_path)


def test_a_config_is_read_as_plain_values(tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps({"format": 1, "fps": 15}))
    assert read_config(tmp_path) == {"format": 1, "fps": 15}
