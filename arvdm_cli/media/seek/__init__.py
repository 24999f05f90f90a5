"""Frames of videos in any order, read from their files when they are asked for, by PyAV."""

from .reader import Reader, Video, require_pyav

__all__ = ["Reader", "Video", "require_pyav"]
