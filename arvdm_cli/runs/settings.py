"""The settings of a run that has read its inputs: what decides its frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..actions.texts import Prompts
from ..configs import read_record
from ..errors import ConfigError
from ..media import Encoding
from ..sampling.config import Plan
from .request import plan_to_json, with_plan

ADDED = ("deterministic", "compiled", "prompts", "negative_prompt")  # settings that the first versions did not have
FREE = ("output", "model", "prompt", "length")  # settings that may be others when a run is resumed


@dataclass(frozen=True)
class Settings:
    """All that decides the frames of a video: the head of its sidecar, and what a resumed run must share."""

    output: str
    model: str
    sha256: str  # of the weights
    prompt: str | None
    prompt_frames: int
    prompt_sha256: str  # of its frames, and of the actions that led into them
    actions: str  # random, - for stdin, else sha256 of the rows
    length: int | None  # new frames; None: until stopped
    seed: int
    plan: Plan
    device: str
    dtype: str
    include_prompt: bool
    encoding: Encoding
    deterministic: bool = False
    compiled: bool = False
    prompts: Prompts = ()  # of text: from which new frame on, and the text
    negative_prompt: str = ""  # of text

    def to_json(self) -> dict[str, object]:
        """Plain values; what later versions have added is there only where it is set."""
        values: dict[str, object] = asdict(self)
        del values["plan"]
        values |= plan_to_json(self.plan)
        return {name: value for name, value in values.items() if value or name not in ADDED}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Settings:
        """Read what `to_json` gave, in this version or an earlier one.

        Raises: ValueError or UsageError where they are not valid
        """
        return read_record(cls, with_plan(values))

    def check_unchanged(self, now: Settings) -> None:
        """Refuse to resume a run under other settings, naming those that have changed."""
        before, after = (json.loads(json.dumps(settings.to_json())) for settings in (self, now))
        changed = [
            f"{name} was {brief(before.get(name))} and is {brief(after.get(name))}"
            for name in sorted((before.keys() | after.keys()) - set(FREE))
            if before.get(name) != after.get(name)
        ]
        if changed:
            raise ConfigError(
                f"Cannot resume the run with other settings: {'; '.join(changed)}.",
                hint="Use the settings it was started with, or -y to start from the beginning.",
            )


def brief(value: object) -> str:
    """A JSON value as short text."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
