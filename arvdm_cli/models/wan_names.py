"""Names of the tensors of a Wan: those of its makers, and those of diffusers, which are ours."""

from __future__ import annotations

import re

PACKAGES = "pip install 'diffusers>=0.40,<0.44' 'transformers>=5,<6' ftfy"  # the extra `wan`
PREFIXES = re.compile(r"^((model|module|diffusion_model|_fsdp_wrapped_module)\.)+")  # of the states of trainings
NAME = re.compile(r"(blocks\.\d+\.)?(.+?)(\.weight|\.bias)?")
OF_NETWORK = {  # the makers' name of a layer -> diffusers'
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "fps_projection.0": "fps_projection.net.0.proj",
    "fps_projection.2": "fps_projection.net.2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
LAYERS = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
OF_BLOCK = {
    **{f"self_attn.{theirs}": f"attn1.{ours}" for theirs, ours in LAYERS.items()},
    **{f"cross_attn.{theirs}": f"attn2.{ours}" for theirs, ours in LAYERS.items()},
    # the one norm of a block that has weights; diffusers numbers norms in the order in which they are computed
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}
SINGLE = {"time_embedder", "scale_shift_table", "norm2"}


def own_name(name: str) -> str:
    """The name here of a tensor in a file by the makers or by diffusers, whose names none of the makers' looks like.

    Source: diffusers, scripts/convert_wan_to_diffusers.py
    """
    found = NAME.fullmatch(PREFIXES.sub("", name))
    block, layer, number = found.groups("") if found else ("", name, "")
    return block + (OF_BLOCK if block else OF_NETWORK).get(layer, layer) + number


def stays_single(name: str) -> bool:
    """Whether a parameter is in float32 in a network of any dtype, as in diffusers."""
    return not SINGLE.isdisjoint(name.split("."))
