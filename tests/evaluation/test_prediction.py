"""Predicting error accumulation: every term against a value worked out by hand, and what is compared with it."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from arvdm_cli.errors import DataError, UsageError
from arvdm_cli.evaluation import agreement, prediction
from arvdm_cli.evaluation.drift import Degradation
from arvdm_cli.evaluation.truth import LENGTH
from arvdm_cli.sampling.denoiser import Denoiser
from arvdm_cli.sampling.diffusion import DDPM, FlowMatching
from arvdm_cli.sampling.generation import choose
from arvdm_cli.sampling.schedules import fifo, outpainting, pyramid, rolling
from arvdm_cli.sampling.state import Sampling
from support.tiny import SCHEDULES, Film, Recorder, begin, model
from support.truth import turning

SAMPLING = Sampling(context=3, slots=0, group=2)


class Wrong(Recorder):
    """A network whose clean estimate is off by `error(levels)`, (b, f) -> (b, f), in every number."""

    def __init__(self, film, error):
        super().__init__(film)
        self.error = error

    def __call__(self, window, levels, actions, past):
        return super().__call__(window, levels, actions, past) + self.error(levels)[..., None, None, None]


def compared(schedule, error, parts=4, diffusion=None):
    """Errors of a network that is wrong by a known amount, on the first frames of a film."""
    film = Film(prompt=4, batch=2)
    network = Wrong(film, error)
    network.diffusion = diffusion or FlowMatching(prediction="x0")
    state, w = begin(network, SAMPLING, film), schedule.window
    denoise = Denoiser(network, network.diffusion, SAMPLING)
    noise = film.noise()("init", 0, w)
    found = prediction.compare(denoise, state, film.new(0, w), noise, schedule.levels, film.drive(0, w), parts)
    return prediction.Errors(found.clean.mean(0), found.discretisation.mean(0), found.whole.mean(0)), film


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_network_that_knows_the_frames_adds_no_error(schedule):
    errors, film = compared(schedule, torch.zeros_like)
    told = prediction.terms(FlowMatching(), schedule, errors, film.latents)
    assert told == pytest.approx(dict.fromkeys(told, 0.0), abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_error_of_the_clean_frame_is_taken_up_as_the_levels_fall(schedule):
    errors, film = compared(schedule, lambda levels: torch.full_like(levels, 0.3))
    told = prediction.terms(FlowMatching(), schedule, errors, film.latents)
    steps = [(s, then) for rows in pairwise(schedule.levels) for s, then in zip(*rows, strict=True) if then < s]
    expected = sum(((1 - then / s) * 0.3) ** 2 for s, then in steps) / schedule.chunk
    assert told["score"] == pytest.approx(expected, rel=1e-4)
    assert told["last"] == pytest.approx(0.09, rel=1e-4)
    assert told["discretisation"] == pytest.approx(0, abs=1e-9)  # the path is a line
    # from a true start, a frame ends an AR step by 1 - after / before of its own levels off
    ends = zip(schedule.levels[0], schedule.levels[-1], strict=True)
    whole = sum(((1 - then / s) * 0.3) ** 2 for s, then in ends) / schedule.chunk
    assert told["whole"] == pytest.approx(whole, rel=1e-4)


def test_the_terms_of_two_steps_are_those_worked_out_by_hand():
    schedule = outpainting(2, 2)  # levels 1, 0.5, 0
    errors, film = compared(schedule, lambda levels: levels)  # off by 1, then by 0.5
    told = prediction.terms(FlowMatching(), schedule, errors, film.latents)
    assert told["score"] == pytest.approx(0.5**2 * 1**2 + 1**2 * 0.5**2, rel=1e-5)
    assert told["last"] == pytest.approx(0.25, rel=1e-5)


def test_one_step_beside_several_is_off_by_what_they_make_of_another_estimate_on_the_way():
    errors, _ = compared(outpainting(1, 1), lambda levels: levels, parts=2)  # one: off by 1; two: 0.5, which is last
    assert_close(errors.discretisation, torch.full((1, 1), 0.25))


def test_pure_noise_costs_nothing_on_straight_paths_and_what_is_left_of_a_frame_elsewhere():
    clean = torch.full((1, 1, 2, 2, 2), 3.0)
    assert prediction.noise_error(FlowMatching(), clean) == 0
    chain = DDPM(prediction="v", betas="linear", count=10)
    alpha, sigma = (float(scale) for scale in chain.scales(torch.tensor(1.0)))
    assert alpha > 0
    assert prediction.noise_error(chain, clean) == pytest.approx(alpha**2 * 9 + (1 - sigma) ** 2)


def test_the_initialization_stage_adds_the_errors_of_its_steps_shrunk_to_row_0():
    flat = ((1.0,), (0.5,), (0.0,))
    errors = prediction.Errors(torch.tensor([[4.0], [1.0]]), torch.tensor([[0.1], [0.2]]), torch.zeros(1))
    schedule = fifo(2)  # row 0: 0.5, 1
    told = prediction.start_error(FlowMatching(), schedule, flat, errors)
    assert told == pytest.approx(0.5**2 * (0.25 * 4 + 1 + 0.1 + 0.2))


def test_errors_add_up_over_ar_steps():
    told = {"start": 0.5, "ar_steps": 10, "score": 0.1, "discretisation": 0.02, "noise": 0.003}
    assert prediction.accumulate(told) == pytest.approx(0.5 + 10 * 0.123)


def test_frames_make_their_last_step_where_they_become_clean():
    assert prediction.last_steps(pyramid(3, 2, 1).levels, 3) == [(1, 0), (2, 1), (3, 2)]
    assert prediction.last_steps(rolling(2, 2, 3).levels, 2) == [(2, 0), (2, 1)]


# What is known


def test_only_what_stands_in_the_context_or_in_a_kept_group_is_known():
    film = Film(prompt=12, batch=2)
    network = Recorder(film)
    state = begin(network, replace(SAMPLING, context=2, slots=2, eviction="oldest"), film)
    poses = np.zeros((2, 20, 3), np.int16)
    poses[:, :12, 0], poses[:, 12:, 0] = np.arange(12), [11, 0, 99, 7, 4, 6, 10, 1]
    numbers, context = state.memory.numbers.tolist(), state.context.shape[1]
    kept = {frame for number in numbers for frame in (2 * number, 2 * number + 1)} | set(range(12 - context, 12))
    assert 0 not in kept and 4 not in kept and {7, 10, 11} <= kept  # two of five groups have gone
    found = prediction.known(poses, state, 12, 8, 2)
    assert found.tolist() == [[pose in kept for pose in poses[0, 12:, 0].tolist()]] * 2


def test_ar_steps_begin_within_the_clips():
    assert prediction.starts(4, 1) == [0] and prediction.starts(4, 3) == [0, 30, 60]
    assert prediction.starts(LENGTH, 5) == [0]
    with pytest.raises(UsageError, match="longer than the clips"):
        prediction.starts(LENGTH + 1, 1)


@pytest.mark.parametrize(("name", "noise"), [("outpainting", 0.0), ("fifo", 0.0), ("outpainting", 0.3)])
def test_a_model_is_predicted_whole(name, noise):
    tiny = model(sampling=Sampling(context=4, slots=64, group=2, init_steps=2, context_noise=noise))
    plan = choose(tiny.sampling, schedule=name, steps=2)
    stretches, done = prediction.encode(tiny, turning()), []
    total = prediction.batches(stretches.clips, plan.schedule.window, 2)
    tell = lambda number, of: done.append((number, of))  # noqa: E731
    row = prediction.predict(tiny, stretches, plan, 30, 2, 2, tell)
    assert sorted(done) == [(number + 1, total) for number in range(total)]
    assert row.frames == 2 * 2 * 2 * plan.schedule.window  # kinds, mazes, AR steps: all of it is known
    assert row.ar_steps == -(-30 // plan.schedule.chunk) and (row.start > 0) == (name == "fifo")
    assert row.predicted == pytest.approx(prediction.accumulate(row.to_json()), rel=1e-3)
    assert row == prediction.predict(tiny, stretches, plan, 30, 2, 2)
    assert prediction.Prediction.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_what_nothing_shown_tells_cannot_be_predicted():
    tiny = model(sampling=Sampling(context=3, slots=0, group=2))
    stretches = prediction.encode(tiny, turning(around=60))
    with pytest.raises(DataError, match=r"Frame \d+ of the window of outpainting"):
        prediction.predict(tiny, stretches, choose(tiny.sampling, schedule="outpainting", chunk=4, steps=1), 8)


def row_of(model, schedule, predicted, **more):
    sampling = {"options": {}, "slots": 4, "eviction": "stride", "solver": "euler"}
    own = {"sha256": model, "model": model, "schedule": schedule, "window": 4, "chunk": 4, "steps": 4}
    return own | {"sampling": sampling} | dict.fromkeys(prediction.ORDERS, predicted) | more


def test_points_are_compared_with_roll_outs_of_the_same_model_sampled_alike(tmp_path):
    rows = [row_of("a", name, value) for name, value in (("x", 1), ("y", 2), ("z", 3))] + [row_of("b", "x", 4)]
    found = [
        row_of("a", name, 0) | {"psnr_end": end, "psnr_lost": 1.0, "looks": None}
        for name, end in (("x", 30), ("y", 20), ("z", 10))
    ]
    (tmp_path / "pareto.json").write_text(json.dumps({"rows": found}))
    rows = [agreement.Predicted.from_json(row) for row in rows]
    joined = agreement.beside(rows, agreement.measured(tmp_path))
    assert [row.end.psnr_end for row in joined] == [30, 20, 10, None]
    told = {(row.order, row.figure, row.model): row for row in agreement.agreement(joined)}
    assert told["predicted", "psnr_end", None].spearman == 1 and told["predicted", "psnr_end", None].points == 3
    assert told["predicted", "psnr_lost", None].spearman is None  # all alike
    assert ("predicted", "looks", None) not in told and ("predicted", "psnr_end", "b") not in told
    (tmp_path / "other").mkdir()
    other = [row | {"sampling": row["sampling"] | {"slots": 8}} for row in found]
    (tmp_path / "other" / "pareto.json").write_text(json.dumps({"rows": other}))
    assert agreement.beside(rows, agreement.measured(tmp_path / "other"))[0].end == Degradation(None, None, None)


def test_a_folder_without_a_measurement_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"drift\.json"):
        agreement.measured(tmp_path)
    (tmp_path / "drift.json").write_text('{"models": 3}')
    with pytest.raises(DataError, match="not a measurement"):
        agreement.measured(tmp_path)
