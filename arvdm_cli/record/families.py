"""Families of environments: for each a line that says which names are its own and how one of them is opened.

An adapter opens an environment so that the recorded action is what was done, at a rate that is known. Source of most
defaults: what the environments do by themselves, which `docs/record.md` lists.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.util import Finalize

from ..errors import UsageError
from .actions import Actions, Buttons, Choice, Names, of_space
from .environment import USUAL_RATE, Opened, Wish, blame, import_package, usual_skip
from .old_interfaces import Crafter, Procgen

Opener = Callable[[Wish, str], Opened]  # (what is wanted, hint how to install it)


@dataclass(frozen=True)
class Family:
    """Environments that one adapter opens."""

    title: str
    names: str  # pattern of the environments' names
    open: Opener
    packages: tuple[str, ...]  # whose versions decide what is recorded
    hint: str  # how to install them
    sticky: bool = False  # whether actions can be made sticky


# What actions are called that an environment only numbers, by the beginning of its name
KNOWN: dict[str, tuple[Names, ...]] = {
    "CarRacing": (("steer", "gas", "brake"), ("none", "right", "left", "gas", "brake")),
    "LunarLander": (("main", "lateral"), ("none", "left", "main", "right")),
    "BipedalWalker": (("hip1", "knee1", "hip2", "knee2"),),
    "CartPole": (("left", "right"),),
    "MountainCarContinuous": (("push",),),
    "MountainCar": (("left", "none", "right"),),
    "Acrobot": (("negative", "none", "positive"),),
    "Pendulum": (("torque",),),
}


def _open_ale(wish: Wish, hint: str) -> Opened:
    """Open an Atari game: 60 frames a second, no action ignored unless asked.

    Many games draw some things in every other frame only, which a skip would lose or keep for good. So a frame blends
    the last two, as the phosphor of a screen does.
    """
    wish.refuse(frameskip="--skip", repeat_action_probability="--sticky")
    ale = import_package("ale_py", wish.name, hint)
    ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)
    skip = wish.skip or usual_skip(60)
    env = _make(wish, hint, frameskip=skip, repeat_action_probability=0.25 if wish.sticky else 0.0)
    env.unwrapped.ale.setBool("color_averaging", True)
    part = of_space(env.action_space, env.unwrapped.get_action_meanings())
    options = {"color_averaging": True, "repeat_action_probability": 0.25 if wish.sticky else 0.0}
    return Opened(env, Actions(part), env.action_space, 60, skip, options=options)


def _open_vizdoom(wish: Wish, hint: str) -> Opened:
    """Open a scenario of ViZDoom: 35 frames a second; its terminal observation is black, so it counts as none."""
    wish.refuse(frame_skip="--skip")
    import_package("vizdoom.gymnasium_wrapper", wish.name, hint)
    skip = wish.skip or usual_skip(35)
    env = _make(wish, hint, frame_skip=skip)
    doom = env.unwrapped
    _start_apart(env)
    buttons = [button.name for button in doom.game.get_available_buttons()]
    moved, pressed = buttons[: doom.num_delta_buttons], buttons[doom.num_delta_buttons :]
    if doom.max_buttons_pressed:  # each choice is a set of buttons
        pressed = [
            ".".join(name for name, held in zip(pressed, row, strict=True) if held) or "none" for row in doom.button_map
        ]
    names: Names = {"binary": pressed, "continuous": moved} if moved and pressed else moved or pressed
    part = of_space(env.action_space, names)
    return Opened(env, Actions(part), env.action_space, 35, skip, keys=("screen",), shows_end=False)


def _start_apart(env) -> None:
    """Start an engine in a folder of its own, as it leaves files in the current one when it starts and ends."""
    folder, here = tempfile.mkdtemp(prefix="arvdm-"), os.getcwd()
    Finalize(None, _clear, args=(env, folder), exitpriority=1)  # runs as a process of a pool ends, too
    os.chdir(folder)
    try:
        env.reset(seed=0)
    finally:
        os.chdir(here)


def _clear(env, folder: str) -> None:
    env.close()
    shutil.rmtree(folder, ignore_errors=True)


def _open_minigrid(wish: Wish, hint: str) -> Opened:
    """Open a grid world: view=agent shows what the agent sees, not the whole grid, and tile=N sets a cell's pixels."""
    given = dict(wish.arguments)
    view, tile = given.pop("view", "whole"), int(given.pop("tile", 8))
    if view not in ("whole", "agent"):
        raise UsageError(f"view is {view!r}.", hint="Choose from: whole, agent.")
    import_package("minigrid", wish.name, hint)
    wrappers = import_package("minigrid.wrappers", wish.name, hint)
    wrap = wrappers.RGBImgObsWrapper if view == "whole" else wrappers.RGBImgPartialObsWrapper
    env = wrap(_make(Wish(wish.name, tuple(given.items())), hint), tile_size=tile)
    part = of_space(env.action_space, [action.name for action in env.unwrapped.actions])
    return _repeating(env, part, wish, 10, keys=("image",), view=str(view), tile=tile)


def _open_miniworld(wish: Wish, hint: str) -> Opened:
    """Open a world of MiniWorld, drawn without a display."""
    import_package("pyglet", wish.name, hint).options["headless"] = True
    import_package("miniworld", wish.name, hint)
    env = _make(wish, hint)
    names = [action.name for action in env.unwrapped.actions]
    return _repeating(env, of_space(env.action_space, names[: env.action_space.n]), wish, _rate(env))


def _open_crafter(wish: Wish, hint: str) -> Opened:
    module = import_package("crafter", wish.name, hint)
    env = Crafter(module, reward=not wish.name.startswith("CrafterNoReward"), arguments=dict(wish.arguments))
    return _repeating(env, Choice(env.names), wish, 5)  # it has no clock; its own window shows 5 a second


def _open_procgen(wish: Wish, hint: str) -> Opened:
    module = import_package("procgen", wish.name, hint)
    game = wish.name.removeprefix("procgen/")
    known = module.env.ENV_NAMES
    if game not in known:
        raise UsageError(f"procgen has no game {game!r}.", hint=f"Choose from: {', '.join(known)}.")
    env = Procgen(module, game, dict(wish.arguments))
    return _repeating(env, Choice(env.names), wish, 15, shows_end=False)  # a game ends and begins in one step


def _open_retro(wish: Wish, hint: str) -> Opened:
    """Open a game of stable-retro: 60 frames a second, and every set of buttons reaches it as it was recorded."""
    retro = import_package("stable_retro", wish.name, hint)
    game = wish.name.removeprefix("retro/")
    try:
        env = retro.make(
            game, render_mode="rgb_array", use_restricted_actions=retro.Actions.ALL, **dict(wish.arguments)
        )
    except Exception as error:  # of many kinds: no such game, or its ROM is not there
        raise UsageError(f"{wish.name} cannot be opened: {error}", hint="Import its ROM into stable-retro.") from error
    names = [name or f"unused{number}" for number, name in enumerate(env.buttons)]
    unused = [name for name in names if name.startswith("unused") or name in ("START", "SELECT", "MODE", "RESET")]
    return _repeating(env, Buttons(names, unused), wish, 60)


def _open_plain(wish: Wish, hint: str) -> Opened:
    """Open what Gymnasium knows, or a `module:Name-v0` of your own that its module registers."""
    env = _make(wish, hint)
    name = wish.name.rpartition(":")[2]
    part = of_space(env.action_space)
    for known in next((names for begin, names in KNOWN.items() if name.startswith(begin)), ()):
        named = of_space(env.action_space, known)
        part = named if len(known) == len(part.names) else part
    return _repeating(env, part, wish, _rate(env))


def _repeating(
    env, part, wish: Wish, rate: float, keys: tuple[str, ...] = (), shows_end: bool = True, **options: str | int
) -> Opened:
    """Describe an environment that gets an action again for every frame that is skipped."""
    skip = wish.skip or usual_skip(rate)
    space = getattr(env, "action_space", None)
    return Opened(env, Actions(part), space, rate, skip, skip, keys, shows_end, options)


def _make(wish: Wish, hint: str, **more: object):
    """Make an environment of Gymnasium, with pictures where they are wanted."""
    gym = import_package("gymnasium", wish.name, hint)
    given = dict(wish.arguments) | more
    try:
        try:
            return gym.make(wish.name, disable_env_checker=True, **({"render_mode": "rgb_array"} | given))
        except TypeError:  # it knows no render_mode
            return gym.make(wish.name, disable_env_checker=True, **given)
    except gym.error.DependencyNotInstalled as error:
        raise UsageError(f"{wish.name} needs a further package: {error}", hint=hint) from error
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        of_arguments = wish.arguments and isinstance(error, TypeError | ValueError)
        hint = "Check the names and values of --env-arg." if of_arguments else KINDS
        raise UsageError(f"{wish.name} cannot be opened: {error}", hint=hint) from error


def _rate(env) -> float:
    """Give the frames a second that an environment states; those of USUAL_RATE where it does not."""
    stated: Mapping[str, object] = getattr(env, "metadata", None) or {}
    rate = stated.get("render_fps")
    return float(rate) if isinstance(rate, int | float) and 1 <= rate <= 1000 else float(USUAL_RATE)


GYM = "pip install gymnasium ale-py box2d pygame-ce"
FAMILIES = (
    Family("Atari", r"ALE/.+", _open_ale, ("gymnasium", "ale-py"), GYM, sticky=True),
    Family("ViZDoom", r"Vizdoom.+", _open_vizdoom, ("gymnasium", "vizdoom"), "pip install vizdoom==1.3.2"),
    Family("MiniGrid", r"(MiniGrid|BabyAI)-.+", _open_minigrid, ("gymnasium", "minigrid"), "pip install minigrid"),
    Family("MiniWorld", r"MiniWorld-.+", _open_miniworld, ("gymnasium", "miniworld"), "pip install miniworld"),
    Family("Crafter", r"Crafter(No)?Reward-v1", _open_crafter, ("crafter",), "pip install crafter"),
    Family("procgen", r"procgen/.+", _open_procgen, ("procgen2",), "pip install procgen2"),
    Family("stable-retro", r"retro/.+", _open_retro, ("stable-retro",), "pip install stable-retro"),
    Family("Gymnasium", r".+", _open_plain, ("gymnasium", "box2d"), GYM),
)
KINDS = (
    "Known are the names of Gymnasium (CarRacing-v3), ALE/Pong-v5, VizdoomBasic-v1, MiniGrid-..., MiniWorld-..., "
    "CrafterReward-v1, procgen/coinrun, retro/GAME, and module:Name-v0 of your own."
)


def family_of(name: str) -> Family:
    """Find the family of an environment's name."""
    found = next((family for family in FAMILIES if re.fullmatch(family.names, name)), None)
    if found is None:
        raise UsageError(f"{name!r} is not the name of an environment.", hint=KINDS)
    return found


def open_environment(wish: Wish) -> Opened:
    """Open an environment; its `reset` must be called before a step.

    Nothing is shown on a display, and what its packages print goes to stderr.
    """
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        os.environ.setdefault(driver, "dummy")
    family = family_of(wish.name)
    if wish.sticky and not family.sticky:
        raise UsageError(f"{wish.name} has no sticky actions.", hint="Leave out --sticky.")
    with blame(wish.name), redirect_stdout(sys.stderr):
        return family.open(wish, family.hint)


def versions(name: str) -> dict[str, str]:
    """Give the versions of the packages that decide what an environment shows."""
    found = {}
    for package in family_of(name).packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
