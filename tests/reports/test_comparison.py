"""PSNR where a scene changes."""

import numpy as np

from arvdm_cli.reports.comparison import changed_psnr


def scene(frames=3, side=32):
    """A square that moves by its own width over still ground: the frame before, and uint8 (f, h, w, 3)."""
    ground = np.random.default_rng(0).integers(0, 100, (side, side, 3), np.uint8)
    clip = np.stack([ground] * (frames + 1))
    for t, frame in enumerate(clip):
        frame[8:12, 4 * t : 4 * t + 4] = 250
    return clip[0], clip[1:]


def test_the_truth_has_the_highest_value_and_ground_that_stands_still_does_not_count():
    before, truth = scene()
    noise = np.random.default_rng(1).integers(0, 30, truth.shape)
    still = (np.abs(truth.astype(int) - before) <= 8).all(-1, keepdims=True)
    np.testing.assert_array_equal(changed_psnr(truth, truth, before), 100)
    disturbed = (truth + noise * still).clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(changed_psnr(disturbed, truth, before), 100)


def test_it_is_the_psnr_of_the_changed_pixels_alone():
    before, truth = scene()
    made = (truth // 2).astype(np.uint8)
    for value, ours, true in zip(changed_psnr(made, truth, before), made, truth, strict=True):
        changed = (np.abs(true.astype(int) - before) > 8).any(-1)
        error = np.square((ours.astype(float) - true)[changed] / 255).mean()
        assert np.isclose(value, -10 * np.log10(error), atol=1e-4)


def test_a_small_object_that_is_not_moved_costs_far_more_than_in_psnr():
    before, truth = scene()
    still = np.repeat(before[None], len(truth), 0)
    everywhere = -10 * np.log10(np.square((still.astype(float) - truth) / 255).mean((1, 2, 3)))
    assert (changed_psnr(still, truth, before) < everywhere - 10).all()


def test_a_frame_in_which_nothing_changed_has_no_value():
    before, truth = scene()
    truth[1] = np.minimum(before, 247) + 8  # not more than noise
    assert np.isnan(changed_psnr(truth, truth, before)).tolist() == [False, True, False]
