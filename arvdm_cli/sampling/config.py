"""How a checkpoint is sampled, and the table of all that a user may choose of it.

Plain Python values: nothing here needs torch until a Sampling is built.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from ..errors import ConfigError
from .schedules import OPTIONS, Option, Schedule

CACHES = ("exact", "keep", "off")


Value = TypeVar("Value")


def option(
    default: Value,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    flag: str | None = None,
    short: str | None = None,
    choices: tuple[str, ...] = (),
) -> Value:
    """A field that a user may choose; the rest as in Option."""
    return field(
        default=default, metadata={"option": Option(help, type(default), least, most, flag, short, choices=choices)}
    )


@dataclass(frozen=True)
class Sampling:
    """Settings by which a checkpoint is sampled; its own, the defaults, are saved in config.json.

    A field made by `option` is a flag of every command that samples.
    """

    schedule: str = option(
        "outpainting",
        "Preset, with options as in rolling:blocks=2,chunk=4, or a file; `arvdm schedule` lists the presets.",
        short="-s",
    )
    options: dict[str, Any] = field(default_factory=dict)  # options of the preset: steps, chunk, ...
    init_steps: int = option(8, "Denoising steps of the initialization stage.", least=1)
    solver: str = option(
        "euler",
        "Solver; heun calls the network twice per step, unipc looks back on two steps, renoise adds fresh noise to the "
        "clean estimate.",
        choices=("euler", "ddim", "heun", "unipc", "renoise"),
    )
    eta: float = option(0.0, "Share of the noise that ddim renews at each step.", least=0, most=1)
    # 1 takes the prediction as it is, more moves it away from that without actions, or without memory
    guidance: float = option(
        1.0, "Guidance scale for actions; above 1 follows them more closely and doubles the batch.", least=0
    )
    history_guidance: float = option(
        1.0, "Guidance scale for memory; above 1 uses it more and adds a second call.", least=0
    )
    views: str = option(
        "whole",
        "How the network sees a long window: whole, or in parts as in FIFO-Diffusion.",
        choices=("whole", "partition", "lookahead"),
    )
    view: int = option(8, "Frames in one part, with --views partition or lookahead.", least=1)
    context: int = option(8, "Clean frames before the window.", least=0)
    stabilization: float = option(0.02, "Noise level reported to the network for clean frames.", least=0, most=1)
    context_noise: float = option(0.0, "Noise level that clean frames are really brought to.", least=0, most=1)
    slots: int = option(16, "Groups of past frames in memory; 0: no memory.", least=0, flag="memory_slots")
    group: int = 4  # frames compressed together; a property of the network, so not to be chosen
    eviction: str = option("stride", "Which group of frames a full memory drops.", choices=("stride", "oldest", "sink"))
    # exact gives the frames that off gives; under keep a frame's keys hold what it saw of frames that have left
    cache: str = option(
        "exact",
        "Encode the past once per AR step (exact), at each denoising step (off), or once per frame (keep).",
        choices=CACHES,
    )

    def __post_init__(self) -> None:
        from .memory import EVICTIONS  # these bring in torch, and a list of flags must not
        from .solvers import MULTISTEP, SOLVERS
        from .views import VIEWS

        tables: dict[str, Collection[str]] = {
            "solver": {*SOLVERS, *MULTISTEP},
            "eviction": EVICTIONS,
            "cache": CACHES,
            "views": VIEWS,
        }
        for name, table in tables.items():
            if getattr(self, name) not in table:
                raise ConfigError(
                    f"No {name} is called {getattr(self, name)!r}.", hint=f"Choose from: {', '.join(table)}."
                )
        for name, about in CHOSEN.items():
            about.check(name, getattr(self, name))
        if self.group < 1:
            raise ConfigError(f"group is {self.group}; a group has at least 1 frame.")
        if self.eta and self.solver != "ddim":
            raise ConfigError(f"eta is {self.eta}, which the solver {self.solver} does not use.", hint="--solver ddim")
        if self.history_guidance != 1 and not self.slots:
            raise ConfigError(
                f"history_guidance is {self.history_guidance}, but there is no memory.",
                hint="Set --memory-slots above 0, or leave history_guidance at 1.",
            )


@dataclass(frozen=True)
class Plan:
    """A schedule and all other settings of sampling; `generation.choose` makes one."""

    schedule: Schedule
    sampling: Sampling

    def with_sampling(self, **changes: Any) -> Plan:
        """The same schedule under other settings; changes: fields of Sampling."""
        return replace(self, sampling=replace(self.sampling, **changes))


CHOSEN: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(Sampling) if "option" in f.metadata}

# All that `generation.choose` takes, by name: the schedule, the options of presets, the other fields of Sampling
SETTINGS: dict[str, Option] = {"schedule": CHOSEN["schedule"], **OPTIONS, **CHOSEN}


def flag_of(name: str) -> str:
    """The flag of a setting, such as --memory-slots of `slots`."""
    return "--" + (SETTINGS[name].flag or name).replace("_", "-")
