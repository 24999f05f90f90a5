"""The laws of Gaussian processes under noise, and of KL between them."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

from arvdm_cli.errors import TheoryError
from arvdm_cli.sampling.diffusion import DDPM, FlowMatching
from arvdm_cli.theory.gaussian import (
    ForwardProcess,
    Kernel,
    Process,
    eye,
    independent,
    kernel_kl,
    kl,
    regress,
    rotation,
    spanned,
)

PROCESSES = {
    "order 1": Process([[[0.5, 0.3], [-0.2, 0.4]]], [[1.0, 0.4], [0.4, 0.5]]),
    "order 3": Process([[[0.5]], [[-0.4]], [[0.3]]], [[2.0]]),
    "near the edge": Process([[[0.9999]]], [[1.0]]),
    "rotation": rotation(order=4, dim=3),
}
every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


@every_process
def test_frames_given_all_before_them_follow_the_recursion(process):
    p, d = process.order, process.dim
    newest_first = torch.arange((p + 3) * d).reshape(-1, d).flip(0).flatten()
    joint = process.covariance(p + 3)[newest_first][:, newest_first]
    found = regress(joint, d)
    assert_close(found.weight[:, : p * d], process.lags.transpose(0, 1).flatten(1), rtol=1e-6, atol=1e-6)
    assert_close(found.weight[:, p * d :], torch.zeros(d, 2 * d, dtype=torch.float64), rtol=0, atol=1e-6)
    assert_close(found.noise, process.noise, rtol=1e-6, atol=1e-6)


@every_process
def test_a_process_is_stationary(process):
    d, whole = process.dim, process.covariance(6)
    for frames in (1, 3, 6):
        assert_close(process.covariance(frames), whole[-frames * d :, -frames * d :])


@pytest.mark.parametrize(("order", "dim", "echo"), [(1, 1, 0.4), (1, 4, 0.0), (2, 3, 1.0), (7, 5, 0.9)])
def test_rotations_have_variance_one_in_every_component_and_are_stable_for_every_order(order, dim, echo):
    process = rotation(order, dim, echo)
    assert (process.order, process.dim) == (order, dim)
    assert_close(process.covariance(1).diagonal(), torch.ones(dim, dtype=torch.float64))


def test_what_is_no_stationary_process_is_refused_with_the_reason():
    with pytest.raises(TheoryError, match="unstable: its largest root has modulus") as caught:
        Process([[[1.2]]], [[1.0]])
    assert "unit circle" in caught.value.hint
    for lags, noise, says in [
        ([[[0.5]]], [[0.0]], "not a valid covariance"),
        ([[[0.5, 0], [0, 0.5]]], [[1.0, 0.5], [0, 1.0]], "not a valid covariance"),
        ([[0.5]], [[1.0]], "are not a process"),
        ([[[0.5]]], [[1.0, 0], [0, 1.0]], "are not a process"),
        ([], [[1.0]], "are not a process"),
    ]:
        with pytest.raises(TheoryError, match=says):
            Process(lags, noise)
    for options in ({"order": 0}, {"dim": 0}, {"echo": 1.1}):
        with pytest.raises(TheoryError):
            rotation(**options)


@pytest.mark.parametrize("diffusion", [FlowMatching(), DDPM(betas="linear")], ids=["flow", "ddpm"])
def test_frames_become_noise_along_markov_paths(diffusion):
    law, levels = ForwardProcess(PROCESSES["rotation"], diffusion, frames=2), (0.0, 0.25, 0.5, 1.0)
    for level in levels:
        alpha, sigma = law.scales((level,))
        own = law.covariance([(1, level)], [(1, level)])
        assert_close(own, alpha.square() * law.clean[3:, 3:] + sigma.square() * eye(3))
    for less, more in pairwise(levels):  # a noisier state tells nothing beside a less noisy one
        states = [(0, 0.0), (1, 0.0), (1, less), (1, more)] if less else [(0, 0.0), (1, less), (1, more)]
        told = regress(law.covariance(states, states), 3).weight  # of the other frame
        assert_close(told[:, -3:], torch.zeros(3, 3, dtype=torch.float64), rtol=0, atol=1e-9)


def some_covariance(n, seed):
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.mT + eye(n)


def test_kl_is_that_of_the_first_numbers_for_every_count_of_them():
    true, made = some_covariance(5, 0), some_covariance(5, 1)
    found = kl(true, made)
    assert found[0] == 0
    for n in range(1, 6):
        p, q = (MultivariateNormal(torch.zeros(n, dtype=torch.float64), law[:n, :n]) for law in (true, made))
        assert_close(found[n], kl_divergence(p, q))
    assert kl(true, true).abs().max() < 1e-12
    assert kl(true, torch.ones(5, 5, dtype=torch.float64))[-1] == math.inf


def test_kl_of_a_whole_is_that_of_a_part_and_the_expected_one_of_the_rest_given_it():
    true, made = some_covariance(5, 2), some_covariance(5, 3)
    order = [2, 3, 4, 0, 1]
    kernels = regress(true, 2), regress(made, 2)
    whole = kl(true[order][:, order], made[order][:, order])
    assert whole[3].item() + kernel_kl(*kernels, true[2:, 2:]) == pytest.approx(whole[5].item())
    assert kernel_kl(kernels[0], Kernel(kernels[1].weight, 0 * eye(2)), true[2:, 2:]) == math.inf


def test_independent_rows_span_the_same_and_leave_out_what_adds_nothing():
    rows = torch.tensor([[3.0, 0, 0], [0, 0, 0], [1, 1, 0], [2, 1, 0]], dtype=torch.float64)
    basis = independent(rows)
    assert_close(basis, eye(2, 3))
    assert spanned(rows, basis) and spanned(basis, rows)
    assert not spanned(eye(3), rows)
    assert_close(independent(eye(3)), eye(3), rtol=0, atol=0)
