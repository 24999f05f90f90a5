"""The laws of the paper's analysis, on Gaussian processes: nothing here is sampled, so they hold to rounding."""

import math
from itertools import islice, pairwise

import pytest
import torch
from torch.testing import assert_close

from arvdm_cli.errors import TheoryError
from arvdm_cli.reports.statistics import spearman
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.diffusion import DDPM, FlowMatching
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import PRESETS, Schedule, fifo, next_frame, outpainting, pyramid, rolling
from arvdm_cli.sampling.state import Sampling, start
from arvdm_cli.theory.analysis import analyse
from arvdm_cli.theory.gaussian import ForwardProcess, Process, rotation
from arvdm_cli.theory.kernels import KERNELS, Conditioning, make_network
from arvdm_cli.theory.memories import MEMORIES, memory
from arvdm_cli.theory.ranking import VARIETY, counter_examples, predict
from arvdm_cli.theory.setting import Setting

PROCESS = rotation(order=4, dim=3)
SCHEDULES = {
    "outpainting": outpainting(chunk=3, steps=3),
    "next-frame": next_frame(steps=3),
    "fifo": fifo(steps=4),
    "rolling": rolling(blocks=3, chunk=2, steps=2),
    "pyramid": pyramid(chunk=3, steps=3, lag=1),
}
STOCHASTIC, ODE = ("exact", "ancestral", "analytic"), ("euler", "heun")
FAMILIES = {"flow": FlowMatching(), "ddpm": DDPM(betas="linear")}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def test_every_preset_and_every_kernel_is_analysed_here():
    assert set(SCHEDULES) == set(PRESETS)
    assert {*STOCHASTIC, *ODE} == set(KERNELS)


def below(x, y):
    """Whether x <= y, but for rounding."""
    return bool((torch.as_tensor(x) <= torch.as_tensor(y) + 1e-9).all())


# (i) Exact kernels: the KL is what is forgotten


@every_schedule
@pytest.mark.parametrize("kept", ["none", "average"])
def test_with_exact_kernels_the_kl_over_all_states_is_the_sum_of_memory_bottlenecks(schedule, kept):
    found = analyse(PROCESS, schedule, Setting(memory=memory(kept), init_steps=1), ar_steps=6)
    assert_close(found.kl_states, found.mb.cumsum(0), rtol=1e-7, atol=1e-9)
    assert_close(found.errors, torch.zeros_like(found.mb), rtol=0, atol=1e-9)
    if schedule.window == schedule.chunk:
        assert_close(found.kl_video, found.mb.cumsum(0), rtol=1e-7, atol=1e-9)
    else:
        assert below(found.kl_video[1:], found.kl_states[1:])
    if kept == "none":
        assert found.kl_video[-1] > 0.01


@every_schedule
def test_kernels_of_a_process_with_correlated_noise_obey_the_same_law(schedule):
    process = Process([[[0.5, 0.3], [-0.2, 0.4]], [[0.1, -0.2], [0.3, 0.2]]], [[1.0, 0.4], [0.4, 0.5]])
    found = analyse(process, schedule, Setting(prompt=3, kernel="ancestral", score_error=0.1), ar_steps=5)
    assert_close(found.kl_states, found.bound, rtol=1e-7, atol=1e-9)
    assert below(found.kl_video, found.bound)


# (ii) Kernels of denoising steps that add new noise: errors are added


@every_schedule
@pytest.mark.parametrize(
    ("kernel", "family"), [("ancestral", "flow"), ("analytic", "flow"), ("ancestral", "ddpm")], ids=str
)
def test_with_errors_the_kl_of_the_video_is_at_or_below_the_sum_of_all_four(schedule, kernel, family):
    setting = Setting(kernel=kernel, score_error=0.1, substeps=2, init_steps=3, diffusion=FAMILIES[family])
    found = analyse(PROCESS, schedule, setting, ar_steps=5)
    assert_close(found.kl_states, found.bound, rtol=1e-6, atol=1e-8)  # the chain rule: over all states it is equal
    assert below(found.kl_video, found.bound)
    assert below(found.bound, found.path_bound)  # denoising steps counted by themselves, as the paper does
    for part in (found.nie, found.mb, found.de, found.path_de, found.path_see):
        assert below(0, part)
    assert found.de[-1] > 1e-4 and found.path_see[-1] > 1e-4
    assert (found.nie[1] > 1e-5) == (family == "ddpm")  # at level 1 of flow matching nothing of a frame is left


@every_schedule
def test_next_frame_and_outpainting_reach_the_bound_and_more_substeps_bring_it_down(schedule):
    coarse, fine = (
        analyse(PROCESS, schedule, Setting(kernel="ancestral", substeps=n, init_steps=4), 3) for n in (1, 6)
    )
    if schedule.window == schedule.chunk:
        assert_close(coarse.kl_video, coarse.bound, rtol=1e-7, atol=1e-9)
    assert fine.de.sum() < coarse.de.sum() / 2
    assert fine.path_de.sum() < coarse.path_de.sum() / 2
    assert_close(fine.mb, coarse.mb)  # of the true law, whatever the solver


def test_the_best_variance_has_the_smaller_discretization_error_at_every_denoising_step():
    for schedule in SCHEDULES.values():
        large, chosen = (analyse(PROCESS, schedule, Setting(kernel=k), 2).path_de for k in ("ancestral", "analytic"))
        assert below(chosen, large)


def test_an_exact_network_has_no_score_error_and_a_wrong_one_has_more_the_more_it_is_off():
    found = [analyse(PROCESS, fifo(4), Setting(kernel="analytic", score_error=x), 4) for x in (0, 0.05, 0.1, 0.2)]
    assert found[0].see.abs().max() == 0 and found[0].path_see.max() < 1e-12 and found[0].excess.max() < 1e-12
    for less, more in pairwise(found):
        assert more.path_see.sum() > 2 * less.path_see.sum()
        assert more.kl_clips[-1] > less.kl_clips[-1]
        assert_close(more.loss - more.excess, less.loss - less.excess)  # what no network can avoid


# (iii) ODE solvers renew no noise


@every_schedule
@pytest.mark.parametrize("kernel", ODE)
def test_for_ode_solvers_the_kl_of_the_video_is_known_and_nothing_is_bounded(schedule, kernel):
    found = analyse(PROCESS, schedule, Setting(kernel=kernel, substeps=2), ar_steps=4)
    assert 0 < found.kl_video[-1] < math.inf
    for claim in (found.bound, found.path_bound, found.clip_bound, found.kl_states):
        assert claim[-1] == math.inf


def test_a_solver_that_leaves_no_noise_in_the_video_is_infinitely_far_from_the_true_one():
    assert analyse(PROCESS, outpainting(3, steps=1), Setting(kernel="euler"), 2).kl_video[-1] == math.inf


def test_the_second_order_solver_comes_nearer():
    setting = {"context": 4, "substeps": 4, "init_steps": 4}
    first, second = (analyse(PROCESS, outpainting(3, 3), Setting(kernel=k, **setting), 4).kl_video[-1] for k in ODE)
    assert second < first / 2


# (iv) The memory bottleneck


def bottleneck(schedule, name, **options):
    return analyse(PROCESS, schedule, Setting(memory=memory(name, **options), init_steps=1), ar_steps=5).mb


@every_schedule
@pytest.mark.parametrize(
    ("name", "option", "sizes"),
    [("last", "frames", (1, 2, 8)), ("stride", "every", (4, 2, 1)), ("average", "rank", (1, 2, 6))],
)
def test_a_memory_that_holds_another_has_the_smaller_bottleneck_in_every_ar_step(schedule, name, option, sizes):
    found = [bottleneck(schedule, "none")] + [bottleneck(schedule, name, **{option: size}) for size in sizes]
    for smaller, larger in pairwise(found):
        assert below(larger, smaller)
        assert below(0, larger)
    assert found[-1][-1] < found[0][-1]


@every_schedule
def test_any_function_of_the_past_lowers_the_bottleneck(schedule):
    generator = torch.Generator().manual_seed(0)

    def anything(past):
        some = torch.randn(len(past.leaving), PROCESS.dim * len(past.leaving), generator=generator)
        return torch.cat((past.held, some.double() @ past.rows(past.leaving)))

    nothing, something = (
        analyse(PROCESS, schedule, Setting(memory=m, init_steps=1), 6).mb for m in (MEMORIES["none"], anything)
    )
    assert below(something, nothing)
    assert something[-1] < nothing[-1]


@every_schedule
def test_the_bottleneck_stays_above_zero_while_something_relevant_is_unseen(schedule):
    # frame t hangs on frames t - 1 to t - 4: the last one of them is out of reach, unless the window holds it
    assert bottleneck(schedule, "last", frames=2)[-1] > 1e-3
    assert bottleneck(schedule, "last", frames=3).abs().max() < 1e-9


@every_schedule
def test_no_memory_of_its_size_beats_the_best(schedule):
    for rank in (2, 3):
        least = bottleneck(schedule, "best", rank=rank)
        assert below(least, bottleneck(schedule, "average", rank=rank))
        if rank % PROCESS.dim == 0:
            assert below(least, bottleneck(schedule, "last", frames=rank // PROCESS.dim))
    assert bottleneck(schedule, "best", rank=9).abs().max() < 1e-9  # 3 frames are all that is needed


# (v) Clips: what is forgotten does no harm, errors add up


@every_schedule
@pytest.mark.parametrize("kept", ["none", "last", "stride", "average"])
def test_with_exact_kernels_the_clip_in_the_state_has_the_true_law_whatever_is_forgotten(schedule, kept):
    found = analyse(PROCESS, schedule, Setting(memory=memory(kept), init_steps=1), ar_steps=6)
    assert found.closed
    assert below(found.kl_clips.abs(), 0)


@every_schedule
@pytest.mark.parametrize("kept", ["none", "last", "average"])
def test_the_kl_of_a_clip_is_below_the_errors_of_the_ar_steps_without_any_memory_term(schedule, kept):
    setting = Setting(memory=memory(kept), kernel="ancestral", score_error=0.1, init_steps=3)
    found = analyse(PROCESS, schedule, setting, ar_steps=6)
    assert found.closed
    assert below(found.kl_clips, found.clip_bound)


def test_the_kl_of_a_clip_saturates_while_its_bound_grows_by_as_much_in_each_ar_step():
    found = analyse(PROCESS, outpainting(3, 3), Setting(kernel="ancestral", score_error=0.05), ar_steps=40)
    assert_close(found.kl_clips[-1], found.kl_clips[20], rtol=0.01, atol=0)
    assert found.settled is not None and found.settled < 20
    growth = found.clip_bound.diff()[5:]
    assert_close(growth, growth[:1].expand_as(growth))
    assert found.clip_bound[-1] > 20 * found.kl_clips[-1]


def test_a_memory_chosen_anew_from_the_whole_past_claims_no_bound_for_clips():
    found = analyse(rotation(6, 2), fifo(4), Setting(memory=memory("best", rank=1)), ar_steps=8)
    assert not found.closed


# (vi) What breaks the law


@pytest.mark.parametrize("name", ["fifo", "rolling"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_noise_that_made_a_frame_inflates_its_variance_when_it_is_used_again(name, family):
    setting = {"context": 4, "kernel": "heun", "substeps": 8, "init_steps": 2, "diffusion": FAMILIES[family]}
    fresh, same = (analyse(PROCESS, SCHEDULES[name], Setting(renoise=n, **setting), 2) for n in ("fresh", "same"))
    assert fresh.inflation == pytest.approx(1, abs=0.02)
    assert same.inflation > 1.3
    assert same.kl_clips[0] > 100 * fresh.kl_clips[0]


def test_a_solver_that_renews_all_noise_has_forgotten_the_noise_that_made_a_frame():
    fresh, same = (analyse(PROCESS, fifo(4), Setting(renoise=n, kernel="analytic"), 2) for n in ("fresh", "same"))
    assert_close(fresh.video[1], same.video[1])  # at level 1 of flow matching nothing of it is kept


@pytest.mark.parametrize("kernel", ["analytic", "heun"])
def test_a_frame_causal_network_cannot_hold_the_score_of_a_noisy_window(kernel):
    schedules = {name: schedule for name, schedule in SCHEDULES.items() if name != "pyramid"}
    setting = Setting(context=4, kernel=kernel, substeps=8)
    found = counter_examples(PROCESS, schedules, setting, ar_steps=2)
    for name in ("outpainting", "fifo", "rolling"):
        assert found[name].causal > 30 * found[name].kl
    assert found["next-frame"].causal == pytest.approx(found["next-frame"].kl)
    for name in ("fifo", "rolling"):  # the others have nothing to noise again
        assert (found[name].reused > 30 * found[name].kl) == (kernel == "heun")


# What single steps say


@pytest.fixture(scope="module")
def predicted():
    """Three cases: errors of the network and of the solver, of the solver alone, and again, with a coarser one."""
    process, context = rotation(4, dim=2), {"context": 4}
    return [
        predict(process, VARIETY, Setting(kernel="heun", substeps=2, score_error=0.1, **context), 24, networks=2),
        predict(process, VARIETY, Setting(kernel="euler", substeps=4, **context), 24),
        predict(process, VARIETY, Setting(kernel="euler", score_error=0.05, **context), 24, networks=1),
    ]


def test_single_steps_rank_schedules_by_the_kl_of_the_video_and_the_raw_loss_does_not(predicted):
    for case in predicted:
        for target in ("kl", "kl_last"):
            total, raw, true = ([getattr(each, of) for each in case.values()] for of in ("total", "raw", target))
            assert spearman(total, true) > 0.85
            assert spearman(raw, true) < 0.25


def test_without_errors_of_the_solver_excess_loss_cannot_rank_what_the_solver_spoils(predicted):
    _, exact, coarse = predicted
    for case in (exact, coarse):
        excess, true = [each.excess for each in case.values()], [each.kl for each in case.values()]
        assert (spearman(excess, true) or 0) <= 0.5  # none where all are 0
    assert all(each.score == 0 < each.solver for each in exact.values())


def test_more_substeps_leave_the_score_error_and_take_the_error_of_the_solver():
    for schedule in SCHEDULES.values():
        coarse, fine = (
            predict(PROCESS, {"": schedule}, Setting(kernel="euler", substeps=n, score_error=0.05), 6, networks=1)[""]
            for n in (2, 8)
        )
        assert fine.solver < coarse.solver / 8  # of first order: squared, 1/16
        assert 0.6 < fine.score / coarse.score < 1.6
        assert (coarse.start > 0) == (schedule.window > schedule.chunk)


def test_what_renews_noise_is_not_predicted():
    with pytest.raises(TheoryError, match="add new noise"):
        predict(PROCESS, VARIETY, Setting(kernel="analytic"))
    with pytest.raises(TheoryError, match="cannot be measured"):
        predict(PROCESS, VARIETY, Setting(kernel="heun"), frames=3)


# Against the sampler and its solvers


class LinearNetwork:
    """The best network for a Gaussian process, as the sampler calls it; it reads the levels that it is given."""

    def __init__(self, process):
        self.law, self.sights = ForwardProcess(process, FlowMatching(), 16), {}

    def integrate_actions(self, actions, origin):
        return origin[:, None].expand(-1, actions.shape[1], -1)

    def encode_context(self, context, levels, actions, origin, *, past=None):
        return context.flatten(1).flip(1)

    def __call__(self, window, levels, actions, past):
        n = past.shape[1]
        if (window.shape[1], n) not in self.sights:
            frames = range(n // self.law.dim, n // self.law.dim + window.shape[1])
            rows = torch.eye(len(self.law.clean), dtype=torch.float64)[:n].flip(0)
            self.sights[window.shape[1], n] = make_network(Conditioning(self.law, frames, rows))
        estimate = self.sights[window.shape[1], n](tuple(levels[0].tolist()))
        return (torch.cat((window.flatten(1), past), 1) @ estimate.mT).reshape(window.shape)


@every_schedule
@pytest.mark.parametrize("kernel", ODE)
def test_the_generated_law_is_that_of_the_sampler(schedule, kernel):
    d, prompt, ar_steps, w = PROCESS.dim, 3, 4, schedule.window
    size = d * (prompt + w + ar_steps * schedule.chunk + w)  # all numbers that a video is made of
    places = {}

    def noise(use, first, count, step=0):
        """One number of one noise for each video of the batch, so that the batch is the map from numbers to video."""
        drawn = torch.zeros(size, count, d, dtype=torch.float64)
        for i in range(count):
            place = places.setdefault((use, first + i), d * (prompt + len(places)))
            drawn[place : place + d, i] = torch.eye(d, dtype=torch.float64)
        return drawn[..., None, None]

    sampling = Sampling(solver=kernel, init_steps=4, context=2, slots=0, stabilization=0.0)
    linear, begun = LinearNetwork(PROCESS), torch.eye(size, d * prompt, dtype=torch.float64)
    clip, nothing = begun.reshape(size, prompt, d, 1, 1), torch.zeros(size, 99, 0)
    state = start(linear, sampling, clip, nothing[:, :prompt])
    plan = Plan(schedule, sampling)
    run = stream(plan, linear, FlowMatching(), state, noise, lambda first, count: nothing[:, :count])
    video = torch.cat([begun, *(step.clean.flatten(1) for step in islice(run, ar_steps))], 1)  # (size, f * d)
    numbers = torch.eye(size, dtype=torch.float64)
    numbers[: d * prompt, : d * prompt] = PROCESS.covariance(prompt)

    found = analyse(PROCESS, schedule, Setting(prompt=prompt, context=2, kernel=kernel, init_steps=4), ar_steps)
    assert_close(found.video[1], video.mT @ numbers @ video, rtol=1e-5, atol=1e-5)


# What can be analysed, and what cannot


def test_a_video_may_begin_from_nothing():
    for schedule in SCHEDULES.values():
        found = analyse(PROCESS, schedule, Setting(prompt=0, memory=memory("last")), 4)
        assert_close(found.kl_states, found.mb.cumsum(0), rtol=1e-7, atol=1e-9)
        assert found.closed and below(found.kl_clips.abs(), 0)


def test_levels_that_a_diffusion_cannot_tell_apart_are_refused():
    near = Schedule(((0.5, 0.5001, 1.0), (0.0, 0.5, 0.5001)), chunk=1)
    assert analyse(PROCESS, near, Setting(), 2).mb[-1] > 0
    with pytest.raises(TheoryError, match="too close"):
        analyse(PROCESS, near, Setting(diffusion=DDPM()), 2)


def test_settings_that_mean_nothing_are_refused_with_what_there_is():
    for wrong, says in [
        ({"kernel": "ddim"}, "No kernel is called 'ddim'"),
        ({"mask": "none"}, "No mask"),
        ({"renoise": "never"}, "No renoise"),
        ({"mask": "causal"}, "exact kernel has no network"),
        ({"score_error": 0.1}, "exact kernel has no network"),
        ({"context": -1}, "at least 0"),
        ({"substeps": 0}, "at least 1"),
        ({"kernel": "heun", "score_error": math.inf}, "must be a number, not inf"),
    ]:
        with pytest.raises(TheoryError, match=says):
            Setting(**wrong)
    for name, options, says in [
        ("all", {}, "No memory is called 'all'"),
        ("last", {"rank": 2}, "has no option 'rank'"),
        ("last", {"frames": 0}, "must be at least 1"),
    ]:
        with pytest.raises(TheoryError, match=says):
            memory(name, **options)


def test_a_video_that_is_too_large_says_its_size():
    with pytest.raises(TheoryError, match="AR steps hold 15162 numbers") as caught:
        analyse(PROCESS, outpainting(5, 2), Setting(), ar_steps=505)
    assert "fewer AR steps" in caught.value.hint
    with pytest.raises(TheoryError, match="at least 1 AR step"):
        analyse(PROCESS, outpainting(5, 2), Setting(), ar_steps=0)
