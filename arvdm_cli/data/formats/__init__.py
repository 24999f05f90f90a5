"""Data sets that others recorded: what they hold, and their clips brought to one rate, size and length.

A module for each kind of data set finds its clips, gives the frames and actions of each as its files have them, and
states which frame each action leads into. FORMATS lists the kinds; a new one is a module and a line there.
Videos are read as prompts are: `media.read` and `actions.files.set_to` bring frames and actions to one rate.
Nothing is trusted: no pickle is read, and no path leads out of the folder.
"""

from .format import DEFAULTS, Encoded, Format, Recording, Settings, SourceClip, written
from .table import FORMATS, LENGTH, Source, cut_into_episodes, find, reckon, settle

__all__ = [
    "DEFAULTS",
    "FORMATS",
    "LENGTH",
    "Encoded",
    "Format",
    "Recording",
    "Settings",
    "Source",
    "SourceClip",
    "cut_into_episodes",
    "find",
    "reckon",
    "settle",
    "written",
]
