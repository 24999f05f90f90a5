"""What a validation says in words."""

import pytest

from arvdm_cli.training.events import Validated
from arvdm_cli.training.validation import SPANS
from arvdm_cli.training.watch.verdict import ignores_actions, verdict


def event(psnr=(30.0, 25.0), repeat=(27.0, 26.0), ceiling=(35.0, 35.0), **more):
    return Validated(10, list(psnr), list(repeat), ceiling=list(ceiling), **more)


def test_a_model_is_held_against_repeating_the_last_frame():
    assert verdict(event(), SPANS) == "frame 1 is 3.0 dB above repeating the last frame"
    better = verdict(event(psnr=(30.0, 26.5)), SPANS)
    further = "better than that and than the average of the frames shown up to frame 4"
    assert better == f"frame 1 is 3.0 dB above repeating the last frame, {further}"
    assert further not in verdict(event(psnr=(30.0, 26.5), average=[20.0, 26.5]), SPANS)
    worse = verdict(event(psnr=(26.0, 26.5)), SPANS)
    assert worse == "not yet better than repeating the last frame: frame 1 is 1.0 dB below it"


def test_pixels_that_change_count_where_there_are_any():
    changed = {"changed": [20.0, None], "changed_repeat": [16.8, None], "changed_ceiling": [29.0, None]}
    assert verdict(event(psnr=(30.0, 25.0), repeat=(35.0, 36.0), **changed), SPANS) == (
        "frame 1 is 3.2 dB above repeating the last frame on pixels that change (-5.0 dB on all pixels)"
    )
    nothing = {"changed": [None, None], "changed_repeat": [None, None], "changed_ceiling": [None, None]}
    assert verdict(event(**nothing), SPANS) == verdict(event(), SPANS)


def test_a_model_that_draws_nothing_in_particular_is_told_apart_from_one_that_places_what_moves():
    blank = {"changed": [7.0], "changed_repeat": [4.5], "changed_average": [7.1], "changed_ceiling": [9.9]}
    says = "; but no better than the average of the frames shown, so what moves is missing or blurred"
    assert says in verdict(event(**blank), SPANS)
    assert not ignores_actions(event(obeyed=0.0, **blank), SPANS, share=1.0)  # there is nothing to obey yet
    assert says not in verdict(event(**blank | {"changed": [9.0]}), SPANS)
    assert says not in verdict(event(**blank | {"changed": [4.0]}), SPANS)  # worse than the last frame anyway


@pytest.mark.parametrize(
    ("obeyed", "says"),
    [
        (1.4, "actions obeyed: true ones beat those of other episodes by 1.4 dB at frames 2-8"),
        (0.2, "actions barely obeyed: true ones beat"),
        (0.0, "actions change nothing yet"),
        (-0.4, "actions change nothing yet"),
    ],
)
def test_obedience_is_how_much_true_actions_beat_those_of_other_episodes(obeyed, says):
    assert f"; {says}" in verdict(event(obeyed=obeyed), SPANS)
    assert "action" not in verdict(event(), SPANS)  # a model without


def test_the_codec_limits_where_true_frames_through_it_are_no_better_than_repeating_or_the_model_is_as_good():
    below = verdict(event(psnr=(16.7, 16.0), repeat=(28.2, 27.0), ceiling=(17.0, 17.0)), SPANS)
    assert "the codec limits: true frames through it reach 17.0 dB, less than repeating the last frame (28.2" in below
    near = verdict(event(psnr=(30.0, 25.0), ceiling=(30.4, 30.0)), SPANS)
    assert "the codec limits: frame 1 is within 0.4 dB of its ceiling" in near


def test_a_network_ignores_actions_if_it_is_good_and_has_had_time_to_learn_them():
    good = event(psnr=(30.0, 28.0), obeyed=0.02)
    assert ignores_actions(good, SPANS, share=0.5)
    assert not ignores_actions(good, SPANS, share=0.4)
    obedient = event(psnr=(30.0, 28.0), obeyed=0.5)
    assert not ignores_actions(obedient, SPANS, share=0.5)
    assert not ignores_actions(event(psnr=(30.0, 28.0)), SPANS, share=0.5)  # a model without actions
    assert not ignores_actions(event(psnr=(20.0, 20.0), obeyed=0.0), SPANS, share=0.5)  # it makes nothing yet
