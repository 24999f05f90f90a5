"""What a user sees of a training run: how far it is, how good it is in words and pictures, and what is wrong."""
