"""What a network sees and what it cannot, where its frames stand, and that all of it learns."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from arvdm_cli.errors import ConfigError
from arvdm_cli.models import MODELS
from arvdm_cli.models.codec import Codec
from arvdm_cli.models.compress import memory_shape
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.models.layers import (
    AXES,
    HEAD,
    PERIODS,
    Attention,
    KVCache,
    attend,
    delay,
    rms_norm,
    rotary_angles,
    rotate,
)
from arvdm_cli.sampling.memory import stride
from support.tiny import MOVES, WAYS, latents, model, network, remember, track, whole

STAY, FORWARD, BACKWARD, LEFT, RIGHT = torch.eye(5)


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def differ(one, other):
    """Whether every frame (b, f, ...) of one is another than in the other."""
    return (one - other).abs().flatten(2).amax(2) > 1e-4


class Scene:
    """A memory of 3 groups, a context of 4 frames, a window of 3; one part after the other can be exchanged."""

    def __init__(self, net, batch=1):
        self.net = net
        with torch.no_grad():
            self.memory, self.origin = remember(net, 3, batch=batch)
        self.context, self.window = latents(4, 31, batch), latents(3, 32, batch)
        self.context_levels, self.levels = torch.full((batch, 4), 0.02), torch.tensor([0.1, 0.4, 0.9]).expand(batch, -1)
        self.context_actions, self.actions = track(4, 33, batch), track(3, 34, batch)

    def replace(self, **parts):
        other = Scene.__new__(Scene)
        other.__dict__ = self.__dict__ | parts
        return other

    def past(self):
        remembered = self.net.encode_memory(self.memory)
        return self.net.encode_context(self.context, self.context_levels, self.context_actions, self.origin, remembered)

    def predict(self):
        return self.net(self.window, self.levels, self.actions, self.past())

    @torch.no_grad()
    def answer(self):
        return self.predict()


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def scene(request):
    return Scene(network(slots=3, **request.param))


def changed(x, *index):
    """Another tensor, unlike x at an index."""
    x = x.clone()
    x[index] = 1 - 2 * x[index]  # a mere shift would be lost in a norm
    return x


# What sees what


@pytest.mark.parametrize("frame", range(3))
def test_every_frame_of_the_window_sees_every_other(scene, frame):
    other = scene.replace(window=changed(scene.window, 0, frame))
    assert differ(scene.answer(), other.answer()).all()


@pytest.mark.parametrize("frame", range(4))
def test_the_window_sees_every_frame_of_the_context(scene, frame):
    other = scene.replace(context=changed(scene.context, 0, frame))
    assert differ(scene.answer(), other.answer()).all()


@pytest.mark.parametrize("slot", range(3))
@pytest.mark.parametrize("part", ["tokens", "actions", "poses"])
def test_the_window_sees_every_group_of_memory_its_action_and_its_place(scene, slot, part):
    memory = replace(scene.memory, **{part: changed(getattr(scene.memory, part), 0, slot)})
    assert differ(scene.answer(), scene.replace(memory=memory).answer()).any()


@pytest.mark.parametrize("part", ["levels", "actions", "context_levels", "context_actions"])
def test_the_window_is_driven_by_levels_and_actions(scene, part):
    other = scene.replace(**{part: 1 - getattr(scene, part)})
    assert differ(scene.answer(), other.answer()).all()


@pytest.mark.parametrize("frame", range(4))
@torch.no_grad()
def test_a_context_frame_sees_the_frames_up_to_itself_and_none_after(scene, frame):
    n = 4  # tokens of a frame
    before = whole(scene.past())
    after = whole(scene.replace(context=changed(scene.context, 0, frame)).past())
    memory = before[0][0].shape[2] - 4 * n
    for block, (one, other) in enumerate(zip(before, after, strict=True)):
        for was, now in zip(one, other, strict=True):
            unlike = (was - now).abs().amax((0, 1, 3)) > 1e-5  # (memory and context tokens,)
            assert not unlike[: memory + frame * n].any()
            assert unlike[memory + frame * n :][:n].all()
            if block:  # the first block's keys are made before anything is looked at
                assert unlike[memory + frame * n :].all()


def standing(net, remembered):
    """Keys and values of memory in each block, (b, heads, n, HEAD)."""
    parts = zip(*net.fusion.keys(remembered), strict=True)
    return [tuple(torch.cat(each, 2) for each in zip(*block, strict=True)) for block in parts]


@pytest.mark.parametrize("way", [way for way in WAYS.values() if way["fusion"] == "prepend"])
@torch.no_grad()
def test_a_group_is_encoded_once_and_then_known_to_the_last_bit(way):
    net, known, entered = network(reach=3, **way), None, []
    net.blocks[0].register_forward_hook(lambda block, given, made: entered.append(given[0].shape[0]))
    for groups in range(1, 8):
        memory, _ = remember(net, groups, batch=2)
        for _ in range(groups - 4):
            memory = stride(memory)
        entered.clear()
        known = net.encode_memory(memory, known)
        assert entered == [2]  # one group of two clips
        for kept, made in zip(standing(net, known), standing(net, net.encode_memory(memory)), strict=True):
            assert all(map(torch.equal, kept, made))


@torch.no_grad()
def test_groups_of_another_video_are_not_taken_for_known():
    net = network()
    one, other = (remember(net, 3, seed)[0] for seed in (0, 5))
    known, made = net.encode_memory(other, net.encode_memory(one)), net.encode_memory(other)
    for (kept, _), (own, _) in zip(standing(net, known), standing(net, made), strict=True):
        assert torch.equal(kept, own)


@torch.no_grad()
def test_keys_of_a_group_turn_until_it_is_out_of_reach():
    net, known, turned = network(reach=2), None, []
    for groups in range(1, 6):
        known = net.encode_memory(remember(net, groups)[0], known)
        turned.append(known.groups[0].rotated)
    assert all(differ(one[0][0], other[0][0]).any() for one, other in pairwise(turned[:3]))
    assert turned[2] is turned[3] and turned[3] is turned[4]
    assert all(torch.equal(keys[0][1], turned[0][0][1]) for keys in turned)  # values stay


@pytest.mark.parametrize("slot", range(3))
@torch.no_grad()
def test_a_group_of_memory_sees_itself_alone(scene, slot):
    if scene.net.config.fusion == "channel-concat":
        before, after = (
            scene.net.encode_memory(memory).content.unflatten(1, (3, -1))
            for memory in (scene.memory, replace(scene.memory, tokens=changed(scene.memory.tokens, 0, slot)))
        )
        unlike = (before - after).abs().amax((0, 2, 4)) > 1e-5  # (groups, tokens)
        assert unlike[slot].all() and not unlike[[s for s in range(3) if s != slot]].any()
        return
    before, after = (
        standing(scene.net, remembered) or remembered
        for remembered in map(
            scene.net.encode_memory,
            (scene.memory, replace(scene.memory, tokens=changed(scene.memory.tokens, 0, slot))),
        )
    )
    for one, other in zip(before, after, strict=True):
        for was, now in zip(one, other, strict=True):
            unlike = (was - now).abs().amax((0, 1, 3)).unflatten(0, (3, -1)) > 1e-5  # (groups, tokens)
            assert unlike[slot].all() and not unlike[[s for s in range(3) if s != slot]].any()


@torch.no_grad()
def test_context_does_not_see_memory(scene):
    with_memory, without = scene.past(), scene.replace(memory=empty(scene)).past()
    for one, other in zip(whole(with_memory), whole(without), strict=True):
        for was, now in zip(one, other, strict=True):
            close(was[:, :, -now.shape[2] :], now)


def test_nothing_before_the_window_is_changed_by_a_prediction(scene):
    with torch.no_grad():
        past = scene.past()
        kept = whole(past)
        first = scene.net(scene.window, scene.levels, scene.actions, past)
        scene.net(changed(scene.window, 0, 1), scene.levels, scene.actions, past)
        again = scene.net(scene.window, scene.levels, scene.actions, past)
    for was, now in zip(kept, whole(past), strict=True):
        assert all(map(torch.equal, was, now))
    assert torch.equal(first, again)


def empty(scene):
    return scene.net.empty_memory(1, "cpu")


def test_emptied_memory_equals_none(scene):
    emptied = scene.memory.drop(2).drop(1).drop(0)
    forgetful = network(fusion="none")
    forgetful.load_state_dict(scene.net.state_dict(), strict=False)
    close(scene.replace(memory=emptied).answer(), scene.replace(memory=empty(scene)).answer(), atol=0)
    close(scene.replace(memory=emptied).answer(), scene.replace(net=forgetful).answer(), atol=0)
    assert differ(scene.answer(), scene.replace(memory=emptied).answer()).all()


def test_without_context_the_window_still_sees_memory(scene):
    blind = scene.replace(context=latents(0), context_levels=torch.zeros(1, 0), context_actions=track(0))
    assert torch.isfinite(blind.answer()).all()
    assert differ(blind.answer(), blind.replace(memory=empty(scene)).answer()).all()


def test_each_clip_of_a_batch_is_seen_alone(scene):
    both = Scene(scene.net, batch=2)
    together = both.answer()
    assert together.shape == (2, 3, 2, 4, 4)
    for i in range(2):
        parts = ("context", "window", "context_levels", "levels", "context_actions", "actions", "origin")
        groups = {part: getattr(both.memory, part)[[i]] for part in ("tokens", "actions", "poses")}
        memory = replace(both.memory, **groups)
        alone = both.replace(memory=memory, **{part: getattr(both, part)[[i]] for part in parts})
        close(alone.answer(), together[[i]])


def test_an_action_of_zeros_is_unknown_and_no_level_or_action_takes_its_place(scene):
    condition, levels = scene.net.condition, torch.tensor([[0.3]])
    with torch.no_grad():
        rows = [condition(levels, action.view(1, 1, -1)) for action in (torch.zeros(5), STAY, FORWARD)]
        quiet = condition(levels, torch.zeros(1, 1, 5)) - scene.net.no_action
    assert not any(torch.allclose(rows[i], rows[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    close(rows[1], quiet + scene.net.action(STAY))


# Positions


@torch.no_grad()
def shifted(scene, offset):
    memory = replace(scene.memory, poses=scene.memory.poses + offset)
    return scene.replace(memory=memory, origin=scene.origin + offset)


@pytest.mark.parametrize("offset", [(5.25, -7.125, 0.0), (1000.5, 0.0, 0.0), (0.0, 0.0, 360.0), (0.0, 0.0, -3600.0)])
def test_where_the_world_begins_does_not_matter_nor_do_full_turns(scene, offset):
    close(shifted(scene, torch.tensor(offset)).answer(), scene.answer(), atol=1e-4)


@pytest.mark.parametrize("offset", [(0.25, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 45.0)])
def test_where_memory_was_made_does_matter(scene, offset):
    memory = replace(scene.memory, poses=scene.memory.poses + torch.tensor(offset))
    assert differ(scene.answer(), scene.replace(memory=memory).answer()).any()


def test_a_group_shrinks_to_the_same_tokens_wherever_it_was_seen(scene):
    actions, frames = track(2, 1), latents(2, 1)
    places = scene.net.integrate_actions(actions, torch.zeros(1, 3))
    with torch.no_grad():
        here, there = (scene.net.compress(frames, actions, places + torch.tensor((dx, dx, 0.0))) for dx in (0.0, 9.5))
    assert here.shape == (1, *memory_shape(scene.net.config)[1:])
    close(here, there, atol=1e-4)


def test_how_long_the_video_is_does_not_matter_only_how_old_a_group_is(scene):
    later = replace(scene.memory, numbers=scene.memory.numbers + 1000, count=scene.memory.count + 1000)
    close(scene.replace(memory=later).answer(), scene.answer(), atol=0)


def test_a_group_looks_older_with_every_group_that_enters_until_it_is_out_of_reach(scene):
    reach = scene.net.config.reach
    answers = [scene.replace(memory=replace(scene.memory, count=3 + age)).answer() for age in (0, 1, reach, 10 * reach)]
    assert differ(answers[0], answers[1]).any() and differ(answers[1], answers[2]).any()
    close(answers[2], answers[3], atol=0)


@torch.no_grad()
def test_attention_depends_on_how_far_apart_two_tokens_are_along_each_axis():
    q, k = torch.randn(2, 1, 1, 1, HEAD, generator=torch.Generator().manual_seed(0))

    def score(query, key):
        turned = (rotate(x, rotary_angles(at.view(1, 1, -1))) for x, at in ((q, query), (k, key)))
        return (next(turned) * next(turned)).sum()

    one, other = torch.tensor([3.0, 1.0, 5.0, 0.5, 2.25, 33.75]), torch.tensor([-2.5, 2.0, 0.0, 1.5, -3.0, 90.0])
    for axis in range(len(AXES)):
        offset = torch.zeros(len(AXES))
        offset[axis] = 11.25
        close(score(one + offset, other + offset), score(one, other), atol=1e-3)
        assert (score(one + offset, other) - score(one, other)).abs() > 0.01
    turn = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 360.0])
    close(score(one + turn, other), score(one, other), atol=1e-3)


def test_rotary_positions_turn_every_feature_and_change_no_length():
    positions = torch.randn(2, 7, len(AXES), generator=torch.Generator().manual_seed(0)) * 20
    x = torch.randn(2, 3, 7, HEAD, generator=torch.Generator().manual_seed(1))
    angles = rotary_angles(positions)
    assert angles[0].shape == (2, 1, 7, HEAD) and sum(map(len, PERIODS.values())) == HEAD // 2
    close(rotate(x, angles).norm(dim=-1), x.norm(dim=-1), atol=1e-4)
    close(rotate(x, rotary_angles(torch.zeros(2, 7, len(AXES)))), x)


def test_the_heading_comes_back_after_a_full_turn():
    positions = torch.zeros(1, 33, len(AXES))
    positions[0, :, -1] = 11.25 * torch.arange(33)
    cos, sin = rotary_angles(positions)
    close(cos[..., 0, :], cos[..., 32, :], atol=1e-6)
    close(sin[..., 0, :], sin[..., 32, :], atol=1e-6)
    headings = torch.cat((cos, sin), -1)[0, 0, :32]
    assert (torch.cdist(headings, headings) + torch.eye(32)).min() > 0.1  # and no heading looks like another


@pytest.mark.parametrize(("height", "width", "patch"), [(4, 4, 2), (4, 6, 2), (3, 5, 1), (8, 8, 4)])
def test_patches_are_laid_back_as_they_were_cut(height, width, patch):
    config = DiTConfig(channels=3, height=height, width=width, patch=patch)
    x = torch.randn(2, 5, 3, height, width)
    tokens = config.patchify(x)
    assert tokens.shape == (2, 5, config.grid[0] * config.grid[1], config.token_features)
    assert torch.equal(config.unpatchify(tokens), x)


@pytest.mark.parametrize(("height", "width", "patch"), [(4, 4, 2), (4, 6, 2), (3, 5, 1), (8, 8, 4)])
def test_a_token_stands_at_the_middle_of_what_was_cut_into_it(height, width, patch):
    config = DiTConfig(channels=1, height=height, width=width, patch=patch)
    rows = (0.5 + torch.arange(height)).view(1, 1, 1, -1, 1).expand(1, 2, 1, height, width)
    columns = (0.5 + torch.arange(width)).view(1, 1, 1, 1, -1).expand(1, 2, 1, height, width)
    times, places = torch.tensor([[8.0, 9.0]]), torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    positions = config.positions(times, places, config.grid).unflatten(1, (2, -1))  # (b, f, n, axes)
    close(positions[..., 1], config.patchify(rows).mean(3))
    close(positions[..., 2], config.patchify(columns).mean(3))
    close(positions[..., 0], times.unsqueeze(2).expand_as(positions[..., 0]))
    close(positions[..., 3:], places.unsqueeze(2).expand_as(positions[..., 3:]))


# Places


def walk(net, *actions):
    """Places (f, 3) after each action, from the origin."""
    return net.integrate_actions(torch.stack(actions).unsqueeze(0), torch.zeros(1, 3))[0]


def test_the_way_back_leads_to_where_it_began():
    net = network()
    there = [LEFT] * 5 + [FORWARD] * 11 + [RIGHT] * 3 + [FORWARD] * 4
    back = [BACKWARD] * 4 + [LEFT] * 3 + [BACKWARD] * 11 + [RIGHT] * 5
    places = walk(net, *there, *back)
    close(places[-1], torch.zeros(3))
    close(places[: len(there) - 1].flip(0), places[len(there) : -1], atol=1e-4)  # through the same places


def test_forward_leads_where_one_looks():
    net = network()
    close(walk(net, *[FORWARD] * 8)[-1], torch.tensor([1.0, 0.0, 0.0]))
    close(walk(net, *[LEFT] * 8, *[FORWARD] * 8)[-1], torch.tensor([0.0, 1.0, 90.0]))
    close(walk(net, *[RIGHT] * 8, *[FORWARD] * 8)[-1], torch.tensor([0.0, -1.0, -90.0]))
    close(walk(net, *[LEFT] * 4, *[FORWARD] * 8)[-1], torch.tensor([0.5**0.5, 0.5**0.5, 45.0]))


def test_a_full_turn_is_360_degrees_and_stands_still():
    places = walk(network(), *[LEFT] * 32)
    assert torch.equal(places[-1], torch.tensor([0.0, 0.0, 360.0]))


def test_an_unknown_action_and_staying_lead_nowhere():
    here = torch.tensor([[1.0, 2.0, 30.0]])
    for action in (STAY, torch.zeros(5)):
        close(network().integrate_actions(action.expand(1, 3, -1), here), here.unsqueeze(1).expand(-1, 3, -1))


@pytest.mark.parametrize("cut", [0, 1, 13, 40])
def test_places_go_on_from_the_last_one(cut):
    net, actions, origin = network(), track(40, batch=2), torch.tensor([[0.0, 0.0, 0.0], [3.0, -1.0, 90.0]])
    whole = net.integrate_actions(actions, origin)
    first = net.integrate_actions(actions[:, :cut], origin)
    rest = net.integrate_actions(actions[:, cut:], first[:, -1] if cut else origin)
    close(torch.cat((first, rest), 1), whole)


def test_where_moves_are_unknown_every_frame_stands_at_the_origin():
    origin = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(network(moves=()).integrate_actions(track(4), origin), origin.unsqueeze(1).expand(1, 4, 3))


# Learning


@pytest.mark.parametrize("groups", [0, 3])
@pytest.mark.parametrize(("frames", "made", "size"), [(7, 6, 2), (6, 6, 3), (5, 3, 1), (4, 4, 4), (6, 4, 4)])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@torch.no_grad()
def test_many_windows_rehearsed_at_once_are_predicted_as_each_alone(frames, made, size, groups, way):
    net, first = network(**way), frames - made
    memory, origin = remember(net, groups, batch=2)
    clean, noisy, actions = latents(frames, 1, 2), latents(made, 2, 2), track(frames, 3, 2)
    generator = torch.Generator().manual_seed(4)
    reported, levels = (torch.rand(2, f, generator=generator) for f in (frames, made))
    remembered = net.encode_memory(memory)
    rehearsed = net.forward_windows(clean, reported, noisy, levels, actions, origin, remembered, size)
    for i in range(0, made, size):
        before, window = slice(first + i), slice(i, i + size)
        past = net.encode_context(clean[:, before], reported[:, before], actions[:, before], origin, remembered)
        alone = net(noisy[:, window], levels[:, window], actions[:, first:][:, window], past)
        close(rehearsed[:, window], alone)


@pytest.mark.parametrize("moves", [MOVES, ()], ids=["moves known", "moves unknown"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_gradients_reach_every_weight_also_through_memory(moves, way):
    net = network(moves=moves, **way)
    memory, origin = remember(net, 2)
    unknown = track(3, 4) * torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1)
    past = net.encode_context(latents(4, 3), torch.full((1, 4), 0.02), track(4, 3), origin, net.encode_memory(memory))
    net(latents(3, 4), torch.rand(1, 3), unknown, past).square().mean().backward()
    for name, weight in net.named_parameters():
        # a group has no level: the norms that shrink it are modulated by their biases alone
        if (
            way["compression"] != "joint"
            or not name.startswith("compression.")
            or not name.endswith("modulation.1.weight")
        ):
            assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_a_new_network_predicts_zeros_and_its_blocks_pass_tokens_through():
    config = replace(network().config)
    assert isinstance(config, MODELS["dit"].network_config)
    scene = Scene(MODELS["dit"].network(config))
    assert not scene.answer().any()


def test_the_fused_kernel_and_the_plain_products_attend_alike(scene):
    assert scene.predict().requires_grad  # plain products, which are faster to train with
    close(scene.predict().detach(), scene.answer())


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_a_mean_of_the_values_a_query_may_look_at(masked):
    q, k, v = torch.randn(3, 2, 3, 6, HEAD, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(6, 6).tril().bool() if masked else None
    fused = torch.no_grad()(attend)(q, k, v, mask)
    close(attend(q, k, v, mask), fused)
    close(attend(q, k, torch.ones_like(v), mask), torch.ones_like(v))
    if masked:
        close(fused[:, :, 0], v[:, :, 0])


# Configs


@pytest.mark.parametrize(
    "broken",
    [
        {"fusion": "pretend"},
        {"compression": "joined"},
        {"dim": HEAD + 1},
        {"height": 7},
        {"width": 7},
        {"memory_tokens": 15},
        {"instants": 3},
        {"moves": ((0.0, 0.0),)},
    ],
    ids=str,
)
def test_a_shape_that_does_not_fit_is_refused_with_the_value_seen(broken):
    with pytest.raises(ConfigError) as caught:
        VideoDiT(DiTConfig(**broken))
    value = next(iter(broken.values()))
    assert str(len(value) if isinstance(value, tuple) else value) in str(caught.value)


def test_attention_needs_whole_heads():
    with pytest.raises(ValueError, match=str(HEAD)):
        Attention(HEAD + 1)


# The codec


@torch.no_grad()
def test_the_codec_makes_latents_eight_times_smaller_and_frames_of_the_same_size():
    codec = model().codec
    frames = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    made = codec.encode(frames)
    assert made.shape == (2, 3, codec.config.channels, 4, 4)
    assert codec.decode(made).shape == frames.shape
    assert codec.decode(100 * made).abs().max() <= 1


@torch.no_grad()
def test_the_codec_sees_every_frame_alone():
    codec = model().codec
    frames = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = codec.encode(frames)
    for b, f in ((0, 0), (1, 2)):
        close(codec.encode(frames[b : b + 1, f : f + 1]), made[b : b + 1, f : f + 1])
        close(codec.decode(made[b : b + 1, f : f + 1]), codec.decode(made)[b : b + 1, f : f + 1])


def test_a_codec_in_training_learns_the_scale_that_makes_its_latents_unit_variance():
    codec = Codec(replace(model().codec.config, noise=0.0))
    frames = torch.rand(16, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codec.normalise.momentum = None  # a plain mean over batches
    codec.train()(frames)
    with torch.no_grad():
        made = codec.eval().encode(frames)
    close(made.mean((0, 1, 3, 4)), torch.zeros(2), atol=1e-2)
    close(made.std((0, 1, 3, 4)), torch.ones(2), atol=1e-2)


def test_gradients_reach_every_weight_of_the_codec():
    codec = Codec(model().codec.config).train()
    (codec(torch.rand(2, 2, 3, 32, 32)) - 1).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in codec.parameters())


@pytest.mark.parametrize("parts", [(3,), (3, 5), (1, 2, 4)])
def test_a_row_puts_a_window_behind_its_parts_and_leaves_them_as_they_are(parts):
    draw = torch.Generator().manual_seed(0)

    def tokens(n):
        return torch.randn(2, 3, n, HEAD, generator=draw), torch.randn(2, 3, n, HEAD, generator=draw)

    given, windows = [tokens(n) for n in parts], [tokens(n) for n in (2, 6, 1)]
    before = [(k.clone(), v.clone()) for k, v in given]
    row = KVCache(*given)
    assert len(row) == sum(parts)
    for window in windows:
        wanted = [torch.cat(each, 2) for each in zip(*before, window, strict=True)]
        assert all(map(torch.equal, row.append(*window), wanted))
        with torch.no_grad():
            assert all(map(torch.equal, row.append(*window), wanted))
    assert all(torch.equal(*pair) for pairs in zip(before, given, strict=True) for pair in zip(*pairs, strict=True))


def test_a_window_with_nothing_before_it_stands_alone():
    keys, values = torch.randn(1, 1, 2, HEAD), torch.randn(1, 1, 2, HEAD)
    with torch.no_grad():
        assert all(map(torch.equal, KVCache().append(keys, values), (keys, values)))


def test_turning_by_time_alone_is_turning_by_positions_that_differ_in_time_alone():
    x, times = torch.randn(2, 3, 4, 5, HEAD), torch.tensor([[0.0, -4, -60, 1000], [1, 2, 3, -1e5]])
    at = torch.zeros(2, 4, len(AXES))
    at[..., 0] = times
    angles = tuple(angle.unsqueeze(3) for angle in rotary_angles(at))  # (b, 1, n, 1, HEAD)
    assert torch.equal(delay(x, times), rotate(x, angles))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
def test_rms_norm_is_that_of_torch_forth_and_back(dtype, atol):
    x = torch.randn(3, 5, HEAD, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 1, 30]).view(3, 1, 1)
    x[1, 0] = 0
    one, other = (x.to(dtype).requires_grad_() for _ in range(2))
    made, wanted = rms_norm(one, 1e-6), torch.nn.functional.rms_norm(other, (HEAD,), eps=1e-6)
    assert made.dtype == dtype
    torch.testing.assert_close(made, wanted)
    for of in (made, wanted):
        (of * torch.linspace(-1, 1, HEAD, dtype=dtype)).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1.6e-2 if dtype == torch.bfloat16 else 1e-5, atol=atol)


# The scales of actions


@pytest.mark.parametrize("way", [*WAYS, "none"])
def test_a_scale_divides_an_action_wherever_it_enters(way):
    scales = (4.0, 1.0, 0.5, 2.0, 8.0)  # powers of two, so that no rounding differs
    options = WAYS.get(way, {"fusion": "none"})
    plain, scaled = (network(moves=(), action_scales=each, **options) for each in ((), scales))
    factors = torch.tensor(scales)

    def answer(net, factor):
        acted = track(4, 33) * torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(1)) * factor
        memory = None
        if net.group:
            memory = net.empty_memory(1, "cpu")
            poses = torch.zeros(1, 2, 3)
            memory = net.encode_memory(
                memory.append(net.compress(latents(2), acted[:, :2], poses), acted[:, :2], poses)
            )
        past = net.encode_context(latents(4, 31), torch.full((1, 4), 0.02), acted, torch.zeros(1, 3), memory)
        return net(latents(3, 32), torch.tensor([[0.1, 0.4, 0.9]]), acted[:, :3], past)

    with torch.no_grad():
        assert torch.equal(answer(plain, 1), answer(scaled, factors))
        assert differ(answer(plain, 1), answer(plain, factors)).all()


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0, 0.0, 1.0, 1.0), (-1.0,) * 5, (float("nan"),) * 5])
def test_scales_of_another_number_or_not_above_0_are_refused(scales):
    with pytest.raises(ConfigError, match="action_scales"):
        DiTConfig(action_scales=scales)
