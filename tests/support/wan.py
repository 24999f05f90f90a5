"""A tiny Wan under arvdm and under diffusers, with the same weights."""

import warnings
from dataclasses import asdict

import torch

from arvdm_cli.hub.checkpoint import save
from arvdm_cli.models.wan import Wan, WanConfig
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.model import Model
from support.wan_codec import codec

SMALL = WanConfig(height=4, width=6, dim=48, depth=3, heads=2, mlp=96, text=32, tokens=7, frequencies=16)


def quietly(build):
    """What diffusers builds, without its words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers.utils import logging

        logging.set_verbosity_error()
        return build()


def shape(config):
    """A config as diffusers' transformers take it."""
    return {
        "patch_size": (1, config.patch, config.patch),
        "num_attention_heads": config.heads,
        "attention_head_dim": config.dim // config.heads,
        "in_channels": config.channels,
        "out_channels": config.channels,
        "text_dim": config.text,
        "freq_dim": config.frequencies,
        "ffn_dim": config.mlp,
        "num_layers": config.depth,
        "cross_attn_norm": config.cross_norm,
    }


def network(**changes):
    """A tiny Wan whose weights are all drawn; changes: of its config."""
    torch.manual_seed(5)
    made = Wan(WanConfig(**asdict(SMALL) | changes))
    for name, weight in made.named_parameters():
        torch.nn.init.normal_(weight, std=0.3 if "table" in name or "norm" in name else (3 * weight[0].numel()) ** -0.5)
    return made.eval().requires_grad_(False)


def wan_of(own):
    """diffusers' WanTransformer3DModel with the weights of a Wan."""

    def build():
        from diffusers import WanTransformer3DModel

        return WanTransformer3DModel(**shape(own.config))

    return with_weights(quietly(build), own)


def skyreels_of(own):
    """diffusers' SkyReelsV2Transformer3DModel with the weights of a Wan, block-causal where that is."""

    def build():
        from diffusers import SkyReelsV2Transformer3DModel

        block = own.config.block if own.config.attention == "block" else 1  # 1: all frames see each other
        return SkyReelsV2Transformer3DModel(
            **shape(own.config), num_frame_per_block=block, inject_sample_info=own.config.rates
        )

    return with_weights(quietly(build), own)


def with_weights(theirs, own):
    theirs.load_state_dict(own.state_dict())
    return theirs.eval().requires_grad_(False)


def texts(count, seed=11):
    """Embeddings (count, tokens, text), the first of which stands for the negative prompt."""
    return torch.randn(count, SMALL.tokens, SMALL.text, generator=torch.Generator().manual_seed(seed))


def latents(frames, batch=1, seed=3):
    """Latents (b, f, c, h, w)."""
    shape = batch, frames, SMALL.channels, SMALL.height, SMALL.width
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def prompted(frames, number=1, count=1, batch=1):
    """Actions (b, f, count) of frames that one of the prompts leads into; 0: the negative one."""
    actions = torch.zeros(batch, frames, count)
    if number:
        actions[:, :, number - 1] = 1
    return actions


def theirs(network, window, times, text, **more):
    """Velocities (b, f, c, h, w) by a transformer of diffusers, of frames at times (b,), (b, f) or (b, n)."""
    if type(network).__name__.startswith("SkyReels"):
        more["enable_diffusion_forcing"] = True
    answer = network(window.transpose(1, 2), times, text.expand(len(window), -1, -1), return_dict=False, **more)
    return answer[0].transpose(1, 2)


def save_tiny(folder, **sampling):
    """Save a checkpoint of a tiny Wan and a tiny codec; sampling: beside chunks of 2 latents, each in 2 steps."""
    chosen = {"options": {"chunk": 2, "steps": 2}, "context": 4, "slots": 0, "solver": "renoise", "stabilization": 0.0}
    card = {"name": "tiny-wan", "fps": 16, "presets": ["outpainting"]}
    save(Model(network(block=2), codec(), FlowMatching("velocity"), Sampling(**chosen | sampling), card), folder)
    return folder
