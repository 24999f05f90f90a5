"""What run.sh asks of arvdm between its parts: a checkpoint to start from, and the last weights beside the average."""

import json
import sys
from pathlib import Path

import torch
from join import PART, PARTS

from arvdm_cli.errors import ArvdmError, CheckpointError
from arvdm_cli.hub import registry
from arvdm_cli.hub.checkpoint import load, save
from arvdm_cli.models.codec import Codec
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.model import Model
from arvdm_cli.training.config import configure
from arvdm_cli.training.state import TrainState


def start(settings: Path, given: Path, out: Path) -> dict[str, object]:
    """Choose what to start from: the checkpoint given, else `maze`; of a network of another shape, the codec alone.

    Raises: CheckpointError where the network would be too large to come back
    """
    config = configure(settings)
    with torch.device("meta"):
        network, codec = VideoDiT(config.network), Codec(config.codec)
    numbers = sum(weight.numel() for part in (network, codec) for weight in part.parameters())
    if 2 * numbers + (1 << 20) > PART * PARTS:
        raise CheckpointError(
            f"{numbers / 1e6:.1f} million weights do not come back in {PARTS} files of {PART / 1e6:.0f} MB.",
            hint=f"Lower dim or depth in {settings}.",
        )
    told = {"parameters": numbers, "start": "", "network": "new", "codec": "new"}
    try:
        folder = given if given.is_dir() else registry.resolve("maze")
        source = load(folder)
    except ArvdmError as error:
        if given.is_dir():
            raise
        return told | {"left out": str(error)}
    shapes = [{name: weight.shape for name, weight in each.state_dict().items()} for each in (network, source.network)]
    if shapes[0] == shapes[1]:
        return told | {"start": str(folder), "network": str(folder), "codec": str(folder)}
    torch.manual_seed(config.seed)
    model = Model(VideoDiT(config.network), source.codec, config.diffusion, config.sampling, {"name": config.name})
    save(model, out)
    return told | {"start": str(out), "codec": str(folder)}


def last(run: Path, out: Path) -> dict[str, object]:
    """Write a run's last weights in half precision, as a checkpoint like that of their average."""
    model, state = load(run / "checkpoint"), TrainState.load(run / "state.pt")
    model.network.load_state_dict(state.network)
    save(model, out)
    return {"step": state.step}


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    try:
        print(json.dumps({"start": start, "last": last}[verb](*map(Path, paths))))
    except ArvdmError as error:
        sys.exit(f"weights.py: {error} {error.hint or ''}")
