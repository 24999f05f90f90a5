"""Frames and latents: each count leads to the other, and no frame is lost or made twice between them."""

import pytest

from arvdm_cli.sampling.timing import Timing

WAN = Timing(4)
both = pytest.mark.parametrize("prompted", [False, True])


@both
def test_a_codec_of_single_frames_counts_latents_and_frames_alike(prompted):
    one = Timing.of(object())
    for count in range(20):
        assert one.frames(count, prompted) == one.latents(count, prompted) == one.prompt(count) == count


@both
@pytest.mark.parametrize("timing", [WAN, Timing(3)], ids=str)
def test_frames_need_the_fewest_latents_that_hold_them(timing, prompted):
    for frames in range(1, 40):
        latents = timing.latents(frames, prompted)
        assert timing.frames(latents - 1, prompted) < frames <= timing.frames(latents, prompted)
    assert timing.latents(0, prompted) == timing.frames(0, prompted) == 0


def test_the_first_latent_of_a_video_is_one_frame_and_every_other_four():
    assert [WAN.frames(count, prompted=False) for count in range(5)] == [0, 1, 5, 9, 13]
    assert [WAN.frames(count, prompted=True) for count in range(5)] == [0, 4, 8, 12, 16]
    for first in range(1, 5):  # a video cut anywhere has the frames of its parts
        parts = WAN.frames(first, prompted=False) + WAN.frames(3, prompted=True)
        assert parts == WAN.frames(first + 3, prompted=False)


def test_of_a_prompt_the_most_frames_are_taken_that_fill_their_latents():
    assert [WAN.prompt(count) for count in (0, 1, 2, 4, 5, 8, 9, 10, 17)] == [0, 1, 1, 1, 5, 5, 9, 9, 17]
    for count in range(1, 40):
        latents = WAN.latents(WAN.prompt(count), prompted=False)
        assert WAN.frames(latents, prompted=False) == WAN.prompt(count)
