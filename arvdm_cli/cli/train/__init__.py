"""`arvdm train` and its commands, one file each."""
