"""FAR: equal to the reference's recorded outputs under our own sampler, whatever of the past is encoded once.

Tolerances are absolute. Network outputs have a magnitude of 4, hidden states of 20, codec latents of 13, latents of 6.
In float32 the reference itself is off by 9e-6, 1.3e-4 and 1e-5 from float64. A bound of some times that lets another
order of sums pass, and no mistake: the smallest one known, another form of GELU, moves outputs by 4e-4.
"""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from arvdm_cli.errors import ConfigError
from arvdm_cli.hub.checkpoint import load
from arvdm_cli.models.dcae import DCAE, DCAEConfig
from arvdm_cli.models.far import FAR, FARConfig, waves
from arvdm_cli.runs.state_file import from_tensors, to_tensors
from arvdm_cli.sampling.config import CACHES, Plan
from arvdm_cli.sampling.generation import begin, choose, given
from arvdm_cli.sampling.memory import EVICTIONS
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import PRESETS, next_frame
from arvdm_cli.sampling.state import Noise, start
from support.far import GENERATIONS, GOLDEN, SAMPLING, WINDOW, levels_of, network, publish, rows
from support.oasis import deviation
from support.tiny import joined

OUTPUT, HIDDEN, CODEC, LATENT = 3e-5, 3e-4, 5e-5, 2e-4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The tiny FAR, read under its makers' names."""
    return load(publish(tmp_path_factory.mktemp("far")))


def remembered(far, latents, actions):
    """Memory of clean frames (b, f, c, h, w) with actions (b, f, a)."""
    memory = far.empty_memory(latents.shape[0], "cpu")
    for i in range(latents.shape[1]):
        frame, act = latents[:, i : i + 1], actions[:, i : i + 1]
        memory = memory.append(
            far.compress(frame, act, torch.zeros(len(frame), 1, 3)), act, torch.zeros(len(act), 1, 3)
        )
    return memory


def predict(far, latents, times, actions, known=0):
    """Velocities of a clip's last frames: older ones are memory, `known` frames context, the others the window."""
    long = max(0, latents.shape[1] - WINDOW)
    memory = far.encode_memory(remembered(far, latents[:, :long], actions[:, :long]))
    levels, origin, first = levels_of(times), torch.zeros(len(latents), 3), long + known
    context = (latents[:, long:first], levels[:, long:first], actions[:, long:first])
    past = far.encode_context(*context, origin, memory)
    return far(latents[:, first:], levels[:, first:], actions[:, first:], past)


def case(name):
    """Latents, times and actions of a recorded call."""
    return GOLDEN[f"{name}.x"], GOLDEN[f"{name}.t"], rows(GOLDEN[f"{name}.actions"])


def reenact(model, clip, cache="exact", slots=SAMPLING["slots"]):
    """Latents of a recorded clip, prompt included, made again from its prompt, actions and noise."""
    noise, guidance = GOLDEN[f"{clip}.noise"], float(GOLDEN[f"{clip}.guidance"])
    prompt = GOLDEN.get(f"{clip}.prompt_latents", noise[:, :0])
    actions, first = rows(GOLDEN[f"{clip}.actions"]), prompt.shape[1]
    if guidance == -1:  # the makers' word for: without actions
        actions, guidance = torch.zeros_like(actions), 1.0
    sampling = replace(model.sampling, cache=cache, guidance=guidance, slots=slots)
    state = start(model.network, sampling, prompt, actions[:, :first])

    class Recorded(Noise):
        def __call__(self, use, first, count, step=0):
            known = noise[:, first : first + count]
            return known if known.shape[1] == count else super().__call__(use, first, count, step)

    plan = Plan(next_frame(int(GOLDEN[f"{clip}.steps"]), 0.001), sampling)
    drawn = Recorded(0, noise.shape[0], tuple(noise.shape[2:]))
    steps = stream(plan, model.network, model.diffusion, state, drawn, given(actions[:, first:]))
    return torch.cat((prompt, joined(islice(steps, noise.shape[1]))), 1)


# Equal to the reference


@pytest.mark.parametrize("known", [0, 1, 2])
@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_the_network_predicts_what_the_reference_does_however_much_of_the_past_is_encoded(name, known):
    latents, times, actions = case(f"xf.{name}")
    far = network(height=latents.shape[3], width=latents.shape[4])
    assert deviation(predict(far, latents, times, actions, known), GOLDEN[f"xf.{name}.out"][:, known:]) < OUTPUT


@pytest.mark.parametrize(("rounded", "name"), [(False, "out_last"), (True, "out_last_bf16_positions")])
def test_positions_above_256_are_exact_or_rounded_as_the_makers_rounded_them(rounded, name):
    latents, times, actions = case("xf.e")
    far = network(height=4, width=4, bfloat16_positions=rounded)
    assert deviation(predict(far, latents, times, actions, WINDOW - 1), GOLDEN[f"xf.e.{name}"]) < OUTPUT


def test_tokens_conditions_angles_and_every_block_are_the_reference_s():
    (latents, times, actions), far, long, blocks = case("xf.b"), network(), 5, []
    for block in far.transformer_blocks:
        block.register_forward_hook(lambda block, given, made: blocks.append(made[0].flatten(1, 2)))
    memory = remembered(far, latents[:, :long], actions[:, :long])
    seen, levels, acts = far.encode_memory(memory), levels_of(times[:, long:]), actions[:, long:]
    past = far.encode_context(latents[:, :0], levels[:, :0], acts[:, :0], torch.zeros(1, 3), seen)
    blocks.clear()
    old, new = far.enter_old(memory, 0), far.enter(latents[:, long:], levels, acts, long)
    far.run(*old, [], old=True)
    far.run(*new, past.keys)

    def deviates(old, new, name):
        return deviation(torch.cat((old, new), -2), GOLDEN[f"xf.b.{name}"])

    assert deviates(old[0].flatten(1, 2), new[0].flatten(1, 2), "tokens") < OUTPUT
    conditions = (part[1].unsqueeze(2).expand_as(part[0]).flatten(1, 2) for part in (old, new))
    assert deviates(*conditions, "cond") < OUTPUT
    for kind, name in enumerate(("rope_cos", "rope_sin")):
        pairs = (part[2][kind].repeat_interleave(2, 1) for part in (old, new))
        assert deviates(*pairs, name) < 1e-6
    for i in range(far.config.depth):
        assert deviates(blocks[i], blocks[far.config.depth + i], f"block{i}") < HIDDEN


@pytest.mark.parametrize("name", ["b", "c"])
def test_predictions_of_old_frames_which_nothing_uses_are_the_reference_s(name):
    latents, _, actions = case(f"xf.{name}")
    far = network(height=latents.shape[3], width=latents.shape[4])
    memory = remembered(far, latents[:, :-WINDOW], actions[:, :-WINDOW])
    x, condition, angles = far.enter_old(memory, 0)
    x, _ = far.run(x, condition, angles, [], old=True)
    made = far.read(x, condition, far.context_proj_out, far.config.memory_patch)
    assert deviation(made, GOLDEN[f"xf.{name}.out_context"]) < OUTPUT


def test_the_codec_encodes_and_decodes_as_the_reference_does(model):
    codec, pictures = model.codec, GOLDEN["vae.image_u8"].float() / 127.5 - 1
    latents = codec.encoder(pictures)
    assert deviation(latents, GOLDEN["vae.latent"]) < CODEC
    assert deviation(codec.decoder(latents), GOLDEN["vae.recon"]) < CODEC
    assert deviation(codec.decoder(GOLDEN["vae.z"]), GOLDEN["vae.decoded"]) < CODEC
    again = codec.decode(codec.encode(pictures.unsqueeze(0)))
    assert deviation(again[0], GOLDEN["vae.recon"].clamp(-1, 1)) < CODEC


def test_times_are_embedded_as_the_reference_embeds_them(model):
    assert deviation(waves(GOLDEN["time.t"]), GOLDEN["time.sincos"]) < 1e-6
    made = model.network.embed_times(GOLDEN["time.t"])
    assert deviation(made, GOLDEN["time.embedding"]) < OUTPUT


def test_levels_are_the_reference_s_for_every_number_of_steps():
    for name in (name for name in GOLDEN if name.startswith("schedule.sigmas.")):
        steps = name.rpartition(".")[2]
        levels = torch.tensor([level for (level,) in next_frame(int(steps), 0.001).levels])
        assert deviation(levels, GOLDEN[name]) <= 2**-24  # one rounding
        assert deviation(1000 * levels[:-1], GOLDEN[f"schedule.timesteps.{steps}"]) <= 2**-14  # one rounding near 1000
    assert deviation(1000 * torch.linspace(1, 0.001, 1000), GOLDEN["schedule.train_timesteps"]) <= 2**-13


def test_a_training_step_predicts_what_the_reference_does_and_its_loss_follows(model):
    latents, noise, times = (GOLDEN[f"train.{name}"] for name in ("latents", "noise", "t"))
    clean, levels = latents * model.codec.config.scale, levels_of(times)
    noisy = model.diffusion.add_noise(clean, noise, levels)
    assert deviation(noisy, GOLDEN["train.x"]) < 1e-5
    made = predict(model.network, noisy, times, rows(GOLDEN["train.labels_used"]))
    assert deviation(made, GOLDEN["train.pred"]) < OUTPUT
    error = (made - (noise - clean)[:, -WINDOW:]).square().mean((2, 3, 4))  # (b, f)
    scored = times[:, -WINDOW:] != -1
    loss = ((error * scored).sum(1) / (scored.sum(1) + 1e-9)).mean()
    torch.testing.assert_close(loss, GOLDEN["train.loss"][0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("cache", ["exact", "off"])
@pytest.mark.parametrize("clip", GENERATIONS)
def test_a_clip_is_the_one_the_reference_made_also_when_the_window_slides(model, clip, cache):
    made = reenact(model, clip, cache)
    assert deviation(made, GOLDEN[f"{clip}.latents"]) < LATENT
    assert deviation(made, GOLDEN[f"{clip}.latents_cached"]) < LATENT
    pictures = GOLDEN[f"{clip}.frames_u8"]
    frames = ((model.codec.decode(made[:, -pictures.shape[1] :]) / 2 + 0.5) * 255).int().permute(0, 1, 3, 4, 2)
    assert deviation(frames, pictures) <= 1 and (frames != pictures).float().mean() < 2e-4


@pytest.mark.parametrize("clip", [clip for clip in GENERATIONS if f"{clip}.prompt_u8" in GOLDEN])
def test_a_prompt_of_pictures_is_encoded_as_the_reference_encodes_it(model, clip):
    made = model.codec.encode(GOLDEN[f"{clip}.prompt_u8"].float() / 127.5 - 1)
    assert deviation(made, GOLDEN[f"{clip}.prompt_latents"]) < CODEC


@pytest.mark.parametrize("clip", [clip for clip in GENERATIONS if f"{clip}.trace_v" in GOLDEN])
def test_every_denoising_step_of_a_clip_is_the_reference_s(model, clip):
    windows, steps = [], int(GOLDEN[f"{clip}.steps"])

    class Spy:
        def __getattr__(self, name):
            return getattr(model.network, name)

        def __call__(self, window, levels, actions, past):
            windows.append(window)
            return model.network(window, levels, actions, past)

    reenact(replace(model, network=Spy()), clip)
    noise, trace = GOLDEN[f"{clip}.noise"], GOLDEN[f"{clip}.trace_x"]
    for i in range(noise.shape[1]):
        for m in range(steps):
            before = trace[:, i, m - 1] if m else noise[:, i]
            assert deviation(windows[i * steps + m][: len(noise), 0], before) < LATENT


@pytest.mark.parametrize("clip", [clip for clip in GENERATIONS if f"{clip}.trace_v" in GOLDEN])
def test_every_velocity_of_a_clip_is_the_reference_s(model, clip):
    latents, actions = GOLDEN[f"{clip}.latents"], rows(GOLDEN[f"{clip}.actions"])
    noise, trace, velocity = (GOLDEN[f"{clip}.{name}"] for name in ("noise", "trace_x", "trace_v"))
    times, guidance = GOLDEN[f"schedule.timesteps.{int(GOLDEN[f'{clip}.steps'])}"], float(GOLDEN[f"{clip}.guidance"])
    first = latents.shape[1] - noise.shape[1]
    for i in range(noise.shape[1]):
        for m, time in enumerate(times):
            noisy = trace[:, i, m - 1] if m else noise[:, i]
            seen = torch.cat((latents[:, : first + i], noisy.unsqueeze(1)), 1)
            levels = torch.full(seen.shape[:2], -1.0).index_fill(1, torch.tensor(first + i), float(time))
            acts = actions[:, : first + i + 1]
            made = predict(model.network, seen, levels, acts)[:, -1]
            if guidance > 1:
                without = predict(model.network, seen, levels, torch.zeros_like(acts))[:, -1]
                made = without + guidance * (made - without)
            assert deviation(made, velocity[:, i, m]) < LATENT


# Our own sampler around it


def play(model, frames, latents=None, state=None, begun=0, **chosen):
    """Latents and last state of new frames after a prompt of latents, under settings of sampling."""
    plan = choose(model.sampling, **chosen)
    actions = rows(torch.randint(0, 5, (1, 80), generator=torch.Generator().manual_seed(1)))
    if state is None:
        latents = torch.zeros(1, 0, 8, 8, 8) if latents is None else latents
        state = start(model.network, plan.sampling, latents, actions[:, : latents.shape[1]])
    new = actions[:, 40:]
    steps = list(
        islice(stream(plan, model.network, model.diffusion, state, Noise(0, 1, (8, 8, 8)), given(new)), frames)
    )
    return torch.cat([step.clean for step in steps], 1), steps[-1].state


def film(frames):
    return torch.randn(1, frames, 8, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_weights_run_under_every_preset(model, preset):
    plan = choose(model.sampling, schedule=preset)
    state = begin(model, plan, GOLDEN["vae.image_u8"][None, :1].float() / 127.5 - 1, torch.zeros(1, 1, 4))
    steps = stream(plan, model.network, model.diffusion, state, Noise(0, 1, (8, 8, 8)), given(torch.zeros(1, 9, 4)))
    made = joined(islice(steps, 4))
    assert made.shape[1] == 4 * plan.schedule.chunk and torch.isfinite(made).all()


@pytest.mark.parametrize("prompt", [0, 30])
@pytest.mark.parametrize("slots", [0, 5, 64])
@pytest.mark.parametrize("eviction", EVICTIONS)
def test_what_is_encoded_once_gives_the_frames_that_encoding_at_every_step_gives(model, prompt, slots, eviction):
    made = [play(model, 9, film(prompt), cache=c, slots=slots, eviction=eviction)[0] for c in ("exact", "off")]
    assert torch.equal(*made)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("slots", [5, 64])
def test_a_state_that_was_saved_leads_to_the_same_frames_to_the_bit(model, cache, slots):
    chosen = {"cache": cache, "slots": slots, "steps": 2}
    whole, _ = play(model, 8, film(25), **chosen)
    half, state = play(model, 4, film(25), **chosen)
    state = from_tensors(*to_tensors(state))
    assert torch.equal(torch.cat((half, play(model, 4, state=state, **chosen)[0]), 1), whole)


@pytest.mark.parametrize("clip", GENERATIONS)
def test_kept_keys_are_exact_until_the_window_slides_and_deviate_by_design_after(model, clip):
    made, truth = reenact(model, clip, "keep"), GOLDEN[f"{clip}.latents"]
    assert deviation(made[:, :WINDOW], truth[:, :WINDOW]) < LATENT
    slid = slice(max(WINDOW, truth.shape[1] - GOLDEN[f"{clip}.noise"].shape[1]) + 1, None)
    assert deviation(made[:, slid], truth[:, slid]) > 1e-2


@pytest.mark.parametrize(("slots", "most"), [(64, 2), (5, 9)])
def test_a_frame_of_memory_is_encoded_alone_and_once_more_in_a_block_until_frames_are_evicted(model, slots, most):
    encoded, encode = [], model.network.encode_old
    numbers = []

    def counted(memory, *rest):
        numbers.extend(memory.numbers.tolist())
        encoded.append(len(memory))
        return encode(memory, *rest)

    model.network.encode_old = counted
    try:
        play(model, 9, film(30), slots=slots, steps=2)
    finally:
        del model.network.encode_old
    assert max(numbers.count(number) for number in numbers) <= most
    if slots == 64:  # 27 frames of the prompt, then one of each new frame, the 32nd with its block
        assert encoded == [16, *[1] * 11, *[1] * 4, 16, 1, 1, 1]
    else:  # each time those that are there
        assert encoded == [slots] * 9


def test_only_differences_of_positions_count(model):
    latents, times, actions = case("xf.b")
    plain = predict(model.network, latents, times, actions)
    memory, levels = remembered(model.network, latents[:, :5], actions[:, :5]), levels_of(times[:, 5:])
    later = replace(memory, numbers=memory.numbers + 1000, count=memory.count + 1000)
    past = model.network.encode_context(
        latents[:, :0], levels[:, :0], actions[:, :0], torch.zeros(1, 3), model.network.encode_memory(later)
    )
    assert deviation(model.network(latents[:, 5:], levels, actions[:, 5:], past), plain) < OUTPUT


# The makers' sizes

MINECRAFT = {"dim": 1024, "heads": 16}
DEEP = {
    "widths": (256, 512, 512, 1024),
    "encoder_layers": (4, 8, 2, 2),
    "decoder_layers": (5, 10, 2, 2),
    "attention": 2,
}
PARTS = {
    "DMLab": (FAR, FARConfig(), 158_111_776, 349, 632_447_104),
    "Minecraft": (FAR, FARConfig(**MINECRAFT), 280_544_800, 349, 1_122_179_200),
    "DMLab codec": (DCAE, DCAEConfig(), 127_920_940, 250, 511_735_080),
    "Minecraft codec": (DCAE, DCAEConfig(height=128, width=128, **DEEP), 215_758_380, 306, 863_084_840),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_makers_sizes_have_their_numbers_of_parameters_names_and_bytes(part):
    kind, config, parameters, names, size = PARTS[part]
    with torch.device("meta"):
        module = kind(config)
    tensors = module.state_dict()
    assert sum(weight.numel() for weight in module.parameters()) == parameters
    assert len(tensors) == names
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) == size
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    expected = {
        "x_embedder.weight": (768, 32),
        "context_embedder.weight": (768, 512),
        "action_embedder.embedding_table.weight": (5, 768),
        "transformer_blocks.11.attn.add_k_proj.weight": (768, 768),
        "transformer_blocks.11.attn.norm_added_q.weight": (64,),
        "transformer_blocks.10.attn.to_add_out.bias": (768,),
        "transformer_blocks.0.mlp.net.0.proj.weight": (3072, 768),
        "context_proj_out.weight": (512, 768),
        "encoder.conv_in.conv.weight": (64, 3, 3, 3),
        "encoder.down_blocks.1.4.conv.weight": (128, 256, 3, 3),
        "encoder.down_blocks.3.1.conv_out.conv_point.weight": (512, 2048, 1, 1),
        "decoder.up_blocks.2.0.conv.weight": (2048, 512, 3, 3),
        "decoder.up_blocks.1.5.norm.running_var": (256,),
        "decoder.conv_out.conv.weight": (12, 256, 3, 3),
    }
    if "Minecraft" not in part:
        assert {name: shapes[name] for name in expected.keys() & shapes.keys()} == {
            name: shape for name, shape in expected.items() if name in shapes
        }
        assert len(expected.keys() & shapes.keys()) == (8 if kind is FAR else 6)
    assert "transformer_blocks.11.attn.to_add_out.weight" not in shapes


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (FARConfig, {"rotary": (16, 24, 23)}, "three even numbers"),
        (FARConfig, {"heads": 11}, "not 11 heads of 64"),
        (FARConfig, {"memory_patch": 3}, "do not divide"),
        (FARConfig, {"patch": 0}, "above 0"),
        (FARConfig, {"actions": 5}, "5 actions, but 4 classes"),
        (DCAEConfig, {"widths": ()}, "from 1 to 8 levels"),
        (DCAEConfig, {"encoder_layers": (1, 2)}, "layers for each"),
        (DCAEConfig, {"widths": (256, 513, 512)}, "do not divide"),
        (DCAEConfig, {"height": 60}, "halved 3 times"),
    ],
)
def test_sizes_that_fit_nothing_are_refused(kind, values, words):
    with pytest.raises(ConfigError) as error:
        kind(**values)
    assert words in f"{error.value} {error.value.hint}"


# Actions that follow their frames


def following(model):
    """The same model, which takes as a frame's action the one after it."""
    return replace(model, network=network(labels_follow=True))


def test_actions_of_a_file_are_the_labels_of_the_frames_before_them(model):
    labels, latents = rows(GOLDEN["gen2.actions"]), GOLDEN["gen2.latents"]
    led = torch.cat((torch.zeros_like(labels[:, :1]), labels), 1)  # what is taken after frame t leads into t + 1
    prompt, noise = GOLDEN["gen2.prompt_latents"], GOLDEN["gen2.noise"]
    first, follower = prompt.shape[1], following(model)

    class Recorded(Noise):
        def __call__(self, use, first, count, step=0):
            known = noise[:, first : first + count]
            return known if known.shape[1] == count else super().__call__(use, first, count, step)

    plan = choose(model.sampling, steps=int(GOLDEN["gen2.steps"]))
    state = start(follower.network, plan.sampling, prompt, led[:, :first])
    drawn = Recorded(0, 1, tuple(noise.shape[2:]))
    steps = stream(plan, follower.network, model.diffusion, state, drawn, given(led[:, first:]), known=True)
    assert deviation(joined(islice(steps, noise.shape[1])), latents[:, first:]) < LATENT


@pytest.mark.parametrize("cache", CACHES)
def test_live_a_label_is_unknown_while_its_frame_is_made_and_true_for_ever_after(model, cache):
    follower, seen = following(model), {"windows": [], "context": [], "memory": []}
    far = follower.network

    class Spy:
        labels_follow, group = True, 1

        def __getattr__(self, name):
            return getattr(far, name)

        def __call__(self, window, levels, actions, past):
            seen["windows"].append(actions)
            return far(window, levels, actions, past)

        def encode_context(self, context, levels, actions, *rest, **more):
            seen["context"].append(actions)
            return far.encode_context(context, levels, actions, *rest, **more)

        def encode_memory(self, memory, earlier=None):
            seen["memory"].append(memory.actions)
            return far.encode_memory(memory, earlier)

    led = rows(torch.arange(14).unsqueeze(0) % 4)  # every action is known, and none alike the next
    plan = choose(model.sampling, cache=cache, steps=2)
    state = start(Spy(), plan.sampling, film(5), led[:, :5])
    asked = []

    def live(first, count):
        asked.append(first + count)
        return led[:, 5 + first : 5 + first + count]

    steps = stream(plan, Spy(), model.diffusion, state, Noise(0, 1, (8, 8, 8)), live)
    for i, step in enumerate(islice(steps, 8)):
        assert max(asked) == i + 1  # none is asked for early
        assert torch.equal(seen["memory"][-1], led[:, 1 : 3 + i])  # of frames 0 to 1 + i
        assert torch.equal(seen["context"][-1][:, -1], led[:, 5 + i])  # of the frame before the new one
        assert torch.equal(step.state.actions[:, :-1], led[:, 4 + i : 6 + i]) and not step.state.actions[:, -1].any()
    assert not torch.cat(seen["windows"]).any()
