"""Products with weights are plain ones: a batched product would copy the weights for each element of the batch."""

from collections import Counter
from itertools import islice

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from arvdm_cli.hub.checkpoint import load
from arvdm_cli.sampling.generation import begin_latents, choose, generate, given
from support.oasis import publish
from support.tiny import model as tiny


class Operations(TorchDispatchMode):
    """How often each operation of torch is called inside a block."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture(params=["VideoDiT", "OasisDiT"])
def model(request, tmp_path):
    return load(publish(tmp_path)) if request.param == "OasisDiT" else tiny()


@pytest.mark.parametrize("cache", ["off", "exact", "keep"])
def test_sampling_calls_no_batched_product(model, cache):
    config = model.network.config
    latents = torch.randn(2, 12, config.channels, config.height, config.width)
    actions = torch.zeros(2, 12, config.actions)
    plan = choose(model.sampling, cache=cache)
    with Operations() as operations:
        state = begin_latents(model, plan, latents, actions)
        frames = list(islice(generate(model, plan, state, given(actions), 0), 3))
    assert len(frames) == 3 and operations.calls["addmm"] > 0
    assert operations.calls["bmm"] == 0
