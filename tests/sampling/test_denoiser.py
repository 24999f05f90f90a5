"""How the network is shown a window in views, and how guidance weighs what it says."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch

from arvdm_cli.errors import ConfigError
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.denoiser import guided
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import given
from arvdm_cli.sampling.past import PastCache
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import fifo
from arvdm_cli.sampling.state import Noise, Sampling, start
from arvdm_cli.sampling.views import VIEWS
from support.streams import SAMPLING
from support.tiny import SCHEDULES, WAYS, Film, Recorder, latents, network, play, take, track

every_view = pytest.mark.parametrize("views", VIEWS)


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


# Views


@every_view
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("window", [1, 2, 7, 16])
def test_views_write_every_frame_once_and_read_what_they_write_and_no_more_than_their_size(views, window, size):
    made = VIEWS[views](window, size)
    written = [frame for _, write in made for frame in range(write.start, write.stop)]
    assert written == list(range(window))
    for read, write in made:
        assert 0 <= read.start <= write.start < write.stop <= read.stop <= window
        assert views == "whole" or read.stop - read.start <= max(size, 2)


def test_lookahead_reads_half_a_view_of_cleaner_frames_before_what_it_writes():
    reads, writes = zip(*VIEWS["lookahead"](12, 4), strict=True)
    assert [(write.start, write.stop) for write in writes] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12)]
    assert [read.start for read in reads] == [0, 0, 2, 4, 6, 8]


@every_view
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_network_that_knows_the_video_gives_it_back_through_any_views(schedule, views):
    film, sampling = Film(prompt=4, batch=2), replace(SAMPLING, views=views, view=3)
    close(take(play(schedule, sampling, film, Recorder(film)), 30), film.new(0, 30), atol=1e-4)


@every_view
def test_the_network_is_shown_the_levels_and_actions_of_the_frames_it_reads(views):
    schedule, film = fifo(6), Film(prompt=4)
    shown = Recorder(film)
    list(islice(play(schedule, replace(SAMPLING, views=views, view=4), film, shown), 3))
    wanted = [
        (turn, read) for turn in range(3) for read, _ in VIEWS[views](schedule.window, 4)
    ]  # fifo takes one denoising step per AR step
    for call, (turn, read) in zip(shown.calls[-len(wanted) :], wanted, strict=True):
        assert torch.equal(call.levels[0], torch.tensor(schedule.levels[0][read]))
        assert torch.equal(call.actions, film.drive(turn + read.start, read.stop - read.start))


@torch.no_grad()
def test_a_view_that_begins_later_stands_where_it_stood_in_the_whole_window():
    net, window, actions = network(), latents(6, 1), track(6, 2)
    past = net.encode_context(latents(3), torch.zeros(1, 3), track(3), torch.zeros(1, 3), None)
    tokens, angles = net.enter(window, past.last, past.frames, net.integrate_actions(actions, past.pose))
    later = net.advance(past, window[:, :4], actions[:, :4])
    some, turned = net.enter(window[:, 4:], later.last, later.frames, net.integrate_actions(actions[:, 4:], later.pose))
    close(some, tokens[:, 4:])
    for one, other in zip(turned, angles, strict=True):
        close(one, other[:, :, -one.shape[2] :])


@pytest.mark.parametrize("solver", ["euler", "heun", "ddim"])
def test_views_no_smaller_than_the_window_change_nothing(solver):
    videos = []
    for views in ("whole", "partition"):
        videos.append(dream(replace(SAMPLING, views=views, view=8, solver=solver)))
    assert torch.equal(*videos)


# Guidance


def dream(sampling, net=None, batch=1, frames=8):
    """What a network with random weights makes of a prompt under fifo."""
    net = net or network()
    shown = torch.cat([latents(9, 3 + i) for i in range(batch)])
    driven = torch.cat([track(60, 3 + i) for i in range(batch)])
    state = start(net, sampling, shown, driven[:, :9])
    noise = Noise(3, batch, (2, 4, 4))
    return take(stream(Plan(fifo(4), sampling), net, FlowMatching(), state, noise, given(driven[:, 9:])), frames)


def scene(net, sampling):
    """A state with context and memory, a noisy window, its levels and its actions."""
    state = start(net, sampling, latents(9), track(9))
    return state, latents(4, 5), torch.linspace(0.2, 1, 4).unsqueeze(0), track(4, 6)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@torch.no_grad()
def test_guidance_moves_away_from_what_is_said_without_actions_and_without_memory(way):
    net = network(**way)
    sampling = replace(SAMPLING, guidance=1.5, history_guidance=3.0)
    state, window, levels, actions = scene(net, sampling)

    def say(state, actions, memory):
        context = state.context, torch.full((1, state.context.shape[1]), sampling.stabilization)
        past = net.encode_context(*context, state.actions, state.origin, net.encode_memory(memory))
        return net(window, levels, actions, past)

    plain = say(state, actions, state.memory)
    memory = state.memory
    blank = replace(memory, actions=0 * memory.actions, poses=0 * memory.poses)
    blind = replace(state, actions=0 * state.actions, origin=0 * state.origin)
    unknown = say(blind, 0 * actions, blank)
    forgetful = say(state, actions, net.empty_memory(1, "cpu"))
    assert min((plain - unknown).abs().max(), (plain - forgetful).abs().max()) > 1e-3

    pasts = PastCache(net, sampling).encode(state)
    close(
        guided(net, pasts, sampling, window, levels, actions),
        plain + 0.5 * (plain - unknown) + 2 * (plain - forgetful),
        atol=1e-4,
    )


def test_without_guidance_the_network_is_called_once_a_step_and_with_both_kinds_twice():
    film = Film(prompt=9)
    calls = []
    for weights in ({}, {"guidance": 2.0}, {"history_guidance": 2.0}, {"guidance": 2.0, "history_guidance": 2.0}):
        shown = Recorder(film)
        list(islice(play(fifo(1), replace(SAMPLING, **weights), film, shown), 4))
        calls.append((len(shown.calls), shown.calls[-1].window.shape[0], shown.calls[0].window.shape[0]))
    assert calls == [(4, 1, 1), (4, 2, 2), (8, 1, 1), (8, 1, 2)]  # those with two clips hold the one without actions


@pytest.mark.parametrize("cache", ["exact", "keep", "off"])
def test_a_guided_clip_is_the_same_alone_and_in_a_batch(cache):
    sampling = replace(SAMPLING, guidance=2.0, history_guidance=1.5, cache=cache, views="lookahead", view=2)
    close(dream(sampling), dream(sampling, batch=2)[:1], atol=1e-4)


def test_guided_frames_hang_together_however_the_past_is_cached():
    sampling = replace(SAMPLING, guidance=2.0, history_guidance=1.5)
    exact, off = (dream(replace(sampling, cache=cache)) for cache in ("exact", "off"))
    assert torch.equal(exact, off)
    assert (exact - dream(SAMPLING)).abs().max() > 1e-2


@pytest.mark.parametrize(
    "wrong", [{"views": "halves"}, {"view": 0}, {"history_guidance": 2.0, "slots": 0}, {"solver": "rk4"}], ids=str
)
def test_a_setting_that_cannot_be_is_named(wrong):
    with pytest.raises(ConfigError) as caught:
        Sampling(**wrong)
    assert str(next(iter(wrong.values()))) in str(caught.value)


def test_a_heun_step_calls_the_network_twice_but_for_the_last():
    film, shown = Film(), None
    for schedule in (fifo(3),):
        shown = Recorder(film)
        list(islice(play(schedule, replace(SAMPLING, solver="heun", init_steps=3), film, shown), 2))
    levels = [call.levels[0, -1].item() for call in shown.calls]
    assert len(levels) == (2 * 3 - 1) + 2 * 2
    assert all(later <= earlier for earlier, later in pairwise(levels[:5]))
