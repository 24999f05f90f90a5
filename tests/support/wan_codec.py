"""A tiny codec with time, and diffusers' with the same weights."""

import torch

from arvdm_cli.models.wan_codec import WanCodec, WanCodecConfig, autoencoder

TINY_CODEC = WanCodecConfig(height=32, width=48, features=4, multiples=(1, 1, 1, 1), blocks=1)


def codec(config=TINY_CODEC):
    """A tiny codec whose weights mean nothing."""
    torch.manual_seed(7)
    made = WanCodec(config)
    for name, weight in made.named_parameters():
        if weight.dim() > 1 and not name.endswith("gamma"):
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return made.eval().requires_grad_(False)


def autoencoder_of(own):
    """diffusers' AutoencoderKLWan with the weights of a codec."""
    theirs = autoencoder(own.config)
    theirs.load_state_dict(own.state_dict())
    return theirs.eval().requires_grad_(False)


def frames(count, batch=1, seed=9):
    """Frames (b, f, 3, h, w) in [-1, 1]."""
    shape = batch, count, 3, TINY_CODEC.height, TINY_CODEC.width
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def latents(count, batch=1, seed=3):
    """Latents (b, f, c, h, w)."""
    shape = batch, count, TINY_CODEC.channels, *TINY_CODEC.grid
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
