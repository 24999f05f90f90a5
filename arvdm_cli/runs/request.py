"""What one video is asked for: plain frozen values, which can be sent to another machine as JSON.

Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

from ..actions.texts import Prompts
from ..configs import fill, read_record
from ..errors import ConfigError, UsageError
from ..media import Encoding
from ..media.fit import Fitting
from ..sampling.config import Plan, Sampling
from ..sampling.schedules import Schedule


@dataclass(frozen=True)
class PromptSource:
    """Where the frames come from that a video begins with."""

    path: str | None = None  # video, image, folder of images or episodes, .npz, or - for stdin; None: no prompt
    start: int | None = None  # first frame; None: the last ones that the model can use
    count: int | None = None  # frames; None: as many as the model can use
    crop: str | None = None  # part of the picture, as WxH+X+Y; None: the middle
    actions: str | None = None  # actions that led into its frames; None: the file beside it, if there is one
    fit: Fitting = "crop"  # how a picture of another shape becomes one of the model's


@dataclass(frozen=True)
class TextSource:
    """What a video is to show, in words, for models that read them."""

    prompts: Prompts = ()  # from which new frame on, and the text
    negative: str | None = None  # what guidance leads away from; None: the checkpoint's own


@dataclass(frozen=True)
class Machine:
    """What a run computes on; `auto` takes the fastest there is.

    Raises: UsageError where the frames are to be both compiled and deterministic
    """

    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None  # of the CPU; None: as many as torch takes
    compile: bool = False
    deterministic: bool = False  # one order of sums, so the same frames whatever the threads

    def __post_init__(self) -> None:
        if self.compile and self.deterministic:
            raise UsageError(
                "--compile sums as it likes, so it cannot be --deterministic.", hint="Use only one of them."
            )


@dataclass(frozen=True)
class Request:
    """All that one video is asked for."""

    model: str  # folder, short name, or owner/name[@revision]
    output: str  # as in media.Writer
    seed: int  # the same seed gives the same frames
    plan: Plan
    encoding: Encoding
    prompt: PromptSource = PromptSource()
    actions: str = "random"  # that lead into new frames: a file, a phrase, random, or - for JSON lines on stdin
    length: int | None = None  # new frames; 0: until stopped; None: as many as the actions, else DEFAULT_LENGTH
    include_prompt: bool = False  # whether the prompt's frames are written first
    machine: Machine = Machine()
    keep_state: bool = True  # whether a state is left beside a finished video, from which it can be extended
    text: TextSource = TextSource()

    def to_json(self) -> dict[str, object]:
        """Plain values, from which `from_json` builds the same request."""
        values: dict[str, object] = asdict(self)
        del values["plan"]
        return values | plan_to_json(self.plan)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Request:
        """Build a request from what `to_json` gave.

        Raises: ConfigError where a key is unknown, missing or of another type
        """
        try:
            return read_record(cls, with_plan(values))
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"The request is not valid: {error}.") from error


def plan_to_json(plan: Plan) -> dict[str, object]:
    """A plan as three plain values: `sampling`, `levels` and `chunk`."""
    return {"sampling": asdict(plan.sampling), "levels": plan.schedule.levels, "chunk": plan.schedule.chunk}


def with_plan(values: Mapping[str, object]) -> dict[str, object]:
    """Plain values in which the three of a plan have become one, `plan`.

    Raises: ValueError where one is missing
    """
    rest = dict(values)
    try:
        sampling, levels, chunk = (rest.pop(name) for name in ("sampling", "levels", "chunk"))
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
    if not isinstance(sampling, dict):
        raise ValueError("sampling is not a table")
    filled = fill(Sampling, sampling, "The sampling")
    rows = cast("tuple[tuple[float, ...], ...]", levels)  # Schedule checks what it is given
    return rest | {"plan": Plan(Schedule(rows, cast(int, chunk), filled.schedule), filled)}
