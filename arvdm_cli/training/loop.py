"""The training run: first the codec, then the network on its latents."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..configs import table
from ..data.array_folder import lock
from ..data.batches import Episodes, Joined, Part, digest, read_all
from ..device import choose_machine
from ..errors import ArvdmWarning, CheckpointError, ConfigError, IntegrityError, NumericError
from ..hub import registry
from ..hub.checkpoint import load, save, verify
from ..models import Architecture
from ..models.codec import Codec
from ..sampling.generation import choose
from ..sampling.model import Model
from ..workers import uninterrupted
from .check import check, fitted
from .codec import CodecTrainer, encode_all
from .config import TrainConfig
from .distillation import Teacher
from .events import EncodeReport, Event, Log, Metrics, Phase, Report, Saved, StepReport, Stopped
from .network import find_architecture
from .recipes import draw_batch
from .scales import scales_of
from .start import start_from
from .state import CodecProgress, TrainState
from .timer import Timer
from .trainer import Trainer
from .validation import SPANS, check_codec, validate
from .watch.data import doubts, measure, walk_from
from .watch.files import RunFiles, last_validation
from .watch.pace import OnProgress, Pace, Stage
from .watch.tensorboard import TensorBoard
from .watch.verdict import ignores_actions

STATE, METRICS, CHECKPOINT = "state.pt", "metrics.jsonl", "checkpoint"  # in the folder of a run
EVERY = 20  # steps of the network whose losses are reported together
CODEC_EVERY = 100  # steps of the codec between two reports
Where = tuple[Phase, int]  # a phase of a run, and steps taken in it


def train(config: TrainConfig, resume: bool, report: Report, on_progress: OnProgress = lambda progress: None) -> Path:
    """Train codec and network; returns the checkpoint's folder.

    A signal (Ctrl-C, SIGTERM) that raises an exception here ends the run after it has saved its state.

    report: called with each event; measurements are also written to metrics.jsonl
    on_progress: called after each step
    Warns with an ArvdmWarning where the data or the codec keep a model from being good, or it ignores actions.
    Raises: ConfigError before the first step where the settings cannot work; NumericError where a loss is not finite
    """
    timer, out = Timer(config), Path(config.out)
    with lock(out):
        state = TrainState.load(out / STATE) if resume else None
        if state:
            timer = Timer(config, state.elapsed)
        parts = prepare(config, state)
        logs: list[Log] = [TensorBoard(out, SPANS, state.step if state else None)] if config.log else []
        logs.append(Metrics(out / METRICS, state))
        pace = Pace(parts.config, parts.phases, state.elapsed if state else 0.0, on_progress)
        run = Run(parts, out, timer, logs, report, pace)
        run.warn(*(doubts(run.files.facts) if state is None else growth(state, parts.episodes)))
        try:
            run.fit_codec(state)
            run.fit_network(state)
        except (KeyboardInterrupt, SystemExit):
            run.stop()
            raise
        except NumericError as error:
            raise run.explained(error) from error
        finally:
            for log in logs:
                log.close()
    return out / CHECKPOINT


@dataclass(frozen=True)
class Parts:
    """What a run trains, and on what; all of it checked."""

    config: TrainConfig
    kind: Architecture
    device: torch.device
    episodes: Episodes
    network: nn.Module
    codec: Codec
    source: Model | None = None  # the checkpoint that the run starts from
    teacher: Teacher | None = None

    @property
    def trains_codec(self) -> bool:
        """Whether the codec is a new one."""
        return self.source is None or self.codec is not self.source.codec

    @property
    def phases(self) -> tuple[Stage, ...]:
        """Phases of the run, in their order."""
        return ("codec", "encode", "network") if self.trains_codec else ("encode", "network")


def growth(state: TrainState, episodes: Episodes) -> list[str]:
    """A sentence where the data has other episodes than when the state was saved."""
    now = len(episodes.pictures)
    if state.episodes in (0, now):  # 0: of a version that did not count them
        return []
    return [
        f"the data has {now} episodes and had {state.episodes} when this run was saved. The last ones are held out, so "
        "others are measured now, and the run may have been trained on some of them."
    ]


def prepare(config: TrainConfig, state: TrainState | None = None) -> Parts:
    """Read the data, check the settings, and make what is trained.

    state: of the run that is resumed
    Raises: ConfigError, DataError, CheckpointError
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    device, _ = choose_machine(name, "float32", config.threads)
    episodes = Episodes(read_all(config.data), config.held_out)
    source = load(registry.resolve(config.start), device) if config.start else None
    before = state.action_scales if state else None
    if source and config.start_network and not state:
        before = scales_of(source.network.config)
    config = fitted(config, episodes, before)
    check(config, episodes, source)
    torch.manual_seed(config.seed)
    codec = source.codec if source and not config.new_codec else Codec(config.codec).to(device)
    teacher = None
    if config.distill:
        model, plan = load(registry.resolve(config.distill), device), choose(config.sampling)
        teacher = Teacher(model, plan.schedule, config.distill_steps)
        teacher.check(config.distill, codec, config.network, config.diffusion)
    kind = find_architecture(config.architecture)
    torch.manual_seed(config.seed)  # whatever codec there is, the same network
    network = kind.network(config.network).to(device)
    return Parts(config, kind, device, episodes, network, codec, source, teacher)


class Run:
    """A training run: its parts, where it stands, and the files in its folder."""

    def __init__(self, parts: Parts, out: Path, timer: Timer, logs: list[Log], report: Report, pace: Pace):
        self.parts, self.config, self.out, self.timer = parts, parts.config, out, timer
        self.logs, self.listener, self.pace = logs, report, pace
        facts = measure(parts.episodes)
        self.files = RunFiles(parts.config, parts.episodes, facts, out / METRICS, out / CHECKPOINT, SPANS)
        self.names = tuple(map(str, self.config.card.get("actions", parts.episodes.names)))  # type: ignore[call-overload]
        self.walk = walk_from(parts.episodes, self.names)  # what `--actions random` does with the model
        self.validated = last_validation(out / METRICS)
        self.warned = False  # that the network ignores actions
        self.codec_trainer: CodecTrainer | None = None  # while the codec is trained
        self.trainer: Trainer | None = None  # once the network is
        self.codec_ready = not parts.trains_codec
        self.saved: Where | None = None  # where the run stood when its state was saved
        self.over = False  # whether its time has ended the run

    def tell(self, event: Event) -> None:
        """Write a measurement down and report it."""
        for log in self.logs:
            log.write(event)
        self.listener(event)

    def warn(self, *sentences: str) -> None:
        """Warn of what keeps the model from being good."""
        for sentence in sentences:
            warnings.warn(sentence, ArvdmWarning, stacklevel=3)

    def explained(self, error: NumericError) -> NumericError:
        """The error that ends the run, with the state that is left."""
        if not self.saved:
            return error
        phase, step = self.saved
        where = f"{'codec step' if phase == 'codec' else 'step'} {step}"
        message = f"{error} The state of {where} is kept in {self.out / STATE}."
        return NumericError(message, hint=f"{(error.hint or '').rstrip('.')}, then use --resume.")

    # The codec

    def fit_codec(self, state: TrainState | None) -> None:
        """Train the codec, unless it is the checkpoint's or a saved state has it."""
        parts = self.parts
        progress = state.codec_training if state else None
        if state:
            try:
                parts.codec.load_state_dict(state.codec)
            except RuntimeError as error:
                message = f"The saved state belongs to another codec: {str(error).splitlines()[0].rstrip('.:')}."
                raise CheckpointError(message, hint="Restore [codec], or leave out --resume.") from error
        if progress or (state is None and parts.trains_codec):
            self.train_codec(progress)
        self.codec_ready = True
        if state is None or progress:
            self.save()
        else:
            self.saved = "network", state.step
        parts.codec.eval().requires_grad_(False)

    def train_codec(self, progress: CodecProgress | None) -> None:
        """Train the codec from its first step, or from where it was stopped."""
        config, parts = self.config, self.parts
        trainer = CodecTrainer(config, parts.codec, parts.episodes, parts.device, progress)
        self.codec_trainer = trainer
        while trainer.taken < config.codec_steps:
            with uninterrupted():  # its chance comes from generators, so that half a step cannot be taken again
                loss = trainer.step()
            self.pace.count("codec", trainer.taken, config.codec_steps, loss)
            if trainer.taken % CODEC_EVERY == 0 or trainer.taken == config.codec_steps:
                self.tell(trainer.report(loss))
            if trainer.taken % config.every == 0 and trainer.taken < config.codec_steps:
                self.save()
        trainer.finish()

    # The network

    def fit_network(self, state: TrainState | None) -> None:
        """Fit the network to latents, keeping a moving average of its weights."""
        config, parts = self.config, self.parts
        if parts.source and config.start_network and not (state and state.step):
            start_from(parts.network, parts.source, parts.codec, parts.episodes, config)
        if not (state and state.step):
            self.warn(*check_codec(parts.codec, parts.episodes))
        parts.episodes.latents = Joined(
            [
                encode_all(config, parts.codec, part.frames, Path(folder), parts.device, self.report_encoded)
                for folder, part in parts.episodes.parts.items()
            ]
        )
        trainer = Trainer(config, parts.network, parts.device, parts.teacher)
        if state and state.step:
            trainer.resume(state)
            # a limit that is the same has ended the run already
            self.over = self.timer.limit > 0 and state.over == config.minutes
        self.trainer = trainer
        self.timer.begin_training(state.seconds if state else 0.0)
        if trainer.taken and steps_of(self.out / CHECKPOINT) != trainer.taken:  # it ended between state and checkpoint
            self.save_checkpoint()
        while trainer.taken < config.steps and not self.over:
            self.take_step(trainer)

    def report_encoded(self, event: Event) -> None:
        """Report how much of the data set is encoded."""
        assert isinstance(event, EncodeReport)
        self.tell(event)
        self.pace.count("encode", event.step + 1, event.of)

    def take_step(self, trainer: Trainer) -> None:
        """One step of the network, with the reports and the save that are due after it."""
        config, parts = self.config, self.parts
        step = trainer.taken + 1
        place = self.timer.place(step)
        window = parts.teacher.schedule.window if parts.teacher else None
        trainer.step(draw_batch(config, parts.episodes, step, place, parts.network, window), place)
        self.report_losses(trainer)
        self.over = self.timer.count_step()
        self.pace.count("network", step, config.steps, trainer.last)
        if step % config.every == 0 or step == config.steps or self.over:
            self.save()
            self.validate(self.save_checkpoint(), step, self.timer.share(step))
            self.timer.count_save()

    def validate(self, model: Model, step: int, share: float) -> None:
        """Measure and show how good the model is.

        share: of the training that is done
        """
        event = validate(model, self.parts.episodes, step, self.out / f"sheet-{step:06d}.png")
        self.tell(event)
        self.validated = event
        self.files.show(model, event)
        if ignores_actions(event, SPANS, share) and not self.warned:
            self.warned = True
            self.warn("the network ignores actions: true ones are no better than those of other episodes.")

    def report_losses(self, trainer: Trainer) -> None:
        """Report the losses since the last report, where one is due."""
        if trainer.running and trainer.taken % EVERY == 0:
            loss = sum(trainer.running) / len(trainer.running)
            with uninterrupted():  # no loss counts twice
                self.tell(StepReport(trainer.taken, loss, trainer.norm, self.timer.seconds))
                trainer.running.clear()

    # The files

    @property
    def where(self) -> Where | None:
        """Where the run stands; None before its codec is there."""
        if self.trainer:
            return "network", self.trainer.taken
        if self.codec_ready:
            return "network", 0
        return ("codec", self.codec_trainer.taken) if self.codec_trainer else None

    def state(self) -> TrainState:
        """All that is needed to resume the run from where it stands."""
        codec, count = self.parts.codec.state_dict(), len(self.parts.episodes.pictures)
        if self.trainer:
            over = self.config.minutes if self.over else 0.0
            state = self.trainer.state(codec, self.timer.seconds, self.timer.elapsed, over)
            return replace(state, episodes=count)
        progress = self.codec_trainer.progress() if self.codec_trainer and not self.codec_ready else None
        scales = scales_of(self.config.network)
        return TrainState(codec, progress, elapsed=self.timer.elapsed, action_scales=scales, episodes=count)

    def save(self) -> None:
        """Save the state."""
        assert self.where, "there is nothing to save yet"
        phase, step = self.where
        self.state().save(self.out / STATE)
        self.saved = phase, step
        self.listener(Saved(step, phase, str(self.out / STATE)))

    def save_checkpoint(self) -> Model:
        """Write the checkpoint: codec, averaged weights, and how they were trained."""
        assert self.trainer
        config, parts = self.config, self.parts
        hours = round(self.timer.seconds / 3600, 2)
        record = {"steps": self.trainer.taken, "hours": hours, "device": str(parts.device), "seed": config.seed}
        data = {"actions": list(self.names), "fps": parts.episodes.fps}
        data |= {"held_out": config.held_out, **identify(parts.episodes.parts)}  # so that these are measured
        data |= {"walk": self.walk} if self.walk else {}
        model = Model(
            network=self.trainer.average,
            codec=parts.codec,
            diffusion=config.diffusion,
            sampling=config.sampling,
            card={"name": config.name, **data, **config.card, "training": record},
        )
        save(model, self.out / CHECKPOINT, kind=parts.kind)
        self.files.describe(model, self.validated)
        return model

    def stop(self) -> None:
        """Save what was not saved yet, and report where the run stands; nothing before its first state."""
        if self.trainer:
            self.report_losses(self.trainer)
        if self.where and self.saved != self.where:
            self.save()
            if self.trainer and self.trainer.taken:
                self.save_checkpoint()
        if self.saved:
            phase, step = self.saved
            self.tell(Stopped(step, phase, str(self.out / STATE)))


def identify(parts: Mapping[str, Part]) -> dict[str, list[str]]:
    """What a card says of data folders: their names, without where they are, and what their episodes are known by."""
    return {
        "data_folders": [Path(folder).resolve().name for folder in parts],
        "data_digests": [digest(part) for part in parts.values()],
    }


def steps_of(folder: Path) -> int | None:
    """After how many steps a run's checkpoint was saved; None where it is not whole."""
    try:
        verify(folder)
        steps = table(registry.read_config(folder), "training").get("steps")
    except (CheckpointError, ConfigError, IntegrityError):
        return None
    return steps if isinstance(steps, int) else None
