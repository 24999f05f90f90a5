"""A tiny encoder of texts, as a folder of diffusers has it, and a checkpoint whose network reads them."""

import torch

from arvdm_cli.hub.checkpoint import save
from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.model import Model
from support import wan

TOKENS = 24  # the most of a text
SENTENCES = ["a street in the rain", "snow begins to fall on the street", "a cat & a dog", "worst quality, blurred"]


def save_encoder(folder, width=wan.SMALL.text, seed=7):
    """Save a tiny UMT5 and a tokenizer that was trained on a few sentences."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        SENTENCES * 8, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    torch.manual_seed(seed)
    config = UMT5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=48, num_layers=2, num_heads=2)
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


def save_checkpoint(folder, codec=None, attention=wan.SMALL.attention, **card):
    """Save a Wan with weights that mean nothing, and an encoder of texts.

    codec: None for one that takes each frame by itself
    """
    network = wan.network(tokens=TOKENS, attention=attention)
    height, width = 8 * wan.SMALL.height, 8 * wan.SMALL.width
    codec = codec or Codec(CodecConfig(channels=wan.SMALL.channels, height=height, width=width, fine=8, coarse=8))
    sampling = Sampling(options={"chunk": 3, "steps": 2}, context=3, slots=0, group=3, init_steps=2)
    facts = {"name": "texts", "fps": 16, "presets": ["outpainting"]}
    save(Model(network, codec, FlowMatching(), sampling, facts | card), folder)
    return save_encoder(folder)
