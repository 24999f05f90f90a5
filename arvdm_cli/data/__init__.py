"""Episodes on disk: rendered or imported, and the batches drawn from them."""
