"""Worlds whose truth can be rendered: mazes, walks through them, needles."""
