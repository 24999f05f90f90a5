"""Checkpoint folders that tests make and edit."""

import json

import torch
from safetensors.torch import load_file, save_file

from arvdm_cli.hub.checkpoint import digest, save
from arvdm_cli.hub.layout import CONFIG, MANIFEST, WEIGHTS
from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.model import Model
from arvdm_cli.sampling.state import Sampling

ACTIONS = ["stay", "forward", "backward", "left", "right"]


def save_small(folder):
    """Save a checkpoint of 16x16 frames whose weights mean nothing, the fastest that samples at all."""
    torch.manual_seed(0)
    network = VideoDiT(
        DiTConfig(channels=4, height=2, width=2, patch=1, dim=64, depth=1, condition=16, memory_tokens=1, group=2)
    )
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    codec = Codec(CodecConfig(channels=4, height=16, width=16, fine=8, coarse=8))
    card = {"name": "tiny", "actions": ACTIONS, "fps": 15, "presets": ["outpainting"]}
    sampling = Sampling(options={"chunk": 2, "steps": 2}, context=2, slots=2, group=2, init_steps=2)
    save(Model(network, codec, FlowMatching(), sampling, card), folder)
    return folder


def vouch(folder):
    """Write the manifest anew, so that an edited file is taken for the one that was saved."""
    hashes = {name: digest(folder / name) for name in (CONFIG, WEIGHTS)}
    (folder / MANIFEST).write_text(json.dumps(hashes))
    return folder


def shard(folder, name=WEIGHTS, count=3):
    """Split a file of weights into shards and write their index, as other tools do."""
    tensors = load_file(folder / name)
    places = {tensor: f"part-{at % count}.safetensors" for at, tensor in enumerate(sorted(tensors))}
    for file in set(places.values()):
        save_file({tensor: tensors[tensor] for tensor in tensors if places[tensor] == file}, folder / file)
    (folder / name).unlink()
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
    return places


def vouch_for_all(folder):
    """Write a manifest of every file."""
    files = [path for path in folder.iterdir() if path.name != MANIFEST]
    (folder / MANIFEST).write_text(json.dumps({path.name: digest(path) for path in files}))
