"""From what a user asks for to a session that can start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..errors import UsageError
from ..hub import registry
from ..record.environment import Argument, Wish
from ..runs import job
from ..runs.events import Note, OnEvent, Warning_, ignore
from ..runs.inputs import usable
from ..runs.request import Machine, PromptSource
from ..sampling import generation
from ..sampling.config import Plan, Sampling
from ..sampling.model import Model
from ..sampling.schedules import describe, parse_schedule
from ..worlds import table
from ..worlds.world import World
from .controls import IDLE, Controls
from .game import GamePlayer
from .player import ModelPlayer, TruePlayer, WorldPlayer
from .policy import FILE, HUMAN, RANDOM, Driver, random_walk, read_file
from .recorder import Recipe, Recorder
from .session import Cast, Session, SessionSettings
from .start import NOTHING, Load, Start, from_episodes, from_file, nothing


@dataclass(frozen=True)
class PlayRequest:
    """All that a play is asked for."""

    model: str  # folder, short name, or owner/name[@revision]
    seed: int
    prompts: tuple[str, ...] = ()  # clips and images to begin from, the first of them at first
    prompt_actions: str | None = None  # that led into their frames; None: the file beside each, if there is one
    data: str | None = None  # folder of episodes to begin from
    chosen: Mapping[str, object] = field(default_factory=dict)  # settings of sampling, as in `generation.choose`
    low_latency: bool = False  # the smallest chunk that the checkpoint's schedule allows
    truth: str | None = None  # world or environment that is moved by the same actions
    versus: str | None = None  # second model under the same actions
    policy: str = HUMAN  # human, random, or a file of actions
    record: Path | None = None  # folder for a recording
    speed: float = 1.0  # times the model's own rate
    paused: bool = False
    machine: Machine = field(default_factory=Machine)
    arguments: tuple[tuple[str, Argument], ...] = ()  # of an environment as the truth


def open_session(request: PlayRequest, on_event: OnEvent = ignore) -> Session:
    """Load the model of a request, and what is beside it.

    Raises: UsageError, InputError where something cannot be read or does not fit; OutputExistsError
    """
    model, machine = job.load(registry.resolve(request.model), with_threads(request.machine), on_event)
    chosen = dict(request.chosen) | (
        quickest(model.sampling, model.card, request.chosen) if request.low_latency else {}
    )
    plan = choose_plan(request.model, model, chosen, on_event)
    if not model.actions:
        on_event(Note(f"{request.model} has no actions, so it can be watched but not driven."))
    main = ModelPlayer(model, plan)
    truth = find_truth(request, model, plan, on_event)
    other = find_other(request, model, machine, on_event) if request.versus else None
    starts = find_starts(request, model, plan, truth, on_event)
    recipe = Recipe(request.model, plan, chosen, machine)
    return Session(
        Cast(main, truth, other),
        find_driver(request, model, truth),
        model.fps,
        (model.codec.config.height, model.codec.config.width),
        starts,
        SessionSettings(request.seed, request.speed, request.paused),
        Recorder(request.record, model, recipe) if request.record else None,
    )


def with_threads(machine: Machine) -> Machine:
    """A machine with a number of threads: all cores but one, which draws what the model makes, where none is chosen.

    Two threads of a small network, and a browser, on two cores took 128 ms a frame, one thread and the browser 80 ms.
    """
    return machine if machine.threads else replace(machine, threads=max(1, torch.get_num_threads() - 1))


def quickest(sampling: Sampling, card: Mapping[str, object], chosen: Mapping[str, object]) -> dict[str, object]:
    """Settings under which keys are obeyed soonest: next-frame where the model was trained for it, else chunk 1.

    chosen: what is chosen by name, which stays
    """
    presets = card.get("presets", [])
    if "schedule" not in chosen and "chunk" not in chosen and isinstance(presets, list) and "next-frame" in presets:
        return {"schedule": "next-frame"}
    name, options = parse_schedule(str(chosen.get("schedule", sampling.schedule)))
    if "chunk" in chosen or "chunk" in options or Path(name).suffix or "chunk" not in describe(name).options:
        return {}
    return {"chunk": 1}


def choose_plan(name: str, model: Model, chosen: Mapping[str, object], on_event: OnEvent) -> Plan:
    """How a model is sampled, with a warning where it was not trained for that."""
    plan = generation.choose(model.sampling, **chosen)
    trained = model.card.get("presets", [])
    if "schedule" in chosen and trained and plan.sampling.schedule not in trained:
        words = f"{name} was not trained for the schedule {plan.sampling.schedule}, but for {', '.join(trained)}."
        on_event(Warning_(words))
    for words in (*generation.beyond_training(model.sampling, plan), *generation.without_effect(model, plan, chosen)):
        on_event(Warning_(words))
    return plan


def is_environment(name: str) -> bool:
    """Whether a name is one of an environment, such as CarRacing-v3, ALE/Pong-v5 or module:Name-v0, not of a world."""
    return bool(set(name) & set("-/:"))


def find_world(name: str, model: Model) -> World:
    """The true world of a model; raises UsageError where no world is called so, or it has other actions."""
    if name not in table.WORLDS and name not in table.VARIANTS:
        known = ", ".join((*table.WORLDS, *table.VARIANTS))
        hint = f"Choose from: {known}; or an environment such as CarRacing-v3."
        raise UsageError(f"No world is called {name!r}.", hint=hint)
    moves, size = getattr(model.network.config, "moves", ()), model.codec.config.height
    return table.find(model.card.get("world", {}), size, moves, None if name in table.WORLDS else name)


def find_truth(request: PlayRequest, model: Model, plan: Plan, on_event: OnEvent) -> TruePlayer | None:
    """The world of a request, in which a play begins with as many frames as the model can use; None without one.

    An environment's play begins with as many as the model sees as they are, as games may be short.
    """
    if request.arguments and not is_environment(request.truth or ""):
        raise UsageError("--env-arg sets an argument of an environment.", hint="Name it with --truth.")
    if request.truth is None:
        return None
    if request.prompts or request.data:
        raise UsageError(
            "With --truth a play begins in the true world, so it takes no other start.",
            hint="Leave out --prompt-frames and --data.",
        )
    if not model.actions:
        raise UsageError("The model has no actions, so no true world can follow it.", hint="Leave out --truth.")
    if not is_environment(request.truth):
        world = find_world(request.truth, model)
        return WorldPlayer(world, model.actions, plan.schedule.chunk, usable(model, plan.sampling))
    size = (model.codec.config.height, model.codec.config.width)
    wish = Wish(request.truth, request.arguments)
    game = GamePlayer(wish, model.actions, model.fps, size, plan.schedule.chunk, plan.sampling.context)
    if abs(game.fps - model.fps) > 0.05 * model.fps:
        on_event(Note(f"{wish.name} shows {game.fps:.3g} frames/s; they are shown at the model's {model.fps:.3g}."))
    return game


def find_other(request: PlayRequest, model: Model, machine: Machine, on_event: OnEvent) -> ModelPlayer:
    """The second model of a request, under its own sampling; raises UsageError where it has none of the actions."""
    assert request.versus is not None
    other, _ = job.load(registry.resolve(request.versus), machine, on_event)
    if model.actions and not set(model.actions) & set(other.actions):
        raise UsageError(
            f"{request.versus} has none of the actions of {request.model}.",
            hint=f"It has: {', '.join(other.actions) or 'none at all'}.",
        )
    if other.fps != model.fps:
        on_event(Note(f"{request.versus} makes {other.fps:g} frames/s; it is shown at {model.fps:g}."))
    return ModelPlayer(other, choose_plan(request.versus, other, {}, on_event), model.actions)


def find_starts(
    request: PlayRequest, model: Model, plan: Plan, truth: TruePlayer | None, on_event: OnEvent
) -> dict[str, Load]:
    """Where a play can begin, by name; clips and images are read now."""
    if truth is not None:
        return {str(request.truth): truth.start}
    starts: dict[str, Load] = {}
    for path in request.prompts:
        read = from_file(PromptSource(path, actions=request.prompt_actions), model, plan, on_event)
        name = Path(path).name
        starts[path if name in starts else name] = always(read)
    if request.data:
        starts |= from_episodes(Path(request.data), model, plan)
    return starts | {NOTHING: always(nothing(model))}


def always(start: Start) -> Load:
    """The same start, whatever the seed."""
    return lambda seed: start


def find_driver(request: PlayRequest, model: Model, truth: TruePlayer | None) -> Driver:
    """Who acts."""
    controls = Controls(one=one_at_a_time(model) or (isinstance(truth, GamePlayer) and truth.one))
    draw = random_walk(model) if model.actions else None
    if request.policy in (HUMAN, RANDOM):
        policy = request.policy if model.actions else HUMAN
        return Driver(controls, model.actions, draw, None, policy)
    return Driver(controls, model.actions, draw, read_file(request.policy, model), FILE)


def one_at_a_time(model: Model) -> bool:
    """Whether a model was trained on one action per frame.

    Its card says so, or what it has of the walks in the data; or it moves by steps, or has a `stay`.
    """
    if isinstance(said := model.card.get("one_action"), bool):
        return said
    if isinstance(walk := model.card.get("walk"), Mapping) and walk:
        return not any(set(phrase) & set("+=") for phrase in walk)
    return bool(getattr(model.network.config, "moves", ())) or bool(set(IDLE) & set(model.actions))
