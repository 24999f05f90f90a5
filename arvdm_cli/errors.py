"""Every error a user can cause: what happened, what to try, and the exit code it ends with."""

LONGEST = 2000  # characters of a message: a key or a name out of a file may be of any length


class ArvdmError(Exception):
    """An error a user can cause; the command line prints its message and hint and exits with `code`."""

    code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(shortened(message))
        self.hint = hint


def shortened(message: str) -> str:
    """A message without its middle, where it is too long to be read."""
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 303]}...{message[-300:]}"


class ArvdmWarning(UserWarning):
    """Something a user should know that is no error; the command line prints it."""


class UsageError(ArvdmError):
    """A flag or a setting that cannot work."""

    code = 2


class ScheduleError(UsageError):
    """A noise schedule that is unknown or breaks a requirement."""


class TheoryError(UsageError):
    """A process that is unstable, or a question that is too large to be worked out exactly."""


class ConfigError(UsageError):
    """A configuration file with an unknown key or an impossible value."""


class InputError(ArvdmError):
    """A file given as input that cannot be used."""

    code = 3


class VideoError(InputError):
    """A prompt that is not a video, is cut, or is too large."""


class ActionError(InputError):
    """Actions of the wrong length, width or name."""


class DataError(InputError):
    """A data folder that is incomplete or does not match."""


class CheckpointError(InputError):
    """A checkpoint file that is malformed or of another architecture."""


class UnknownModelError(ArvdmError):
    """A model name that nothing answers to, or that is not on this machine while offline."""

    code = 4


class NetworkError(ArvdmError):
    """A download or an upload that could not be made."""

    code = 5


class IntegrityError(ArvdmError):
    """A file whose hash or path is not what was promised."""

    code = 6


class OutputError(ArvdmError):
    """An output that cannot be written: full disk, missing right, dead encoder."""

    code = 7


class MemoryLimitError(ArvdmError):
    """More memory needed than there is."""

    code = 8


class NumericError(ArvdmError):
    """NaN or infinity where a number should be."""

    code = 9


class OutputExistsError(ArvdmError):
    """An output that is already there and may not be replaced."""

    code = 10


class OutputBusyError(ArvdmError):
    """An output that another run is writing."""

    code = 11
