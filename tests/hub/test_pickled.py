"""Pickled weights that the registry pins: fetched, verified, read as plain tensors, kept as safetensors."""

import hashlib
import io
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arvdm_cli.errors import ConfigError
from arvdm_cli.hub.build import build
from arvdm_cli.hub.checkpoint import load
from arvdm_cli.hub.registry import entries, read_registry
from arvdm_cli.sampling.generation import choose
from support.far import CONFIG, FOLDER
from support.hub import fails, kept

REPO = "guyuchao/FAR_Models"
PUBLISHED = {entry.name: entry for entry in entries()}["dmlab"]
NAMES = dict(zip(("transformer", "dcae"), PUBLISHED.files, strict=True))


def pickled(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def pins(contents):
    return {name: hashlib.sha256(content).hexdigest()[:8] for name, content in contents.items()}


@pytest.fixture
def contents():
    """The tiny FAR as the makers' files, by their published names."""
    return {name: pickled(load_file(FOLDER / f"{part}.safetensors")) for part, name in NAMES.items()}


@pytest.fixture
def publish(hub, tmp_path):
    """Put files on the Hub of this machine, and write a registry that pins them under the name dmlab."""

    def publish(contents, pinned=None):
        hub.add(REPO, dict(contents) | {"README.md": b"# FAR\n", "other.pth": b"pickled"})
        lines = ["[dmlab]", 'summary = "Tiny"', f'repo = "{REPO}"', "[dmlab.files]"]
        lines += [f'"{name}" = "{digest}"' for name, digest in (pinned or pins(contents)).items()]
        config = CONFIG | {"name": "dmlab", "weights": PUBLISHED.config["weights"]}
        path = tmp_path / "registry.toml"
        path.write_text("\n".join(lines) + "\n" + toml(config, "dmlab.config"))
        return str(path)

    return publish


def toml(values, where):
    """A table and its tables as TOML."""
    text, tables = f"[{where}]\n", ""
    for key, value in values.items():
        if isinstance(value, dict):
            tables += toml(value, f"{where}.{key}")
        else:
            text += f"{key} = {json.dumps(value)}\n"
    return text + tables


def test_pinned_pickles_become_a_checkpoint_of_safetensors_and_are_deleted(hub, home, run, publish, contents):
    registry = publish(contents)
    done = run("download", "dmlab", ARVDM_REGISTRY=registry)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "model.safetensors", "sha256.json"]
    assert not [name for name in kept(home) if name.endswith(".pth")]
    model, weights = load(folder), load_file(FOLDER / "transformer.safetensors")
    state = model.network.state_dict()
    assert state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in weights)
    blobs = [path for path in (home / "hub").rglob("blobs/*") if path.is_file()]
    assert not blobs  # the pickles' bytes are gone, too

    hub.seen.clear()
    again = run("download", "dmlab", ARVDM_REGISTRY=registry)
    assert again.returncode == 0 and again.stdout == done.stdout and hub.bodies() == []
    facts = json.loads(run("info", "dmlab", "--json", ARVDM_REGISTRY=registry).stdout)
    assert facts["folder"] == str(folder) and facts["model"] == "far"
    assert run("remove", "dmlab", "--yes", ARVDM_REGISTRY=registry).returncode == 0
    assert not folder.exists() and kept(home) == []


@pytest.mark.parametrize("known", ["by the Hub", "by nobody else"])
def test_a_file_that_is_not_the_pinned_one_is_never_unpickled(hub, home, run, publish, contents, known):
    name = NAMES["dcae"]
    if known == "by nobody else":
        hub.large = (".safetensors",)  # git's hash of a small file says nothing of a sha256
    registry = publish(contents | {name: contents[name] + b"more"}, pins(contents))
    assert fails(run("download", "dmlab", "--progress", "none", ARVDM_REGISTRY=registry), 6)
    assert "model.safetensors" not in kept(home)


class Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize(
    "content",
    [{"a": Harm()}, {"a": 1}, [], {"x_embedder.weight": torch.zeros(3)}],
    ids=["harm", "number", "list", "weight"],
)
def test_a_pinned_file_that_holds_something_else_runs_nothing_and_is_deleted(
    hub, home, run, publish, contents, content, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    registry = publish(contents | {NAMES["transformer"]: pickled(content)})
    assert fails(run("download", "dmlab", "--progress", "none", ARVDM_REGISTRY=registry), 3)
    assert not Path("harm").exists()
    assert not [name for name in kept(home) if name.endswith((".pth", ".safetensors"))]


def test_two_checkpoints_of_a_repository_stand_beside_each_other(run, publish, contents):
    registry = publish(contents)
    one = Path(run("download", "dmlab", ARVDM_REGISTRY=registry).stdout.strip())
    text = Path(registry).read_text().replace("dmlab", "second")
    Path(registry).write_text(Path(registry).read_text() + text)
    two = Path(run("download", "second", ARVDM_REGISTRY=registry).stdout.strip())
    assert one != two and one.parent == two.parent
    assert run("remove", "dmlab", "--yes", ARVDM_REGISTRY=registry).returncode == 0
    assert not one.exists() and load(two).card["name"] == "second"


def test_a_wrapper_around_the_tensors_is_taken_off(run, publish, contents):
    tensors = load_file(FOLDER / "transformer.safetensors")
    registry = publish(contents | {NAMES["transformer"]: pickled({"params_ema": tensors})})
    assert run("download", "dmlab", ARVDM_REGISTRY=registry).returncode == 0


def test_a_pickle_without_a_pin_is_no_entry():
    text = '[a]\nsummary = "A"\nrepo = "a/b"\n[a.files]\n"a.pth" = ""\n[a.config]\nname = "a"\n'
    with pytest.raises(ConfigError, match="pickled"):
        read_registry(text, "here")


def test_the_published_names_are_pinned_by_the_digits_in_them(contents):
    for name in ("dmlab", "far-minecraft"):
        entry = {entry.name: entry for entry in entries()}[name]
        assert all(f"-{digest}.pth" in file for file, digest in entry.files.items()) and len(entry.files) == 2


@pytest.mark.parametrize(("name", "parameters"), [("dmlab", 286_032_716), ("far-minecraft", 496_303_180)])
def test_an_entry_describes_a_model_of_the_makers_size(name, parameters):
    config = {entry.name: entry for entry in entries()}[name].config
    with torch.device("meta"):
        model = build(config, name)
    parts = (*model.network.parameters(), *model.codec.parameters())
    assert sum(weight.numel() for weight in parts) == parameters
    plan = choose(model.sampling)
    assert plan.schedule.steps == 50 and plan.schedule.levels[-2] == pytest.approx((0.001,))


def test_the_makers_files_are_converted_as_they_lie_on_the_hub(arvdm, publish, contents, tmp_path, monkeypatch):
    monkeypatch.setenv("ARVDM_REGISTRY", publish(contents))
    for name, content in contents.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    done = arvdm("convert", tmp_path / "source", tmp_path / "target")
    assert done.exit_code == 0, done.stderr
    model, weights = load(tmp_path / "target"), load_file(FOLDER / "dcae.safetensors")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.codec.state_dict().items())
