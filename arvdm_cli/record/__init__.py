"""Environments played by a policy, and recorded as episodes to train on."""
