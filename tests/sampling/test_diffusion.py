"""Noise math: what is added can be taken away, and a step lands on the straight path."""

from itertools import pairwise

import pytest
import torch

from arvdm_cli.errors import ConfigError
from arvdm_cli.sampling.diffusion import (
    BETAS,
    DDPM,
    PREDICTIONS,
    FlowMatching,
    additions,
    logit_normal,
    per_frame,
    remaining,
)
from arvdm_cli.sampling.solvers import SOLVERS, History, ddim, euler, unipc

DIFFUSIONS = {f"flow, {prediction}": FlowMatching(prediction) for prediction in PREDICTIONS if prediction != "epsilon"}
DIFFUSIONS |= {
    f"{betas} betas, {prediction}": DDPM(prediction, betas=betas) for prediction in PREDICTIONS for betas in BETAS
}
every_diffusion = pytest.mark.parametrize("diffusion", DIFFUSIONS.values(), ids=DIFFUSIONS)


def unipc_alone(diffusion, predict, noisy, before, after, *_):
    """A step of UniPC without any before it."""
    return unipc(diffusion, predict, noisy, before, after, History.empty(noisy))[0]


STEPS = SOLVERS | {"unipc": unipc_alone}
every_solver = pytest.mark.parametrize("solver", STEPS.values(), ids=STEPS)

GENERATOR = torch.Generator().manual_seed(0)
CLEAN, NOISE = torch.randn(2, 2, 5, 3, 4, 4, generator=GENERATOR)  # (b, f, c, h, w)
LEVELS = torch.tensor([[0.0, 0.02, 0.5, 0.9, 1.0], [1.0, 0.7, 0.3, 0.1, 0.0]])


def perfect(diffusion, levels=LEVELS, clean=CLEAN, noise=NOISE):
    """What a network without error would answer."""
    alpha, sigma = diffusion.spread(levels, clean)
    answers = {"x0": clean, "velocity": noise - clean, "v": alpha * noise - sigma * clean, "epsilon": noise}
    return answers[diffusion.prediction]


def expert(diffusion, clean=CLEAN, noise=NOISE):
    """A network without error, as solvers call it."""
    return lambda noisy, levels: perfect(diffusion, levels, clean, noise)


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


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


@every_diffusion
def test_the_clean_frame_is_read_off_a_perfect_prediction(diffusion):
    noisy = diffusion.add_noise(CLEAN, NOISE, LEVELS)
    # at the largest levels hardly anything is left of the clean frame: what rounding leaves is blown up
    atol = 1e-2 if diffusion.prediction == "epsilon" else 1e-5
    close(diffusion.to_clean(perfect(diffusion), noisy, LEVELS), CLEAN, atol)


@every_diffusion
@every_solver
def test_a_step_with_a_perfect_prediction_lands_on_the_path_of_its_noise(diffusion, solver):
    noisy = diffusion.add_noise(CLEAN, NOISE, LEVELS)
    for factor in (0.0, 0.3, 1.0):
        after = LEVELS * factor
        stepped = solver(diffusion, expert(diffusion), noisy, LEVELS, after, 0.0, lambda: NOISE)
        close(stepped, diffusion.add_noise(CLEAN, NOISE, after), 1e-2 if diffusion.prediction == "epsilon" else 1e-5)


@every_diffusion
@every_solver
def test_steps_from_pure_noise_end_at_the_clean_frame_however_many_there_are(diffusion, solver):
    for steps in (1, 3, 50):
        x = diffusion.add_noise(CLEAN, NOISE, torch.ones(5))
        for before, after in pairwise(1 - m / steps for m in range(steps + 1)):
            now, then = torch.full((2, 5), before), torch.full((2, 5), after)
            x = solver(diffusion, expert(diffusion), x, now, then, 0.0, lambda: NOISE)
        close(x, CLEAN, 1e-2 if diffusion.prediction == "epsilon" else 1e-4)


@every_diffusion
def test_a_step_to_level_0_ends_at_the_clean_estimate(diffusion):
    answer, levels = torch.randn(CLEAN.shape, generator=GENERATOR), LEVELS.clamp_min(0.01)
    noisy = diffusion.add_noise(CLEAN, NOISE, levels)
    close(
        euler(diffusion, lambda *_: answer, noisy, levels, torch.zeros(2, 5)), diffusion.to_clean(answer, noisy, levels)
    )


@every_diffusion
@every_solver
def test_a_frame_whose_level_does_not_change_stays_whatever_the_network_says(diffusion, solver):
    answer = torch.randn(CLEAN.shape, generator=GENERATOR)
    for level in (0.01, 0.5, 1.0):
        levels = torch.full((2, 5), level)
        noisy = diffusion.add_noise(CLEAN, NOISE, levels)
        close(solver(diffusion, lambda *_: answer, noisy, levels, levels, 0.0, lambda: NOISE), noisy, 1e-4)


@every_diffusion
@every_solver
def test_a_clean_frame_stays_whatever_the_network_says(diffusion, solver):
    answer, levels = torch.randn(CLEAN.shape, generator=GENERATOR), torch.zeros(2, 5)
    close(solver(diffusion, lambda *_: answer, CLEAN, levels, levels, 0.0, lambda: NOISE), CLEAN)
    assert torch.isfinite(ddim(diffusion, lambda *_: answer, CLEAN, levels, levels, 1.0, lambda: NOISE)).all()


def test_a_frame_that_waits_stays_whatever_steps_it_has_had():
    flow, x = FlowMatching(), CLEAN[:, :2]
    rows = torch.tensor([[1.0, 1.0], [0.75, 0.75], [0.5, 0.5], [0.25, 0.0], [0.25, 0.0], [0.0, 0.0]])
    history = History.empty(x)
    for before, after in pairwise(row.expand(2, -1) for row in rows):
        end, history = unipc(flow, lambda noisy, levels: noisy.sin(), x, before, after, history)
        waits = (before == after)[0]
        close(end[:, waits], x[:, waits], atol=0)
        assert all(not torch.equal(end[:, i], x[:, i]) for i in range(2) if not waits[i])
        x = end


@pytest.mark.parametrize(
    ("solver", "order"),
    [("euler", 1), ("ddim", 1), ("heun", 2), ("unipc", 2.5)],  # a correction adds an order, the first step is of one
)
def test_the_error_of_a_solver_falls_with_its_order(solver, order):
    flow, spread = FlowMatching("x0"), 0.5  # clean frames of this standard deviation, for which all is known

    def size(levels):  # of a noisy frame
        return ((1 - levels) ** 2 * spread**2 + levels**2).sqrt()

    def best(noisy, levels):
        return per_frame((1 - levels) * spread**2 / size(levels) ** 2, noisy) * noisy

    errors = []
    for steps in (16, 32):
        x = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
        rows = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64).view(-1, 1, 1)
        history = History.empty(x)
        for before, after in pairwise(rows):
            if solver == "unipc":
                x, history = unipc(flow, best, x, before, after, history)
            else:
                x = SOLVERS[solver](flow, best, x, before, after)
        errors.append((x.flatten() - size(rows[-1]).flatten()).abs().item())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.2)


@pytest.mark.parametrize("diffusion", [FlowMatching("v"), DDPM("v"), DDPM("v", betas="linear")])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_noise_renewed_on_the_way_leaves_frames_as_noisy_as_their_level(diffusion, eta):
    clean, generator = torch.zeros(1, 4000, 1, 1, 1), torch.Generator().manual_seed(1)
    noise, fresh = torch.randn(2, *clean.shape, generator=generator)
    for before, after in ((1.0, 0.6), (0.6, 0.3), (0.5, 0.0)):
        now, then = torch.full((1, 4000), before), torch.full((1, 4000), after)
        noisy = diffusion.add_noise(clean, noise, now)
        stepped = ddim(diffusion, expert(diffusion, clean, noise), noisy, now, then, eta, lambda: fresh)
        sigma = diffusion.scales(then)[1][0, 0]
        assert stepped.std() == pytest.approx(sigma.item(), rel=0.05, abs=1e-6)
        if after:  # with eta it is other noise, by as much
            share = (stepped * fresh).mean() / sigma
            assert (share > 0.2 * eta) if eta else share.abs() < 0.05


def test_the_full_share_of_renewed_noise_samples_the_posterior_of_the_chain():
    diffusion, before, after = DDPM("x0", betas="linear"), torch.tensor([0.5]), torch.tensor([0.499])
    alpha, sigma = diffusion.scales(before)
    alpha_then, sigma_then = diffusion.scales(after)
    zeros, ones = torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1)
    stepped = ddim(diffusion, lambda *_: zeros, zeros, before, after, 1.0, lambda: ones)
    beta = 1 - (alpha / alpha_then).square()
    close(stepped.flatten(), sigma_then / sigma * beta.sqrt())


@every_diffusion
def test_the_loss_of_a_perfect_prediction_is_zero_and_of_another_is_not(diffusion):
    levels = LEVELS.clamp(0.05, 0.9)
    noisy = diffusion.add_noise(CLEAN, NOISE, levels)
    close(diffusion.loss(perfect(diffusion, levels), noisy, CLEAN, levels), torch.zeros(2, 5))
    assert (diffusion.loss(perfect(diffusion, levels) + 1, noisy, CLEAN, levels) > 0.01).all()


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


@pytest.mark.parametrize("betas", BETAS)
def test_a_chain_starts_clean_loses_something_at_every_addition_and_ends_as_nearly_pure_noise(betas):
    left = remaining(betas, 1000)
    assert left[0] == 1 and (left.diff() < 0).all() and 0 < left[-1] < 1e-3
    alpha, sigma = DDPM("v", betas=betas).scales(torch.linspace(0, 1, 101))
    close(alpha.square() + sigma.square(), torch.ones(101))


@pytest.mark.parametrize("count", [1, 7, 10, 250, 1000])
def test_levels_of_any_number_of_steps_have_had_the_additions_they_stand_for(count):
    levels = torch.tensor([m / count for m in range(count + 1)])
    assert additions(levels, 1000).tolist() == [1000 * m // count for m in range(count + 1)]


def test_straight_paths_refuse_a_network_that_predicts_noise():
    with pytest.raises(ConfigError, match="level 1"):
        FlowMatching("epsilon")


def test_unknown_betas_are_named_and_the_known_ones_are_listed():
    with pytest.raises(ConfigError, match="'square'") as caught:
        DDPM(betas="square")
    assert all(name in str(caught.value.hint) for name in BETAS)


def test_an_unknown_prediction_is_named_and_the_known_ones_are_listed():
    with pytest.raises(ConfigError, match="'score'") as caught:
        FlowMatching("score")
    assert all(name in str(caught.value.hint) for name in PREDICTIONS)
