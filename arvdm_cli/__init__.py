"""Long, action-conditioned video with auto-regressive video diffusion models."""

__version__ = "0.1.0"
