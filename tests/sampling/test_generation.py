"""From prompt frames to new frames: whose choice counts, and that a video has the length asked for."""

import threading
from dataclasses import replace
from itertools import islice

import pytest
import torch

from arvdm_cli.errors import ScheduleError
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.generation import ahead, begin, choose, generate, given
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import fifo, next_frame, outpainting, rolling, shift, write
from arvdm_cli.sampling.state import Noise, Sampling, start
from support.tiny import model, track

OWN = Sampling("outpainting", {"chunk": 3, "steps": 2}, context=5, slots=3)


# Whose choice counts


def test_what_is_left_at_none_is_the_checkpoints_own():
    assert choose(OWN, schedule=None, steps=None, chunk=None, context=None, shift=None) == Plan(outpainting(3, 2), OWN)


def test_a_choice_of_the_sampler_comes_above_the_checkpoints_own():
    plan = choose(OWN, context=0, slots=7, cache="off")
    assert plan.schedule == outpainting(3, 2)
    assert plan.sampling == replace(OWN, context=0, slots=7, cache="off")


def test_an_option_of_the_preset_comes_above_the_checkpoints_own_and_the_others_stay():
    plan = choose(OWN, steps=5)
    assert plan.schedule == outpainting(3, 5) and plan.sampling.options == {"chunk": 3, "steps": 5}
    assert choose(OWN, schedule="outpainting", chunk=1).schedule == outpainting(1, 2)
    assert OWN.options == {"chunk": 3, "steps": 2}


def test_another_preset_takes_none_of_the_checkpoints_options():
    assert choose(OWN, schedule="fifo").schedule == fifo()
    assert choose(OWN, schedule="next-frame", steps=2).schedule == next_frame(2)
    assert choose(OWN, schedule="rolling", blocks=3).schedule == rolling(3)


def test_a_shift_moves_the_levels_of_whatever_was_chosen(tmp_path):
    assert choose(OWN, shift=2.0).schedule == shift(outpainting(3, 2), 2.0)
    write(fifo(3), tmp_path / "own.json")
    assert choose(OWN, schedule=str(tmp_path / "own.json")).schedule == fifo(3)
    assert choose(OWN, schedule=str(tmp_path / "own.json"), shift=2.0).schedule == shift(fifo(3), 2.0)


def test_an_option_that_the_preset_lacks_is_refused():
    with pytest.raises(ScheduleError, match="chunk"):
        choose(OWN, schedule="fifo", chunk=2)


# From prompt to video


@pytest.fixture(scope="module")
def tiny():
    return model(sampling=Sampling("outpainting", {"chunk": 3, "steps": 2}, context=2, slots=2, group=2))


def picture(frames, batch=1):
    return torch.rand(batch, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def make(tiny, length=0, seed=0, prompt=5, actions=None, **chosen):
    plan = choose(tiny.sampling, **chosen)
    state = begin(tiny, plan, picture(prompt), track(prompt))
    actions = track(40, 1) if actions is None else actions
    return generate(tiny, plan, state, given(actions), seed, length)


def test_memory_begins_empty_in_the_shape_of_the_network(tiny):
    memory, config = tiny.network.empty_memory(3, "cpu"), tiny.network.config
    assert memory.tokens.shape == (3, 0, config.memory_tokens, config.dim) and memory.count == 0


@pytest.mark.parametrize("frames", [1, 16, 33])
def test_a_prompt_is_encoded_alike_in_parts_and_at_once(tiny, frames):
    actions, plan = track(frames, batch=2), choose(tiny.sampling)
    state = begin(tiny, plan, picture(frames, 2), actions)
    with torch.no_grad():
        latents = tiny.codec.encode(picture(frames, 2))
        whole = start(tiny.network, plan.sampling, latents, actions)
    torch.testing.assert_close(state.context, whole.context, rtol=0, atol=1e-5)
    torch.testing.assert_close(state.memory.tokens, whole.memory.tokens, rtol=0, atol=1e-4)


def test_a_video_can_begin_without_a_prompt(tiny):
    video = torch.cat(list(make(tiny, 4, prompt=0)), 1)
    assert video.shape == (1, 4, 3, 32, 32) and torch.isfinite(video).all()


@pytest.mark.parametrize("length", [1, 3, 4, 8])
@pytest.mark.parametrize("schedule", ["outpainting", "fifo", "next-frame"])
def test_a_video_has_the_length_asked_for_and_is_the_beginning_of_any_longer_one(tiny, length, schedule):
    steps = 2
    video = torch.cat(list(make(tiny, length, schedule=schedule, steps=steps)), 1)
    longer = torch.cat(list(islice(make(tiny, schedule=schedule, steps=steps), 9)), 1)
    assert video.shape == (1, length, 3, 32, 32)
    assert torch.equal(video, longer[:, :length])


def test_without_a_length_frames_come_for_as_long_as_they_are_taken(tiny):
    assert [chunk.shape[1] for chunk in islice(make(tiny), 6)] == [3] * 6


def test_frames_are_the_decoded_latents_of_the_stream(tiny):
    plan = choose(tiny.sampling)
    state, noise = begin(tiny, plan, picture(5), track(5)), Noise(0, 1, (2, 4, 4))
    steps = stream(plan, tiny.network, tiny.diffusion, state, noise, given(track(40, 1)))
    for step, frames in zip(islice(steps, 3), make(tiny), strict=False):
        with torch.no_grad():
            assert torch.equal(frames, tiny.codec.decode(step.clean))
        assert frames.abs().max() <= 1


def test_the_same_seed_makes_the_same_video_and_another_seed_another(tiny):
    one, same, other = (torch.cat(list(make(tiny, 6, seed)), 1) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_actions_steer_the_video(tiny):
    forward, left = (torch.eye(5)[[i] * 6].unsqueeze(0) for i in (1, 3))
    assert not torch.equal(*(torch.cat(list(make(tiny, 6, actions=actions)), 1) for actions in (forward, left)))


def test_a_chunk_can_be_shown_before_the_next_is_made(tiny):
    asked = []

    def drive(first, count):
        asked.append(first)
        return track(count, first)

    plan = choose(tiny.sampling)
    state = begin(tiny, plan, picture(5), track(5))
    chunks = generate(tiny, plan, state, drive, 0)
    next(chunks)
    assert asked == [0]


def test_the_next_chunk_is_made_while_one_is_used_and_no_further():
    asked, used = [], threading.Semaphore(0)

    def chunks():
        for number in range(3):
            asked.append(number)
            used.release()
            yield torch.tensor(number)

    for taken, chunk in enumerate(ahead(chunks())):
        assert chunk.item() == taken
        for _ in range(2 if taken == 0 else taken < 2):
            assert used.acquire(timeout=600)  # the chunk after this one is asked for before this one is let go
        assert asked == list(range(min(taken + 2, 3)))
    assert len(asked) == 3


def test_what_ends_the_making_of_chunks_comes_after_the_chunks_that_were_made():
    def chunks():
        yield torch.tensor(0)
        raise ValueError("no more")

    made = ahead(chunks())
    assert next(made).item() == 0
    with pytest.raises(ValueError, match="no more"):
        next(made)


def test_actions_beyond_the_given_ones_are_rows_of_zeros():
    rows = track(5, batch=2)
    drive = given(rows)
    assert torch.equal(drive(1, 3), rows[:, 1:4])
    assert torch.equal(drive(3, 4), torch.cat((rows[:, 3:], torch.zeros(2, 2, 5)), 1))
    assert torch.equal(drive(9, 2), torch.zeros(2, 2, 5))
    assert given(torch.zeros(1, 0, 5))(0, 3).shape == (1, 3, 5)
