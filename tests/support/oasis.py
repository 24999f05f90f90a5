"""A tiny Oasis with random weights, and what the reference makes of it.

`fixtures/oasis-tiny/` was made by the reference's own classes and loop (open-oasis, MIT licence) on the CPU in float32.
"""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from arvdm_cli.hub.registry import foreign, read_config
from arvdm_cli.sampling.state import Noise
from support.paths import FIXTURES

FOLDER = FIXTURES / "oasis-tiny"
GOLDEN = load_file(FOLDER / "golden.safetensors")
NETWORK = {"channels": 4, "height": 6, "width": 8, "dim": 64, "depth": 2, "heads": 4}
CODEC = {"channels": 4, "height": 60, "width": 80, "patch": 10, "encoder_dim": 48, "encoder_depth": 2}
CODEC |= {"encoder_heads": 3, "decoder_dim": 64, "decoder_depth": 2, "decoder_heads": 4}
CLIPS = ("gen1", "gen2", "gen3")


def weights(part):
    """Tensors of the network or the codec, under the makers' names."""
    return load_file(FOLDER / {"network": "dit.safetensors", "codec": "vae.safetensors"}[part])


def publish(folder, network=None, codec=None):
    """Write the tiny Oasis as its makers publish theirs, with a config of its sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = next(iter(foreign()))
    shutil.copy(FOLDER / "dit.safetensors", folder / mark)
    described = read_config(folder) | {"network": NETWORK, "codec": CODEC}
    described["sampling"] |= {"context": 5}
    for part, tensors in (("network", network), ("codec", codec)):
        path = folder / described["weights"][part]
        if tensors is None:
            shutil.copy(FOLDER / {"network": "dit.safetensors", "codec": "vae.safetensors"}[part], path)
        else:
            save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    (folder / "config.json").write_text(json.dumps(described))
    return folder


class Recorded(Noise):
    """The noise that a recorded clip began its frames from, and seeded noise after its end."""

    def __init__(self, clip):
        drawn = GOLDEN[f"{clip}.noise"]
        super().__init__(0, drawn.shape[0], tuple(drawn.shape[2:]))
        self.drawn = drawn

    def __call__(self, use, first, count, step=0):
        if use == "init" and first + count <= self.drawn.shape[1]:
            return self.drawn[:, first : first + count]
        return super().__call__(use, first, count, step)


def deviation(one, other):
    """The largest absolute difference."""
    return (one.float() - other.float()).abs().max().item()


def index_to_level(index):
    """The level whose noise index the network is told."""
    return (index + 1) / torch.tensor(1000.0)
