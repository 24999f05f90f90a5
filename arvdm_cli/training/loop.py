"""The training loop: first the codec, then the network on its latents."""

from __future__ import annotations

import json
import math
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..configs import table
from ..data.batches import Episodes, Joined, read_all
from ..errors import CheckpointError, ConfigError, IntegrityError, NumericError
from ..hub import registry
from ..hub.checkpoint import load, save, verify
from ..models.codec import Codec
from ..models.dit import VideoDiT
from ..sampling.generation import choose
from ..sampling.model import Model
from .codec import encode_all, train_codec, translated
from .config import Report, TrainConfig
from .distillation import Teacher
from .example import step_loss
from .optimizers import MEMORY, optimizers, speed
from .state import load_state, save_state
from .validation import held_out


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
        model, plan = load(registry.resolve(config.distill), device), choose(config.sampling)
        teacher = Teacher(model, plan.schedule, config.distill_steps)
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
        steps = table(registry.read_config(folder), "training").get("steps")
    except (CheckpointError, ConfigError, IntegrityError):
        return None
    return steps if isinstance(steps, int) else None
