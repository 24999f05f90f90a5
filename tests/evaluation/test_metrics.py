"""Figures of frames: what each says of known ones."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from arvdm_cli.errors import CheckpointError
from arvdm_cli.evaluation import metrics
from arvdm_cli.evaluation.truth import KINDS
from arvdm_cli.worlds.maze import LEFT, RIGHT
from support.drift import SIZE, noisy
from support.tiny import model

# Figures, one for every clip and frame


def test_ssim_is_1_for_equal_frames_and_as_its_formula_says_for_others():
    draw = torch.Generator().manual_seed(0)
    a = torch.rand(2, 2, 3, 14, 13, generator=draw)
    b = (a + 0.3 * torch.rand(a.shape, generator=draw)).clamp(0, 1)
    np.testing.assert_allclose(metrics.ssim(a, a), 1, atol=1e-5)

    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    scores = []
    for channel in range(3):
        for row in range(4):
            for column in range(3):
                x, y = (t[1, 0, channel, row : row + 11, column : column + 11].double().numpy() for t in (a, b))
                mean_x, mean_y = (window * x).sum(), (window * y).sum()
                var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
                both = (window * (x - mean_x) * (y - mean_y)).sum()
                likeness = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
                scores.append(likeness * (2 * both + 0.03**2) / (var_x + var_y + 0.03**2))
    assert metrics.ssim(a, b)[1, 0] == pytest.approx(np.mean(scores), abs=1e-5)


def test_ssim_is_that_of_torchmetrics_where_the_window_lies_inside_the_picture():
    draw = torch.Generator().manual_seed(2)
    a = torch.rand(1, 3, 3, 24, 20, generator=draw)
    b = (a + 0.3 * torch.rand(a.shape, generator=draw)).clamp(0, 1)
    _, places = structural_similarity_index_measure(
        a[0], b[0], reduction="none", data_range=1.0, return_full_image=True
    )
    inside = places.reshape(a[0].shape)[..., 5:-5, 5:-5].mean((1, 2, 3))
    np.testing.assert_allclose(metrics.ssim(a, b)[0], inside, atol=1e-5)


def test_psnr_colour_and_sharpness_of_known_frames():
    truth = torch.full((1, 1, 3, 16, 16), 0.5)
    made = truth + torch.tensor((0.1, -0.1, 0.1)).view(3, 1, 1)
    assert metrics.psnr(made, truth)[0, 0] == pytest.approx(20, abs=1e-3)
    assert metrics.psnr(truth, truth)[0, 0] == pytest.approx(100)
    assert metrics.colour_error(made, truth)[0, 0] == pytest.approx(0.1, abs=1e-6)
    stripes = (torch.arange(16) % 2).float().expand(1, 1, 3, 16, 16)
    assert metrics.gradient(stripes)[0, 0] == pytest.approx(0.5)  # 1 along the rows, 0 along the columns
    assert metrics.contrast(stripes)[0, 0] == pytest.approx(0.5, abs=2e-3)
    assert metrics.colour_spread(stripes)[0, 0] == 0 < metrics.colour_spread(made)[0, 0]


def test_ms_ssim_takes_as_many_scales_as_a_picture_allows():
    assert [metrics.scales(side, 256) for side in (11, 16, 32, 64, 128, 176)] == [1, 1, 2, 3, 4, 5]
    for side in (11, 16, 22, 32, 43, 44, 64, 90, 128, 160, 176):
        picture = torch.rand(1, 1, 3, side, side, generator=torch.Generator().manual_seed(side))
        assert metrics.ms_ssim(picture, picture)[0, 0] == pytest.approx(1, abs=1e-5)
    one = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    other = (one + 0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    # one scale is SSIM but for the edges, which torchmetrics mirrors
    np.testing.assert_allclose(metrics.ms_ssim(one, other), metrics.ssim(one, other), atol=0.02)


# Turns


@pytest.mark.parametrize("pixels", [1, 5, 9, 16])
def test_a_shift_of_the_picture_is_found_with_its_sign(pixels):
    wide = torch.rand(4, 3, 64, 128, generator=torch.Generator().manual_seed(pixels))
    before, right, left = (wide[..., at : at + 64] for at in (32, 32 - pixels, 32 + pixels))
    assert metrics.shifts(before, right).tolist() == [pixels] * 4
    assert metrics.shifts(before, left).tolist() == [-pixels] * 4
    assert metrics.shifts(before, before).tolist() == [0] * 4
    grey = torch.full_like(before, 0.5)
    assert metrics.shifts(grey, grey).tolist() == [0] * 4  # what shows nothing has not turned


def test_turns_of_true_frames_move_the_right_way_and_those_played_backwards_do_not(clips):
    signs = np.array([0, 0, 0, 1, -1])[clips.actions]
    assert (LEFT, RIGHT) == (3, 4)
    for kind in (KINDS.index("new"), KINDS.index("spin")):
        good, turns = metrics.right_turns(clips.frames[kind], signs[kind])
        assert turns == (clips.actions[kind, :, 1:] >= LEFT).sum() and good >= 0.95 * turns
        assert metrics.right_turns(clips.frames[kind], -signs[kind])[0] <= 0.05 * turns


# Frechet distances and networks from files


def test_the_frechet_distance_of_equal_sets_is_0_and_grows_with_a_shift():
    one = np.random.default_rng(0).normal(size=(200, 6))
    assert metrics.frechet(one, one) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet(one, one + 0.5) == pytest.approx(6 * 0.25)
    assert metrics.frechet(one, 3 * one) == pytest.approx(4 * (np.trace(np.cov(one.T)) + (one.mean(0) ** 2).sum()))
    few = one[:3]  # fewer than features
    assert metrics.frechet(few, few) == pytest.approx(0, abs=1e-9)


def test_features_of_a_codec_are_of_its_latents_and_of_how_they_change():
    measure = metrics.codec_features(model())
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (3, 1, SIZE, SIZE, 3), np.uint8), 16, 1)
    found = measure(still)
    assert found.shape == (3, 8)  # two channels
    np.testing.assert_allclose(found[:, 4:], 0, atol=1e-5)
    assert (measure(noisy(still, 40))[:, 6:] > 0.01).all()
    assert measure(np.repeat(np.repeat(still, 2, 2), 2, 3)).shape == (3, 8)  # of any size


class Distance(torch.nn.Module):
    def forward(self, a, b):
        return (a - b).abs().mean((1, 2, 3), keepdim=True)


class Means(torch.nn.Module):
    def forward(self, video, rescale: bool, resize: bool, return_features: bool):
        assert not rescale and not resize and return_features
        assert video.shape[1:] == (3, 16, 224, 224)
        return video.mean((2, 3, 4))


def test_networks_are_read_from_files_and_shown_what_they_expect(tmp_path):
    torch.jit.save(torch.jit.script(Distance()), tmp_path / "lpips.pt")
    measure = metrics.lpips(metrics.load_script(tmp_path / "lpips.pt", torch.device("cpu")), torch.device("cpu"))
    black = torch.zeros(2, 3, 3, 8, 8)
    np.testing.assert_allclose(measure(black, black + 1), 2)  # from -1 to 1
    torch.jit.save(torch.jit.script(Means()), tmp_path / "i3d.pt")
    features = metrics.i3d_features(metrics.load_script(tmp_path / "i3d.pt", torch.device("cpu")), torch.device("cpu"))
    np.testing.assert_allclose(features(np.full((1, 16, 8, 8, 3), 255, np.uint8)), [[1, 1, 1]], atol=1e-4)
    (tmp_path / "none.pt").write_bytes(b"nothing")
    for name in ("none.pt", "missing.pt"):
        with pytest.raises(CheckpointError, match=f"{name} is not a TorchScript"):
            metrics.load_script(tmp_path / name, torch.device("cpu"))
