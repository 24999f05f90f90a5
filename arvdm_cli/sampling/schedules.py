"""Which frame of the window has which noise level during one AR step, and the presets that name such plans.

Plain Python numbers: nothing here needs torch.

Source: Meta-ARVDM, arXiv 2503.10704, the three requirements on the levels of a window and its special cases.
"""

import inspect
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher, get_close_matches
from math import ceil, isfinite
from pathlib import Path

from ..errors import ConfigError, InputError, OutputError, ScheduleError

TOLERANCE = 1e-6  # levels closer than this count as equal
LARGEST = 250_000  # levels in one schedule
LONGEST = 8_000_000  # characters in a schedule file

LAWS = (
    "Along the frames levels never fall, along the steps never rise. The last row is row 0 moved on by `chunk` "
    "frames: clean frames have left, pure noise enters."
)
FORM = 'Write {"levels": [[0.5, 1.0], [0.0, 0.5]], "chunk": 1}: a row before the first denoising step, one after each.'


@dataclass(frozen=True)
class Schedule:
    """The levels of the window's frames during one AR step: a row before the first denoising step, one after each.

    Build one from its levels, by `Schedule.preset("rolling", blocks=2)`, or from a file by `Schedule.read(path)`.
    Raises: ScheduleError where the levels break a requirement
    """

    levels: tuple[tuple[float, ...], ...]  # (steps + 1, window); 0 clean, 1 pure noise
    chunk: int  # frames that leave clean, and enter as noise, per AR step
    name: str | None = field(default=None, compare=False)  # where it came from, for messages

    def __post_init__(self):
        self._check_shape()
        self._check_range()
        # numbers read from a file may be integers, and may be off by less than the tolerance
        levels = tuple(tuple(min(max(float(level), 0.0), 1.0) for level in row) for row in self.levels)
        object.__setattr__(self, "levels", levels)
        self._check_monotonicity()
        self._check_circularity()
        self._check_boundary()

    @staticmethod
    def preset(name: str, /, **options: float | None) -> "Schedule":
        """Build a preset by name, one of PRESETS; an option left out keeps that preset's default, `shift` fits all.

        Raises: ScheduleError where no preset has the name or the option
        """
        return choose(name, **options)

    @staticmethod
    def read(path: str | Path) -> "Schedule":
        """Read a JSON or TOML file of `levels` and `chunk`; raises InputError, ScheduleError."""
        return read(path)

    def write(self, path: str | Path) -> None:
        """Write a JSON file, which `read` gives back; raises OutputError."""
        write(self, path)

    @property
    def window(self) -> int:
        """Frames the network denoises together."""
        return len(self.levels[0])

    @property
    def steps(self) -> int:
        """Denoising steps, so also network calls, per AR step."""
        return len(self.levels) - 1

    def _check_shape(self):
        if not isinstance(self.levels, (tuple, list)) or len(self.levels) < 2:
            raise self._broken(
                "`levels` needs at least two rows: the levels before and after one denoising step.", FORM
            )
        for m, row in enumerate(self.levels):
            if not isinstance(row, (tuple, list)) or not row:
                raise self._broken(f"Row {m} of `levels` is not a list of numbers.", FORM)
            if len(row) != len(self.levels[0]):
                raise self._broken(f"Row {m} of `levels` has {len(row)} frames, row 0 has {len(self.levels[0])}.", FORM)
        if not _is_whole(self.chunk) or not 1 <= self.chunk <= self.window:
            raise self._broken(
                f"`chunk` must be a whole number from 1 to the window, {self.window}; not {self.chunk!r}.", FORM
            )

    def _check_range(self):
        for m, row in enumerate(self.levels):
            for i, level in enumerate(row):
                number = isinstance(level, (int, float)) and not isinstance(level, bool)
                if not number or not -TOLERANCE <= level <= 1 + TOLERANCE:  # NaN fails every comparison
                    raise self._broken(f"Row {m}, frame {i} must be a level from 0 to 1, not {level!r}.", FORM)

    def _check_monotonicity(self):
        for m, row in enumerate(self.levels):
            for i in range(1, self.window):
                if row[i] < row[i - 1] - TOLERANCE:
                    raise self._broken(
                        "Monotonicity: levels never fall along the frames, "
                        f"but row {m} falls from {row[i - 1]:g} at frame {i - 1} to {row[i]:g} at frame {i}."
                    )
        for m in range(1, self.steps + 1):
            for i, (before, after) in enumerate(zip(self.levels[m - 1], self.levels[m], strict=True)):
                if after > before + TOLERANCE:
                    raise self._broken(
                        "Monotonicity: levels never rise along the steps, "
                        f"but frame {i} rises from {before:g} in row {m - 1} to {after:g} in row {m}."
                    )
        for i, (first, last) in enumerate(zip(self.levels[0], self.levels[-1], strict=True)):
            if last > first - TOLERANCE:
                raise self._broken(
                    "Monotonicity: every frame ends an AR step cleaner than it began, "
                    f"but frame {i} begins at {first:g} and ends at {last:g}."
                )

    def _check_circularity(self):
        for i in range(self.window - self.chunk):
            after, before = self.levels[-1][i + self.chunk], self.levels[0][i]
            if abs(after - before) > TOLERANCE:
                raise self._broken(
                    f"Circularity: an AR step begins where the last one left its frames, moved on by {self.chunk}, "
                    f"but frame {i + self.chunk} ends at {after:g} and frame {i} begins at {before:g}."
                )

    def _check_boundary(self):
        for i in range(self.chunk):
            if self.levels[-1][i] > TOLERANCE:
                raise self._broken(
                    "0-T boundary: the frames that leave are clean, "
                    f"but frame {i} ends at {self.levels[-1][i]:g}, not 0."
                )
        for i in range(self.window - self.chunk, self.window):
            if self.levels[0][i] < 1 - TOLERANCE:
                raise self._broken(
                    "0-T boundary: the frames that enter are pure noise, "
                    f"but frame {i} begins at {self.levels[0][i]:g}, not 1."
                )

    def _broken(self, why: str, hint: str = LAWS) -> ScheduleError:
        return ScheduleError(f"{self.name}: {why}" if self.name else why, hint)


def outpainting(chunk: int = 4, steps: int = 4) -> Schedule:
    """Denoise a chunk from pure noise to clean, all its frames alike, then begin the next.

    Used by: StreamingT2V, CausVid, Self-Forcing
    Steps: denoising steps per AR step
    """
    _require_whole(chunk=chunk, steps=steps)
    return _fill(chunk, chunk, steps, lambda i, m: (steps - m) / steps)


def next_frame(steps: int = 4, last_level: float | None = None) -> Schedule:
    """Denoise one frame from pure noise to clean, then begin the next.

    Used by: Oasis, FAR, WorldMem, DIAMOND
    Steps: denoising steps per AR step
    """
    _require_whole(steps=steps)
    if last_level is None or steps == 1:
        return _fill(1, 1, steps, lambda i, m: (steps - m) / steps)
    if isinstance(last_level, bool) or not isinstance(last_level, int | float) or not 0 < last_level < 1:
        raise ScheduleError(f"`last_level` must be a number above 0 and below 1, not {last_level!r}.")
    fall = (1 - last_level) / (steps - 1)  # of every step but the last
    return _fill(1, 1, steps, lambda i, m: 0.0 if m == steps else 1 - m * fall)


def fifo(steps: int = 8) -> Schedule:
    """Hold the window on a diagonal: one frame leaves clean as one enters as noise.

    Used by: FIFO-Diffusion
    Steps: frames in the window; each takes one step per place
    """
    _require_whole(steps=steps)
    return _fill(steps, 1, 1, lambda i, m: (i + 1 - m) / steps)


def rolling(
    blocks: int | None = None,
    chunk: int = 2,
    steps: int | None = None,
    total: int | None = None,
    lag: int | None = None,
) -> Schedule:
    """Hold the window on a staircase: a clean block leaves as a block of noise enters.

    Said in either of two ways: `blocks` (4) and denoising steps per AR step (2), or the `total` denoising steps
    of a frame (8) and the `lag` (2), by how many of them a block is ahead of the next.

    Used by: Rolling Diffusion, Rolling Forcing, MAGI-1, SkyReels-V2 (its ar_step is `lag`)
    Steps: denoising steps per AR step; with `lag`, those of a frame in all
    """
    if total is None and lag is None:
        blocks, steps = _or(blocks, 4), _or(steps, 2)
        _require_whole(blocks=blocks, chunk=chunk, steps=steps)
        return _staircase(total=blocks * steps, lag=steps, chunk=chunk)

    if blocks is not None:
        raise ScheduleError(
            f"rolling takes `blocks` ({blocks}), or `total` and `lag`, not both.",
            hint="The number of blocks follows: total / lag, rounded up.",
        )
    if total is not None and steps is not None and total != steps:
        raise ScheduleError(
            f"rolling has both `total` ({total}) and `steps` ({steps}), which mean the same.",
            hint="Use one of them, or `blocks` and `steps`.",
        )
    total, lag = _or(total, _or(steps, 8)), _or(lag, 2)
    _require_whole(total=total, chunk=chunk, lag=lag)
    if lag > total:
        raise ScheduleError(f"`lag` must be a whole number from 1 to the total, {total}; not {lag}.")
    return _staircase(total, lag, chunk)


def _staircase(total: int, lag: int, chunk: int) -> Schedule:
    blocks = ceil(total / lag)
    return _fill(
        blocks * chunk, chunk, lag, lambda i, m: max(0.0, (total - lag * (blocks - 1 - i // chunk) - m) / total)
    )


def pyramid(chunk: int = 4, steps: int = 4, lag: int = 2) -> Schedule:
    """Denoise a chunk from pure noise to clean, each frame some steps behind the one before.

    Used by: Diffusion Forcing
    Steps: denoising steps of one frame; a chunk takes (chunk - 1) * lag more
    """
    _require_whole(chunk=chunk, steps=steps)
    if not _is_whole(lag) or not 0 <= lag <= steps:
        raise ScheduleError(f"`lag` must be a whole number from 0 to the steps, {steps}; not {lag!r}.")
    return _fill(
        chunk, chunk, steps + (chunk - 1) * lag, lambda i, m: min(max((steps - m + i * lag) / steps, 0.0), 1.0)
    )


@dataclass(frozen=True)
class Option:
    """A number or a word that a user may choose, for a preset or for all of sampling."""

    help: str
    kind: type = int
    least: float | None = None
    most: float | None = None
    flag: str | None = None  # its name on the command line, where it has another there
    short: str | None = None  # -s
    above: float | None = None  # a limit that is not itself a valid value
    choices: tuple[str, ...] = ()  # of a word; none: any
    metavar: str | None = None  # what stands for the value in help, where its kind does not say

    def check(self, name: str, value: float | str) -> None:
        """Raise ConfigError where a value is not finite, or outside the limits."""
        if isinstance(value, str):
            return
        if not isfinite(value):
            raise ConfigError(f"{name} is {value}; it must be a finite number.")
        if self.above is not None and not value > self.above:
            raise ConfigError(f"The {name} must be a number above {self.above}, not {value}.")
        if self.least is not None and not value >= self.least:
            raise ConfigError(f"{name} is {value}; it must be at least {self.least}.")
        if self.most is not None and not value <= self.most:
            raise ConfigError(f"{name} is {value}; it must be at most {self.most}.")


# All arguments of the presets; and shift, which fits every schedule
OPTIONS = {
    "steps": Option("Denoising steps; `arvdm schedule list` says of what.", least=1),
    "chunk": Option("Frames that become clean in one AR step.", least=1),
    "blocks": Option("Chunks in the window (rolling).", least=1),
    "total": Option("Total denoising steps of one frame (rolling).", least=1),
    "lag": Option("Denoising steps between a frame or block and the next (pyramid, rolling).", least=0),
    "last_level": Option(
        "Level at which the last denoising step begins; above 0, below 1 (next-frame).", float, above=0
    ),
    "shift": Option("Time shift of the levels; above 1, frames stay noisy for longer.", float, above=0),
}

PRESETS: dict[str, Callable[..., Schedule]] = {
    "outpainting": outpainting,
    "next-frame": next_frame,
    "fifo": fifo,
    "rolling": rolling,
    "pyramid": pyramid,
}


def preset(name: str, /, **chosen: float | None) -> Schedule:
    """Build a preset by name; an option left at None keeps that preset's own default."""
    if name == "trapezoid":
        raise ScheduleError(
            "The trapezoid schedule breaks monotonicity: it cleans the window from both ends, "
            "so levels fall again behind the middle frame.",
            hint="The nearest preset is pyramid, which cleans the window from its first frame to its last.",
        )
    if name not in PRESETS:
        nearest = sorted(PRESETS, key=lambda other: -SequenceMatcher(None, name.lower(), other).ratio())
        raise ScheduleError(f"No schedule is called {name!r}.", hint=f"Choose from: {', '.join(nearest)}.")
    options = {option: value for option, value in chosen.items() if value is not None}
    names = describe(name).options
    for option, value in options.items():
        if option not in names:
            raise ScheduleError(f"{name} has no option {option!r} ({value}).", hint=f"It has: {', '.join(names)}.")
    return replace(PRESETS[name](**options), name=name)


def choose(text: str, /, **chosen: float | None) -> Schedule:
    """Build what a user asks for: a preset, as a name or in one word with its options, or a schedule file.

    chosen: further options of the preset; `shift` moves the levels of either
    """
    name, options = merge(text, **chosen)
    value = options.pop("shift", None)
    if Path(name).suffix.lower() in (".json", ".toml"):
        for option in options:
            raise ScheduleError(f"{name} sets all levels itself, so `{option}` has no effect.")
        schedule = read(name)
    else:
        schedule = preset(name, **options)
    return schedule if value is None else shift(schedule, value)


def merge(text: str, /, **chosen: float | None) -> tuple[str, dict[str, float]]:
    """The name of a schedule, and the options that are written with it or chosen beside it; None chooses nothing.

    Raises: ScheduleError where an option is set twice, to different numbers
    """
    name, options = parse_schedule(text)
    for option, value in chosen.items():
        if value is not None and options.setdefault(option, value) != value:
            raise ScheduleError(
                f"{text!r} sets `{option}` to {options[option]}, but the flag sets {value}.",
                hint="Leave out one of them.",
            )
    return name, options


def parse_schedule(text: str) -> tuple[str, dict[str, float]]:
    """Read a schedule written in one word, as outpainting:chunk=2,steps=8: its name, and options for `choose`."""
    name, colon, rest = text.partition(":")
    if Path(text).suffix.lower() in (".json", ".toml"):
        return text, {}
    options: dict[str, float] = {}
    for part in rest.split(",") if colon else ():
        option, _, value = part.partition("=")
        if option.strip() in options:
            raise ScheduleError(f"{text!r} sets `{option.strip()}` twice.")
        try:
            options[option.strip()] = float(value) if option.strip() == "shift" else int(value)
        except ValueError as error:
            raise ScheduleError(
                f"{text!r} contains {part!r}, which does not set an option to a number.",
                hint="outpainting:chunk=2,steps=8",
            ) from error
    return name, options


def shift(schedule: Schedule, value: float) -> Schedule:
    """Map every level s to value * s / (1 + (value - 1) * s), which rises from 0 to 1 and so keeps all requirements.

    value: above 1 the frames stay noisy for longer, below 1 for less long; 1 changes nothing
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LARGEST:  # nor NaN
        raise ScheduleError(f"The shift must be a number above 0, not {value!r}.")
    levels = tuple(tuple(value * s / (1 + (value - 1) * s) for s in row) for row in schedule.levels)
    return replace(schedule, levels=levels)


@dataclass(frozen=True)
class Description:
    """A preset in words."""

    summary: str  # one sentence
    used_by: str  # models that work this way
    steps: str  # what the option `steps` sets
    options: tuple[str, ...]


def describe(name: str) -> Description:
    """Read a preset's docstring and signature."""
    function = PRESETS[name]
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n")
    facts = dict(line.split(": ", 1) for line in rest.splitlines() if line.startswith(("Used by: ", "Steps: ")))
    options = tuple(inspect.signature(function).parameters)
    return Description(summary, facts.get("Used by", ""), facts.get("Steps", ""), options)


def read(path: str | Path) -> Schedule:
    """Read `{"levels": [[...], ...], "chunk": n}` from a JSON file, or from a TOML file by its suffix."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise InputError(f"{path} is too long for a schedule file.")
        content: object = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a schedule file: {error}", hint=FORM) from error

    if not isinstance(content, dict):
        raise ScheduleError(f"{path} is not a table with `levels` and `chunk`.", hint=FORM)
    for key in ("levels", "chunk"):
        if key not in content:
            raise ScheduleError(f"{path} has no {key!r}.", hint=FORM)
    for key in content.keys() - {"levels", "chunk"}:  # others, such as a name, say nothing of the levels
        if near := get_close_matches(str(key), ("levels", "chunk"), 1, 0.75):
            raise ScheduleError(f"{path} has an unknown key {key!r}; did you mean {near[0]!r}?", hint=FORM)
    return Schedule(content["levels"], content["chunk"], name=str(path))


def write(schedule: Schedule, path: str | Path):
    """Write a schedule as JSON, one row of levels to a line."""
    rows = ",\n    ".join(json.dumps(row) for row in schedule.levels)
    text = f'{{\n  "levels": [\n    {rows}\n  ],\n  "chunk": {schedule.chunk}\n}}\n'
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def _fill(window: int, chunk: int, steps: int, level: Callable[[int, int], float]) -> Schedule:
    """Build a schedule from the level of frame i in row m."""
    if window * (steps + 1) > LARGEST:
        raise ScheduleError(f"A window of {window} frames over {steps} denoising steps is too large for a schedule.")
    return Schedule(tuple(tuple(level(i, m) for i in range(window)) for m in range(steps + 1)), chunk)


def _require_whole(**options: int):
    for option, value in options.items():
        if not _is_whole(value) or value < 1:
            raise ScheduleError(f"`{option}` must be a whole number of at least 1, not {value!r}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
