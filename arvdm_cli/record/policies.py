"""Who plays: random actions that are held, a script, a function of the user's own, or a trained agent.

A policy is begun once for each episode with a seed, so an episode depends on nothing that was played before it.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ..actions import files, formats
from ..configs import import_named
from ..errors import ActionError, UsageError
from .environment import blame, import_package
from .game import Game

Act = Callable[[object], np.ndarray]  # observation -> row of an action (a,)
Begin = Callable[[int], Act]  # seed of the episode -> who plays it


@dataclass(frozen=True)
class Policy:
    """Which policy plays; it is loaded by the process that needs it."""

    name: str = "random"  # random, an action file, module:NAME, or a .zip of Stable-Baselines3
    hold: float = 3.0  # mean number of actions in a run of equal ones, for random play
    digest: str | None = None  # of its file

    def load(self, game: Game) -> Begin:
        """Prepare it for a game; raises a UsageError where it does not fit."""
        for known, load in LOADERS.items():
            if known(self.name):
                return load(self, game)
        raise UsageError(
            f"{self.name!r} is not a policy.",
            hint="Choose random, an action file such as actions.jsonl, module:NAME, or a .zip of Stable-Baselines3.",
        )


def choose(name: str, hold: float = 3.0, trust: bool = False) -> Policy:
    """Check a policy before anything is played.

    trust: whether a file may be loaded that runs code
    """
    if hold < 1:
        raise UsageError(f"hold is {hold:g}.", hint="Choose 1 or more actions.")
    if name.endswith(".zip") and not trust:
        raise UsageError(
            f"{name!r} is an agent of Stable-Baselines3, whose file can run any code as it is loaded.",
            hint="Use --trust if you know where it comes from.",
        )
    if not _is_file(name):
        return Policy(name, hold)
    if not Path(name).is_file():
        raise UsageError(f"There is no file {name!r}.")
    with Path(name).open("rb") as file:
        return Policy(name, hold, hashlib.file_digest(file, "sha256").hexdigest())


def _is_file(name: str) -> bool:
    return name.endswith(".zip") or _is_script(name)


def _is_script(name: str) -> bool:
    return Path(name).suffix in formats.FORMATS


def _random(policy: Policy, game: Game) -> Begin:
    """Draw actions, each held for a geometric time: single-step noise shows nothing of what holding a key does."""

    def begin(seed: int) -> Act:
        rng = np.random.default_rng(seed)
        row: np.ndarray | None = None

        def act(observation: object) -> np.ndarray:
            nonlocal row
            if row is None or rng.random() < 1 / policy.hold:
                row = game.actions.row(game.actions.part.draw(rng))
            return row

        return act

    return begin


def _script(policy: Policy, game: Game) -> Begin:
    """Take the rows of an action file in their order, from its first again after its last."""
    rows = files.read(policy.name, game.actions.names, fps=game.fps)
    for number, row in enumerate(rows):
        if not row.any() and not game.actions.part.idle:
            raise ActionError(
                f"Row {number} of {policy.name!r} is an unknown action.", hint="Give every row an action."
            )

    def begin(seed: int) -> Act:
        taken = -1

        def act(observation: object) -> np.ndarray:
            nonlocal taken
            taken += 1
            return _exact(rows[taken % len(rows)], game)

        return act

    return begin


def _exact(row: np.ndarray, game: Game) -> np.ndarray:
    """Give the row of what is done by a row of a script; `reset` alone is one, too."""
    if row[-1]:
        return game.actions.reset
    return game.actions.row(game.actions.action(row))


def _function(policy: Policy, game: Game) -> Begin:
    """Call `NAME(space, seed)` of a module for each episode; it gives a function from observation to action."""
    make = cast("Callable[[object, int], Act]", import_named(policy.name, "policy"))

    def begin(seed: int) -> Act:
        with blame(policy.name):
            act = make(game.space, seed)

        def row(observation: object) -> np.ndarray:
            with blame(policy.name):
                return game.actions.row(act(observation))

        return row

    return begin


# The keys in an agent's file that only one algorithm of Stable-Baselines3 has, in the order in which they are asked for
ALGORITHMS = {
    "TD3": "target_policy_noise",
    "SAC": "target_entropy",
    "DQN": "exploration_fraction",
    "PPO": "clip_range",
    "A2C": "gae_lambda",
}


def _agent(policy: Policy, game: Game) -> Begin:
    """Let an agent of Stable-Baselines3 act, drawing from its distribution of actions."""
    library = import_package("stable_baselines3", policy.name, "pip install stable-baselines3")
    try:
        with zipfile.ZipFile(policy.name) as archive:
            saved = json.loads(archive.read("data"))
        algorithm = next(name for name, key in ALGORITHMS.items() if key in saved)
    except (OSError, ValueError, KeyError, StopIteration, zipfile.BadZipFile) as error:
        raise UsageError(f"{policy.name!r} is not an agent of Stable-Baselines3: {error}.") from error
    agent = getattr(library, algorithm).load(policy.name, device="cpu")
    wanted, seen = agent.observation_space.shape, getattr(game.observation, "shape", ())
    if wanted is not None and sorted(wanted) != sorted(seen):
        raise UsageError(
            f"{policy.name!r} was trained on observations of shape {wanted}, not {seen}.",
            hint="Use the environment and the wrappers it was trained with; module:NAME can prepare observations.",
        )
    seed_all = library.common.utils.set_random_seed

    def begin(seed: int) -> Act:
        seed_all(seed)
        return lambda observation: game.actions.row(agent.predict(observation, deterministic=False)[0])

    return begin


LOADERS: dict[Callable[[str], bool], Callable[[Policy, Game], Begin]] = {
    lambda name: name == "random": _random,
    _is_script: _script,
    lambda name: name.endswith(".zip"): _agent,
    lambda name: ":" in name: _function,
}
