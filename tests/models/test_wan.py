"""Wan and its kin: equal to diffusers' networks, whatever of the past is encoded once.

Tolerances are absolute; outputs and latents have a magnitude of 1 to 4.
"""

from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch

from arvdm_cli.errors import ConfigError
from arvdm_cli.models.wan import WanConfig
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import choose, given
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.state import Noise, start
from support.wan import SMALL, latents, network, prompted, skyreels_of, texts, theirs, wan_of

pytest.importorskip("diffusers")

CLOSE = 1e-5
SHAPE = (SMALL.channels, SMALL.height, SMALL.width)


def close(one, other, atol=CLOSE):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def predict(own, window, levels, actions, context=0):
    """Velocities of a window, of which the first frames are context, clean for the network where their level is 0."""
    origin = torch.zeros(len(window), 3)
    past = own.encode_context(window[:, :context], levels[:, :context], actions[:, :context], origin)
    return own(window[:, context:], levels[:, context:], actions[:, context:], past)


def test_one_level_for_all_frames_gives_what_wan_gives():
    own, text = network(attention="full"), texts(2)
    own.set_prompts(text)
    for number, level in ((1, 0.5), (0, 0.9375)):
        window, times = latents(5, batch=2), torch.full((2,), 1000 * level)
        answer = predict(own, window, torch.full((2, 5), level), prompted(5, number, batch=2))
        close(answer, theirs(wan_of(own), window, times, text[number]))


def test_levels_of_their_own_give_what_wan_gives_with_levels_for_each_token():
    own, text = network(attention="full"), texts(2)
    own.set_prompts(text)
    levels = torch.tensor([[0.0, 0.25, 0.5, 1.0], [1.0, 0.75, 0.3, 0.1]])
    window, tokens = latents(4, batch=2), SMALL.grid[0] * SMALL.grid[1]
    times = (1000 * levels).repeat_interleave(tokens, 1)
    close(predict(own, window, levels, prompted(4, batch=2)), theirs(wan_of(own), window, times, text[1]))


@pytest.mark.parametrize("rates", [False, True])
@pytest.mark.parametrize("attention", ["full", "block"])
@pytest.mark.parametrize("context", [0, 2, 4])
def test_levels_of_their_own_give_what_skyreels_gives(attention, rates, context):
    own, text = network(attention=attention, block=2, time="floor", rates=rates), texts(2)
    own.set_prompts(text)
    levels = torch.tensor([[0.0] * context + [0.21, 0.21, 0.5, 0.5, 0.999, 1.0]])
    window = latents(6 + context)
    more = {"fps": [1]} if rates else {}
    answer = theirs(skyreels_of(own), window, (1000 * levels).floor().clamp(max=999).long(), text[1], **more)
    close(predict(own, window, levels, prompted(6 + context), context), answer[:, context:])


def test_two_clips_with_a_frame_rate_are_each_computed_as_alone():
    own = network(attention="full", time="floor", rates=True)
    own.set_prompts(texts(2))
    window, levels = latents(4, batch=2), torch.tensor([[0.0, 0.2, 0.5, 1.0], [0.3, 0.3, 0.6, 0.9]])
    both = predict(own, window, levels, prompted(4, batch=2))
    for i in range(2):
        close(both[i : i + 1], predict(own, window[i : i + 1], levels[i : i + 1], prompted(4)))


def test_frames_read_the_prompt_that_leads_into_them():
    own, text = network(attention="full", depth=1), texts(4)
    own.set_prompts(text)
    window, levels = latents(3), torch.full((1, 3), 0.5)
    mixed = torch.eye(3)[[2, 0, 1]].unsqueeze(0)  # prompts 3, 1, 2
    answer = predict(own, window, levels, mixed)
    for i, number in enumerate((3, 1, 2)):  # in one block no frame sees what another has read
        close(answer[:, i], predict(own, window, levels, prompted(3, number, 3))[:, i])


def test_a_window_attention_sees_all_of_the_window_and_a_block_causal_past():
    whole, causal = network(attention="window", block=2), network(attention="block", block=2)
    for own in (whole, causal):
        own.set_prompts(texts(2))
    levels = torch.tensor([[0.0, 0.0, 0.4, 0.4, 0.8, 0.8]])
    window, changed = latents(6), latents(6)
    changed[:, 5] += 1
    reaction = [
        predict(own, changed, levels, prompted(6), 2) - predict(own, window, levels, prompted(6), 2)
        for own in (whole, causal)
    ]
    assert reaction[0][:, 0].abs().max() > 1e-3 and not reaction[1][:, :2].any() and reaction[1][:, 2].any()
    blocks = latents(4)
    close(predict(whole, blocks, levels[:, :4], prompted(4), 2), predict(causal, blocks, levels[:, :4], prompted(4), 2))


# Self-Forcing: three latents at a time, four steps, keys and values of the past


LEVELS = (1.0, 0.9375, 0.8333333, 0.625, 0.0)
SELF_FORCING = Sampling(
    schedule="outpainting", options={"chunk": 3, "steps": 4, "shift": 5.0}, solver="renoise", context=9, slots=0,
    stabilization=0.0, cache="keep",
)  # fmt: skip


def self_forcing(network, text, noise, blocks, kept):
    """The published loop, over a transformer that computes whole clips: its past is recomputed at every step.

    kept: latents that a block still sees before it
    """
    video = torch.zeros(1, 0, *SHAPE)
    for block in range(blocks):
        first = 3 * block
        x = noise("init", first, 3)
        for step, (before, after) in enumerate(pairwise(LEVELS)):
            past = video[:, max(0, first - kept) :]
            levels = torch.cat((torch.zeros(1, past.shape[1]), torch.full((1, 3), before)), 1)
            velocity = theirs(network, torch.cat((past, x), 1), 1000 * levels, text)[:, -3:]
            clean = x - before * velocity
            x = clean if after == 0 else (1 - after) * clean + after * noise("solver", first, 3, step)
        video = torch.cat((video, x), 1)
    return video


def dream(own, sampling, latents_wanted, prompts=1, seed=2):
    """Latents of a video that begins with nothing, under the first prompt."""
    plan, noise = choose(sampling), Noise(seed, 1, SHAPE)
    state = start(own, plan.sampling, latents(0), prompted(0, count=prompts))
    rows = given(prompted(latents_wanted + 40, count=prompts))
    steps = stream(plan, own, FlowMatching("velocity"), state, noise, rows)
    made = list(islice(steps, -(-latents_wanted // plan.schedule.chunk)))
    return torch.cat([step.clean for step in made], 1)[:, :latents_wanted]


@pytest.mark.parametrize("cache", ["keep", "exact", "off"])
def test_self_forcing_is_a_preset_with_any_cache(cache):
    own, text = network(time="exact"), texts(2)
    own.set_prompts(text)
    assert [row[0] for row in choose(SELF_FORCING).schedule.levels] == pytest.approx(LEVELS, abs=1e-6)
    published = self_forcing(skyreels_of(own).double(), text[1].double(), double(Noise(2, 1, SHAPE)), 4, 9)
    close(dream(own, replace(SELF_FORCING, cache=cache), 12).double(), published)


def double(noise):
    return lambda *args: noise(*args).double()


def test_under_keep_a_block_is_encoded_while_the_frames_that_leave_are_still_seen():
    own, text = network(time="exact"), texts(2)
    own.set_prompts(text)
    made = dream(own, replace(SELF_FORCING, context=6), 15)
    flow, noise, past, video = FlowMatching("velocity"), Noise(2, 1, SHAPE), None, []
    origin = torch.zeros(1, 3)
    for block in range(5):  # the published loop: encode the block on top of all that is kept, then drop the oldest
        seen = own.encode_context(latents(0), torch.zeros(1, 0), prompted(0), origin, past=past)
        x = noise("init", 3 * block, 3)
        for step, (before, after) in enumerate(pairwise(LEVELS)):
            velocity = own(x, torch.full((1, 3), before), prompted(3), seen)
            x = x - before * velocity
            if after:
                x = flow.add_noise(x, noise("solver", 3 * block, 3, step), torch.tensor(after))
        video.append(x)
        past = own.encode_context(x, torch.zeros(1, 3), prompted(3), origin, past=past)
        past = past.drop(3) if past.frames > 6 else past
    close(made, torch.cat(video, 1))


def test_memory_is_a_sink_that_stands_right_before_the_rest():
    own = network(attention="window")
    own.set_prompts(texts(2))
    sampling = replace(SELF_FORCING, slots=1, group=3, eviction="sink", context=3, cache="exact")
    made = dream(own, sampling, 15)
    clean = torch.cat((made[:, :3], made[:, 9:12]), 1)  # what the last block saw: the first block, and the one before
    noise, x = Noise(2, 1, SHAPE), None
    past = own.encode_context(clean, torch.zeros(1, 6), prompted(6), torch.zeros(1, 3))
    x = noise("init", 12, 3)
    for step, (before, after) in enumerate(pairwise(LEVELS)):
        x = x - before * own(x, torch.full((1, 3), before), prompted(3), past)
        if after:
            x = FlowMatching().add_noise(x, noise("solver", 12, 3, step), torch.tensor(after))
    close(made[:, 12:], x)


@pytest.mark.parametrize("attention", ["block", "window", "full"])
@pytest.mark.parametrize(
    "schedule", ["rolling:blocks=3,chunk=3,steps=1,shift=5", "fifo:steps=4", "outpainting:chunk=2"]
)
def test_what_is_encoded_once_equals_what_is_encoded_at_every_step(attention, schedule):
    own = network(attention=attention)
    own.set_prompts(texts(3))
    sampling = replace(SELF_FORCING, schedule=schedule.split(":")[0], options={}, slots=2, group=3, guidance=3.0)
    options = dict(pair.split("=") for pair in schedule.partition(":")[2].split(","))
    sampling = replace(sampling, options={name: int(value) for name, value in options.items()}, init_steps=2)
    made = [dream(own, replace(sampling, cache=cache), 20, prompts=2) for cache in ("exact", "off")]
    close(made[0], made[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": 50}, "heads"),
        ({"height": 5}, "Patches"),
        ({"attention": "half"}, "attention is 'half'"),
        ({"time": "late"}, "time is 'late'"),
        ({"frequencies": 7}, "frequencies is 7"),
        ({"rate": 2}, "rate is 0 or 1"),
        ({"depth": 0}, "above 0"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        WanConfig(**changes)
