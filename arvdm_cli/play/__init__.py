"""Driving a model while it makes frames: the session and what shows it, in a terminal or a browser."""
