"""Oasis: equal to the reference's recorded outputs, whatever form its files have, under our own sampler."""

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arvdm_cli.actions.phrases import MINECRAFT
from arvdm_cli.errors import ArvdmError, CheckpointError, ConfigError, IntegrityError, NumericError
from arvdm_cli.hub.checkpoint import load
from arvdm_cli.hub.convert import convert
from arvdm_cli.hub.registry import read_config
from arvdm_cli.models.oasis import OasisCodec, OasisCodecConfig, OasisConfig, OasisDiT, Past, own_name
from arvdm_cli.sampling.config import CACHES, Plan
from arvdm_cli.sampling.diffusion import additions, remaining
from arvdm_cli.sampling.generation import begin, choose, given
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import PRESETS, next_frame
from arvdm_cli.sampling.state import Noise, start
from support.oasis import CLIPS, GOLDEN, NETWORK, Recorded, deviation, index_to_level, publish, weights
from support.tiny import joined

every_clip = pytest.mark.parametrize("clip", CLIPS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The tiny Oasis, read as its makers publish it."""
    return load(publish(tmp_path_factory.mktemp("oasis")))


def predict(network, case, actions):
    x, index = GOLDEN[f"dit.{case}.x"], GOLDEN[f"dit.{case}.t"]
    with torch.no_grad():
        return network(x, index_to_level(index), actions, Past([]))


def reenact(model, clip, cache="exact", frames=None):
    """Latents of a recorded clip, prompt included, made again from its prompt, actions and noise."""
    prompt, actions = GOLDEN[f"{clip}.prompt_latents"], GOLDEN[f"{clip}.actions"]
    steps, first = int(GOLDEN[f"{clip}.steps"]), prompt.shape[1]
    sampling = replace(model.sampling, cache=cache)
    state = start(model.network, sampling, prompt, actions[:, :first])
    drive = given(actions[:, first:])
    run = stream(Plan(next_frame(steps), sampling), model.network, model.diffusion, state, Recorded(clip), drive)
    steps = islice(run, (frames or GOLDEN[f"{clip}.latents"].shape[1]) - first)
    return torch.cat((prompt, joined(steps)), 1)


# Equal to the reference


@pytest.mark.parametrize("case", ["a", "b"])
def test_the_network_predicts_what_the_reference_does(model, case):
    assert deviation(predict(model.network, case, GOLDEN[f"dit.{case}.actions"]), GOLDEN[f"dit.{case}.out"]) < 2e-5


def test_unknown_actions_are_not_the_same_as_doing_nothing(model):
    unknown = predict(model.network, "b", None)
    assert deviation(unknown, GOLDEN["dit.c.out"]) < 2e-5
    assert deviation(unknown, predict(model.network, "b", torch.zeros_like(GOLDEN["dit.b.actions"]))) > 1e-3


@pytest.mark.parametrize("known", [1, 3, 5])
def test_the_window_on_top_of_an_encoded_context_is_predicted_as_in_one_pass(model, known):
    x, index, actions = (GOLDEN[f"dit.a.{name}"] for name in ("x", "t", "actions"))
    levels, origin = index_to_level(index), torch.zeros(1, 3)
    with torch.no_grad():
        past = None
        for part in (slice(0, 1), slice(1, known)):  # in two goes: what is kept is as good as new
            if part.stop > part.start:
                past = model.network.encode_context(x[:, part], levels[:, part], actions[:, part], origin, past=past)
        made = model.network(x[:, known:], levels[:, known:], actions[:, known:], past)
    assert deviation(made, GOLDEN["dit.a.out"][:, known:]) < 2e-5


def test_the_codec_encodes_and_decodes_as_the_reference_does(model):
    frames = GOLDEN["vae.image_u8"].float() / 127.5 - 1
    with torch.no_grad():
        mean, spread = model.codec.encode_pictures(frames)
        assert deviation(mean, GOLDEN["vae.mean"]) < 2e-5 and deviation(spread, GOLDEN["vae.logvar"]) < 2e-5
        assert deviation(model.codec.decode_pictures(GOLDEN["vae.z"]), GOLDEN["vae.decoded"]) < 2e-5
        again = model.codec.decode(model.codec.encode(frames.unsqueeze(0)))
    assert deviation(again[0], GOLDEN["vae.recon"].clamp(-1, 1)) < 2e-5


def test_noise_levels_are_the_reference_s_for_every_number_of_steps():
    assert torch.equal(remaining("sigmoid", 1000)[1:], GOLDEN["schedule.alphas_cumprod"])
    for name in (name for name in GOLDEN if name.startswith("schedule.timesteps.")):
        rows = next_frame(int(name.rpartition(".")[2])).levels
        levels = torch.tensor([level for (level,) in reversed(rows)])
        assert torch.equal(additions(levels, 1000) - 1, GOLDEN[name])


@pytest.mark.parametrize("cache", ["exact", "off"])
@every_clip
def test_a_clip_is_the_one_the_reference_made_also_when_the_window_slides(model, clip, cache):
    made = reenact(model, clip, cache)
    assert deviation(made, GOLDEN[f"{clip}.latents"]) < 5e-5
    with torch.no_grad():
        frames = ((model.codec.decode(made) + 1) * 127.5).round()
    assert deviation(frames.permute(0, 1, 3, 4, 2), GOLDEN[f"{clip}.frames_u8"]) <= 1


@every_clip
def test_every_denoising_step_of_a_clip_is_the_reference_s(model, clip):
    seen = []

    class Spy:
        def __getattr__(self, name):
            return getattr(model.network, name)

        def __call__(self, window, levels, actions, past):
            seen.append((window, model.network(window, levels, actions, past)))
            return seen[-1][1]

    reenact(replace(model, network=Spy()), clip)
    steps = int(GOLDEN[f"{clip}.steps"])
    for i in range(GOLDEN[f"{clip}.noise"].shape[1]):
        for m in range(steps):
            window, v = seen[i * steps + m]
            before = GOLDEN[f"{clip}.trace_x"][:, i, m - 1] if m else GOLDEN[f"{clip}.noise"][:, i]
            assert deviation(window[:, 0], before) < 5e-5
            assert deviation(v[:, 0], GOLDEN[f"{clip}.trace_v"][:, i, m]) < 2e-4


@every_clip
def test_kept_keys_are_exact_until_the_window_slides_and_deviate_by_design_after(model, clip):
    made, truth = reenact(model, clip, "keep"), GOLDEN[f"{clip}.latents"]
    window = model.sampling.context + 1
    assert deviation(made[:, :window], truth[:, :window]) < 5e-5
    assert deviation(made[:, window:], truth[:, window:]) > 0.1


def test_kept_keys_of_frames_that_see_no_other_frame_stay_exact_for_ever():
    network = OasisDiT(OasisConfig(**NETWORK | {"depth": 1})).eval()
    origin, past = torch.zeros(1, 3), None
    frames = torch.randn(1, 200, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    levels, actions = torch.full((1, 200), 0.015), torch.zeros(1, 200, 25)
    with torch.no_grad():
        for i in range(200):
            part = slice(i, i + 1)
            past = network.encode_context(frames[:, part], levels[:, part], actions[:, part], origin, past=past)
            past = past.drop(1) if past.frames > 5 else past
        again = network.encode_context(frames[:, -5:], levels[:, -5:], actions[:, -5:], origin)
        window, level = frames[:, :1], torch.full((1, 1), 0.5)
        close = [network(window, level, actions[:, :1], seen) for seen in (past, again)]
    assert deviation(*close) < 1e-5


# Our own sampler around it


@pytest.mark.parametrize("preset", PRESETS)
def test_the_weights_run_under_every_preset(model, preset):
    plan = choose(model.sampling, schedule=preset)
    prompt = GOLDEN["vae.image_u8"][None, :1].float() / 127.5 - 1
    state = begin(model, plan, prompt, torch.zeros(1, 1, 25))
    steps = stream(plan, model.network, model.diffusion, state, Noise(0, 1, (4, 6, 8)), given(torch.zeros(1, 9, 25)))
    made = joined(islice(steps, 4))
    assert made.shape[1] == 4 * plan.schedule.chunk and torch.isfinite(made).all()


@pytest.mark.parametrize("cache", CACHES)
def test_a_video_begins_from_nothing_with_the_same_frames_under_every_cache(model, cache):
    def made(kind):
        plan = choose(model.sampling, cache=kind)
        latents, actions = torch.zeros(1, 0, 4, 6, 8), torch.zeros(1, 9, 25)
        state = start(model.network, plan.sampling, latents, actions[:, :0])
        noise = Noise(0, 1, (4, 6, 8))
        return joined(islice(stream(plan, model.network, model.diffusion, state, noise, given(actions)), 3))

    torch.testing.assert_close(made(cache), made("off"), rtol=1e-4, atol=1e-4)


def test_memory_is_refused_where_the_network_has_none(model):
    plan = choose(model.sampling, slots=4)
    with pytest.raises(ConfigError, match="memory"):
        begin(model, plan, torch.zeros(1, 1, 3, 60, 80), torch.zeros(1, 1, 25))


# The makers' files


def forms():
    """The network's tensors with rotary frequencies once, under every name, and not at all."""
    once = weights("network")
    shared = {own_name(name): tensor for name, tensor in once.items()}
    every = dict(shared)
    for i in range(NETWORK["depth"]):
        every[f"blocks.{i}.s_attn.rotary_emb.freqs"] = shared["spatial_rotary_emb.freqs"]
        every[f"blocks.{i}.t_attn.rotary_emb.freqs"] = shared["temporal_rotary_emb.freqs"]
    lacking = {name: tensor for name, tensor in shared.items() if "rotary_emb" not in name}
    return {"once": once, "every name": every, "lacking": lacking}


@pytest.mark.parametrize("form", forms())
def test_files_load_with_rotary_frequencies_under_any_name_or_without(tmp_path, form):
    network = load(publish(tmp_path, network=forms()[form])).network
    assert deviation(predict(network, "a", GOLDEN["dit.a.actions"]), GOLDEN["dit.a.out"]) < 2e-5


def test_stored_frequencies_count_where_there_are_any(tmp_path):
    tensors = weights("network")
    tensors["blocks.0.t_attn.rotary_emb.freqs"] = 2 * tensors["blocks.0.t_attn.rotary_emb.freqs"]
    network = load(publish(tmp_path, network=tensors)).network
    assert deviation(predict(network, "a", GOLDEN["dit.a.actions"]), GOLDEN["dit.a.out"]) > 1e-2


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16])
def test_half_precision_files_load_and_frequencies_stay_in_single_precision(tmp_path, kept):
    halves = {name: t if "freqs" in name else t.to(kept) for name, t in weights("network").items()}
    folder = publish(tmp_path, network=halves)
    network = load(folder).network
    assert network.external_cond.weight.dtype == torch.float32
    truth = GOLDEN["dit.a.out"]
    assert deviation(predict(network, "a", GOLDEN["dit.a.actions"]), truth) < 0.05 * truth.std()
    network = load(folder, dtype=kept).network
    assert network.external_cond.weight.dtype == kept
    assert network.temporal_rotary_emb.freqs.dtype == torch.float32


def test_bfloat16_moves_a_prediction_by_no_more_than_its_rounding(tmp_path):
    network = load(publish(tmp_path), dtype=torch.bfloat16).network
    made, truth = predict(network, "a", GOLDEN["dit.a.actions"]), GOLDEN["dit.a.out"]
    assert 0 < (made - truth).square().mean().sqrt() < 0.03 * truth.square().mean().sqrt()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_weights_of_the_wanted_dtype_stay_mapped_from_the_file(tmp_path):
    folder = publish(tmp_path)
    before = (folder / "oasis500m.safetensors").read_bytes()
    network = load(folder).network
    with torch.no_grad():
        network.external_cond.weight.add_(1)  # private to this process
    assert (folder / "oasis500m.safetensors").read_bytes() == before
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "oasis500m" in line]
    mapped = [range(*(int(end, 16) for end in line[0].split("-"))) for line in maps]
    assert all(any(p.data_ptr() in part for part in mapped) for p in network.parameters())


def test_full_size_names_and_shapes_are_those_of_the_published_files():
    with torch.device("meta"):
        network, codec = OasisDiT(OasisConfig()), OasisCodec(OasisCodecConfig())
    count = sum(t.numel() for name, t in network.state_dict().items())
    # frequencies counted once, as the file's 302 distinct tensors
    assert count == 607_943_792 and len(network.state_dict()) == 302
    assert sum(t.numel() for t in codec.state_dict().values()) == 229_246_160 and len(codec.state_dict()) == 228
    shapes = {name: tuple(t.shape) for name, t in (network.state_dict() | codec.state_dict()).items()}
    assert shapes["x_embedder.proj.weight"] == (1024, 16, 2, 2)
    assert shapes["blocks.15.t_adaLN_modulation.1.weight"] == (6144, 1024)
    assert shapes["blocks.0.s_attn.to_qkv.weight"] == (3072, 1024) and "blocks.0.s_attn.to_qkv.bias" not in shapes
    assert shapes["final_layer.linear.weight"] == (64, 1024)
    assert shapes["spatial_rotary_emb.freqs"] == (16,) and shapes["temporal_rotary_emb.freqs"] == (32,)
    assert shapes["decoder.11.attn.qkv.bias"] == (3072,) and shapes["predictor.weight"] == (1200, 1024)


def test_a_tensor_that_is_missing_extra_or_misshapen_is_named(tmp_path):
    for change in ("missing", "extra", "misshapen"):
        tensors = weights("network")
        name = "blocks.1.t_mlp.fc2.weight"
        if change == "missing":
            del tensors[name]
        elif change == "extra":
            tensors[name + ".more"] = tensors[name]
        else:
            tensors[name] = tensors[name][1:]
        with pytest.raises(CheckpointError, match=re.escape(name + (".more" if change == "extra" else ""))):
            load(publish(tmp_path / change, network=tensors))


def test_a_weight_that_is_no_number_is_named(tmp_path):
    tensors = weights("codec")
    tensors["predictor.bias"][3] = float("nan")
    with pytest.raises(NumericError, match=r"predictor\.bias"):
        load(publish(tmp_path, codec=tensors))


def test_a_config_cannot_name_weights_outside_its_folder(tmp_path):
    folder = publish(tmp_path)
    text = (folder / "config.json").read_text().replace("vit-l-20.safetensors", "../vit-l-20.safetensors")
    (folder / "config.json").write_text(text)
    with pytest.raises(IntegrityError, match="outside"):
        load(folder)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin"])
def test_pickled_weights_are_converted_to_a_checkpoint_that_predicts_the_same(tmp_path, suffix):
    source = publish(tmp_path / "source")
    for part, name in (("network", "oasis500m"), ("codec", "vit-l-20")):
        (source / f"{name}.safetensors").unlink()
        torch.save(weights(part) if part == "network" else {"state_dict": weights(part)}, source / (name + suffix))
    convert(source, tmp_path / "target")
    network = load(tmp_path / "target").network
    assert deviation(predict(network, "a", GOLDEN["dit.a.actions"]), GOLDEN["dit.a.out"]) < 2e-5


def test_conversion_leaves_every_tensor_in_its_own_dtype(tmp_path):
    halves = {name: t if "freqs" in name else t.bfloat16() for name, t in weights("network").items()}
    convert(publish(tmp_path / "source", network=halves), tmp_path / "target")
    read = load_file(tmp_path / "target" / "model.safetensors")
    assert read["network.external_cond.weight"].dtype == torch.bfloat16
    assert read["network.temporal_rotary_emb.freqs"].dtype == torch.float32
    assert read["codec.predictor.weight"].dtype == torch.float32


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "canary",))

    source = publish(tmp_path / "source")
    (source / "oasis500m.safetensors").unlink()
    torch.save({"x_embedder.proj.weight": Trap()}, source / "oasis500m.pt")
    with pytest.raises(CheckpointError, match=r"oasis500m\.pt"):
        convert(source, tmp_path / "target")
    assert not (tmp_path / "canary").exists() and not (tmp_path / "target").exists()


def test_a_folder_without_known_weights_cannot_be_converted(tmp_path):
    with pytest.raises(CheckpointError, match="no weights that arvdm can convert") as caught:
        convert(tmp_path, tmp_path / "target")
    assert "oasis500m.safetensors" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (OasisConfig, {"dim": 1000}),
        (OasisConfig, {"heads": 0}),
        (OasisConfig, {"depth": -1}),
        (OasisConfig, {"height": 17}),
        (OasisCodecConfig, {"patch": 0}),
        (OasisCodecConfig, {"width": 641}),
        (OasisCodecConfig, {"decoder_heads": 3}),
    ],
)
def test_sizes_that_cannot_work_are_refused(kind, sizes):
    with pytest.raises(ConfigError, match=r"does not fit|above 0"):
        kind(**sizes)


@pytest.mark.parametrize("weights", [[], "x", {"network": 3}, {"network": "/etc/passwd"}])
def test_a_config_that_names_no_files_for_its_weights_is_refused(tmp_path, weights):
    folder = publish(tmp_path)
    described = json.loads((folder / "config.json").read_text()) | {"weights": weights}
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(ArvdmError) as caught:
        load(folder)
    assert caught.value.code in (3, 6)


def test_a_config_of_the_makers_own_does_not_hide_their_files(tmp_path):
    folder = publish(tmp_path)
    (folder / "config.json").write_text('{"architectures": ["Oasis"]}')
    assert read_config(folder)["actions"] == list(MINECRAFT)


def test_an_older_pickle_is_converted_too(tmp_path):
    source = publish(tmp_path / "source")
    (source / "oasis500m.safetensors").unlink()
    torch.save(weights("network"), source / "oasis500m.pt", _use_new_zipfile_serialization=False)
    convert(source, tmp_path / "target")
    assert (tmp_path / "target" / "model.safetensors").is_file()
