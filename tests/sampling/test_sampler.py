"""What the sampler shows the network, what it keeps of the past, and what a seed means."""

from copy import deepcopy
from dataclasses import replace
from itertools import count, islice, product
from math import lcm

import pytest
import torch

from arvdm_cli.errors import ConfigError, NumericError
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.diffusion import DDPM, FlowMatching
from arvdm_cli.sampling.generation import given
from arvdm_cli.sampling.memory import EVICTIONS
from arvdm_cli.sampling.past import PastCache
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import fifo, next_frame, outpainting, pyramid, rolling
from arvdm_cli.sampling.state import Noise, Sampling, append, start
from support.streams import SHORT, dream, wake
from support.tiny import (
    SCHEDULES,
    WAYS,
    Film,
    Recorder,
    begin,
    joined,
    latents,
    network,
    play,
    restore,
    store,
    take,
    track,
)

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
PASTS = {
    f"context {c}, slots {s}, group {g}": Sampling(context=c, slots=s, group=g, init_steps=2)
    for c, s, g in product((0, 1, 3), (0, 3), (1, 4))
}
every_past = pytest.mark.parametrize("sampling", PASTS.values(), ids=PASTS)
FLOWS = {prediction: FlowMatching(prediction) for prediction in ("x0", "velocity", "v")}
DIFFUSIONS = [*FLOWS.values(), DDPM("v"), DDPM("epsilon", betas="linear")]
ODD = {name: SCHEDULES[name] for name in ("outpainting", "next-frame 1", "fifo 3", "rolling 2 3 2", "pyramid 3 2 2")}


def planned(schedule, sampling):
    """What every call should be given: in which use of noise, the first new frame, the levels from there on."""
    made = schedule.window - schedule.chunk
    if made:
        for m in range(sampling.init_steps):
            yield "init stage", 0, (1 - m / sampling.init_steps,) * made
    for turn in count():
        for row in schedule.levels[:-1]:
            yield "AR stage", turn * schedule.chunk, row


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


# What the network is shown


@every_schedule
def test_every_frame_is_shown_to_the_network_at_the_levels_and_with_the_actions_of_its_schedule(schedule):
    film = Film(prompt=5, batch=2)
    shown = Recorder(film)
    take(play(schedule, SHORT, film, shown), 40)
    for call, (_, first, row) in zip(shown.calls, planned(schedule, SHORT), strict=False):
        assert torch.equal(call.levels, torch.tensor(row).expand(2, -1))
        assert torch.equal(call.actions, film.drive(first, len(row)))


@pytest.mark.parametrize("diffusion", FLOWS.values(), ids=FLOWS)
@every_schedule
def test_every_frame_is_shown_as_its_truth_at_its_level_with_noise_of_its_own(schedule, diffusion):
    film, made = Film(prompt=4), schedule.window - schedule.chunk
    shown, noise = Recorder(film, diffusion), film.noise()
    take(play(schedule, SHORT, film, shown), 40)
    own = {"init stage": noise("init", 0, 60)}
    # what the initialization stage made is noised again, with noise that did not make it
    own["AR stage"] = torch.cat((noise("renoise", 0, made), own["init stage"][:, made:]), 1)
    for call, (stage, first, row) in zip(shown.calls, planned(schedule, SHORT), strict=False):
        level, frames = torch.tensor(row).view(-1, 1, 1, 1), slice(first, first + len(row))
        close(call.window, (1 - level) * film.new(first, len(row)) + level * own[stage][:, frames])


@every_schedule
def test_a_network_that_knows_the_video_gives_it_back(schedule):
    for diffusion, prompt in product(DIFFUSIONS, (0, 1, 11)):
        film = Film(prompt=prompt, batch=2)
        video = take(play(schedule, SHORT, film, Recorder(film, diffusion)), 40)
        close(video, film.new(0, 40), atol=1e-4)


@pytest.mark.parametrize("diffusion", [FlowMatching(), DDPM("v")])
@every_schedule
def test_a_network_that_knows_the_video_gives_it_back_through_a_solver_that_renews_noise(schedule, diffusion):
    film, sampling = Film(prompt=3, batch=2), replace(SHORT, solver="ddim", eta=0.7)
    close(take(play(schedule, sampling, film, Recorder(film, diffusion)), 40), film.new(0, 40), atol=1e-4)


@every_schedule
def test_the_noise_a_solver_renews_belongs_to_a_frame_and_to_how_often_it_was_denoised(schedule):
    film, asked = Film(), []

    def noise(use, first, count, step=0):
        if "solver" in use:
            had = [step] * count if isinstance(step, int) else step
            asked.extend((use, first + i, had[i]) for i in range(count))
        return film.noise()(use, first, count, step)

    sampling = replace(SHORT, solver="ddim", eta=1.0)
    shown = Recorder(film)
    chunks = stream(Plan(schedule, sampling), shown, shown.diffusion, begin(shown, sampling, film), noise, film.drive)
    list(islice(chunks, 6))
    assert len(set(asked)) == len(asked)
    entered = schedule.window - schedule.chunk  # frames from here on begin as noise in the AR stage
    for frame in range(entered, 6 * schedule.chunk):
        had = [number for use, first, number in asked if first == frame]
        assert had == list(range(len(had))) and len(had) == schedule.steps * -(-schedule.window // schedule.chunk)


@every_schedule
def test_the_network_is_called_once_per_denoising_step_and_the_past_is_encoded_once_per_ar_step(schedule):
    film, turns = Film(prompt=5), 12
    made = schedule.window > schedule.chunk
    for cache in ("exact", "keep", "off"):
        shown = Recorder(film)
        list(islice(play(schedule, replace(SHORT, cache=cache), film, shown), turns))
        assert len(shown.calls) == made * SHORT.init_steps + turns * schedule.steps
        # the initialization stage and the first AR step look back on the same frames
        assert len(shown.looks) == (len(shown.calls) if cache == "off" else turns)


@every_schedule
def test_a_cache_that_is_kept_encodes_every_frame_once_in_order(schedule):
    film, sampling = Film(prompt=5), replace(SHORT, context=6, cache="keep")
    shown = Recorder(film)
    frames = len(list(islice(play(schedule, sampling, film, shown), 12))) * schedule.chunk
    encoded = torch.cat([look.context for look in shown.looks], 1)
    assert encoded.shape[1] == 5 + frames - schedule.chunk  # the last chunk was not looked back on
    close(encoded, film.latents[:, : encoded.shape[1]], atol=1e-4)
    assert all(look.frames <= sampling.context + sampling.group - 1 for look in shown.looks)


def test_memory_is_read_again_only_when_a_group_has_joined_it():
    film = Film(prompt=5)
    shown = Recorder(film)
    list(islice(play(next_frame(2), SHORT, film, shown), 20))
    compressed_before_last_step = (5 + 19 - SHORT.context) // SHORT.group
    first = (5 - SHORT.context) // SHORT.group
    assert len(shown.remembered) == 1 + compressed_before_last_step - first


@every_schedule
@pytest.mark.parametrize("slots", [0, 5])
def test_the_past_that_a_call_sees_ends_where_its_window_begins(schedule, slots):
    sampling, film = replace(SHORT, slots=slots), Film(prompt=9, batch=2)
    shown = Recorder(film)
    take(play(schedule, sampling, film, shown), 24)
    for call, (_, first, _) in zip(shown.calls, planned(schedule, sampling), strict=False):
        past, now = call.past, film.prompt + first
        f = past.context.shape[1]
        close(past.context, film.latents[:, now - f : now], atol=1e-4)
        assert torch.equal(past.actions, film.actions[:, now - f : now])
        assert torch.equal(past.levels, torch.full((2, f), sampling.stabilization))
        assert torch.equal(past.origin, torch.full((2, 3), float(now - f)))
        for slot, number in enumerate(past.memory.numbers.tolist()):
            frames = torch.arange(number * sampling.group, (number + 1) * sampling.group)
            assert frames[-1] < now - f
            assert torch.equal(past.memory.tokens[:, slot, 0], (1.0 + frames).expand(2, -1))
            close(past.memory.actions[:, slot], film.actions[:, frames].mean(1))
            close(past.memory.poses[:, slot], (1.0 + frames).mean().expand(2, 3))


@pytest.mark.parametrize("schedule", ODD.values(), ids=ODD)
def test_look_ahead_uses_the_actions_that_are_given_and_rows_of_zeros_beyond_them(schedule):
    film, length = Film(prompt=2), 11
    shown = Recorder(film)
    known = film.drive(0, length)
    drive = given(known)
    chunks = stream(Plan(schedule, SHORT), shown, FlowMatching(), begin(shown, SHORT, film), film.noise(), drive)
    close(take(chunks, length), film.new(0, length), atol=1e-4)
    for call, (_, first, row) in zip(shown.calls, planned(schedule, SHORT), strict=False):
        rows = max(0, min(len(row), length - first))
        assert torch.equal(call.actions[:, :rows], known[:, first : first + rows])
        assert not call.actions[:, rows:].any()
    assert shown.calls[-1].actions[:, -1].any() == (11 % schedule.chunk == 0 and schedule.window == schedule.chunk)


# What is kept of the past


@every_past
@pytest.mark.parametrize("schedule", ODD.values(), ids=ODD)
def test_every_past_frame_is_in_the_context_or_was_compressed_once_in_order(schedule, sampling):
    film = Film(prompt=3)
    shown = Recorder(film)
    for turn, step in enumerate(islice(play(schedule, sampling, film, shown), 12)):
        state, past = step.state, film.prompt + (turn + 1) * schedule.chunk
        assert state.frame == (turn + 1) * schedule.chunk
        assert len(state.memory) <= sampling.slots
        held = state.context.shape[1]
        if not sampling.slots:
            assert held == min(sampling.context, past) and not shown.compressed
            close(state.context, film.latents[:, past - held : past], atol=1e-4)
            continue
        assert min(sampling.context, past) <= held < sampling.context + sampling.group
        assert len(shown.compressed) == state.memory.count
        assert all(group.shape[1] == sampling.group for group, _, _ in shown.compressed)
        frames = torch.cat([group for group, _, _ in shown.compressed] + [state.context], 1)
        actions = torch.cat([led for _, led, _ in shown.compressed] + [state.actions], 1)
        poses = torch.cat(
            [at for _, _, at in shown.compressed] + [shown.integrate_actions(state.actions, state.origin)], 1
        )
        close(frames, film.latents[:, :past], atol=1e-4)
        assert torch.equal(actions, film.actions[:, :past])
        assert torch.equal(poses[0, :, 0], torch.arange(1.0, past + 1))


@every_past
def test_a_prompt_shown_in_parts_leaves_the_same_state_as_one_shown_at_once(sampling):
    film = Film(prompt=23, batch=2)
    at_once, parts = Recorder(film), Recorder(film)
    whole = begin(at_once, sampling, film)
    parts.group = sampling.group
    state, first = start(parts, sampling, film.latents[:, :0], film.actions[:, :0]), 0
    for size in (0, 1, 7, 2, 13):
        part = slice(first, first + size)
        state, first = append(parts, sampling, state, film.latents[:, part], film.actions[:, part]), first + size
    same(state, whole)


def same(one, other, atol=0.0):
    for name in ("context", "actions", "origin"):
        close(getattr(one, name), getattr(other, name), atol)
    for name in ("tokens", "actions", "poses", "numbers"):
        close(getattr(one.memory, name), getattr(other.memory, name), atol)
    assert (one.frame, one.memory.count, one.memory.stride) == (other.frame, other.memory.count, other.memory.stride)


@pytest.mark.parametrize("cache", ["exact", "keep"])
def test_over_200_ar_steps_the_state_does_not_grow(cache):
    schedule, sampling = rolling(2, 3, 1), Sampling(context=2, slots=3, group=2, init_steps=1, cache=cache)
    net = network(depth=1)
    state = start(net, sampling, latents(1), track(1))
    noise = Noise(0, 1, (2, 4, 4))
    plan, drive = Plan(schedule, sampling), lambda first, count: track(count, first)
    shapes = []
    for step in islice(stream(plan, net, FlowMatching(), state, noise, drive), 200):
        state = step.state
        tensors = [*vars(state).values(), *vars(state.memory).values()]
        tensors += [part for layer in state.cache.context for part in layer] if state.cache else []
        shapes.append([tuple(held.shape) for held in tensors if isinstance(held, torch.Tensor)])
    # chunks and groups of different length keep different time: after this many AR steps they meet
    period = lcm(schedule.chunk, sampling.group) // schedule.chunk
    filled = shapes[20:]
    assert filled[period:] == filled[:-period]


# What a seed means

SAMPLINGS = {
    "context and memory": SHORT,
    "context": replace(SHORT, slots=0),
    "memory": replace(SHORT, context=0),
    "neither": replace(SHORT, context=0, slots=0),
}
FEW = {
    "outpainting": outpainting(3, 2),
    "next-frame": next_frame(2),
    "fifo": fifo(3),
    "rolling": rolling(2, 3, 2),
    "pyramid": pyramid(3, 2, 1),
}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("schedule", FEW.values(), ids=FEW)
def test_encoding_the_past_once_per_ar_step_gives_the_same_frames_as_encoding_it_every_time(schedule, sampling):
    exact, off = (take(dream(schedule, replace(sampling, cache=cache))[1], 9) for cache in ("exact", "off"))
    assert torch.equal(exact, off)
    assert exact.std() > 0.1


@pytest.mark.parametrize("eviction", EVICTIONS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_way_memory_takes_encoding_it_once_per_change_equals_encoding_it_every_time(way, eviction, tmp_path):
    sampling = replace(SHORT, eviction=eviction)
    net = network(slots=3, **way)
    exact, off = (
        take(dream(FEW["rolling"], replace(sampling, cache=cache), net=net)[1], 12) for cache in ("exact", "off")
    )
    assert torch.equal(exact, off)

    first = list(islice(dream(FEW["rolling"], sampling, net=net)[1], 2))
    memory = first[-1].state.memory
    store(first[-1].state, tmp_path / "state.pt")
    rest = wake(FEW["rolling"], sampling, restore(tmp_path / "state.pt"), net=net)
    assert torch.equal(torch.cat((joined(first), take(rest, 12)), 1)[:, :12], exact)
    assert len(memory) == 3 and memory.count > 3  # something was evicted


@pytest.mark.parametrize("schedule", FEW.values(), ids=FEW)
def test_a_cache_that_is_kept_is_exact_until_a_frame_has_left_the_context(schedule):
    sampling = Sampling(context=12, slots=3, group=2, init_steps=2)
    videos = []
    for cache in ("exact", "keep"):
        videos.append(take(dream(schedule, replace(sampling, cache=cache), prompt=4)[1], 30))
    stayed = 10  # of 12 frames of context 4 are the prompt's; those right after them saw no frame leave
    close(videos[1][:, :stayed], videos[0][:, :stayed], atol=1e-4)
    assert (videos[1] - videos[0])[:, -6:].abs().max() > 1e-3


@pytest.mark.parametrize("cache", ["exact", "keep", "off"])
@pytest.mark.parametrize("schedule", FEW.values(), ids=FEW)
def test_a_video_is_the_same_however_it_is_split_into_streams(schedule, cache):
    sampling = replace(SHORT, cache=cache)
    whole = take(dream(schedule, sampling)[1], 12)
    steps = [*islice(dream(schedule, sampling)[1], 1)]
    for turns in (2, 1, 8):
        steps += islice(wake(schedule, sampling, steps[-1].state), turns)
    assert torch.equal(joined(steps)[:, :12], whole)


@pytest.mark.parametrize("cache", ["exact", "keep"])
@pytest.mark.parametrize("schedule", FEW.values(), ids=FEW)
def test_streams_from_one_state_do_not_disturb_each_other_nor_the_state(schedule, cache, tmp_path):
    sampling, net = replace(SHORT, cache=cache), network()
    state = next(dream(schedule, sampling, net=net)[1]).state
    store(state, tmp_path / "before.pt")
    one, other = (wake(schedule, sampling, state, net=net) for _ in range(2))
    pairs = [(next(one), next(other)) for _ in range(3)]  # by turns
    assert all(torch.equal(first.clean, second.clean) for first, second in pairs)
    store(state, tmp_path / "after.pt")
    assert (tmp_path / "before.pt").read_bytes() == (tmp_path / "after.pt").read_bytes()


@pytest.mark.parametrize("cache", ["exact", "keep", "off"])
def test_the_past_is_known_by_what_it_holds_and_not_by_the_object_it_is(cache):
    film, sampling = Film(prompt=9), replace(SHORT, cache=cache)
    shown = Recorder(film)
    pasts, state = PastCache(shown, sampling), begin(shown, sampling, film)
    assert pasts.encode(state).conditioned.context.shape == state.context.shape
    pasts.encode(deepcopy(state))
    assert (len(shown.looks), len(shown.remembered)) == ((2, 2) if cache == "off" else (1, 1))
    later = append(shown, sampling, state, film.new(0, 1), film.drive(0, 1))
    pasts.encode(replace(later, frame=1))
    assert len(shown.looks) == (3 if cache == "off" else 2)  # the window has moved


@pytest.mark.parametrize("cache", ["exact", "keep"])
@pytest.mark.parametrize("schedule", FEW.values(), ids=FEW)
def test_a_saved_state_goes_on_as_if_it_had_not_been_saved(schedule, cache, tmp_path):
    sampling = replace(SHORT, cache=cache)
    _, steps = dream(schedule, sampling)
    *_, last = islice(steps, 5)
    store(last.state, tmp_path / "state.pt")
    resumed = islice(wake(schedule, sampling, restore(tmp_path / "state.pt")), 4)
    assert all(torch.equal(one.clean, other.clean) for one, other in zip(islice(steps, 4), resumed, strict=True))


@pytest.mark.parametrize("schedule", FEW.values(), ids=FEW)
def test_each_clip_of_a_batch_is_the_clip_of_its_own_seed(schedule):
    together = take(dream(schedule, SHORT, seed=3, batch=3)[1], 9)
    for i in range(3):
        close(together[[i]], take(dream(schedule, SHORT, seed=3 + i)[1], 9), atol=1e-4)
    assert (together[0] - together[1]).abs().mean() > 0.1


def test_fifo_makes_the_same_frames_as_rolling_with_blocks_of_one_frame_and_one_step():
    assert torch.equal(take(dream(fifo(4), SHORT)[1], 12), take(dream(rolling(4, 1, 1), SHORT)[1], 12))


def test_another_seed_makes_another_video():
    net = network()
    one, other = (wake(outpainting(3, 2), SHORT, dream(outpainting(3, 2), SHORT)[0], seed, net=net) for seed in (3, 4))
    assert (take(one, 6) - take(other, 6)).abs().mean() > 0.1


def test_what_was_yielded_is_what_is_remembered():
    net = network()
    steps = list(islice(dream(outpainting(2, 2), replace(SHORT, slots=0, context=6), net=net)[1], 3))
    assert torch.equal(steps[-1].state.context, joined(steps))


def test_memory_changes_what_is_made():
    with_memory, without = (take(dream(next_frame(2), s)[1], 8) for s in (SHORT, replace(SHORT, slots=0)))
    assert not torch.allclose(with_memory, without, atol=1e-3)


# Noise


def test_kept_keys_of_frames_that_see_no_other_frame_are_those_of_frames_encoded_anew():
    net, frames, driven = network(depth=1, moves=()), latents(9), track(9)
    levels, origin = torch.full((1, 9), 0.02), torch.zeros(1, 3)
    kept = net.encode_context(frames, levels, driven, origin).drop(4)
    again = net.encode_context(frames[:, 4:], levels[:, 4:], driven[:, 4:], origin)
    tokens = again.context[0][0].shape[2] // 5
    for one, other in zip(kept.context[0], again.context[0], strict=True):  # the first of them saw no frame before it
        close(one[:, :, tokens:], other[:, :, tokens:])
        assert (one[:, :, :tokens] - other[:, :, :tokens]).abs().max() > 1e-3


def test_noise_is_the_same_in_whatever_portions_it_is_asked_for():
    noise = Noise(9, 2, (2, 3, 4))
    whole = noise("init", 3, 6)
    assert whole.shape == (2, 6, 2, 3, 4) and whole.dtype == torch.float32
    assert torch.equal(whole, torch.cat([noise("init", 3 + i, 1) for i in range(6)], 1))
    assert torch.equal(whole, torch.cat([Noise(9 + i, 1, (2, 3, 4))("init", 3, 6) for i in range(2)]))
    assert noise("init", 0, 0).shape == (2, 0, 2, 3, 4)


def test_noise_of_another_seed_frame_use_or_denoising_step_is_unrelated():
    size = (4, 64, 64)
    first = Noise(0, 1, size)("init", 0, 1)
    others = [
        Noise(1, 1, size)("init", 0, 1),
        Noise(10**18, 1, size)("init", 0, 1),
        Noise(0, 1, size)("init", 1, 1),
        Noise(0, 1, size)("renoise", 0, 1),
        Noise(0, 1, size)("init", 0, 1, step=1),
    ]
    assert abs(first.mean()) < 0.05 and abs(first.std() - 1) < 0.05
    for other in others:
        assert abs((first * other).mean()) < 0.05  # a correlation of 16384 pairs: 6 standard deviations


# Errors


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_stops_the_stream_naming_ar_step_and_denoising_step(value):
    film, schedule = Film(prompt=3), outpainting(2, 3)

    class Broken(Recorder):
        def __call__(self, *given):
            clean = super().__call__(*given)
            return clean.index_fill(3, torch.tensor([1]), value) if len(self.calls) == 4 * 3 + 2 else clean

    broken = Broken(film)
    yielded = []
    with pytest.raises(NumericError, match="AR step 4, denoising step 1") as caught:
        yielded.extend(play(schedule, SHORT, film, broken))
    assert caught.value.code == 9
    close(joined(yielded), film.new(0, 8))
    state = yielded[-1].state
    assert state.frame == 8 and torch.isfinite(state.window).all() and torch.isfinite(state.context).all()


def test_a_number_that_is_none_in_the_initialization_stage_is_named_too():
    film = Film()

    class Broken(Recorder):
        def __call__(self, *given):
            return super().__call__(*given) * (float("nan") if len(self.calls) == 2 else 1)

    with pytest.raises(NumericError, match="initialization stage, denoising step 1"):
        next(play(fifo(3), SHORT, film, Broken(film)))


def test_noise_cannot_be_renewed_by_a_solver_that_renews_none():
    with pytest.raises(ConfigError, match="euler"):
        Sampling(eta=0.5)


@pytest.mark.parametrize("choice", [{"solver": "heum"}, {"eviction": "newest"}, {"cache": "on"}])
def test_an_unknown_choice_is_named_and_the_known_ones_are_listed(choice):
    ((name, value),) = choice.items()
    with pytest.raises(ConfigError, match=f"No {name} is called {value!r}") as caught:
        Sampling(**choice)
    assert "Choose from" in str(caught.value.hint)


@pytest.mark.parametrize("choice", [{"context": -1}, {"slots": -1}, {"init_steps": 0}, {"group": 0}])
def test_numbers_that_cannot_work_are_refused(choice):
    with pytest.raises(ConfigError):
        Sampling(**choice)
