"""Published ways to score models on published data sets, and ours beside them."""
