"""The runs that the words of `arvdm train` ask for: by training files, or by folders of data that a file is to fit."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs import Json
from ...errors import ConfigError, DataError, OutputError, UsageError
from ..console import say
from .estimates import summary_of
from .keys import overrides

if TYPE_CHECKING:
    from ...training.config import TrainConfig
    from ...training.planning.run import PlannedRun

FILE = "train.toml"  # in the folder of a run that was planned
HOURS, LEAST_HOURS, MOST_HOURS = 1.0, 0.001, 10_000.0  # where no time is given, and what can be


@dataclass(frozen=True)
class Request:
    """A run that was asked for."""

    file: Path  # its training file; written first, where it is to fit data
    out: Path  # the folder of the run
    chosen: Json  # keys that were given as flags
    again: str  # the command that resumes it
    data: tuple[str, ...] = ()  # folders that the file is to fit; (): the file is there
    hours: float | None = None

    def settle(self) -> TrainConfig:
        """What the run is set to; its training file is written where there is none yet.

        Raises: ConfigError, DataError, OutputError
        """
        from ...training.config import configure

        if self.data:
            run = self.plan()
            write_file(self.file, run.text)
            say(f"the settings of this run are in {self.file}: {summary_of(run)}")
        elif self.hours is not None:
            return self.plan().config
        return configure(self.file, **self.chosen)

    def plan(self) -> PlannedRun:
        """The run, and what it takes on this machine; nothing is written.

        Raises: ConfigError, DataError
        """
        from ...training.planning.run import plan_for_data, plan_from_file

        say("measuring how long steps take here ...")
        if self.data:
            return plan_for_data(self.data, self.hours or HOURS, self.chosen)
        return plan_from_file(self.file, self.hours, self.chosen)


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths, and the `--key value` pairs after them.

    Raises: UsageError where there is no path
    """
    count = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    if not count:
        raise UsageError(
            "No data and no training file is given.", hint="arvdm train data/play, or arvdm train run.toml"
        )
    return [*words[:count]], [*words[count:]]


def read_requests(words: Sequence[str], resume: bool = False, hours: float | None = None) -> list[Request]:
    """The runs that words ask for: paths, then `--key value` pairs.

    Raises: UsageError, ConfigError or DataError where a path is neither a training file nor a folder of data
    """
    paths, flags = split_words(words)
    chosen = overrides(flags)
    folders = [path for path in paths if is_data(path)]
    if not folders:
        return [of_file(path, chosen, flags, hours) for path in paths]
    if len(folders) < len(paths):
        other = next(path for path in paths if path not in folders)
        hint = "A training file names its own data; give the file alone, or folders alone."
        raise UsageError(f"{folders[0]} is data, and {other} a training file.", hint)
    return [of_data(tuple(folders), chosen, flags, resume, hours)]


def read_data(words: Sequence[str], hours: float, output: Path | None) -> Request:
    """The run on folders of data whose training file is to be written, to NAME.toml where no `output` is given.

    Raises: UsageError, DataError where a path is not a folder of data
    """
    paths, flags = split_words(words)
    if file := next((path for path in paths if not is_data(path)), None):
        if not Path(file).exists():
            raise DataError(f"{file} does not exist.", hint="Give folders of episodes, such as data/play.")
        raise UsageError(
            f"{file} is not a folder of episodes.", hint=f"To train by a training file: arvdm train {file}"
        )
    request = of_data(tuple(paths), overrides(flags), flags, False, hours)
    return replace(request, file=output or Path(f"{request.out.name}.toml"))


def of_file(path: str, chosen: Json, flags: Sequence[str], hours: float | None) -> Request:
    """The run of a training file, or of the folder of a run that has one."""
    from ...training.config import configure

    file = Path(path, FILE) if Path(path, FILE).is_file() else Path(path)
    check_file(file)
    again = shlex.join(["arvdm", "train", path, "--resume", *flags])
    return Request(file, Path(configure(file, **chosen).out), chosen, again, hours=hours)


def of_data(folders: tuple[str, ...], chosen: Json, flags: Sequence[str], resume: bool, hours: float | None) -> Request:
    """The run on folders of data: in runs/, by the name of the first; one that is resumed has its file."""
    name = chosen.get("name", name_of(folders[0]))
    out = Path(str(chosen.get("out", f"runs/{name}")))
    again = shlex.join(["arvdm", "train", *folders, "--resume", *flags])
    is_planned = resume and (out / FILE).is_file()
    return Request(out / FILE, out, chosen, again, () if is_planned else folders, hours)


def name_of(folder: str) -> str:
    """The name of a model of the data in a folder."""
    return Path(folder).resolve().name or "model"


def is_data(path: str) -> bool:
    """Whether a path is a folder of episodes.

    Raises: DataError where it is a folder of something else
    """
    from ...data.batches import holds_episodes, no_episodes

    folder = Path(path)
    if not folder.is_dir() or (folder / FILE).is_file():
        return False
    if holds_episodes(folder):
        return True
    if (folder / "state.pt").is_file():
        raise DataError(f"{path} is the folder of a run without {FILE}.", hint="Give the training file of the run.")
    if (folder / "config.json").is_file():
        raise DataError(f"{path} is a checkpoint, not data.", hint=f"To start from it: --start {path}")
    raise no_episodes(folder)


def check_file(file: Path) -> None:
    """Refuse what is not a training file, and looks like something else.

    Raises: ConfigError
    """
    from ...data.formats.videos import VIDEOS

    if not file.exists():
        raise ConfigError(f"{file} does not exist.", hint="Give a training file, or a folder of data.")
    if file.suffix.lower() in VIDEOS:
        hint = "Import the folder of your videos: arvdm data import FOLDER --out data/NAME; then arvdm train data/NAME"
        raise ConfigError(f"{file} is a video, not a training file.", hint=hint)


def write_file(file: Path, text: str) -> None:
    """Write a training file whole.

    Raises: OutputError
    """
    from ...files import replacing

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{file.parent} cannot be created: {error.strerror}.") from error
    with replacing(file) as part:
        part.write_text(text)
