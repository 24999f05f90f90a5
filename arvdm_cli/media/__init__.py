"""Video files <-> frames: the one place that knows that files hold uint8 (f, h, w, c).

`read` gives the frames of anything that has some, `fit` brings them to a model's size, `Writer` writes them.
"""

from .fit import crop, fit
from .formats import FORMATS, check_encoding, holds_latents, keeps_rate, resumes
from .frames import Clip, contact_sheet, to_bytes, to_tensor
from .output import Encoding
from .reader import measure, read
from .writer import Writer, occupied

__all__ = [
    "FORMATS",
    "Clip",
    "Encoding",
    "Writer",
    "check_encoding",
    "contact_sheet",
    "crop",
    "fit",
    "holds_latents",
    "keeps_rate",
    "measure",
    "occupied",
    "read",
    "resumes",
    "to_bytes",
    "to_tensor",
]
