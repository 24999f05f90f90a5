"""Phrases, files and live sources of actions <-> tensors."""
