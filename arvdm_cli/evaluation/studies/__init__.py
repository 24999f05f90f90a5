"""The studies of `arvdm eval`, one file each."""
