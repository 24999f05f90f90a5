"""A training run that fits a data set, a machine and a wanted time."""
