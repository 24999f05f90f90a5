"""The figures of a checkpoint's card, and what of them it must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..reports.records import Record, Values
from .metrics import BASELINES, colour_spread, contrast
from .ranges import ranges
from .recorded.obedience import Obedience
from .truth import KINDS, LENGTH

RANGES = tuple(span.label for span in ranges(LENGTH))  # of new frames, counted from 1
REVISITS = ("back", "spin")  # kinds of walks all of whose new frames show what was seen before
SECTIONS = (*KINDS, "returns")  # of a card: each kind, and the revisits together
COLUMNS = (*BASELINES, "mean_history")  # columns next to the model; it need not beat the last
SPREADS = {"contrast": contrast, "colour_spread": colour_spread}  # what fades at the end of a long run


def over(by_frame: Sequence[float], frames: str) -> float:
    """Mean over frames such as "2-8", counted from 1."""
    first, _, last = frames.partition("-")
    return float(np.mean(by_frame[int(first) - 1 : int(last or first)]))


@dataclass(frozen=True)
class Curve(Record):
    """Means over clips of a figure, by new frame and by range."""

    by_frame: list[float]
    by_range: dict[str, float]

    def over(self, frames: str) -> float:
        """Mean over frames such as "2-8", counted from 1."""
        return over(self.by_frame, frames)


@dataclass(frozen=True)
class Section(Record):
    """How a model continues walks of one kind: figures by name and column, and sharpness by range."""

    curves: Mapping[str, Mapping[str, Curve]]  # psnr, ssim: made, repeat_last, ...; gradient: made, truth; ...
    sharpness: Mapping[str, float]  # as a share of the truth's

    def to_json(self) -> Values:
        curves = {name: {at: curve.to_json() for at, curve in columns.items()} for name, columns in self.curves.items()}
        return curves | {"sharpness": dict(self.sharpness)}


@dataclass(frozen=True)
class Gain(Record):
    """The mean over places of what memory gains on frames of each, dB, with its 95 % interval."""

    gain: float | None  # None where there are no such frames
    low: float | None
    high: float | None
    frames: float  # of a place, mean
    mazes: int  # places with such frames


@dataclass(frozen=True)
class MemoryGain(Record):
    """What memory gains on revisits, by kind and together."""

    kinds: Mapping[str, tuple[Gain, Curve]]  # with PSNR without memory
    both: Gain
    interval: str = "95 %, bootstrap over mazes"

    def to_json(self) -> Values:
        kinds = {k: gain.to_json() | {"off": {"psnr": off.to_json()}} for k, (gain, off) in self.kinds.items()}
        return {"interval": self.interval} | kinds | {"both": self.both.to_json()}

    def gains(self) -> dict[str, Gain]:
        """Gains by kind, and of both."""
        return {kind: gain for kind, (gain, _) in self.kinds.items()} | {"both": self.both}


@dataclass(frozen=True)
class Level(Record):
    """A figure of long runs beside that of true frames."""

    made: float
    truth: float

    @property
    def ratio(self) -> float:
        """What is left of it."""
        return round(self.made / max(self.truth, 1e-6), 4)


@dataclass(frozen=True)
class Turns(Record):
    """Turns whose picture moves the right way."""

    share: float | None  # None where there are none
    of: int


@dataclass(frozen=True)
class FreeRun(Record):
    """What is left at the end of long runs."""

    runs: int
    frames: int
    levels: Mapping[str, Level]  # contrast, colour_spread, and scene where the world has one sky
    turns: Mapping[str, Turns]  # made, truth

    def to_json(self) -> Values:
        levels = {name: level.to_json() for name, level in self.levels.items()}
        for name in SPREADS:
            levels[name]["ratio"] = self.levels[name].ratio
        turns = {column: turn.to_json() for column, turn in self.turns.items()}
        return {"runs": self.runs, "frames": self.frames} | levels | {"turns": turns}


@dataclass(frozen=True)
class Ceiling(Record):
    """How near the codec alone comes to true frames."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Figures:
    """What a model is judged by."""

    sections: Mapping[str, Section]  # by SECTIONS
    memory: MemoryGain | None = None
    free: FreeRun | None = None
    obedience: Obedience | None = None  # these of recordings alone
    ceiling: Ceiling | None = None


# What must be reached


@dataclass(frozen=True)
class Bar:
    """One thing a checkpoint must reach, or should."""

    level: str  # must or goal
    name: str
    value: float | None  # None where it was not measured
    least: float | None = None
    above: float | None = None  # as `least`, which itself is not enough
    most: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def asked(self) -> str:
        """What is asked, in signs."""
        bounds = {">=": self.least, ">": self.above, "<=": self.most}
        return ", ".join(
            f"{sign} {bound:g} {self.unit}".rstrip() for sign, bound in bounds.items() if bound is not None
        )

    @property
    def passed(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        low = self.least is None or self.value >= self.least
        return (
            low and (self.above is None or self.value > self.above) and (self.most is None or self.value <= self.most)
        )

    def plain(self) -> Values:
        """Plain values for a card."""
        value = None if self.value is None else round(self.value, 4)
        facts = {"level": self.level, "name": self.name, "asked": self.asked, "value": value}
        return facts | {"passed": self.passed, "note": self.note}


def judge(figures: Figures) -> list[Bar]:
    """Hold a card's figures against what a checkpoint must reach, and what it should."""
    return [*judge_frames(figures.sections), *judge_free(figures.free), *judge_goals(figures)]


def made(section: Section, figure: str, frames: str) -> float:
    """A model's figure over frames."""
    return section.curves[figure]["made"].over(frames)


def judge_frames(sections: Mapping[str, Section]) -> list[Bar]:
    """What clips must reach."""

    def lead(kind: str, frames: str, baselines: Sequence[str] = tuple(BASELINES)) -> float:
        curves = sections[kind].curves["psnr"]
        return min(curves["made"].over(frames) - curves[name].over(frames) for name in baselines)

    returns = sections["returns"]
    each = min(lead("new", str(frame)) for frame in range(2, 9))
    kinds = ", ".join(f"{kind} {lead(kind, '1-16'):.2f}" for kind in REVISITS)
    return [
        Bar("must", "unseen, frame 1 over repeat-last", lead("new", "1", ("repeat_last",)), least=3.5, unit="dB"),
        Bar("must", "unseen, frames 2-8 over both baselines", lead("new", "2-8"), above=0, unit="dB"),
        Bar("must", "unseen, frames 2-8, the least of them", each, above=0, unit="dB"),
        Bar(
            "must", "revisits, frames 1-16 over both baselines", lead("returns", "1-16"), least=2, unit="dB", note=kinds
        ),
        Bar("must", "revisits, sharpness of frames 1-16", returns.sharpness["1-16"], least=0.6, most=1.3),
        Bar("must", "revisits, colour error of frames 33-64", made(returns, "colour_error", "33-64"), most=0.08),
    ]


def judge_free(free: FreeRun | None) -> list[Bar]:
    """What long runs must reach."""
    late = {name: free.levels[name].ratio if free else None for name in SPREADS}
    share, true = (free.turns[column].share if free else None for column in ("made", "truth"))
    note = "" if true is None else f"of true frames {true:.3f}"
    return [
        Bar("must", "long roll-out, contrast relative to the data", late["contrast"], least=0.7, most=1.3),
        Bar("must", "long roll-out, colour spread relative to the data", late["colour_spread"], least=0.7, most=1.3),
        Bar("must", "long roll-out, rotations in the right direction", share, least=0.8, note=note),
    ]


def judge_goals(figures: Figures) -> list[Bar]:
    """What a checkpoint should reach."""
    new, returns = figures.sections["new"], figures.sections["returns"]
    both = figures.memory.both if figures.memory else Gain(None, None, None, 0.0, 0)
    return [
        Bar("goal", "memory, gain on revisits beyond the context", both.gain, least=1, unit="dB"),
        Bar("goal", "memory, lower end of its 95 % interval", both.low, above=0, unit="dB"),
        Bar("goal", "unseen, PSNR of frame 1", made(new, "psnr", "1"), least=26, unit="dB"),
        Bar("goal", "revisits, PSNR of frame 1", made(returns, "psnr", "1"), least=26, unit="dB"),
        Bar("goal", "revisits, SSIM of frames 1-16", made(returns, "ssim", "1-16"), least=0.75),
    ]
