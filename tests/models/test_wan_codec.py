"""Wan's codec: diffusers' numbers, in pieces of any size, and from the latents that a frame depends on."""

import inspect
import sys
from dataclasses import replace

import pytest
import torch

from arvdm_cli.errors import ConfigError, UsageError
from arvdm_cli.models.wan_codec import DIFFUSERS, WanCodec, WanCodecConfig
from arvdm_cli.sampling.decoding import Decoder, has_time, reach_of
from support.wan_codec import TINY_CODEC, autoencoder_of, codec, frames, latents

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def ours():
    return codec()


@pytest.fixture(scope="module")
def video(ours):
    """Latents of more than a frame depends on, and the frames they are decoded to at once."""
    clean = latents(ours.reach + 5)
    return clean, ours.decode(clean)


def decode(codec, parts):
    """Frames of parts of a video, decoded one after the other."""
    past, decoded = None, []
    for part in parts:
        made, past = codec.decode_after(part, past)
        decoded.append(made)
    return torch.cat(decoded, 1)


# What diffusers gives


def test_the_default_shape_is_that_of_diffusers():
    from diffusers import AutoencoderKLWan

    known = inspect.signature(AutoencoderKLWan).parameters
    for own, theirs in DIFFUSERS.items():
        value = getattr(WanCodecConfig(), own)
        assert (list(value) if isinstance(value, tuple) else value) == known[theirs].default


@pytest.mark.parametrize("count", [1, 5, 17])
def test_frames_are_encoded_to_the_mode_that_diffusers_gives_normalised(ours, count):
    theirs, clip = autoencoder_of(ours), frames(count, batch=2)
    mode = theirs.encode(clip.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (TINY_CODEC.mean, TINY_CODEC.std))
    made = ours.encode(clip)
    assert made.shape == (2, 1 + count // 4, 16, 4, 6)
    torch.testing.assert_close(made, (mode - mean) / std, rtol=0, atol=1e-6)


def test_latents_are_decoded_to_the_frames_of_diffusers(ours):
    clean = latents(4, batch=2)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (TINY_CODEC.mean, TINY_CODEC.std))
    theirs = autoencoder_of(ours).decode((clean * std + mean).transpose(1, 2)).sample.transpose(1, 2)
    made = ours.decode(clean)
    assert made.shape == (2, 13, 3, 32, 48) and made.std() > 0.05
    assert torch.equal(made, theirs)


def test_nothing_is_encoded_to_nothing(ours):
    assert ours.encode(frames(0, batch=2)).shape == (2, 0, 16, 4, 6)


# In pieces


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1), (3, 3, 1), (5, 2), (2, 5)])
def test_latents_are_decoded_in_pieces_as_at_once(ours, video, sizes):
    clean, whole = video
    assert torch.equal(decode(ours, clean[:, : sum(sizes)].split(sizes, 1)), whole[:, :25])


def test_nothing_writes_into_a_past(ours, video):
    clean, _ = video
    _, past = ours.decode_after(clean[:, :3], None)
    first, second = (ours.decode_after(clean[:, 3:5], past)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_prefix_of_a_clip_is_encoded_as_in_the_clip(ours):
    clip = frames(17)
    assert torch.equal(ours.encode(clip[:, :9]), ours.encode(clip)[:, :3])


# What a frame depends on


def test_frames_of_the_published_shape_depend_on_38_latents_before_their_own():
    with torch.device("meta"):
        assert WanCodec(WanCodecConfig()).reach == 38


def test_a_frame_depends_on_reach_latents_before_its_own_and_on_no_earlier_one(ours):
    clean = latents(ours.reach + 2)
    for first, depends in ((0, False), (1, True)):
        marked = clean.clone()
        marked[:, first] = torch.nan  # what is computed from it becomes NaN, however little it counts
        decoded = ours.decode(marked)
        assert bool(decoded[:, -4].isnan().all()) == depends == bool(decoded[:, -4:].isnan().any())


@pytest.mark.parametrize("at", [0, 1, 4, -3])
def test_a_decoder_rebuilt_from_the_latents_before_goes_on_to_the_same_frames(ours, video, at):
    clean, whole = video
    at %= clean.shape[1]
    before = clean[:, max(0, at - ours.reach) : at]
    rebuilt = Decoder(ours)(clean[:, at : at + 2], before, at)
    first = 4 * at - 3 if at else 0
    assert torch.equal(rebuilt, whole[:, first : first + rebuilt.shape[1]])


def test_a_decoder_goes_on_from_its_own_past_only_where_that_has_ended(ours, video, monkeypatch):
    clean, whole = video
    decoder, decoded = Decoder(ours), []
    kept = WanCodec.decode_after
    monkeypatch.setattr(WanCodec, "decode_after", lambda self, *args: decoded.append(1) or kept(self, *args))
    for at, calls in ((0, 1), (2, 1), (4, 1), (2, 3), (4, 1)):  # back to 2: two latents first, one at a time
        made = decoder(clean[:, at : at + 2], clean[:, :at], at)
        assert torch.equal(made, whole[:, max(0, 4 * at - 3) :][:, : made.shape[1]]) and len(decoded) == calls
        decoded.clear()


def test_a_codec_of_single_frames_depends_on_nothing_before():
    class Plain:
        def decode(self, latents):
            return latents + 1

    assert not has_time(Plain()) and reach_of(Plain()) == 0
    assert torch.equal(Decoder(Plain())(torch.zeros(1), None, 7), torch.ones(1))


# Bad input


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 36},
        {"width": 0},
        {"halves": (True, True, True)},
        {"halves": (True, True)},
        {"mean": (0.0,)},
        {"std": (0.0,) * 16},
        {"multiples": ()},
    ],
    ids=str,
)
def test_a_shape_that_cannot_be_is_refused(changes):
    with pytest.raises(ConfigError):
        replace(TINY_CODEC, **changes)


def test_without_diffusers_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match="diffusers"):
        WanCodec(TINY_CODEC)
