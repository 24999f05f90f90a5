"""Networks by name: the config and the class of each."""

from .dit import DiTConfig, VideoDiT

MODELS = {"dit": (DiTConfig, VideoDiT)}
