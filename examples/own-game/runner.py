"""Play procgen's coinrun mostly to the right, with jumps, and hold each choice for a while."""

import numpy as np

CHOICES = {7: 5, 8: 5, 1: 2, 2: 1, 4: 2, 5: 2, 3: 1}  # right, right_up, left, left_up, none, up, down: how often
HELD = 4  # actions, on average


def run(space, seed):
    """A player of one episode: called with what it sees, it returns the number of an action."""
    draw, weights = np.random.default_rng(seed), np.array(list(CHOICES.values()), float)
    action = 4

    def act(seen):
        nonlocal action
        if draw.random() < 1 / HELD:
            action = int(draw.choice(list(CHOICES), p=weights / weights.sum()))
        return action

    return act
