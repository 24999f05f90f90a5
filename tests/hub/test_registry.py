"""Names of checkpoints: a path, a short name, a repository of the Hub, in this order."""

import json

import pytest
from huggingface_hub import constants

from arvdm_cli.errors import CheckpointError, ConfigError, UnknownModelError
from arvdm_cli.hub import registry
from arvdm_cli.hub.layout import CONFIG
from arvdm_cli.hub.registry import (
    Entry,
    entries,
    find,
    foreign,
    is_checkpoint,
    place,
    read_config,
    resolve,
    trained,
)

HERE, THERE = "a" * 40, "b" * 40  # commits


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text('{"format": 1}')
    return folder


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty Hub's cache, an empty working directory, and four short names, one of them shipped, one on the Hub."""
    shipped = checkpoint(tmp_path / "package" / "maze")
    known = [Entry("maze", "Mazes", str(shipped)), Entry("mine", "Ores", None), Entry("own/er", "Odd", str(shipped))]
    known += [Entry("far", "Away", repo="some/where", files={CONFIG: "", "model.safetensors": "a" * 64})]
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
    assert name in str(caught.value) and caught.value.hint and caught.value.code == 4


def test_a_repository_that_was_not_fetched_says_how_to_fetch_it():
    with pytest.raises(UnknownModelError) as caught:
        resolve("some/body@v2")
    assert "arvdm download some/body@v2" in str(caught.value.hint)


@pytest.mark.parametrize(("name", "meant"), [("maz", "maze"), ("Maze", "maze"), ("maze2", "maze"), ("min", "mine")])
def test_the_nearest_names_are_suggested(name, meant):
    with pytest.raises(UnknownModelError, match="No model is called") as caught:
        resolve(name)
    assert meant in str(caught.value.hint)


def test_a_name_unlike_any_is_answered_with_all_of_them():
    with pytest.raises(UnknownModelError) as caught:
        resolve("xyz")
    assert "maze, mine" in str(caught.value.hint)


def test_a_short_name_of_the_hub_is_here_when_all_its_files_are(hub):
    with pytest.raises(UnknownModelError, match="far is not on this machine") as caught:
        resolve("far")
    assert "arvdm download far" in str(caught.value.hint)
    folder = fetched(hub, "some/where")
    with pytest.raises(UnknownModelError):
        resolve("far")
    (folder / "model.safetensors").touch()
    assert resolve("far") == resolve("some/where") == resolve("some/where@main") == folder


def test_the_hashes_of_an_entry_hold_for_its_revision_only():
    assert find("far").files == find("some/where").files == find("some/where@main").files
    other = find("some/where@v2")
    assert other.revision == "v2" and other.files == {CONFIG: "", "model.safetensors": ""} and other.summary == "Away"


@pytest.mark.parametrize("marker", [CONFIG, *foreign()])
def test_a_folder_is_a_checkpoint_by_a_file_of_it(tmp_path, marker):
    assert not is_checkpoint(tmp_path)
    (tmp_path / marker).touch()
    assert is_checkpoint(tmp_path) and resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["some/body@../../x", "../x", "some/..", "some/body@/x", "..../x"])
def test_a_name_cannot_lead_out_of_the_cache(hub, name):
    with pytest.raises(UnknownModelError, match="No model is called"):
        find(name)


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
        assert entry.name and entry.summary and entry.licence
        assert (entry.repo is None) == entry.name.startswith("maze")
        assert entry.folder is None or read_config(resolve(entry.folder))["format"] == 1


@pytest.mark.parametrize("content", ["", "[", "[]", "7", '{"format": 2}', "\xff", "[" * 100_000])
def test_a_config_that_cannot_be_read_or_is_of_another_format_is_named(tmp_path, content):
    (tmp_path / CONFIG).write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=CONFIG):
        read_config(tmp_path)


def test_a_config_is_read_as_plain_values(tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps({"format": 1, "fps": 15}))
    assert read_config(tmp_path) == {"format": 1, "fps": 15}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a registry of the user's own and name it."""
    monkeypatch.setattr(registry, "entries", ENTRIES)

    def write(text):
        (tmp_path / "own.toml").write_text(text)
        monkeypatch.setenv("ARVDM_REGISTRY", str(tmp_path / "own.toml"))

    return write


ENTRIES = registry.entries


def test_a_registry_of_ones_own_stands_before_the_packages(own, tmp_path):
    package = entries()
    checkpoint(tmp_path / "runs" / "mine")
    own('[minecraft]\nsummary = "A"\nrepo = "me/too"\n[mine]\nsummary = "B"\nfolder = "runs/mine"\n')
    first, second, *rest = registry.entries()
    assert (first.name, first.repo, second.name) == ("minecraft", "me/too", "mine")
    assert place(second) == resolve("mine") == tmp_path / "runs" / "mine"
    assert rest == [entry for entry in package if entry.name != "minecraft"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[a", "own.toml"),
        ("a = 1", "a is 1"),
        ('[a]\nrepo = "b/c"', "summary"),
        ('[a]\nsummary = "b"', "folder or repo"),
        ('[a]\nsummary = "b"\nrepo = "b/c"\nfolder = "d"', "folder or repo"),
        ('[a]\nsummary = "b"\nrepo = "b/c"\nlicense = "MIT"', "'license'"),
        ('[a]\nsummary = 7\nrepo = "b/c"', "summary"),
        ('[a]\nsummary = "b"\nrepo = "../c"', "'../c'"),
        ('[a]\nsummary = "b"\nrepo = "b/c"\nrevision = "../../d"', "revision"),
        ('[a]\nsummary = "b"\nrepo = "b/c"\nfiles = ["d"]', "files"),
        ('[a]\nsummary = "b"\nrepo = "b/c"\nfiles = {"d" = "0123"}', "'d' in files"),
        ('[a]\nsummary = "b"\nrepo = "b/c"\nfiles = {"d" = 7}', "'d' in files"),
    ],
)
def test_a_registry_that_cannot_be_names_the_key(own, text, named):
    own(text)
    with pytest.raises(ConfigError) as caught:
        registry.entries()
    assert named in str(caught.value) and caught.value.code == 2


def test_a_registry_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(registry, "entries", ENTRIES)
    monkeypatch.setenv("ARVDM_REGISTRY", "/nowhere.toml")
    with pytest.raises(ConfigError, match="nowhere"):
        registry.entries()


def test_a_registry_of_ones_own_may_describe_a_foreign_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(
        '[strange]\nsummary = "x"\nrepo = "some/body"\n[strange.config]\nformat = 1\nname = "strange"\n'
        'model = "oasis"\n[strange.config.weights]\nnetwork = "strange.safetensors"\n'
    )
    monkeypatch.setenv("ARVDM_REGISTRY", str(tmp_path / "own.toml"))
    assert not registry.is_checkpoint(tmp_path)
    (tmp_path / "strange.safetensors").touch()
    assert registry.is_checkpoint(tmp_path) and registry.read_config(tmp_path)["name"] == "strange"


def test_the_folder_of_a_training_run_leads_to_its_checkpoint(tmp_path):
    made = checkpoint(tmp_path / "work" / "runs" / "x" / "checkpoint")
    assert resolve("runs/x").resolve() == resolve("runs/x/checkpoint").resolve() == made
    (made / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=CONFIG):
        resolve("runs/x")


def test_checkpoints_of_training_runs_are_listed_by_a_name_that_leads_to_them(tmp_path):
    assert trained() == []
    for name in ("b", "a"):
        made = checkpoint(tmp_path / "work" / "runs" / name / "checkpoint")
        (made / CONFIG).write_text('{"format": 1, "name": "ores"}')
    checkpoint(tmp_path / "work" / "runs" / "c" / "checkpoint").joinpath(CONFIG).write_text("{")
    (tmp_path / "work" / "runs" / "d").mkdir()
    assert [entry.name for entry in trained()] == ["runs/a", "runs/b", "runs/c"]
    assert [entry.summary for entry in trained()] == ["ores; trained here"] * 2 + [trained()[2].summary]
    assert "cannot be read" in trained()[2].summary
    assert all(resolve(entry.name) == place(entry) for entry in trained())
