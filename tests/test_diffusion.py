"""Noise math: what is added can be taken away, and a step lands on the straight path."""

from itertools import pairwise

import pytest
import torch

from arvdm_cli.diffusion import PREDICTIONS, SOLVERS, FlowMatching, euler, logit_normal, per_frame
from arvdm_cli.errors import ConfigError

every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)

GENERATOR = torch.Generator().manual_seed(0)
CLEAN, NOISE = torch.randn(2, 2, 5, 3, 4, 4, generator=GENERATOR)  # (b, f, c, h, w)
LEVELS = torch.tensor([[0.0, 0.02, 0.5, 0.9, 1.0], [1.0, 0.7, 0.3, 0.1, 0.0]])


def perfect(prediction, clean=CLEAN, noise=NOISE):
    """What a network without error would answer."""
    return {"x0": clean, "velocity": noise - clean}[prediction]


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_level_0_is_clean_level_1_is_pure_noise_and_between_is_a_straight_line():
    flow = FlowMatching()
    assert torch.equal(flow.add_noise(CLEAN, NOISE, torch.zeros(5)), CLEAN)
    assert torch.equal(flow.add_noise(CLEAN, NOISE, torch.ones(5)), NOISE)
    close(flow.add_noise(CLEAN, NOISE, torch.full((2, 5), 0.25)), 0.75 * CLEAN + 0.25 * NOISE)


def test_every_frame_gets_its_own_level():
    noisy = FlowMatching().add_noise(CLEAN, NOISE, LEVELS)
    for b in range(2):
        for f in range(5):
            level = LEVELS[b, f]
            close(noisy[b, f], (1 - level) * CLEAN[b, f] + level * NOISE[b, f])


def test_levels_of_frames_alone_hold_for_every_clip():
    flow = FlowMatching()
    assert torch.equal(flow.add_noise(CLEAN, NOISE, LEVELS[0]), flow.add_noise(CLEAN, NOISE, LEVELS[:1].expand(2, -1)))
    assert per_frame(LEVELS[0], CLEAN).shape == (5, 1, 1, 1)
    assert per_frame(LEVELS, CLEAN).shape == (2, 5, 1, 1, 1)


@every_prediction
def test_the_clean_frame_is_read_off_a_perfect_prediction(prediction):
    flow = FlowMatching(prediction)
    noisy = flow.add_noise(CLEAN, NOISE, LEVELS)
    close(flow.to_clean(perfect(prediction), noisy, LEVELS), CLEAN)


@every_prediction
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_with_a_perfect_prediction_lands_on_the_straight_path(prediction, solver):
    flow = FlowMatching(prediction)
    noisy = flow.add_noise(CLEAN, NOISE, LEVELS)
    for factor in (0.0, 0.3, 1.0):
        after = LEVELS * factor
        stepped = SOLVERS[solver](flow, perfect(prediction), noisy, LEVELS, after)
        close(stepped, flow.add_noise(CLEAN, NOISE, after))


@every_prediction
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_from_pure_noise_end_at_the_clean_frame_however_many_there_are(prediction, solver):
    flow = FlowMatching(prediction)
    for steps in (1, 3, 50):
        x = NOISE
        for before, after in pairwise(1 - m / steps for m in range(steps + 1)):
            now, then = torch.full((5,), before), torch.full((5,), after)
            x = SOLVERS[solver](flow, perfect(prediction), x, now, then)
        torch.testing.assert_close(x, CLEAN, rtol=0, atol=1e-4)


@every_prediction
def test_a_step_to_level_0_ends_at_the_clean_estimate(prediction):
    flow, answer = FlowMatching(prediction), torch.randn(CLEAN.shape, generator=GENERATOR)
    noisy = flow.add_noise(CLEAN, NOISE, LEVELS)
    close(euler(flow, answer, noisy, LEVELS, torch.zeros(2, 5)), flow.to_clean(answer, noisy, LEVELS))


def test_a_frame_whose_level_does_not_change_stays_whatever_the_network_says():
    answer = torch.randn(CLEAN.shape, generator=GENERATOR)
    for prediction in PREDICTIONS:
        flow = FlowMatching(prediction)
        for level in (0.01, 0.5, 1.0):
            levels = torch.full((2, 5), level)
            noisy = flow.add_noise(CLEAN, NOISE, levels)
            close(euler(flow, answer, noisy, levels, levels), noisy)


def test_a_clean_frame_stays_whatever_velocity_the_network_says():
    answer, levels = torch.randn(CLEAN.shape, generator=GENERATOR), torch.zeros(2, 5)
    assert torch.equal(euler(FlowMatching("velocity"), answer, CLEAN, levels, levels), CLEAN)


@every_prediction
def test_the_loss_of_a_perfect_prediction_is_zero_and_of_another_is_not(prediction):
    flow = FlowMatching(prediction)
    levels = LEVELS.clamp_min(0.05)
    noisy = flow.add_noise(CLEAN, NOISE, levels)
    close(flow.loss(perfect(prediction), noisy, CLEAN, levels), torch.zeros(2, 5))
    assert (flow.loss(perfect(prediction) + 1, noisy, CLEAN, levels) > 0.1).all()


def test_the_loss_is_the_squared_error_of_the_velocity_whatever_the_network_predicts():
    levels = LEVELS.clamp_min(0.2)  # above the least level that counts
    guess = CLEAN + torch.randn(CLEAN.shape, generator=GENERATOR)
    noisy = FlowMatching().add_noise(CLEAN, NOISE, levels)
    velocity = (noisy - guess) / per_frame(levels, noisy)
    truth = (velocity - (NOISE - CLEAN)).square().mean((2, 3, 4))
    for prediction, answer in (("x0", guess), ("velocity", velocity)):
        torch.testing.assert_close(FlowMatching(prediction).loss(answer, noisy, CLEAN, levels), truth)


def test_the_loss_of_a_nearly_clean_frame_weighs_no_more_than_at_the_least_level():
    flow = FlowMatching(least_level=0.5)
    at, below = (flow.loss(CLEAN + 1, CLEAN, CLEAN, torch.full((2, 5), level)) for level in (0.5, 0.0))
    close(at, torch.full((2, 5), 4.0))
    assert torch.equal(at, below)


def test_logit_normal_levels_lie_between_0_and_1_around_their_mean():
    levels = logit_normal((4000,), 0.5, 1.2, torch.Generator().manual_seed(0))
    assert levels.min() > 0 and levels.max() < 1
    assert levels.logit().mean() == pytest.approx(0.5, abs=0.1) and levels.logit().std() == pytest.approx(1.2, abs=0.1)
    assert torch.equal(levels, logit_normal((4000,), 0.5, 1.2, torch.Generator().manual_seed(0)))


def test_an_unknown_prediction_is_named_and_the_known_ones_are_listed():
    with pytest.raises(ConfigError, match="'score'") as caught:
        FlowMatching("score")
    assert all(name in str(caught.value.hint) for name in PREDICTIONS)
