"""Gaussian processes, where all that a long video loses can be computed exactly."""
