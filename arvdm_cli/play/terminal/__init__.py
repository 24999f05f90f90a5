"""Plays and pictures in a terminal."""
