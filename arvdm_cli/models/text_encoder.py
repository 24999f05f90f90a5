"""The encoder of text that Wan and its kin read prompts by: UMT5, in a folder of diffusers' layout."""

from __future__ import annotations

import gc
import html
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError, NumericError
from .wan_names import PACKAGES

ENCODER, TOKENIZER = "text_encoder", "tokenizer"  # folders of a checkpoint


@dataclass(frozen=True)
class Encoded:
    """A text as an encoder gives it."""

    features: Tensor  # (n, d), of its tokens, on the CPU
    dropped: int  # tokens beyond the most that were asked for


def import_transformers() -> ModuleType:
    """Import transformers, without its progress bars and its advice.

    Raises: ConfigError where it is not installed
    """
    try:
        import transformers
    except ImportError as error:
        raise packages_missing() from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def packages_missing() -> ConfigError:
    """The error where a package of the extra `wan` is not installed."""
    return ConfigError(
        "Prompts of text need the packages transformers and diffusers.",
        hint=PACKAGES,
    )


def clean(text: str) -> str:
    """A text as encoders of Wan are given it: mended, without HTML entities, each white space one blank.

    Raises: ConfigError where transformers is not installed
    """
    try:
        import regex  # transformers brings it; its white space is not that of `re`
    except ImportError as error:
        raise packages_missing() from error
    with suppress(ImportError):
        import ftfy

        text = ftfy.fix_text(text)
    return str(regex.sub(r"\s+", " ", html.unescape(html.unescape(text)).strip())).strip()


@torch.no_grad()
def encode(
    folder: Path, texts: Sequence[str], tokens: int, device: torch.device | str, dtype: torch.dtype
) -> list[Encoded]:
    """Encode texts, each by itself, so that its features do not depend on the others.

    The encoder is loaded once, and its memory is free again when this returns.

    folder: of a checkpoint, which holds the encoder and its tokenizer
    texts: as `clean` gives them
    tokens: the most of a text, which is padded to as many for the encoder and cut to its own after it
    Raises: ConfigError where transformers is not installed, CheckpointError where the encoder cannot be read,
    NumericError where it gives NaN or infinity

    Source: `WanPipeline.encode_prompt` of diffusers.
    """
    tokenizer, encoder = load(folder, device, dtype)
    encoded = []
    for text in texts:
        length = len(tokenizer(text, add_special_tokens=True).input_ids)
        padded = tokenizer(
            [text],
            padding="max_length",
            max_length=tokens,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = padded.input_ids.to(device), padded.attention_mask.to(device)  # (1, tokens)
        features = encoder(ids, mask).last_hidden_state[0, : int(mask.sum())].cpu()  # (n, d)
        if not torch.isfinite(features).all():
            raise NumericError(
                f"The text encoder gives NaN or infinity in {str(dtype).removeprefix('torch.')}.",
                hint="--dtype bfloat16",
            )
        encoded.append(Encoded(features, max(0, length - tokens)))
    del encoder
    gc.collect()  # its parts refer to each other
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    return encoded


def load(folder: Path, device: torch.device | str, dtype: torch.dtype) -> tuple[Any, nn.Module]:
    """The tokenizer and the encoder of a checkpoint's folder, as transformers has them; no code in it is run."""
    transformers = import_transformers()
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / TOKENIZER, **local)
        encoder, report = transformers.UMT5EncoderModel.from_pretrained(
            folder / ENCODER,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused below
            **local,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CheckpointError(f"The text encoder in {folder} cannot be read: {reason}.") from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{folder / ENCODER} lacks {len(missing)} tensors of its model, first {missing[0]!r}.")
    if other := sorted(str(name) for name, *_ in report["mismatched_keys"]):
        raise CheckpointError(f"{folder / ENCODER}: {len(other)} tensors do not fit its config, first {other[0]!r}.")
    return tokenizer, encoder.to(device).eval()
