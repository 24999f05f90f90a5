"""Pictures as a browser reads them."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from arvdm_cli.play.web import pictures
from support.play import landscape


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (360, 640)])
@pytest.mark.parametrize("library", ["simplejpeg", "pillow"])
def test_a_jpeg_shows_the_picture_with_either_library(monkeypatch, library, size):
    if library == "pillow":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")
    picture = landscape(3)[: size[0], : size[1]]  # a view of a larger array, as a cropped frame is
    shown = decode(pictures.to_jpeg(picture))
    assert shown.shape == picture.shape
    assert np.abs(shown.astype(int) - picture).mean() < 4


def test_a_png_is_the_pictures_to_the_bit_side_by_side():
    left, right = landscape(1)[:64, :64], landscape(2)[:32, :48]
    sheet = decode(pictures.to_png([left, right]))
    assert sheet.shape == (64, 112, 3)
    assert (sheet[:, :64] == left).all() and (sheet[:32, 64:] == right).all() and not sheet[32:, 64:].any()
