"""`arvdm eval`: measure models."""
