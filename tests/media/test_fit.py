"""Frames are brought to a size and a rate, and what was done is stated."""

import subprocess
import sys

import numpy as np
import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.media import (
    Clip,
    crop,
    fit,
    read,
    to_bytes,
    to_tensor,
)
from support.videos import write


def still(frames, fps=None):
    return Clip(frames, fps, "x")


def test_frames_of_the_right_size_stay_as_they_are(frames):
    fitted = fit(still(frames), 48, 64)
    np.testing.assert_array_equal(fitted.frames, frames)
    assert fitted.notes == []


def test_a_wide_clip_is_cut_from_the_centre_and_the_columns_stated(frames):
    fitted = fit(still(frames), 48, 48)
    np.testing.assert_array_equal(fitted.frames, frames[:, :, 8:56])
    assert fitted.notes == ["64x48 cropped to 48x48 (columns 8-55)"]


def test_reducing_averages_blocks(frames):
    fitted = fit(still(frames), 12, 16)
    blocks = frames.reshape(30, 12, 4, 16, 4, 3).mean((2, 4))
    assert np.abs(fitted.frames - blocks).max() <= 0.51
    assert fitted.notes == ["64x48 reduced to 16x12"]


def test_enlarging_goes_through_the_pixels_it_was_given(frames):
    fitted = fit(still(frames), 3 * 48, 3 * 64)
    np.testing.assert_array_equal(fitted.frames[:, 1::3, 1::3], frames)  # the middle of each 3 by 3
    assert fitted.notes == ["64x48 enlarged to 192x144"]


@pytest.mark.parametrize("size", [(65, 97), (1, 1), (2, 1000), (1000, 2), (47, 63), (64, 64)])
@pytest.mark.parametrize("wanted", [(64, 64), (33, 97)])
def test_any_size_becomes_the_promised_one_and_says_so(size, wanted, tmp_path):
    plain = np.full((2, *size, 3), 77, np.uint8)
    fitted = fit(still(plain), *wanted)
    assert fitted.frames.shape == (2, *wanted, 3)
    assert (fitted.frames == 77).all()
    assert bool(fitted.notes) == (size != wanted)
    write(f"{tmp_path}/", plain)
    np.testing.assert_array_equal(read(tmp_path, size=wanted).frames, fitted.frames)


def test_a_crop_comes_first(frames, clip):
    left = crop(still(frames), "32x48+0+0")
    np.testing.assert_array_equal(left.frames, frames[:, :, :32])
    assert left.notes == ["64x48 cropped to 32x48 (columns 0-31)"]
    np.testing.assert_array_equal(crop(still(frames), "32x48").frames, frames[:, :, 16:48])
    for fitted in (fit(still(frames), 24, 24, crop="32x48+32+0"), read(clip, crop="32x48+32+0", size=(24, 24))):
        np.testing.assert_array_equal(fitted.frames, fit(still(frames[:, :, 32:]), 24, 24).frames)
        assert fitted.notes[0] == "64x48 cropped to 32x32 (columns 32-63, rows 8-39)"


def test_a_picture_may_be_padded_or_stretched_in_place_of_being_cut(frames, clip):
    padded = fit(still(frames), 64, 64, fit="pad")
    np.testing.assert_array_equal(padded.frames[:, 8:56], frames)
    assert not padded.frames[:, :8].any() and not padded.frames[:, 56:].any()
    assert padded.notes == ["64x48 padded with black to 64x64"]
    stretched = fit(still(frames), 24, 64, fit="stretch")
    assert np.abs(stretched.frames - frames.reshape(30, 24, 2, 64, 3).mean(2)).max() <= 0.51
    assert stretched.notes == ["64x48 stretched to 64x24"]
    for how, expected in (("pad", padded), ("stretch", fit(still(frames), 64, 64, fit="stretch"))):
        np.testing.assert_array_equal(read(clip, size=(64, 64), fit=how).frames, expected.frames)


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(65, 97), (1, 1), (2, 1000), (1000, 2), (64, 64)])
def test_every_fit_gives_the_size_asked_for(how, size):
    fitted = fit(still(np.full((1, *size, 3), 77, np.uint8)), 24, 40, fit=how)
    assert fitted.frames.shape == (1, 24, 40, 3) and fitted.frames.max() == 77
    assert fitted.frames.min() == 77 or how == "pad"


@pytest.mark.parametrize("spec", ["", "64", "65x48", "64x48+1+0", "0x4", "4x4+0", "-4x4+0+0", "axb", "99999999999x1"])
def test_a_crop_that_cannot_be_is_a_usage_error(spec, frames):
    with pytest.raises(UsageError):
        crop(still(frames), spec)


def test_bytes_become_numbers_and_the_same_bytes_again():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    tensor = to_tensor(values)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(to_bytes(tensor), values)
    np.testing.assert_array_equal(to_bytes(tensor + 0.49 / 127.5), values)  # the nearest
    np.testing.assert_array_equal(to_bytes(tensor * 10)[:, :, :, 0] == 255, values[:, :, :, 0] > 140)  # clamped


def test_reading_and_writing_load_no_torch():
    code = "import sys, arvdm_cli.media.reader, arvdm_cli.actions.phrases; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
