"""The page of `arvdm play` and its server; a session knows nothing of it."""
