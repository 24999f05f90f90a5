"""The needle test's score: who is found, by how much, and that each control is what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from arvdm_cli.evaluation.retrieval import CONTROLS, at_chance, measure, probe, score, task
from arvdm_cli.evaluation.rollout import make
from arvdm_cli.reports.statistics import wilson
from arvdm_cli.sampling.generation import choose
from support.needles import CANDIDATES, GAP, NEEDLES, SIZE, needle
from support.tiny import model


def test_the_true_frames_are_found_and_those_of_another_candidate_are_not():
    for each in NEEDLES:
        assert score(each.candidates[each.truth], each).correct
        for other in set(range(CANDIDATES)) - {each.truth}:
            scored = score(each.candidates[other], each)
            assert not scored.correct and scored.margin < 0


def test_what_is_the_same_in_all_candidates_does_not_count():
    each = NEEDLES[0]
    made = each.candidates[each.truth].copy()
    made[:, :8] = 255 - made[:, :8]
    assert score(made, each) == score(each.candidates[each.truth], each)


def test_the_bound_is_what_the_mean_of_the_candidates_scores():
    each = NEEDLES[1]
    mean = np.round(each.candidates.astype(float).mean(0)).astype(np.uint8)
    scored = score(mean, each)
    assert scored.psnr == pytest.approx(scored.bound, abs=0.05)


def test_fewer_frames_are_compared_with_as_many_of_the_candidates():
    each = NEEDLES[2]
    assert score(each.candidates[each.truth, :2], each).margin == pytest.approx(
        score(each.candidates[each.truth], each).margin, rel=0.2
    )


@pytest.mark.parametrize("control", [name for name in CONTROLS if name != "truth"])
def test_every_control_shows_the_model_what_it_says(control):
    tiny = model()
    plan = choose(tiny.sampling, schedule="outpainting", chunk=2, steps=1)
    made = task(tiny, NEEDLES, plan, control, 4)
    kept = made.history.shape[1] + (GAP if control == "free" else 0)
    assert made.actions.shape[1] == kept + 4
    for clip, each in zip(made.history, NEEDLES, strict=True):
        assert np.array_equal(clip, each.history[-kept:][: made.history.shape[1]])
    if control == "unseen":
        assert kept == GAP and not any(each.seen[-kept:].any() for each in NEEDLES)
    else:
        assert kept == min(len(each.history) for each in NEEDLES) and all(each.seen[-kept:].any() for each in NEEDLES)
    assert (made.plan.sampling.slots > 0) == (control in ("memory", "other", "unseen", "free"))
    assert made.plan.sampling.context == (kept if control == "context" else plan.sampling.context)
    assert (made.other is not None) == (control == "other")


def test_memory_of_another_world_takes_the_place_of_a_clips_own():
    tiny = model()
    plan = choose(tiny.sampling, schedule="outpainting", chunk=2, steps=1)
    own, other = (task(tiny, NEEDLES, plan, control, 4) for control in ("memory", "other"))
    assert not (other.other == np.arange(5)).any()
    itself = replace(other, other=np.arange(5))
    made = make(tiny, {"own": own, "other": other, "itself": itself}, 0)
    assert np.array_equal(made["own"], made["itself"])
    assert not np.array_equal(made["own"], made["other"])


def test_a_measurement_gives_a_row_for_every_control_and_finds_the_truth_always():
    tiny = model()
    plan = choose(tiny.sampling, schedule="outpainting", chunk=2, steps=1)
    rows, made = measure(tiny, NEEDLES, plan, tuple(CONTROLS), frames=4)
    assert [row.control for row in rows] == list(CONTROLS) and made.keys() == CONTROLS.keys() - {"truth"}
    for test in rows:
        row = test.to_json()
        assert row["gap"] == GAP and row["worlds"] == 5 and row["chance"] == 0.25
        assert row["low"] <= row["top1"] <= row["high"]
        if row["control"] == "truth":
            assert row["top1"] == row["top1_loop"] == row["top1_inverse"] == 1 and row["strict"] == 1
            assert not at_chance(test.accuracy)
    assert all(frames.shape == (5, 4, SIZE, SIZE, 3) for frames in made.values())


def test_a_probe_finds_what_tokens_tell_and_nothing_where_they_tell_nothing():
    shown = []
    for index in range(24):
        each = needle(index)
        each.history[:4] = each.candidates[each.truth, -1]  # one stands before the needle
        shown.append(each)
    tiny = model(memory_tokens=4, group=2)
    patchify = tiny.network.config.patchify

    class Kept(torch.nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self, latents, actions, places):
            return functional.pad(self.part * patchify(latents.mean(1, keepdim=True))[:, 0], (0, 3))

    tiny.network.compression = Kept(3.0)
    known = probe(tiny, shown)
    assert known.worlds == 12 and known.top1 == 1
    tiny.network.compression = Kept(0.0)
    assert probe(tiny, shown).top1 < 0.75


def test_the_interval_of_a_share_is_wilsons():
    assert wilson(0, 64)[0] == 0 and wilson(64, 64)[1] == 1
    assert wilson(32, 64) == pytest.approx((0.3805, 0.6195), abs=1e-3)  # published tables
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
