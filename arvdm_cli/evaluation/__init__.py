"""Measures of what models forget and how fast they degrade."""
