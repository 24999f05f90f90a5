"""Training: codec, network, distillation."""
