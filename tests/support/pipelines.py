"""A tiny model of the Wan family in the folder that diffusers writes of it, and as its makers save it."""

import json
import re

import torch

from arvdm_cli.models.wan_names import OF_BLOCK, OF_NETWORK
from support.wan import network, quietly, skyreels_of, wan_of
from support.wan_codec import autoencoder_of, codec

REPO = "wlsaidhi/SFWan2.1-T2V-1.3B-Diffusers"  # of the entry self-forcing


def write(folder, skyreels=False):
    """Write the folder of a pipeline whose network lies in shards; returns the network and the codec."""
    own, ours = network(**({"attention": "full", "time": "floor", "rates": True} if skyreels else {})), codec()
    theirs = skyreels_of(own) if skyreels else wan_of(own)
    quietly(lambda: assemble(theirs, autoencoder_of(ours), skyreels).save_pretrained(folder, max_shard_size="150KB"))
    return own, ours


def assemble(transformer, vae, skyreels):
    """diffusers' pipeline of a network and a codec, with a tiny encoder of text."""
    import diffusers
    import transformers
    from tokenizers import Tokenizer, models

    words = models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "snow": 3}, "<unk>")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    shape = transformers.UMT5Config(
        vocab_size=8, d_model=32, d_kv=4, d_ff=16, num_layers=1, num_heads=2, tie_word_embeddings=False
    )
    kind = diffusers.SkyReelsV2DiffusionForcingPipeline if skyreels else diffusers.WanPipeline
    return kind(
        tokenizer=tokenizer,
        text_encoder=transformers.UMT5EncoderModel(shape),
        transformer=transformer,
        vae=vae,
        scheduler=diffusers.UniPCMultistepScheduler(),
    )


def edit(path, **changes):
    """Change values of a JSON file; None takes a value out."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def contents(folder):
    """The files of a folder as a repository has them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def makers(own):
    """The weights of a network by its makers' names, as a training saves them."""
    blocks, rest = ({b: a for a, b in names.items()} for names in (OF_BLOCK, OF_NETWORK))

    def name(ours):
        block, module, number = re.fullmatch(r"(blocks\.\d+\.)?(.+?)(\.weight|\.bias)?", ours).groups("")
        return block + (blocks if block else rest).get(module, module) + number

    return {f"model._fsdp_wrapped_module.{name(ours)}": tensor for ours, tensor in own.state_dict().items()}


def save_training(own, path):
    """Write the state of a training as the makers of Self-Forcing do: weights and their averages."""
    averages = makers(own)
    torch.save({"generator": {key: value + 1 for key, value in averages.items()}, "generator_ema": averages}, path)
    return path
