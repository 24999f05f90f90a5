"""What a training run is set to."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..configs import fill
from ..errors import ConfigError
from ..hub import registry
from ..models.codec import CodecConfig
from ..models.config import DiTConfig
from ..sampling.config import Sampling
from ..sampling.diffusion import FlowMatching

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainConfig:
    """A training run, filled from a TOML file, then from flags."""

    data: tuple[str, ...] = ("data/maze",)  # folders that `arvdm data make` or `import` wrote; one may stand alone
    out: str = "runs/maze"  # folder of the run: checkpoint, saved state, metrics, sample sheets
    name: str = "maze"
    start: str = ""  # checkpoint whose weights it begins with, and whose codec it takes; "" for none
    new_codec: bool = False  # whether a codec is trained all the same, and the weights of `start` translated to it
    distill: str = ""  # checkpoint whose denoising steps it learns to take several at a time; "" for none
    distill_steps: int = 2  # of them in one of its own, under the schedule of [sampling]
    start_memory: bool = True  # whether it begins with how memory enters and shrinks there, too
    seed: int = 0
    steps: int = 10_000  # optimisation steps of the network
    minutes: float = 0.0  # after which the run ends, codec and last save included; 0 for no limit
    codec_steps: int = 2_000  # optimisation steps of the codec, before it
    codec_batch: int = 32  # frames
    codec_lr: float = 3e-3  # AdamW, for biases, norms and the linear map
    codec_matrix_lr: float = 2e-3  # Muon, for convolutions
    frames: int = 160  # of context and window in a step; the number of clips follows
    early: float = 0.5  # first part of the training: no memory and no own frames; it learns to move
    clip_frames: int = 12  # context and windows of a clip
    contexts: tuple[int, ...] = (0, 1, 2, 4)  # frames before its first window, drawn evenly
    windows: tuple[int, ...] = (1, 1, 2, 4, 8)  # lengths of a window, drawn evenly; a clip holds as many as fit
    groups: tuple[int, ...] = (0, 4, 8)  # groups in memory, drawn evenly
    revisit: float = 0.5  # share of clips with memory that come back to something in it
    turn: float = 0.3  # share of clips that come back to something in their context
    drop_actions: float = 0.1  # share of clips whose actions are unknown
    context_noise: float = 0.15  # most noise on the context of half of the clips
    own_frames: float = 0.3  # share of steps whose context the network made itself
    level_mean: float = 0.3  # of the logit-normal levels
    level_std: float = 1.3
    pure_noise: float = 0.1  # share of windows at level 1
    lr: float = 1e-3  # AdamW, for embeddings, biases and norms
    matrix_lr: float = 2e-3  # Muon, for matrices inside the blocks
    trunk_lr: float = 1.0  # part of these rates that weights have which are not of memory
    warmup: int = 100  # steps
    decay: float = 0.35  # last part of the training, over which the learning rate falls to 0
    clip: float = 1.0  # gradient norm
    ema: float = 0.999
    held_out: int = 8  # last episodes of the data, never trained on
    every: int = 500  # steps between held-out loss, sample sheet and saved state
    device: str = "auto"
    dtype: str = "auto"  # of products: auto, float32 or bfloat16; auto is bfloat16 where the machine multiplies it fast
    threads: int = 0  # 0 for torch's own number
    compile: bool = False  # whether transformer blocks are compiled first: some minutes, then faster steps
    codec: CodecConfig = field(default_factory=CodecConfig)
    network: DiTConfig = field(default_factory=DiTConfig)
    diffusion: FlowMatching = field(default_factory=FlowMatching)
    sampling: Sampling = field(default_factory=Sampling)
    card: dict[str, Any] = field(default_factory=dict)  # licence, data, ...: copied to config.json


def configure(path: Path, **chosen: Any) -> TrainConfig:
    """Read a training file and put chosen values above it."""
    return fill(TrainConfig, {**read_values(path), **chosen}, str(path))


def read_values(path: Path, depth: int = 0) -> dict[str, Any]:
    """A training file's values, above those of the file that its `base` names, if it names one."""
    try:
        values = tomllib.loads(registry.read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}.") from error
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or depth == 8:
        raise ConfigError(f"{path} has the base {base!r}, which leads to no file.", hint="base names a file beside it.")
    under = read_values(path.parent / base, depth + 1)
    for name, value in values.items():
        both = isinstance(value, dict) and isinstance(under.get(name), dict)
        under[name] = {**under[name], **value} if both else value
    return under
