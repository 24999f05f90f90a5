"""Architectures: each in one module, found by itself, or offered by an installed package and by nothing else."""

import inspect
import json
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from arvdm_cli import models
from arvdm_cli.errors import CheckpointError
from arvdm_cli.hub import checkpoint
from arvdm_cli.models import MODELS, architecture, architecture_of, dit
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.network import MemoryNetwork, VideoNetwork
from support.tiny import model


class Other(VideoDiT):
    """A network of another package's."""


OTHER = replace(dit.ARCHITECTURE, name="other", network=Other)


@pytest.fixture
def installed(monkeypatch):
    """An installed package that offers a network."""
    point = EntryPoint("other", f"{__name__}:OTHER", "arvdm.networks")
    monkeypatch.setattr(EntryPoint, "load", lambda self: OTHER)
    monkeypatch.setattr(models, "entry_points", lambda group: [point] if group == "arvdm.networks" else [])


def test_every_architecture_is_known_by_its_own_name():
    assert set(MODELS) >= {"dit", "oasis"}
    for name, kind in MODELS.items():
        assert kind.name == name and architecture(name) is kind


@pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)
def test_a_network_takes_what_its_protocol_says_the_sampler_gives(kind):
    protocol = MemoryNetwork if hasattr(kind.network, "encode_memory") else VideoNetwork
    wanted = {name: call for name, call in {**vars(VideoNetwork), **vars(protocol)}.items() if inspect.isfunction(call)}
    wanted = {name: call for name, call in wanted.items() if not name.startswith("_") or name == "__call__"}
    assert {"integrate_actions", "encode_context", "advance", "__call__"} <= wanted.keys()
    for name, call in wanted.items():
        own = kind.network.forward if name == "__call__" else getattr(kind.network, name)
        assert [*inspect.signature(own).parameters] == [*inspect.signature(call).parameters], name
    assert {"frames", "drop"} <= {*kind.past.__dataclass_fields__, *vars(kind.past)}


def test_a_network_of_an_installed_package_is_saved_and_loads(installed, tmp_path):
    made = model()
    made.network.__class__ = Other
    assert architecture_of(made.network) is OTHER
    checkpoint.save(made, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"] == "other"
    assert type(checkpoint.load(tmp_path).network) is Other


@pytest.mark.parametrize("name", ["other", "os:system", "test_architectures:OTHER", "tiny"])
def test_a_config_that_names_what_is_not_installed_is_refused_and_nothing_is_imported(name, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "entry_points", lambda group: [])
    checkpoint.save(model(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model": name}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "sha256.json").write_text(
        json.dumps({file: checkpoint.digest(tmp_path / file) for file in ("config.json", "model.safetensors")})
    )
    with pytest.raises(CheckpointError, match="does not describe a model"):
        checkpoint.load(tmp_path)
