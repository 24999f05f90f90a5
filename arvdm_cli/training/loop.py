"""The training loop: first the codec, then the network on its latents."""

from __future__ import annotations

import hashlib
import json
import math
import time
import tomllib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batches import Batch, Episodes, Joined, read_all
from ..errors import CheckpointError, ConfigError, IntegrityError, NumericError, OutputError
from ..hub import registry
from ..hub.checkpoint import Model, fast_half, fill, load, save, verify
from ..media.reader import contact_sheet, to_bytes, to_tensor
from ..models.codec import Codec, CodecConfig
from ..models.dit import DiTConfig, VideoDiT
from ..sampling.diffusion import FlowMatching, Predict, euler, logit_normal
from ..sampling.generation import begin, choose, generate, given
from ..sampling.memory import Memory, melt
from ..sampling.sampler import Sampling
from .distillation import Teacher
from .muon import Muon

Report = Callable[[dict[str, Any]], None]
MEMORY = ("fusion.", "compression.")  # names of weights through which the past enters and shrinks
SPANS = ((0, 1), (1, 4), (4, 8), (8, 16), (16, 32))  # new frames whose PSNR is told together


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


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a run's state, replacing the old one whole."""
    part = path.with_suffix(".part")
    try:
        torch.save(state, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # the latter where the disk is full
        with suppress(OSError):
            part.unlink(missing_ok=True)
        said = str(error).splitlines()[0].rstrip(".")
        raise OutputError(f"{path} cannot be written: {said}.", hint="The state before it is kept.") from error


def load_state(path: Path) -> dict[str, Any]:
    """Read a run's state without running any code in it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no run to resume: {path} is missing.", hint="Leave out --resume.") from error
    except Exception as error:  # torch.load raises many kinds
        raise CheckpointError(f"{path} is no saved run: {error}.") from error


def train(config: TrainConfig, resume: bool, report: Report) -> Path:
    """Train codec and network; returns the checkpoint's folder.

    report: called with one dictionary per event, also written to metrics.jsonl
    """
    started = time.monotonic()
    if not 0 <= config.minutes < math.inf:
        raise ConfigError(f"minutes is {config.minutes}.", hint="0 sets no limit.")
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    )
    state = load_state(out / "state.pt") if resume else {}
    torch.manual_seed(config.seed)
    episodes = Episodes(read_all(config.data), config.held_out)
    source = load(registry.resolve(config.start), device) if config.start else None
    codec = Codec(config.codec).to(device) if source is None or config.new_codec else source.codec
    check(config, codec, episodes)
    teacher = None
    if config.distill:
        model, (schedule, _) = load(registry.resolve(config.distill), device), choose(config.sampling)
        teacher = Teacher(model, schedule, config.distill_steps)
        teacher.check(config.distill, codec, config.network, config.diffusion)
    with (out / "metrics.jsonl").open("a" if resume else "w") as metrics:

        def tell(event: dict[str, Any]) -> None:
            metrics.write(json.dumps(event) + "\n")
            metrics.flush()
            report(event)

        torch.manual_seed(config.seed)  # whatever codec there is, the same network
        network = VideoDiT(config.network).to(device)
        if "codec" in state:
            codec.load_state_dict(state["codec"])
        else:
            if source is None or codec is not source.codec:
                train_codec(config, codec, episodes, device, tell)
            state["codec"] = codec.state_dict()
            save_state(out / "state.pt", state)
        codec.eval().requires_grad_(False)
        if source and "network" not in state:
            weights = source.network.state_dict()
            if codec is not source.codec:
                weights = translated(weights, source.codec, codec, episodes, config)
            adopt(network, weights, config)
        episodes.latents = Joined(
            [
                encode_all(config, codec, part.frames, Path(folder), device, tell)
                for folder, part in episodes.parts.items()
            ]
        )
        timer = Timer(config, started - state.get("elapsed", 0.0))
        return train_network(config, network, codec, episodes, device, state, out, tell, teacher, timer)


def adopt(network: VideoDiT, weights: dict[str, Tensor], config: TrainConfig) -> None:
    """Take the weights that a network has in common with the one it starts from; what is its own stays as it is."""
    own = network.state_dict()
    taken = {key: weight for key, weight in weights.items() if key in own}
    if not config.start_memory:
        taken = {key: weight for key, weight in taken.items() if not key.startswith(MEMORY)}
    for key, weight in taken.items():
        if weight.shape != own[key].shape:
            shapes = f"{tuple(weight.shape)}, here it is {tuple(own[key].shape)}"
            raise ConfigError(
                f"{config.start} cannot be begun with: its {key} is {shapes}.",
                hint="Give [network] the same shape, or leave out start.",
            )
    network.load_state_dict(taken, strict=False)
    if "compression.frame.weight" in own.keys() - taken.keys():
        # a compressed token begins as what the trunk takes for a frame: the embedding of the group's mean
        frame, embed = own["compression.frame.weight"], own["embed.weight"]
        frame.copy_(embed[:, : frame.shape[1]])
        own["compression.frame.bias"].copy_(own["embed.bias"])


def check(config: TrainConfig, codec: Codec, episodes: Episodes) -> None:
    """Refuse a network, a codec or a card that is of another shape than the data."""
    names, count, shape = episodes.names, len(episodes.names), codec.config
    height, width = episodes.pictures.shape[2:4]
    folder = config.data[0]
    known = f"the data in {folder} has {count}: {', '.join(names)}"
    if config.network.actions != count:
        hint = f"Write actions = {count} under [network], and {count} moves or none."
        raise ConfigError(f"The network has {config.network.actions} actions; {known}.", hint=hint)
    given = config.card.get("actions", names)
    if not isinstance(given, (list, tuple)) or len(given) != count:
        hint = "Leave out actions under [card] to take the data's own."
        raise ConfigError(f"The card names the actions {given}; {known}.", hint=hint)
    if (shape.height, shape.width) != (height, width):
        message = f"The codec is for frames of {shape.width}x{shape.height}; {folder} has others:"
        hint = f"Write height = {height} and width = {width} under [codec], and an eighth of them under [network]."
        raise ConfigError(f"{message} {width}x{height}.", hint=hint)


def halved(config: TrainConfig, device: torch.device) -> bool:
    """Whether products are of half precision."""
    if config.dtype not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"dtype is {config.dtype!r}.", hint="Choose from: auto, float32, bfloat16.")
    return fast_half(device) if config.dtype == "auto" else config.dtype == "bfloat16"


def autocast(config: TrainConfig, device: torch.device) -> Any:
    """Products of the precision that a run asks for."""
    return torch.autocast(device.type, torch.bfloat16) if halved(config, device) else nullcontext()


def train_codec(config: TrainConfig, codec: Codec, episodes: Episodes, device: torch.device, tell: Report) -> None:
    """Fit the codec to single frames: absolute error, of pixels and of their differences."""
    draw = np.random.default_rng((config.seed, 0))
    if codec.config.linear:
        codec.begin(episodes.random_frames(max(512, config.codec_batch), draw).to(device))
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inside = {name for name, weight in codec.named_parameters() if weight.ndim == 4 and "linear" not in name}
    optimizers_ = [
        Muon(
            [weight for name, weight in codec.named_parameters() if name in inside],
            config.codec_matrix_lr,
            half=halved(config, device),
        ),
        torch.optim.AdamW(
            [weight for name, weight in codec.named_parameters() if name not in inside],
            lr=config.codec_lr,
            betas=(0.9, 0.95),
            weight_decay=0.0,
        ),
    ]
    started = time.monotonic()
    codec.train()
    for step in range(1, config.codec_steps + 1):
        part = min(1.0, step / (0.02 * config.codec_steps + 1), (1 - step / config.codec_steps) / 0.9 + 1e-3)
        for optimizer, lr in zip(optimizers_, (config.codec_matrix_lr, config.codec_lr), strict=True):
            optimizer.param_groups[0]["lr"] = lr * part
            optimizer.zero_grad(set_to_none=True)
        frames = episodes.random_frames(config.codec_batch, draw).to(device)
        with autocast(config, device):
            made = codec(frames)
        error = made.float() - frames
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = error.abs().mean() + 2 * error.square().mean() + 0.25 * edges
        loss.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), config.clip)
        for optimizer in optimizers_:
            optimizer.step()
        if step % 100 == 0 or step == config.codec_steps:
            codec.eval()
            held = episodes.frames(episodes.held_out, slice(None, None, 37)).to(device)
            with torch.no_grad():
                psnr = decibels(codec.decode(codec.encode(held)), held).mean()
            codec.train()
            seconds = time.monotonic() - started
            tell({"event": "codec", "step": step, "loss": loss.item(), "psnr": psnr.item(), "seconds": seconds})
    codec.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def decibels(made: Tensor, truth: Tensor) -> Tensor:
    """PSNR of each frame, (b, f), for frames (b, f, 3, h, w) in [-1, 1]."""
    return -10 * (made - truth).div(2).square().mean((2, 3, 4)).clamp_min(1e-10).log10()


@torch.no_grad()
def encode_all(
    config: TrainConfig, codec: Codec, frames: np.ndarray, folder: Path, device: torch.device, tell: Report
) -> np.ndarray:
    """Latents (episodes, f, c, h, w) of a folder's frames in half precision, memory-mapped.

    frames: uint8 (episodes, f, h, w, 3)
    They are kept beside the data, one file a codec, for every run that shares it. An interrupted run resumes.
    """
    c = codec.config
    shape = (*frames.shape[:2], c.channels, c.height // 8, c.width // 8)
    weights = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in codec.state_dict().values()))
    path = folder / f"latents-{weights.hexdigest()[:12]}.npy"
    part, count = path.with_suffix(".part"), path.with_suffix(".count")
    done, kept = 0, None
    with suppress(OSError, ValueError, EOFError):  # a file that was cut is written again
        kept = np.load(path, mmap_mode="r")
        if kept.shape[1:] == shape[1:] and len(kept) >= shape[0]:
            return kept[: shape[0]]
    with suppress(OSError, ValueError, EOFError):
        if np.load(part, mmap_mode="r").shape == shape:
            done = int(count.read_text())
    latents = np.lib.format.open_memmap(part, "r+" if done else "w+", np.float16, None if done else shape)
    if kept is not None and kept.shape[1:] == shape[1:] and done < len(kept):  # the folder has grown since
        done = len(kept)
        latents[:done] = kept
    for i in range(done, shape[0]):
        pictures = to_tensor(np.asarray(frames[i])).unsqueeze(0).to(device)
        with autocast(config, device):
            latents[i] = codec.encode(pictures)[0].half().cpu().numpy()
        if i % 50 == 0:
            latents.flush()
            count.write_text(f"{i + 1}\n")
            tell({"event": "encode", "step": i, "of": shape[0]})
    latents.flush()
    part.rename(path)
    count.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


@torch.no_grad()
def translated(
    weights: dict[str, Tensor], before: Codec, codec: Codec, episodes: Episodes, config: TrainConfig
) -> dict[str, Tensor]:
    """Weights of a VideoDiT whose latents come from another codec than those that it was trained on.

    What reads or writes tokens of latents passes a linear map between tokens of both codecs, fitted by least squares.
    before: the codec of `weights`; codec: the one to translate to
    """
    draw = np.random.default_rng((config.seed, 2))
    frames = torch.cat([episodes.random_frames(128, draw) for _ in range(8)]).to(next(codec.parameters()).device)
    tokens = []
    for each in (before, codec):
        cut = replace(config.network, channels=each.config.channels)
        latents = torch.cat([each.encode(part) for part in frames.split(64)])
        tokens.append(cut.patchify(latents).flatten(0, 2))  # (n, features)
    old, new = tokens
    one = torch.ones_like(new[:, :1])
    into = torch.linalg.lstsq(torch.cat((new, one), 1), old).solution  # (new features + 1, old features)
    back = torch.linalg.lstsq(torch.cat((old, one), 1), new).solution
    out = dict(weights)
    for name in ("embed", "compression.frame"):  # embed reads a frame beside the one before it
        if f"{name}.weight" in weights:
            parts = weights[f"{name}.weight"].split(old.shape[1], 1)
            out[f"{name}.weight"] = torch.cat([part @ into[:-1].T for part in parts], 1)
            out[f"{name}.bias"] = weights[f"{name}.bias"] + sum(part @ into[-1] for part in parts)
    out["head.weight"] = back[:-1].T @ weights["head.weight"]
    out["head.bias"] = back[:-1].T @ weights["head.bias"] + back[-1]
    return out


def optimizers(config: TrainConfig, network: VideoDiT, device: torch.device) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside blocks, AdamW for the rest; the trunk's learning rates are a part of memory's."""
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, weight in network.named_parameters():
        inside = "blocks" in name and weight.ndim == 2 and ".drive." not in name
        kinds.setdefault((inside, name.startswith(MEMORY)), []).append(weight)

    def groups(inside: bool) -> list[dict[str, Any]]:
        found = [(of_memory, kinds.get((inside, of_memory), [])) for of_memory in (False, True)]
        return [{"params": own, "part": 1.0 if late else config.trunk_lr} for late, own in found if own]

    return [
        Muon(groups(True), config.matrix_lr, half=halved(config, device)),
        torch.optim.AdamW(groups(False), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Timer:
    """The time of a run that `minutes` limits: how far the run is, and when it has to end to be saved in time.

    started: when the run began, in seconds of `time.monotonic`
    """

    def __init__(self, config: TrainConfig, started: float):
        self.config, self.started, self.limit = config, started, 60 * config.minutes
        self.last, self.step, self.save = time.monotonic(), 0.0, 0.0  # seconds of a step and of a save

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, without those between a stop and `--resume`."""
        return time.monotonic() - self.started

    @property
    def end(self) -> float:
        """Seconds after which no step is taken, so that there is time for a save."""
        return self.limit - (1.2 * self.save or 0.1 * self.limit)

    def place(self, step: int) -> float:
        """Where the learning rate stands, from 0 to `steps`: at the step, or further where the time is shorter."""
        if not self.limit:
            return step
        return max(step, self.config.steps * min(1.0, self.elapsed / max(self.end, 1e-9)))

    def count_step(self) -> bool:
        """Time a step; whether there is no time for another."""
        now = time.monotonic()
        self.step, self.last = max(0.9 * self.step, now - self.last), now  # the first may compile, and is forgotten
        return self.limit > 0 and self.elapsed + self.step >= self.end

    def count_save(self) -> None:
        """Time a save, which came after a step."""
        now = time.monotonic()
        self.save, self.last = max(self.save, now - self.last), now


def speed(config: TrainConfig, step: int, place: float | None = None) -> float:
    """Learning rate at a step, as a part of its largest; `place` where the schedule stands there, if not at `step`."""
    falling = (config.steps - (step if place is None else place)) / max(1.0, config.decay * config.steps)
    return max(0.0, min(1.0, (step + 1) / config.warmup, falling))


def draw_levels(config: TrainConfig, count: int, window: int, generator: torch.Generator) -> Tensor:
    """Levels (b, window): each frame its own, all alike, or rising along the window, as presets ask for."""
    levels = logit_normal((count, window), config.level_mean, config.level_std, generator)
    kind = torch.rand(count, 1, generator=generator)
    levels = torch.where(kind < 0.5, levels[:, :1], torch.where(kind < 0.75, levels.sort(1).values, levels))
    pure = torch.rand(count, 1, generator=generator) < config.pure_noise
    return torch.where(pure, 1.0, levels)


class Cut:
    """One step's clips as the network sees them: places known, memory compressed, context noised."""

    def __init__(self, network: VideoDiT, config: TrainConfig, batch: Batch, context: int, generator: torch.Generator):
        b, device = len(batch.first), batch.clip.device
        keep = (torch.rand(b, 1, 1, generator=generator) >= config.drop_actions).to(device)
        actions = batch.actions * keep
        places = network.locate(actions, torch.zeros(b, 3, device=device))  # (b, episode, 3)
        row = torch.arange(b, device=device).unsqueeze(1)
        times = batch.first.unsqueeze(1) + torch.arange(batch.clip.shape[1], device=device)
        self.network, self.context = network, context
        self.reach = batch.reach.view(b, 1)
        self.clip, self.actions = batch.clip, actions[row, times]
        before = (batch.first - 1).clamp_min(0)
        # frames before the clip's first: an episode's own first frame was led into by no action
        self.origin = places[row[:, 0], before] * (batch.first > 0).unsqueeze(1)
        self.groups, self.frames, self.all_actions, self.places = batch.groups, batch.frames, actions, places
        noised = torch.rand(b, 1, generator=generator) < 0.5
        level = config.context_noise * torch.rand(b, 1, generator=generator) * noised
        self.noise_level = level.to(device)
        self.reported = torch.where(noised, level.clamp_min(1e-3), config.sampling.stabilization).to(device)

    def predictor(self, network: VideoDiT, shown: Tensor, reported: Tensor, window: int) -> Predict:
        """What a network says of noisy windows (b, k * window, c, h, w) after the clip as it is shown."""
        remembered = network.remember(self.memory(network))

        def predict(noisy: Tensor, levels: Tensor) -> Tensor:
            made = network.rehearse(shown, reported, noisy, levels, self.actions, self.origin, remembered, window)
            return made.float()

        return predict

    def memory(self, network: VideoDiT) -> Memory:
        """Every group as a network compresses it; gradients flow through it."""
        b, groups = self.frames.shape[:2]
        memory = network.forget(b, self.clip.device)
        if groups == 0:
            return memory
        row = torch.arange(b, device=self.clip.device).view(b, 1, 1)
        actions, places = self.all_actions[row, self.frames], self.places[row, self.frames]  # (b, G, g, .)
        tokens = network.compress(self.groups.flatten(0, 1), actions.flatten(0, 1), places.flatten(0, 1))
        # numbered backwards from the context: -1 is the group that left it last
        numbers = (self.frames[..., 0] - self.reach) // network.config.group  # (b, G)
        instants = groups * memory.instants
        return replace(
            memory,
            tokens=tokens.unflatten(0, (b, groups)),
            actions=melt(actions.flatten(1, 2), instants),
            places=melt(places.flatten(1, 2), instants),
            numbers=numbers,
        )

    def show(self, diffusion: FlowMatching, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The clip as the past of its windows, slightly noised, and the levels (b, f) reported for it."""
        noise = torch.randn(self.clip.shape, generator=generator).to(self.clip.device)
        f = self.clip.shape[1]
        return diffusion.add_noise(self.clip, noise, self.noise_level.expand(-1, f)), self.reported.expand(-1, f)

    @torch.no_grad()
    def replace_by_own(self, diffusion: FlowMatching, frames: int, steps: int, generator: torch.Generator) -> None:
        """Exchange `frames` frames after the context for what the network makes of them, and slide past them."""
        f, remembered = self.context, self.network.remember(self.memory(self.network))
        shown, reported = (part[:, :f] for part in self.show(diffusion, generator))
        past = self.network.look_back(shown, reported, self.actions[:, :f], self.origin, remembered)
        window = torch.randn(self.clip[:, :frames].shape, generator=generator).to(self.clip.device)
        driven = self.actions[:, self.context : self.context + frames]

        def predict(noisy: Tensor, levels: Tensor) -> Tensor:
            return self.network(noisy, levels, driven, past).float()

        for m in range(steps):
            now = torch.full(window.shape[:2], 1 - m / steps, device=window.device)
            window = euler(diffusion, predict, window, now, now - 1 / steps)
        end = self.context + frames
        self.clip = torch.cat((self.clip[:, frames : self.context], window, self.clip[:, end:]), 1)
        slid = self.network.locate(self.actions[:, :frames], self.origin)
        self.origin, self.actions = slid[:, -1], self.actions[:, frames:]


def step_loss(
    network: VideoDiT,
    config: TrainConfig,
    episodes: Episodes,
    step: int,
    device: torch.device,
    teacher: Teacher | None = None,
    place: float | None = None,
) -> Tensor:
    """The loss of one step; all its randomness comes from the seed and the step.

    place: where the step stands in the run, from 0 to `steps`; None: at its number
    """
    draw = np.random.default_rng((config.seed, 1, step))
    generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
    early = (step if place is None else place) < config.early * config.steps
    window = teacher.schedule.window if teacher else int(draw.choice(config.windows))
    context = int(draw.choice(config.contexts))
    groups, own = 0, 0
    if not early:
        if config.network.fusion != "none":
            groups = int(draw.choice(config.groups))
        if draw.random() < config.own_frames:
            context = config.sampling.context
            own = min(context, int(draw.choice((4, 8))))
    windows = max(1, (config.clip_frames - context) // window)
    count = max(1, config.frames // (context + windows * window))
    batch = episodes.draw(
        draw, count, context, own, windows * window, groups, config.network.group, config.revisit, config.turn
    )
    batch = Batch(*(getattr(batch, f.name).to(device) for f in fields(Batch)))

    diffusion = config.diffusion
    if teacher:
        levels, after = teacher.draw(count * windows, generator)
    else:
        levels = after = draw_levels(config, count * windows, window, generator)
    levels, after = (part.to(device).reshape(count, -1) for part in (levels, after))
    with autocast(config, device):
        cut = Cut(network, config, batch, context, generator)
        if own:
            cut.replace_by_own(diffusion, own, int(draw.choice((1, 2))), generator)
        shown, reported = cut.show(diffusion, generator)
        clean = cut.clip[:, context:]
        noisy = diffusion.add_noise(clean, torch.randn(clean.shape, generator=generator).to(device), levels)
        prediction = cut.predictor(network, shown, reported, window)(noisy, levels)
        if teacher:
            with torch.no_grad():
                predict = cut.predictor(teacher.model.network, shown, reported, window)
                clean = teacher.estimate(predict, noisy, levels, after)
    return diffusion.loss(prediction, noisy, clean, levels).mean()


class Trainer:
    """A network, its moving average and its optimisers; `step` fits it to one batch."""

    def __init__(
        self,
        config: TrainConfig,
        network: VideoDiT,
        episodes: Episodes,
        device: torch.device,
        teacher: Teacher | None = None,
    ):
        self.config, self.network, self.episodes, self.device, self.teacher = config, network, episodes, device, teacher
        self.average = deepcopy(network).requires_grad_(False)
        self.optimizers = optimizers(config, network, device)
        if config.compile:
            for block in network.blocks:
                block.compile(dynamic=True)

    def step(self, number: int, place: float | None = None) -> tuple[float, float]:
        """Fit the network to the batch of a step, counted from 1; returns its loss and the norm of its gradient.

        place: where the step stands in the run, from 0 to `steps`; None: at its number
        Raises: NumericError where the loss is not finite
        """
        config = self.config
        for optimizer, lr in zip(self.optimizers, (config.matrix_lr, config.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * speed(config, number, place) * group["part"]
        loss = step_loss(self.network, config, self.episodes, number, self.device, self.teacher, place)
        if not torch.isfinite(loss):
            raise NumericError(f"The loss is {loss.item()} at step {number}.", hint="Lower matrix_lr and lr.")
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            # weights taken from elsewhere are a good average already, unless they are for another codec
            begun = bool(config.start) and not config.new_codec
            weight = config.ema if begun else min(config.ema, (1 + number) / (10 + number))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - weight)
        return loss.item(), norm.item()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes up."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where another one was."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def train_network(
    config: TrainConfig,
    network: VideoDiT,
    codec: Codec,
    episodes: Episodes,
    device: torch.device,
    state: dict[str, Any],
    out: Path,
    tell: Report,
    teacher: Teacher | None,
    timer: Timer,
) -> Path:
    """Fit the network to latents, keeping a moving average of its weights."""
    trainer = Trainer(config, network, episodes, device, teacher)
    begun, spent = state.get("step", 0), state.get("seconds", 0.0)
    if begun:
        trainer.load_state_dict(state)
    started, running = time.monotonic() - spent, list(state.get("running", ()))

    def keep(step: int, seconds: float) -> Model:
        own = {"actions": list(episodes.names), "fps": episodes.fps}
        record = {"steps": step, "hours": round(seconds / 3600, 2), "device": str(device), "seed": config.seed}
        model = Model(
            network=trainer.average,
            codec=codec,
            diffusion=config.diffusion,
            sampling=config.sampling,
            card={"name": config.name, **own, **config.card, "training": record},
        )
        save(model, out / "checkpoint")
        return model

    if begun and steps_of(out / "checkpoint") != begun:  # the run was broken off between its state and its checkpoint
        keep(begun, spent)
    over = begun > 0 and timer.limit > 0 and state.get("over") == config.minutes
    for step in range(begun + 1, config.steps + 1):
        if over:
            break
        loss, norm = trainer.step(step, timer.place(step))
        running.append(loss)
        if step % 20 == 0:
            tell(
                {
                    "event": "step",
                    "step": step,
                    "loss": sum(running) / len(running),
                    "norm": norm,
                    "seconds": time.monotonic() - started,
                }
            )
            running = []
        over = timer.count_step()
        if step % config.every == 0 or step == config.steps or over:
            seconds = time.monotonic() - started
            state = {
                "codec": codec.state_dict(),
                **trainer.state_dict(),
                "step": step,
                "seconds": seconds,
                "running": running,  # losses that are told together with later ones
                "elapsed": timer.elapsed,
                "over": config.minutes if over else 0.0,  # the limit that ended it
            }
            save_state(out / "state.pt", state)
            model = keep(step, seconds)
            tell({"event": "held-out", "step": step, **held_out(model, episodes, out / f"sheet-{step:06d}.png")})
            timer.count_save()
    return out / "checkpoint"


def steps_of(folder: Path) -> int | None:
    """After how many steps a run's checkpoint was saved; None where it is not whole."""
    try:
        verify(folder)
        return registry.read_config(folder)["training"]["steps"]
    except (CheckpointError, IntegrityError, KeyError, TypeError):
        return None


@torch.no_grad()
def held_out(model: Model, episodes: Episodes, sheet: Path, prompt: int = 64, length: int = 32) -> dict[str, Any]:
    """Continue held-out episodes with their true actions: PSNR by frame, and a sheet of truth above made."""
    model.network.eval()
    device = next(model.network.parameters()).device
    rows = episodes.held_out
    frames = episodes.pictures.shape[1]
    middle = frames // 2
    prompt, length = min(prompt, middle), min(length, frames - middle)
    clip = episodes.frames(rows, slice(middle - prompt, middle + length))
    actions = episodes.one_hot(rows)[:, middle - prompt : middle + length].to(device)
    schedule, sampling = choose(model.sampling)
    state = begin(model, sampling, clip[:, :prompt], actions[:, :prompt])
    made = torch.cat(
        list(generate(model, schedule, sampling, state, given(actions[:, prompt:]), seed=0, length=length)), 1
    ).cpu()
    truth = clip[:, prompt:]

    def psnr(frames: Tensor) -> list[float]:
        scores = decibels(frames, truth).mean(0)
        return [round(scores[a:b].mean().item(), 2) for a, b in SPANS if a < length]

    pairs = torch.stack((truth[:, ::2], made[:, ::2]), 1).flatten(0, 1)  # (2 b, f, 3, h, w)
    contact_sheet(to_bytes(pairs.flatten(0, 1)), pairs.shape[1], sheet)
    model.network.train()
    return {"psnr": psnr(made), "repeat": psnr(clip[:, prompt - 1 : prompt].expand_as(truth))}
