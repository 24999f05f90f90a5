"""Video files <-> frames: the one place that knows that files hold uint8 (f, h, w, c).

`read` gives the frames of anything that has some, `fit` brings them to a model's size, `Writer` writes them.
"""

from .fit import crop, fit
from .formats import FORMATS, holds_latents, resumes
from .frames import Clip, contact_sheet, to_bytes, to_tensor
from .output import Encoding
from .reader import read
from .writer import Writer, occupied

__all__ = [
    "FORMATS",
    "Clip",
    "Encoding",
    "Writer",
    "contact_sheet",
    "crop",
    "fit",
    "holds_latents",
    "occupied",
    "read",
    "resumes",
    "to_bytes",
    "to_tensor",
]
