"""Training by frames: FAR's recipe on latents of arvdm's codec; its loss is the makers', its runs are as all others."""

import json
from dataclasses import replace

import pytest
import torch

from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.errors import ArvdmError
from arvdm_cli.hub import checkpoint
from arvdm_cli.models.codec import Codec
from arvdm_cli.models.dcae import DCAEConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.models.far import FAR, FARConfig
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import begin, choose, generate, given
from arvdm_cli.training.config import TrainConfig, configure
from arvdm_cli.training.loop import train
from arvdm_cli.training.network import hidden_matrices, memory_weights
from arvdm_cli.training.optimizers import optimizers
from arvdm_cli.training.recipes import draw_batch
from arvdm_cli.training.recipes.frames import clip_loss, draw_actions, draw_levels
from arvdm_cli.training.state import TrainState
from support.far import GOLDEN, WINDOW, levels_of, network, rows
from support.oasis import deviation
from support.paths import EXAMPLES
from support.training import HELD_OUT, configured, quiet

SHAPE = {"channels": 2, "height": 4, "width": 4, "dim": 32, "depth": 2, "heads": 2, "rotary": (4, 6, 6)}
SMALL = FARConfig(**SHAPE, memory_patch=2, classes=5, actions=5)
SAMPLING = Sampling("next-frame", {"steps": 1}, context=3, stabilization=0.0, slots=8, group=1, eviction="oldest")
VELOCITY = FlowMatching("velocity")
RATES = ("lr", "matrix_lr", "trunk_lr", "warmup", "decay")


def far(data, out, **chosen):
    """A run of a small FAR: clips of four frames after up to six of memory."""
    shape = {"architecture": "far", "network": SMALL, "sampling": SAMPLING, "diffusion": VELOCITY, "early": 0.0}
    shape |= {"memory_frames": 6, "clip_frames": 4, "frames": 12, "groups": TrainConfig().groups}
    return configured(data, out, **(shape | chosen))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "far"
    train(far(data, out), False, quiet)
    return out


@pytest.fixture(scope="module")
def episodes(data):
    made = Episodes(read_all((str(data),)), HELD_OUT)
    made.latents = torch.arange(128.0).view(1, -1, 1, 1, 1).expand(4, -1, 2, 4, 4).numpy()  # each the frame's number
    return made


# The makers' training step


def test_velocities_and_loss_of_a_step_are_the_reference_s():
    net, made = network(), []
    forward = net.forward_clip
    net.forward_clip = lambda *clip: made.append(forward(*clip)) or made[-1]
    clean, noise = GOLDEN["train.latents"] * DCAEConfig().scale, GOLDEN["train.noise"][:, -WINDOW:]
    levels, labels = levels_of(GOLDEN["train.t"][:, -WINDOW:]), rows(GOLDEN["train.labels_used"])
    loss = clip_loss(net, VELOCITY, clean, noise, levels, labels)
    assert deviation(made[0], GOLDEN["train.pred"]) < 3e-5
    torch.testing.assert_close(loss, GOLDEN["train.loss"][0], rtol=1e-5, atol=0)


def test_a_clip_all_of_whose_frames_are_clean_context_counts_0():
    latents = torch.randn(1, 5, 8, 8, 8)
    assert clip_loss(network(), VELOCITY, latents, latents[:, 1:], torch.zeros(1, 4), torch.zeros(1, 5, 4)) == 0


# What is drawn


def test_each_frame_has_a_level_of_its_own_a_thousandth_at_least_and_a_share_is_clean():
    config, generator = TrainConfig(clean_context=0.25), torch.Generator().manual_seed(0)
    levels = draw_levels(config, 1000, 12, generator)
    noised = levels[levels > 0]
    assert abs((levels == 0).float().mean() - 0.25) < 0.02
    assert noised.min() >= 0.001 and noised.max() <= 1
    assert deviation(noised * 1000, (noised * 1000).round()) < 1e-4  # of the makers' thousand
    assert (
        abs(noised.median() - 0.5) < 0.02
        and abs((noised < torch.sigmoid(torch.tensor(-1.0))).float().mean() - 0.159) < 0.02
    )
    assert (levels[:, 0] != levels[:, 1]).any()


def test_memory_is_all_of_the_frames_right_before_a_clip_from_none_to_the_most(data, episodes):
    config, net, seen = far(data, ""), FAR(SMALL), set()
    for step in range(1, 60):
        batch = draw_batch(config, episodes, step, None, net)
        frames = batch.clips.clip[:, :, 0, 0, 0]  # their numbers
        assert (frames.diff(dim=1) == 1).all() and torch.equal(frames[:, 0].long(), batch.clips.first)
        assert batch.window == 4 and frames.shape == (3, batch.context + 4)
        seen.add(batch.context)
    assert seen == set(range(7))
    assert draw_batch(replace(config, early=1.0), episodes, 1, None, net).context == 0


@pytest.mark.parametrize("follow", [False, True])
def test_actions_are_dropped_frame_by_frame_and_may_be_those_after_their_frames(data, episodes, follow):
    config = far(data, "", drop_actions=0.0)
    batch = draw_batch(config, episodes, 3, None, FAR(SMALL))
    whole = draw_actions(config, batch, batch.clips.clip.shape[1], follow, torch.Generator())
    for clip, first, actions in zip(whole, batch.clips.first, batch.clips.actions, strict=True):
        there = actions[first + follow :][: len(clip)]
        assert torch.equal(clip[: len(there)], there)
    dropped = draw_actions(replace(config, drop_actions=0.5), batch, len(whole[0]), follow, torch.Generator())
    unknown = (dropped == 0).all(-1)
    assert 0 < unknown.float().mean() < 1 and torch.equal(dropped[~unknown], whole[~unknown])


def test_the_action_after_an_episodes_last_frame_is_unknown(data, episodes):
    config = far(data, "", drop_actions=0.0)
    batch = draw_batch(config, episodes, 1, None, FAR(SMALL))
    end = replace(batch.clips, first=torch.full_like(batch.clips.first, 124))
    actions = draw_actions(config, replace(batch, clips=end), 4, True, torch.Generator())
    assert not actions[:, -1].any() and actions[:, :-1].any(-1).all()


# The weights


def test_it_begins_as_the_identity_and_every_weight_that_predicts_is_reached(data, episodes):
    config = far(data, "")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = FAR(SMALL)
        clip, levels = torch.randn(2, 9, 2, 4, 4), torch.rand(2, 4)
        actions = torch.eye(5)[torch.randint(5, (2, 9))]
    assert not net.forward_clip(clip, levels, actions, 4).any()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    net.forward_clip(clip, levels, actions, 4).square().sum().backward()
    idle = {name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()}
    last = "transformer_blocks.1.attn"  # of old frames, its keys and values alone are seen
    unseen = {f"{last}.add_q_proj.weight", f"{last}.add_q_proj.bias", f"{last}.norm_added_q.weight"}
    assert idle == unseen | {"context_proj_out.weight", "context_proj_out.bias"}
    groups = [group for one in optimizers(config, net, torch.device("cpu")) for group in one.param_groups]
    assert sorted(id(weight) for group in groups for weight in group["params"]) == sorted(map(id, net.parameters()))


def test_muon_trains_matrices_of_blocks_and_memory_s_weights_are_those_of_old_frames():
    net = FAR(SMALL)
    matrices, of_memory = hidden_matrices(net), memory_weights(net)
    assert {"transformer_blocks.0.attn.to_q.weight", "transformer_blocks.1.mlp.net.2.weight"} <= set(matrices)
    assert not any(part in name for name in matrices for part in ("norm", "embed", "bias", "proj_out"))
    alone = FAR(SMALL)
    alone.forward_clip(torch.randn(1, 4, 2, 4, 4), torch.rand(1, 4), torch.zeros(1, 4, 5), 4).sum().backward()
    reached = {name for name, weight in alone.named_parameters() if weight.grad is not None}
    assert reached == {name for name, _ in alone.named_parameters()} - set(of_memory)


# A run


def test_a_run_writes_a_checkpoint_that_loads_with_arvdms_codec_copies_and_generates(run, data, tmp_path):
    config = json.loads((run / "checkpoint" / "config.json").read_text())
    assert (config["model"], config["codec_model"]) == ("far", "dit")
    model = checkpoint.load(run / "checkpoint")
    checkpoint.save(model, tmp_path / "copy")
    model = checkpoint.load(tmp_path / "copy")
    assert type(model.network) is FAR and type(model.codec) is Codec and model.network.config == SMALL
    plan = choose(model.sampling)
    state = begin(model, plan, torch.zeros(1, 6, 3, 32, 32), torch.zeros(1, 6, 5))
    frames = torch.cat(list(generate(model, plan, state, given(torch.zeros(1, 3, 5)), seed=0, length=3)), 1)
    assert frames.shape == (1, 3, 3, 32, 32) and torch.isfinite(frames).all()


def test_a_run_that_was_resumed_is_one_that_was_not_to_the_bit(run, data, tmp_path):
    class Cut(Exception):
        """Stops a run at a step."""

    def stop(event):
        if event.name == "saved" and event.step == 2:
            raise Cut

    with pytest.raises(Cut):
        train(far(data, tmp_path / "run"), False, stop)
    train(far(data, tmp_path / "run"), True, quiet)
    whole, resumed = (TrainState.load(folder / "state.pt") for folder in (run, tmp_path / "run"))
    assert whole.step == resumed.step == 4
    for part in ("network", "average"):
        weights = getattr(resumed, part)
        assert all(torch.equal(weight, weights[name]) for name, weight in getattr(whole, part).items())


def test_a_run_starts_with_another_s_weights_or_with_the_codec_alone_of_any_network(run, data, tmp_path):
    still = {"start": str(run / "checkpoint"), "steps": 1, "lr": 0.0, "matrix_lr": 0.0}
    train(far(data, tmp_path / "all", **still), False, quiet)
    train(far(data, tmp_path / "codec", start_network=False, **still), False, quiet)
    source = checkpoint.load(run / "checkpoint")
    states = {name: TrainState.load(tmp_path / name / "state.pt") for name in ("all", "codec")}
    for state in states.values():
        assert all(torch.equal(weight, state.codec[name]) for name, weight in source.codec.state_dict().items())
    weights = source.network.state_dict()
    assert all(torch.equal(weight, states["all"].network[name]) for name, weight in weights.items())
    assert not torch.equal(weights["proj_out.weight"], states["codec"].network["proj_out.weight"])


def test_a_training_file_names_far_and_its_table_is_far_s(tmp_path):
    (tmp_path / "run.toml").write_text('architecture = "far"\nmemory_frames = 9\n[network]\nmemory_patch = 8\n')
    config = configure(tmp_path / "run.toml")
    assert config.network == FARConfig(memory_patch=8) and config.memory_frames == 9


def test_the_example_sees_the_frames_of_the_family_with_as_many_weights():
    networks = EXAMPLES / "networks"
    stages = {name: configure(networks / f"{name}.toml") for name in ("far-trunk", "far", "prepend")}
    stages["trunk"] = configure(EXAMPLES / "train-maze.toml")
    for ours, theirs in (("far-trunk", "trunk"), ("far", "prepend")):
        for key in (
            "data",
            "held_out",
            "steps",
            "frames",
            "lr",
            "matrix_lr",
            "trunk_lr",
            "warmup",
            "decay",
            "ema",
            "early",
        ):
            assert getattr(stages[ours], key) == getattr(stages[theirs], key), key
    with torch.device("meta"):
        nets = FAR(stages["far"].network), VideoDiT(stages["prepend"].network)
    ours, theirs = (sum(weight.numel() for weight in net.parameters()) for net in nets)
    assert abs(ours - theirs) < 0.1 * theirs
    assert stages["far"].start == f"{stages['far-trunk'].out}/checkpoint" and stages["far"].start_network


# What is refused


def refused(config):
    """The message and hint with which a run is refused before it begins."""
    with pytest.raises(ArvdmError) as caught:
        train(config, False, quiet)
    assert caught.value.code == 2, caught.value
    return f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"groups": (0, 2)}, ["groups is [0, 2]", "trained by frames", "memory_frames"]),
        ({"revisit": 0.8}, ["revisit is 0.8"]),
        ({"own_frames": 0.0}, ["own_frames is 0.0"]),
        ({"memory_frames": 125}, ["128 frames", "125 frames in memory (memory_frames)", "129 frames"]),
        ({"diffusion": FlowMatching()}, ["'x0'", 'prediction = "velocity"']),
        ({"sampling": replace(SAMPLING, stabilization=0.02)}, ["stabilization is 0.02", "stabilization = 0.0"]),
        ({"sampling": replace(SAMPLING, group=4)}, ["group is 4", "1 under [network]"]),
        ({"sampling": replace(SAMPLING, context=4)}, ["context is 4", "clip_frames, 4", "context = 3"]),
        ({"network": replace(SMALL, channels=3)}, ["latents of 3x4x4"]),
        ({"network": replace(SMALL, actions=4)}, ["4 actions", "stay, forward"]),
        ({"compile": True}, ["FAR has no blocks"]),
    ],
)
def test_what_far_does_not_have_or_cannot_use_is_refused_by_its_key(data, tmp_path, chosen, named):
    message = refused(far(data, tmp_path / "run", **chosen))
    assert all(name in message for name in named), message


def test_keys_of_training_by_frames_are_refused_for_a_network_that_is_trained_by_windows(data, tmp_path):
    assert "memory_frames is 9" in refused(configured(data, tmp_path / "run", memory_frames=9))


def test_a_codec_alone_that_is_then_not_used_is_refused(run, data, tmp_path):
    start = {"start": str(run / "checkpoint"), "start_network": False, "new_codec": True}
    assert "nothing of" in refused(far(data, tmp_path / "run", **start))


def test_actions_that_are_numbers_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Episodes, "one_hot", lambda self, chosen: torch.full((len(chosen), 128, 5), 0.5))
    assert "one action a frame" in refused(far(data, tmp_path / "run"))
