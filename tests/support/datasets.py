"""Data sets as their authors publish them, but small."""

import json

import numpy as np

from arvdm_cli.media import Encoding, Writer

SIZE, FRAMES = 32, 12
SHIFTS = {"left": (0, 5), "right": (0, -5), "forward": (5, 0)}  # how each moves the picture, in pixels
DMLAB, CRAFT = ("left", "right", "forward"), ("none", "forward", "left", "right")


def walk(frames, seed=0):
    """Draw the actions that lead into frames 1, 2, ..."""
    return np.random.default_rng(seed).choice(DMLAB, frames - 1).tolist()


def film(led, seed=0):
    """Show a walk: frames (f, h, w, 3) of blots on a torus, that each action moves in its own way."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    frames = [blots.repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)]
    for action in led:
        frames.append(np.roll(frames[-1], SHIFTS[action], (0, 1)))
    return np.stack(frames)


def dmlab_clip(path, frames=FRAMES, seed=0, **changed):
    """Write a clip of TECO's DMLab: each action is taken after its frame, so the last leads out of the clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    led = walk(frames, seed)
    actions = np.array([DMLAB.index(name) for name in [*led, "forward"]], np.int64)
    np.savez_compressed(path, **({"video": film(led, seed), "actions": actions, "pos": np.zeros(3)} | changed))


def craft_clip(path, frames=FRAMES, seed=0, **changed):
    """Write a clip of TECO's Minecraft: each action has led into its frame, and none into the first."""
    led = walk(frames, seed)
    video(path, film(led, seed), fps=20)
    actions = np.array([CRAFT.index(name) for name in ["none", *led]], np.int32)
    np.savez_compressed(path.with_suffix(".npz"), **({"actions": actions} | changed))


def video(path, frames, fps=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    with Writer(path, *frames.shape[1:3], Encoding(fps, crf=4)) as writer:
        writer.write(frames)


def dmlab(root, count=3, **options):
    for i in range(count):
        dmlab_clip(root / "train" / "worker-0" / f"{i}.npz", seed=i, **options)
    return root


def craft(root, count=3, **options):
    for i in range(count):
        craft_clip(root / "train" / "part" / f"{i:06d}.mp4", seed=i, **options)
    return root


def pairs(root, suffix=".jsonl", count=3, frames=FRAMES):
    """Write videos, each with a file of actions that counts as its kind does."""
    for i in range(count):
        led, file = walk(frames, i), root / f"clip {i}{suffix}"
        video(file.with_suffix(".mp4"), film(led, i))
        if suffix == ".jsonl":
            file.write_text("".join(json.dumps(name) + "\n" for name in [None, *led]))
        else:
            np.save(file, np.array([DMLAB.index(name) for name in [*led, "left"]]))
    return root
