"""Checkpoints: short names, downloads, reading and writing."""
