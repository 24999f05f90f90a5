"""A tiny FAR with random weights, and what the reference makes of it.

`fixtures/far-tiny/` was made by the reference's own classes, pipeline and training step (FAR, MIT licence) on the CPU
in float32.
"""

import json
import shutil

import numpy as np
import torch
from safetensors.torch import load_file

from arvdm_cli.models.far import FAR, FARConfig
from support.paths import FIXTURES

FOLDER = FIXTURES / "far-tiny"
GOLDEN = load_file(FOLDER / "golden.safetensors")
NETWORK = {"channels": 8, "height": 8, "width": 8, "dim": 64, "depth": 3, "heads": 4, "rotary": [4, 6, 6]}
CODEC = {"channels": 8, "height": 64, "width": 64, "widths": [16, 32, 32], "encoder_layers": [2, 1, 2]}
CODEC |= {"decoder_layers": [1, 2, 2], "head": 8}
WINDOW = 4  # frames at full detail, the new one among them
SAMPLING = {
    "schedule": "next-frame",
    "options": {"steps": 4, "last_level": 0.001},
    "context": WINDOW - 1,
    "stabilization": 0.0,
    "slots": 64,
    "group": 1,
    "eviction": "oldest",
}
CONFIG = {
    "format": 1,
    "name": "far-tiny",
    "actions": ["left", "right", "forward", "other"],
    "model": "far",
    "weights": {"network": "transformer.safetensors", "codec": "dcae.safetensors"},
    "network": NETWORK,
    "codec": CODEC,
    "diffusion": {"family": "flow", "prediction": "velocity"},
    "sampling": SAMPLING,
}
GENERATIONS = ("gen1", "gen2", "gen3", "gen4", "gen5")


DMLAB = {"actions": ["left", "right", "forward"], "fps": 10, "network": NETWORK | {"actions": 3, "labels_follow": True}}
MINECRAFT = {"actions": ["none", "forward", "left", "right"], "fps": 20}


def publish(folder, **changes):
    """Write the tiny FAR as a folder of the makers' files, with a config of its sizes; changes: of its keys."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CONFIG["weights"].values():
        shutil.copy(FOLDER / name, folder / name)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    return folder


def network(**changes):
    """The tiny network with its weights, under another config."""
    far = FAR(FARConfig(**NETWORK | changes)).eval().requires_grad_(False)
    far.load_state_dict(load_file(FOLDER / "transformer.safetensors"))
    return far


def rows(labels):
    """Action rows (b, f, 4) of labels (b, f), of which 4 is the unknown action."""
    return torch.nn.functional.one_hot(labels, 5)[..., :4].float()


def spy_on_labels(monkeypatch):
    """Labels that networks take, of the first clip, by call: (memory, context or new, labels), unknown ones being 4."""
    calls, condition = [], FAR.condition

    def spy(self, times, actions):
        label = np.where((actions == 0).all(-1), 4, actions.argmax(-1))[0].tolist()
        calls.append(({-2.0: "memory", -1.0: "context"}.get(float(times[0, 0]), "new"), label))
        return condition(self, times, actions)

    monkeypatch.setattr(FAR, "condition", spy)
    return calls


def write_dmlab(folder, *lengths, walk=None, seed=0):
    """Clips of these lengths as TECO's DMLab has them, a wide picture turned before the eye; gives their archives.

    Keys, types and shapes are those of the published clips. `actions[t]` is taken after frame t.
    walk: actions of all clips; None: at random
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, length in enumerate(lengths):
        draw = np.random.default_rng((seed, number))
        wide = draw.integers(0, 256, (16, 16 + length, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        actions = draw.integers(0, 3, length) if walk is None else np.resize(walk, length)  # int64
        steps = np.cumsum([0, *np.array((-1, 1, 0))[actions[:-1]]]) % length
        video = np.stack([wide[:, 4 * step :][:, :64] for step in steps])
        files.append(folder / f"{number}.npz")
        np.savez_compressed(files[-1], video=video, actions=actions)
    return files


def levels_of(times):
    """Levels of the reference's times, of which -1 is a clean frame."""
    return torch.where(times == -1, 0.0, times / 1000)
