"""Folders of diffusers: read, described, downloaded, loaded, and joined with weights by the makers of a network."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from arvdm_cli.errors import ArvdmWarning, CheckpointError, IntegrityError
from arvdm_cli.hub.build import build
from arvdm_cli.hub.checkpoint import invent, load
from arvdm_cli.hub.pipelines import CODEC
from arvdm_cli.hub.registry import entries, find, read_config, resolve
from arvdm_cli.models.wan_codec import DIFFUSERS
from arvdm_cli.models.wan_names import own_name
from support.hub import fails, kept
from support.pipelines import REPO, contents, edit, makers, save_training, write
from support.wan import latents, network, prompted, texts

pytest.importorskip("diffusers")

ENTRIES = {entry.name: entry for entry in entries()}
ROLLING = "RollingForcingWanTransformer3DModel"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder that diffusers wrote, its network and its codec."""
    folder = tmp_path_factory.mktemp("diffusers") / "tiny"
    return folder, *write(folder)


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written[0], tmp_path / "tiny"))


def same(module, other):
    state, wanted = module.state_dict(), other.state_dict()
    return state.keys() == wanted.keys() and all(torch.equal(state[name], wanted[name]) for name in wanted)


# What is read


def test_a_folder_of_diffusers_is_loaded_to_the_bit(written):
    folder, own, codec = written
    assert len([*(folder / "transformer").glob("*-of-*.safetensors")]) > 1
    with pytest.warns(ArvdmWarning, match="does not say how its frames are sampled"):
        model = load(resolve(str(folder)))
    assert same(model.network, own) and same(model.codec, codec) and len(model.sha256) == 64
    assert (model.codec.config.mean, model.codec.config.blocks) == (codec.config.mean, codec.config.blocks)
    assert model.network.config.attention == "full" and model.sampling.schedule == "outpainting"


def test_skyreels_is_known_by_its_pipeline_and_keeps_what_its_files_say(tmp_path):
    own, _ = write(tmp_path / "sky", skyreels=True)
    config = read_config(tmp_path / "sky")
    assert (config["recipe"], config["fps"], config["name"]) == ("skyreels-1.3b", 24, "sky")
    assert "licence" not in config  # of other weights than those that the entry knows
    model = load(tmp_path / "sky")
    assert same(model.network, own) and model.network.config.rates and model.network.config.time == "floor"
    assert (model.sampling.guidance, model.sampling.context, model.sampling.context_noise) == (6.0, 5, 0.02)


@pytest.mark.parametrize(
    ("file", "changes", "recipe", "attention"),
    [
        ("model_index.json", {"_class_name": "WanRollingForcingPipeline"}, "rolling-forcing", "window"),
        ("model_index.json", {"_class_name": "CausalForcingPipeline"}, "self-forcing", "block"),
        ("model_index.json", {"scheduler": ["x", "SelfForcingFlowMatchScheduler"]}, "self-forcing", "block"),
        ("scheduler/scheduler_config.json", {"_class_name": "SelfForcingFlowMatchScheduler"}, "self-forcing", "block"),
        ("transformer/config.json", {"_class_name": ROLLING}, "rolling-forcing", "window"),
        ("transformer/config.json", {"_class_name": "CausalWanTransformer3DModel"}, "", "block"),
    ],
)
def test_classes_say_how_frames_are_sampled(folder, file, changes, recipe, attention):
    edit(folder / file, **changes)
    config = read_config(folder)
    assert config["recipe"] == recipe and config["network"]["attention"] == attention
    if recipe:
        assert config["sampling"] == ENTRIES[recipe].config["sampling"]


def test_a_network_that_denoises_frame_by_frame_is_sampled_so(folder):
    edit(folder / "model_index.json", _class_name="CausalForcingPipeline")
    edit(folder / "transformer" / "config.json", _class_name="CausalWanTransformer3DModel", num_frames_per_block=1)
    config = read_config(folder)
    assert config["network"]["block"] == 1 and config["sampling"]["options"]["chunk"] == 1


def test_the_table_of_codec_keys_is_that_of_the_codec():
    assert CODEC == DIFFUSERS


def test_weights_that_diffusers_keeps_in_single_precision_stay_in_it(folder):
    edit(folder / "model_index.json", _class_name="CausalForcingPipeline")
    exact, half = (load(folder, dtype=dtype).network for dtype in (torch.float32, torch.bfloat16))
    single = {name for name, weight in half.named_parameters() if weight.dtype == torch.float32}
    parts = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")  # of _keep_in_fp32_modules
    assert single == {name for name, _ in half.named_parameters() if set(name.split(".")).intersection(parts)}
    answers = []
    for each in (exact, half):
        each.config, window = network().config, latents(3)
        each.set_prompts(texts(2))
        past = each.encode_context(window[:, :0], torch.zeros(1, 0), prompted(0), torch.zeros(1, 3))
        answers.append(each(window, torch.full((1, 3), 0.5), prompted(3), past))
    assert (answers[0] - answers[1]).abs().max() < 0.05 * answers[0].abs().max()


def test_random_weights_of_a_folders_config_are_loaded_like_its_own(folder, tmp_path):
    edit(folder / "model_index.json", _class_name="CausalForcingPipeline")
    invent(read_config(folder), tmp_path / "drawn", torch.bfloat16)
    drawn, whole = load(tmp_path / "drawn", dtype=torch.bfloat16), load(folder, dtype=torch.bfloat16)
    types = ({name: weight.dtype for name, weight in model.network.named_parameters()} for model in (drawn, whole))
    assert next(types) == next(types) and drawn.sampling == whole.sampling


OWN = """
[tiny]
summary = "Tiny"
repo = "some/tiny"
known_by = ["TinyPipeline"]
[tiny.config.network]
height = 4
width = 6
attention = "block"
[tiny.config.codec]
height = 32
width = 48
[tiny.config.sampling]
options = { chunk = 3, steps = 2, shift = 5.0 }
solver = "renoise"
context = 3
slots = 0
cache = "keep"
"""


def test_a_registry_of_ones_own_samples_a_folder_to_a_video_under_a_prompt(folder, arvdm, tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(OWN)
    monkeypatch.setenv("ARVDM_REGISTRY", str(tmp_path / "own.toml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    edit(folder / "model_index.json", _class_name="TinyPipeline")
    done = arvdm("generate", "-m", folder, "--prompt", "snow", "-n", "10", "--seed", "1", "-o", tmp_path / "out.y4m")
    assert done.exit_code == 0, done.stderr
    header, *frames = (tmp_path / "out.y4m").read_bytes().split(b"FRAME\n")
    assert header.startswith(b"YUV4MPEG2 W48 H32") and len(frames) == 10
    assert json.loads((tmp_path / "out.json").read_text())["sampling"]["solver"] == "renoise"


# What is refused


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("model_index.json", {"transformer": None}, "does not list a transformer"),
        ("model_index.json", {"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "transformer_2 besides"),
        ("transformer/config.json", {"_class_name": "WanVACETransformer3DModel"}, "'WanVACETransformer3DModel'"),
        ("transformer/config.json", {"_class_name": ["x"]}, "arvdm cannot run"),
        ("transformer/config.json", {"image_dim": 1280}, "image_dim is 1280"),
        ("transformer/config.json", {"out_channels": 8}, "out_channels is 8"),
        ("transformer/config.json", {"patch_size": [2, 2, 2]}, "patch_size"),
        ("transformer/config.json", {"ffn_dim": None}, "does not say ffn_dim"),
        ("transformer/config.json", {"num_attention_heads": "many"}, "whole numbers"),
        ("transformer/config.json", {"num_layers": 2}, "does not fit its config"),
        ("transformer/config.json", {"num_layers": 10**6}, "depth is 1000000"),
        ("vae/config.json", {"_class_name": "AutoencoderKL"}, "'AutoencoderKL'"),
        ("vae/config.json", {"is_residual": True}, "is_residual is True"),
        ("vae/config.json", {"latents_mean": "none"}, "mean is 'none'"),
    ],
)
def test_what_arvdm_cannot_run_is_refused_with_the_file_and_the_key(folder, file, changes, words):
    edit(folder / file, **changes)
    with pytest.raises(CheckpointError, match=words):
        load(folder)


@pytest.mark.parametrize("lost", ["transformer/config.json", "vae/config.json"])
def test_a_folder_with_a_part_missing_names_its_file(folder, arvdm, lost):
    (folder / lost).unlink()
    result = arvdm("info", folder)
    assert result.exit_code == 3 and f"{lost} is missing" in result.stderr


def test_a_missing_shard_is_named_with_its_index(folder, arvdm):
    lost = sorted((folder / "transformer").glob("*-of-*.safetensors"))[0]
    lost.unlink()
    with pytest.raises(CheckpointError, match=rf"{lost.name} is missing, but .*index\.json lists it"):
        load(folder)


def test_an_index_in_a_part_names_files_of_that_part_alone(folder):
    index = next((folder / "transformer").glob("*.index.json"))
    places = json.loads(index.read_text())["weight_map"]
    edit(index, weight_map={**places, next(iter(places)): "../vae/diffusion_pytorch_model.safetensors"})
    with pytest.raises(IntegrityError, match=r"not a \.safetensors file of its folder"):
        load(folder)


# What the registry knows


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [
        ("self-forcing", 825, 1_418_996_800),
        ("rolling-forcing", 825, 1_418_996_800),
        ("skyreels-1.3b", 830, 1_418_996_800 + 2 * 1536 + 1536 * 1537 + 9216 * 1537),
    ],
)
def test_an_entry_describes_a_model_of_the_makers_size_before_any_download(name, tensors, parameters):
    with torch.device("meta"):
        model = build(find(name).config, name)
    state = model.network.state_dict()
    assert (len(state), sum(weight.numel() for weight in state.values())) == (tensors, parameters)


# From the Hub


EXTRA = {
    "transformer/diffusion_pytorch_model.fp16.safetensors": b"a variant",
    "transformer/diffusion_pytorch_model.bin": b"pickled",
    "text_encoder/pytorch_model.bin": b"pickled",
    "image_encoder/model.safetensors": b"not used",
    "transformer/deep/model.safetensors": b"not used",
    "model.py": b"print()",
    "README.md": b"# Tiny\n",
}


def test_a_download_brings_the_parts_that_are_used_and_what_marks_the_folder_last(hub, run, written):
    folder, own, _ = written
    hub.add(REPO, contents(folder) | EXTRA, "4b44356635ae5e927ca552a220f768022be76004")
    before = json.loads(run("info", "self-forcing", "--json").stdout)
    assert before["here"] is False and "never been run here" in before["use"] and "29 GB" in before["size"]
    done = run("download", "self-forcing")
    assert done.returncode == 0, done.stderr
    here = Path(done.stdout.strip())
    assert contents(here) == contents(folder) | {"README.md": EXTRA["README.md"]}
    assert hub.bodies()[-1].endswith("/model_index.json")
    first = next(at for at, path in enumerate(hub.bodies()) if path.endswith(".safetensors"))
    assert all(path.endswith((".json", ".safetensors", ".md")) for path in hub.bodies())
    assert not any(path.endswith(".json") for path in hub.bodies()[first:-1])

    model = load(resolve("self-forcing"))  # by its repository, whatever its classes
    assert same(model.network, own) and model.sampling.solver == "renoise" and model.card["recipe"] == "self-forcing"
    facts = json.loads(run("info", "self-forcing", "--json").stdout)
    assert facts["parameters"].keys() == {"network", "codec", "text encoder"}
    assert facts["parameters"]["network"] == sum(weight.numel() for weight in own.state_dict().values())
    words = run("info", "self-forcing").stdout
    assert "outpainting, chunk 3, steps 4, shift 5.0" in words and "sampled as" in words
    assert run("remove", "self-forcing", "--yes").returncode == 0


def test_a_download_that_broke_off_is_no_checkpoint_until_it_is_completed(hub, home, run, written):
    hub.add("some/wan", contents(written[0]))
    hub.flipped = ("vae/diffusion_pytorch_model.safetensors",)
    assert fails(run("download", "some/wan", "--progress", "none"), 6)
    assert "model_index.json" not in kept(home) and fails(run("info", "some/wan"), 4)
    hub.flipped = ()
    hub.seen.clear()
    assert run("download", "some/wan").returncode == 0
    assert sum(path.startswith("/store/") for path in hub.bodies()) == 1  # the file that was another
    assert json.loads(run("info", "some/wan", "--json").stdout)["name"] == "wan"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files | {"transformer_2/config.json": b"{}"}, "a second network, transformer_2"),
        (lambda files: {name: files[name] for name in files if "transformer/diff" not in name}, "no .safetensors"),
        (lambda files: {"pytorch_lora_weights.safetensors": b"x", "README.md": b"x"}, "is a LoRA"),
    ],
)
def test_a_repository_that_is_no_model_of_ours_is_refused_unfetched(hub, home, run, written, change, words):
    hub.add("some/wan", change(contents(written[0])))
    result = run("download", "some/wan", "--progress", "none")
    assert fails(result, 3) and words in result.stderr and kept(home) == []


def test_a_class_that_arvdm_cannot_run_is_found_before_its_weights_are_fetched(hub, run, folder):
    edit(folder / "transformer" / "config.json", _class_name="MatrixGameWanModel")
    hub.add("some/wan", contents(folder))
    result = run("download", "some/wan", "--progress", "none")
    assert fails(result, 3) and "MatrixGameWanModel" in result.stderr
    assert not any(path.endswith(".safetensors") for path in hub.bodies())


def test_a_licence_of_the_makers_own_is_said_before_a_download(hub, run, written):
    hub.add(ENTRIES["skyreels-1.3b"].repo, contents(written[0]))
    hub.add("some/wan", contents(written[0]))
    hub.tags = {"some/wan": ["license:other", "region:us"]}
    for name, words in (("skyreels-1.3b", "Skywork's own community licence"), ("some/wan", "Licence: other")):
        result = run("download", name, "--dry-run")
        assert result.returncode == 0 and "read it before you use the model" in result.stderr and words in result.stderr
    assert "Skywork" in run("info", "skyreels-1.3b").stdout


# Weights by the makers


def test_the_makers_names_lead_to_those_of_diffusers():
    for own in (network(), network(rates=True)):
        shapes = {name: tuple(tensor.shape) for name, tensor in own.state_dict().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in makers(own).items()}
        assert not {name.rpartition("_fsdp_wrapped_module.")[2] for name in theirs} & {
            name for name in shapes if name.startswith("blocks.") or "embedder" in name
        }
        assert {own_name(name): shape for name, shape in theirs.items()} == shapes
        assert {own_name(name): shape for name, shape in shapes.items()} == shapes  # ours stay
    assert own_name("model.blocks.3.norm3.weight") == "blocks.3.norm2.weight"
    assert own_name("blocks.3.cross_attn.o.bias") == "blocks.3.attn2.to_out.0.bias"
    assert own_name("head.modulation") == "scale_shift_table"
    assert own_name("blocks.0.modulation") == "blocks.0.scale_shift_table"
    assert own_name("patch_embedding.weight") == "patch_embedding.weight"


def test_a_training_of_the_makers_is_joined_with_a_base(folder, arvdm, tmp_path):
    own = network(depth=3)
    for weight in own.parameters():
        weight.mul_(0.5)
    source = save_training(own, tmp_path / "rolling_forcing_dmd.pt")
    done = arvdm("convert", source, tmp_path / "out", "--base", folder)
    assert done.exit_code == 0, done.stderr
    model = load(tmp_path / "out")
    assert same(model.network, own) and model.network.config.attention == "window"
    assert model.sampling.schedule == "rolling" and model.card["recipe"] == "rolling-forcing"
    for part in ("text_encoder", "tokenizer"):
        assert contents(tmp_path / "out" / part) == contents(folder / part)
    facts = json.loads(arvdm("info", tmp_path / "out", "--json").stdout)
    assert facts["parameters"].keys() == {"network", "codec", "text encoder"}


def test_a_folder_of_diffusers_becomes_a_checkpoint_of_one_file(written, arvdm, tmp_path):
    folder, own, codec = written
    assert arvdm("convert", folder, tmp_path / "out").exit_code == 0
    assert sorted(contents(tmp_path / "out")) == sorted(
        ["config.json", "model.safetensors", "sha256.json"]
        + [name for name in contents(folder) if name.startswith(("text_encoder/", "tokenizer/"))]
    )
    with pytest.warns(ArvdmWarning, match="does not say how its frames are sampled"):
        model = load(tmp_path / "out")
    assert same(model.network, own) and same(model.codec, codec)


def test_a_file_whose_sampling_is_not_known_asks_for_it(folder, arvdm, tmp_path):
    source = save_training(network(), tmp_path / "causal_forcing.pt")
    for more in ((), ("--like", "minecraft")):
        result = arvdm("convert", source, tmp_path / "out", "--base", folder, *more)
        assert result.exit_code == 2 and "--like: self-forcing, rolling-forcing" in result.stderr
    assert arvdm("convert", source, tmp_path / "out", "--like", "self-forcing").exit_code == 2
    assert arvdm("convert", source, tmp_path / "out", "--base", folder, "--like", "self-forcing").exit_code == 0
    assert load(tmp_path / "out").sampling.solver == "renoise"


def test_a_training_that_does_not_fit_its_base_leaves_nothing(folder, arvdm, tmp_path):
    source = save_training(network(depth=2), tmp_path / "self_forcing_dmd.pt")
    result = arvdm("convert", source, tmp_path / "out", "--base", folder)
    assert result.exit_code == 3 and "does not fit" in result.stderr and not (tmp_path / "out").exists()
    assert arvdm("convert", tmp_path, tmp_path / "out", "--base", tmp_path).exit_code == 3
