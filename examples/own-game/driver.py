"""Drive CarRacing by what it shows, 96x96: keep to the road, swerve now and then, and find back."""

import numpy as np

AHEAD = slice(44, 62)  # rows before the car, which stands at row 70
MIDDLE, WIDE = 47.5, 18  # columns: where the road should be, and how far off it steering is full


def drive(space, seed):
    """A driver of one episode: called with what it sees, it returns steering, gas and brake."""
    draw = np.random.default_rng(seed)
    left, swerve, gas, brake, turn, road = 0, False, 0.4, 0.0, 0.0, 0.0

    def act(seen):
        nonlocal left, swerve, gas, brake, turn, road
        if left <= 0:
            swerve = draw.random() < 0.3
            left = 1 + draw.geometric(1 / 6 if swerve else 1 / 15)
            brake = float(draw.uniform(0.1, 0.8)) if draw.random() < 0.12 else 0.0
            gas = 0.0 if brake else float(draw.choice([0.0, 0.2, 0.5, 1.0], p=[0.25, 0.35, 0.3, 0.1]))
            turn = float(draw.uniform(-1, 1))
        left -= 1
        red, green, blue = np.moveaxis(seen[AHEAD].astype(int), -1, 0)
        grey = (abs(red - green) < 10) & (abs(green - blue) < 10) & (red > 80) & (red < 140)
        if grey.sum() > 12:
            road = float((np.nonzero(grey)[1].mean() - MIDDLE) / WIDE)
        steer = turn if swerve else road + draw.normal(0, 0.05)
        return np.array([np.clip(steer, -1, 1), gas, brake], np.float32)

    return act
