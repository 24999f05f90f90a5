"""The paper: schedules, diffusion, memory, and the auto-regressive sampler. Knows tensors and numbers only."""
