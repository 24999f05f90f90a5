"""Checkpoints: what is saved reads back, and what is broken is named."""

import json
import shutil
import warnings
from dataclasses import asdict, dataclass, field, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from arvdm_cli.configs import fill
from arvdm_cli.device import choose_machine
from arvdm_cli.errors import (
    ArvdmWarning,
    CheckpointError,
    ConfigError,
    IntegrityError,
    NumericError,
    OutputError,
    UsageError,
)
from arvdm_cli.hub.checkpoint import digest, load, save
from arvdm_cli.hub.convert import convert
from arvdm_cli.hub.layout import CONFIG, MANIFEST, WEIGHTS
from arvdm_cli.hub.registry import is_checkpoint
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.state import Sampling
from support.checkpoints import shard, vouch, vouch_for_all
from support.oasis import publish
from support.tiny import model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "new" / "tiny"
    save(model(), folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def edit_config(folder, edit):
    config = json.loads((folder / CONFIG).read_text())
    edit(config)
    (folder / CONFIG).write_text(json.dumps(config))
    return vouch(folder)


def edit_weights(folder, edit):
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS)
    return vouch(folder)


# What is saved reads back


@pytest.mark.parametrize("part", ["network", "codec"])
def test_weights_read_back_as_they_are_in_half_precision_and_statistics_as_they_were(saved, part):
    module, after = getattr(model(), part), getattr(load(saved), part).state_dict()
    before, weights = module.state_dict(), dict(module.named_parameters())
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor.half().float() if name in weights else tensor), name


def earlier(tensors):
    """The same tensors under the names of the first version."""
    return {name.replace("modulation.", "drive."): tensor for name, tensor in tensors.items()}


def test_weights_of_an_earlier_version_load_from_a_checkpoint_and_from_a_saved_run(saved, folder):
    def rename(tensors):
        renamed = earlier(tensors)
        assert renamed.keys() != tensors.keys()
        tensors.clear()
        tensors.update(renamed)

    edit_weights(folder, rename)
    network, before = load(folder).network, load(saved).network.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    run = model(seed=1).network
    run.load_state_dict(earlier(before))
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.state_dict().items())


def test_configs_and_card_read_back(tmp_path):
    sampling = Sampling("fifo", {"steps": 3}, context=2, stabilization=0.05)
    first = replace(model(sampling=sampling), diffusion=FlowMatching("velocity", 0.2))
    first.card["walk"] = {"forward*8": 6}
    save(first, tmp_path)
    read = load(tmp_path)
    assert read.network.config == first.network.config and read.codec.config == first.codec.config
    assert (read.diffusion, read.sampling) == (first.diffusion, first.sampling)
    assert read.card == first.card
    assert read.actions == ("stay", "forward", "backward", "left", "right") and read.fps == 12.5


def test_what_was_read_is_saved_as_the_same_bytes(saved, tmp_path):
    save(load(saved), tmp_path)
    for name in (CONFIG, WEIGHTS, MANIFEST):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((CONFIG, WEIGHTS, MANIFEST))


def test_a_loaded_model_is_ready_to_sample_and_knows_its_sha256(saved):
    read = load(saved)
    for part in (read.network, read.codec):
        assert not part.training and not any(weight.requires_grad for weight in part.parameters())
    assert read.sha256 == digest(saved / WEIGHTS) == json.loads((saved / MANIFEST).read_text())[WEIGHTS]


def test_a_network_loads_in_the_numbers_asked_for(saved):
    assert {weight.dtype for weight in load(saved, dtype=torch.bfloat16).network.parameters()} == {torch.bfloat16}


def test_saving_over_a_checkpoint_replaces_it(folder):
    save(model(seed=1), folder)
    assert torch.equal(load(folder).network.head.weight, model(seed=1).network.head.weight.half().float())


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        save(model(), tmp_path / "file")


# What is broken is named


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_a_flipped_byte_of_the_weights_is_noticed(folder, where):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(IntegrityError, match=WEIGHTS) as caught:
        load(folder)
    assert caught.value.code == 6


def test_a_config_that_was_changed_is_noticed(folder):
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace("12.5", "25.5"))
    with pytest.raises(IntegrityError, match=CONFIG):
        load(folder)


def test_a_manifest_may_not_name_files_outside_its_folder(folder):
    (folder / MANIFEST).write_text(json.dumps({"../other": "0"}))
    with pytest.raises(IntegrityError, match=r"\.\./other"):
        load(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError):
        load(folder)


def test_without_a_manifest_a_checkpoint_is_read_with_a_warning_that_names_its_files(folder):
    sha256 = load(folder).sha256
    (folder / MANIFEST).unlink()
    with pytest.warns(ArvdmWarning, match=f"no {MANIFEST} confirms the hash of {CONFIG}, {WEIGHTS}"):
        assert load(folder).sha256 == sha256
    (folder / MANIFEST).write_text(json.dumps({CONFIG: digest(folder / CONFIG)}))
    with pytest.warns(ArvdmWarning, match=f"confirms the hash of {WEIGHTS};"):
        load(folder)


# Shards


def test_weights_in_shards_are_those_of_the_one_file(folder):
    whole = load(folder)
    shard(folder)
    vouch_for_all(folder)
    with warnings.catch_warnings(action="error"):
        parts = load(folder)
    for one, other in ((whole.network, parts.network), (whole.codec, parts.codec)):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert load(folder).sha256 == parts.sha256 != whole.sha256
    (folder / MANIFEST).unlink()
    with pytest.warns(ArvdmWarning, match=r"index\.json"):
        assert load(folder).sha256 == parts.sha256


def test_a_byte_that_was_flipped_in_a_shard_is_noticed(folder):
    shard(folder)
    vouch_for_all(folder)
    data = bytearray((folder / "part-1.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "part-1.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match="part-1"):
        load(folder)


@pytest.mark.parametrize("vouched", [True, False])
def test_a_missing_shard_is_named_with_where_to_get_it(folder, tmp_path, vouched):
    shard(folder)
    if vouched:
        vouch_for_all(folder)
    else:
        (folder / MANIFEST).unlink()
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"part-1\.safetensors is missing") as refused:
        load(folder)
    assert refused.value.hint == f"Copy part-1.safetensors into {folder} from where the checkpoint came from."
    snapshot = tmp_path / "models--owner--some--name" / "snapshots" / "0123abc"
    folder.rename(snapshot.parent.mkdir(parents=True) or snapshot)
    with pytest.raises(CheckpointError, match=r"part-1\.safetensors is missing") as refused:
        load(snapshot)
    assert refused.value.hint == "To download it: arvdm download owner/some--name@0123abc"


@pytest.mark.filterwarnings("ignore::arvdm_cli.errors.ArvdmWarning")
@pytest.mark.parametrize(
    "name", ["../part-0.safetensors", "/part-0.safetensors", "a\\b.safetensors", "part-0.pt", 3, ""]
)
def test_an_index_may_not_name_files_outside_its_folder_or_of_another_kind(folder, name):
    places = shard(folder)
    (folder / MANIFEST).unlink()
    places[next(iter(places))] = name
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(IntegrityError, match=r"index\.json"):
        load(folder)


@pytest.mark.filterwarnings("ignore::arvdm_cli.errors.ArvdmWarning")
def test_only_tensors_that_the_index_lists_are_read_and_what_a_shard_lacks_is_named(folder):
    places = shard(folder)
    (folder / MANIFEST).unlink()
    extra = load_file(folder / "part-0.safetensors") | {"network.more": torch.zeros(1)}
    save_file(extra, folder / "part-0.safetensors")
    load(folder)  # a tensor that no index lists does not count
    index = folder / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"weight_map": places | {"network.absent": "part-0.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"part-0.*'network\.absent'"):
        load(folder)
    index.write_text(json.dumps({"weight_map": places}))
    (folder / "part-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match="part-2"):
        load(folder)


@pytest.mark.filterwarnings("ignore::arvdm_cli.errors.ArvdmWarning")
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": []}', "\xff", "[" * 100_000])
def test_an_index_that_is_none_is_refused(folder, content):
    shard(folder)
    (folder / MANIFEST).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"index\.json"):
        load(folder)


def test_a_foreign_checkpoint_may_come_in_shards_and_is_converted_from_them(tmp_path):
    whole = load(publish(tmp_path / "whole"))
    folder = publish(tmp_path / "shards")
    shard(folder, "oasis500m.safetensors")
    for parts in (load(folder), convert(folder, tmp_path / "made"), load(tmp_path / "made")):
        for name, tensor in whole.network.state_dict().items():
            assert torch.equal(tensor, parts.network.state_dict()[name].to(tensor))
    (folder / CONFIG).unlink()
    assert is_checkpoint(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"sha"', "\xff", '{"model.safetensors": null, "a": 1}'])
def test_a_manifest_that_is_none_is_refused(folder, content):
    (folder / MANIFEST).write_text(content, encoding="latin-1")
    with pytest.raises((CheckpointError, IntegrityError)):
        load(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"format": 2}', "\xff", "[" * 100_000])
def test_a_config_that_is_none_is_refused(folder, content):
    (folder / CONFIG).write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=CONFIG):
        load(vouch(folder))


def broken(name, edit):
    return pytest.param(edit, name, id=name)


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        broken("network.head.weight", lambda tensors: tensors.pop("network.head.weight")),
        broken("codec.normalise.running_mean", lambda tensors: tensors.pop("codec.normalise.running_mean")),
        broken("network.more", lambda tensors: tensors.update({"network.more": torch.zeros(1)})),
        broken("network.head.bias", lambda tensors: tensors.update({"network.head.bias": torch.zeros(1, 8)})),
        broken("network.no_action", lambda tensors: tensors.update({"network.no_action": torch.zeros(17)})),
        broken("codec.decoder.0.bias", lambda tensors: tensors.update({"codec.decoder.0.bias": torch.zeros(0)})),
    ],
)
def test_a_tensor_that_is_missing_extra_or_of_another_shape_is_named(folder, edit, name):
    with pytest.raises(CheckpointError, match=f"1 tensors.*{name}") as caught:
        load(edit_weights(folder, edit))
    assert caught.value.code == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["network.head.weight", "codec.normalise.running_var"])
def test_a_weight_that_is_no_number_is_named(folder, name, value):
    with pytest.raises(NumericError, match=name) as caught:
        load(edit_weights(folder, lambda tensors: tensors[name].view(-1)[-1:].fill_(value)))
    assert caught.value.code == 9


@pytest.mark.parametrize("section", ["network", "codec", "diffusion", "sampling"])
def test_an_unknown_key_of_the_config_is_named(folder, section):
    with pytest.raises(CheckpointError, match="'colour'"):
        load(edit_config(folder, lambda config: config[section].update(colour=1)))


@pytest.mark.parametrize("section", ["model", "network", "codec", "diffusion", "sampling"])
def test_a_missing_section_of_the_config_is_named(folder, section):
    with pytest.raises(CheckpointError, match=section):
        load(edit_config(folder, lambda config: config.pop(section)))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("network", "dim", "64"),
        ("network", "dim", 65),
        ("network", "depth", True),
        ("network", "fusion", "pretend"),
        ("network", "moves", [1, 2, 3, 4, 5]),
        ("diffusion", "prediction", "score"),
        ("diffusion", "least_level", None),
        ("sampling", "eviction", "newest"),
        ("sampling", "context", -1),
        ("sampling", "options", []),
        ("codec", "channels", 2.5),
    ],
)
def test_an_impossible_value_of_the_config_is_refused(folder, section, key, value):
    with pytest.raises(CheckpointError, match=CONFIG):
        load(edit_config(folder, lambda config: config[section].update({key: value})))


def test_a_model_of_an_unknown_kind_is_refused(folder):
    with pytest.raises(CheckpointError, match="transfusion"):
        load(edit_config(folder, lambda config: config.update(model="transfusion")))


def test_weights_of_another_size_than_the_config_says_are_refused(folder):
    with pytest.raises(CheckpointError, match="does not fit its config"):
        load(edit_config(folder, lambda config: config["network"].update(depth=3)))


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100), b"\xff" * 64], ids=str)
def test_a_file_that_is_not_safetensors_is_refused(folder, content):
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=WEIGHTS):
        load(vouch(folder))


def test_a_pickled_file_is_refused_unread(folder):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was run",)

    torch.save({"network.head.weight": Trap()}, folder / WEIGHTS)
    with pytest.raises(CheckpointError):
        load(vouch(folder))


@pytest.mark.parametrize("kept", [0.3, 0.99])
def test_a_file_that_was_cut_is_refused(folder, kept):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(IntegrityError):
        load(folder)
    with pytest.raises(CheckpointError):
        load(vouch(folder))


# Configs from plain values


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    count: int = 1
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)
    facts: dict = field(default_factory=dict)


def test_plain_values_fill_a_config_and_the_rest_keeps_its_default():
    filled = fill(Outer, {"count": 3, "sizes": [4], "inner": {"rate": 2}, "facts": {"x": [1]}}, "here")
    assert filled == Outer("a", 3, (4,), Inner(2.0), {"x": [1]})
    assert type(filled.inner.rate) is float
    assert fill(Outer, json.loads(json.dumps(asdict(filled))), "here") == filled


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"counts": 1}, "here has an unknown key 'counts'"),
        ({"inner": {"rates": 1}}, r"here \[inner\] has an unknown key 'rates'"),
        ({"count": "3"}, "count is '3', not int"),
        ({"count": 3.0}, "count is 3.0, not int"),
        ({"count": True}, "count is True, not int"),
        ({"name": None}, "name is None, not str"),
        ({"sizes": 4}, "sizes is 4, not tuple"),
        ({"inner": 4}, "inner is 4, not Inner"),
        ({"inner": {"rate": "fast"}}, "rate is 'fast', not float"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values, named):
    with pytest.raises(ConfigError, match=named):
        fill(Outer, values, "here")


# Machines


def test_a_machine_is_chosen_as_asked():
    assert choose_machine("cpu", "float32", None) == (torch.device("cpu"), torch.float32)
    assert choose_machine("cpu", "bfloat16", None) == (torch.device("cpu"), torch.bfloat16)
    device, dtype = choose_machine("auto", "auto", None)
    assert device.type in ("cpu", "cuda", "mps") and dtype in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(UsageError, match="cannot be used here") as caught:
        choose_machine(device, "float32", None)
    assert "cpu" in str(caught.value.hint)


def test_an_unknown_dtype_is_named():
    with pytest.raises(UsageError, match="'float8'") as caught:
        choose_machine("cpu", "float8", None)
    assert "float32" in str(caught.value.hint)
