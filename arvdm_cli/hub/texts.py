"""Texts as a checkpoint's encoder gives them, each encoded once and kept in a cache."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..actions.texts import brief
from ..errors import ArvdmWarning, CheckpointError, OutputError
from ..files import cache_folder, replacing
from ..models import text_encoder
from ..models.text_encoder import ENCODER, TOKENIZER
from .layout import CONFIG
from .sizes import count_parameters
from .weights import digest, files_of, missing_file


@dataclass(frozen=True)
class Encoder:
    """The text encoder in a checkpoint's folder, which is loaded only for texts that the cache does not hold."""

    folder: Path  # of the checkpoint
    tokens: int  # the most of a text
    width: int  # features of a token that the network takes
    dtype: torch.dtype

    def check(self) -> None:
        """Refuse a checkpoint without an encoder of texts, or with a part of one.

        Raises: CheckpointError
        """
        for part, file in ((ENCODER, "model.safetensors"), (TOKENIZER, "tokenizer.json")):
            if not (self.folder / part).is_dir():
                hint = missing_file(self.folder / part / file, CONFIG).hint
                raise CheckpointError(f"{self.folder / part} is missing, and prompts are read by it.", hint=hint)
        files_of(self.folder / ENCODER, "model.safetensors")

    def encode(
        self, texts: Sequence[str], find_device: Callable[[], torch.device], on_note: Callable[[str], None]
    ) -> Tensor:
        """Features (p, n, d) of texts, n those of the longest, with zeros behind the last token of a shorter one.

        find_device: asked for the device where a text has to be encoded
        on_note: called before that, as it may take minutes
        Warns with an ArvdmWarning of a text that is cut, and where the cache cannot be written.
        Raises: CheckpointError where there is no encoder, or not one for the network; ConfigError where a package is
        missing; NumericError
        """
        self.check()
        texts = [text_encoder.clean(text) for text in texts]
        key = f"{self.digest()} {self.dtype} {self.tokens}"
        features = {text: self._load(cached(key, text)) for text in texts}
        if new := [text for text, each in features.items() if each is None]:
            device = self.place(find_device())
            shown = f"{str(self.dtype).removeprefix('torch.')} on {device}"
            on_note(f"encoding {len(new)} {'text' if len(new) == 1 else 'texts'} by {self.folder / ENCODER}, {shown}")
            encoded = text_encoder.encode(self.folder, new, self.tokens, device, self.dtype)
            for text, result in zip(new, encoded, strict=True):
                features[text] = self._keep(cached(key, text), text, result)
        return stacked([each for text in texts if (each := features[text]) is not None])

    def digest(self) -> str:
        """sha256 of the names and the digests of all files of the encoder and its tokenizer."""
        files = sorted(file for part in (ENCODER, TOKENIZER) for file in (self.folder / part).rglob("*"))
        listed = (f"{file.relative_to(self.folder).as_posix()} {digest_of(file)}\n" for file in files if file.is_file())
        return hashlib.sha256("".join(listed).encode()).hexdigest()

    def place(self, device: torch.device) -> torch.device:
        """A CUDA device that has room for the encoder; instead of any other the CPU."""
        if device.type == "cuda":
            size = sum(count_parameters(self.folder / ENCODER).values()) * self.dtype.itemsize
            if 1.1 * size + 2**30 < torch.cuda.mem_get_info(device)[0]:  # a GiB for what is computed
                return device
        return torch.device("cpu")

    def _load(self, file: Path) -> Tensor | None:
        """Features (n, d) of a text from the cache; None where it does not hold them."""
        try:
            features: Tensor = load_file(file)["features"]
        except (OSError, SafetensorError, KeyError):
            return None
        return features if features.ndim == 2 and features.shape[1] == self.width else None

    def _keep(self, file: Path, text: str, encoded: text_encoder.Encoded) -> Tensor:
        """Features (n, d) of a text that was encoded, written to the cache."""
        features = encoded.features
        if features.shape[1] != self.width:
            raise CheckpointError(
                f"The text encoder gives {features.shape[1]} features, the network takes {self.width}."
            )
        if encoded.dropped:
            tokens = self.tokens + encoded.dropped
            words = f"The text {brief(text)} has {tokens} tokens, of which the first {self.tokens} are used."
            warnings.warn(words, ArvdmWarning, stacklevel=2)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as part:
                save_file({"features": features.contiguous()}, part)
        except (OSError, SafetensorError, OutputError) as error:
            warnings.warn(f"An encoded text cannot be kept: {str(error).rstrip('.')}.", ArvdmWarning, stacklevel=2)
        return features


def stacked(features: Sequence[Tensor]) -> Tensor:
    """Features (p, n, d) of texts (n, d) of several lengths, with zeros behind the shorter ones."""
    longest = max(len(each) for each in features)
    return torch.stack([F.pad(each.to(features[0].dtype), (0, 0, 0, longest - len(each))) for each in features])


def digest_of(file: Path) -> str:
    """sha256 of a file; a large one in the Hub's cache, where it was verified, has it for a name."""
    blob = file.resolve()
    return blob.name if blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name) else digest(file)


def cached(key: str, text: str) -> Path:
    """The file in which the features of a text are kept."""
    return cache_folder() / "prompts" / f"{hashlib.sha256(f'{key} {text}'.encode()).hexdigest()}.safetensors"
