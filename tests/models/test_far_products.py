"""What FAR multiplies for a frame: nothing twice that can be computed once, and no keys that a frame must not see."""

from collections import Counter
from itertools import islice

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from arvdm_cli.hub.checkpoint import load
from arvdm_cli.models import far as far_module
from arvdm_cli.models import layers
from arvdm_cli.sampling.generation import choose, given
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.state import Noise, start
from support.far import NETWORK, publish, rows

TOKENS, OLD = 64, 4  # of a frame in context or window, and of one in memory
CONTEXT, STEPS = 3, 4


class Products(TorchDispatchMode):
    """How often products with weights were taken, by their rows and columns, and fused attention."""

    def __init__(self):
        super().__init__()
        self.weights, self.fused = Counter(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name == "addmm":
            self.weights[args[1].shape[0], args[2].shape[1]] += 1
        self.fused += "scaled_dot_product" in name
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(publish(tmp_path_factory.mktemp("far")))


def begin(model, label=1, frames=14, **chosen):
    """AR steps after a prompt of random frames, all with one action."""
    plan = choose(model.sampling, **{"cache": "exact", "steps": STEPS} | chosen)
    latents = torch.randn(1, frames, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    state = start(model.network, plan.sampling, latents, rows(torch.full((1, frames), label)))
    actions = given(rows(torch.full((1, 9), label)))
    return stream(plan, model.network, model.diffusion, state, Noise(0, 1, (8, 8, 8)), actions)


def count(steps, frames=1):
    """Products of the next AR steps."""
    with Products() as products:
        list(islice(steps, frames))
    return products


def test_an_ar_step_multiplies_tokens_of_the_window_at_each_denoising_step_and_all_others_once(model):
    steps = begin(model)
    next(steps)
    made, (dim, depth) = count(steps).weights, (NETWORK["dim"], NETWORK["depth"])
    widen = {rows: number for (rows, columns), number in made.items() if columns == 4 * dim}
    # of the last block only keys and values of context and memory are needed
    assert widen == {TOKENS: STEPS * depth, CONTEXT * TOKENS: depth - 1, OLD: depth - 1}


def test_modulations_of_a_level_and_an_action_are_computed_once_in_a_video(model):
    steps, columns = begin(model), 3 * NETWORK["dim"]
    first, later = count(steps), count(steps)
    of_memory = 2 * NETWORK["depth"] - 1  # of the one frame that joined it
    assert first.weights[1, columns] >= 2 * NETWORK["depth"] * STEPS
    assert later.weights[1, columns] == of_memory
    assert count(begin(model, label=2)).weights == first.weights  # a video of its own computes its own


def test_modulations_that_are_kept_are_bounded(model, monkeypatch):
    monkeypatch.setattr(far_module, "MODULATIONS", 2)
    steps = begin(model)
    next(steps)
    assert count(steps).weights[1, 3 * NETWORK["dim"]] == 2 * NETWORK["depth"] * (STEPS - 1 - 1) + 5


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_frames_of_context_multiply_no_keys_of_later_frames(model, monkeypatch, guidance):
    looks, attend = [], layers.attend

    def spy(q, k, v, mask=None):
        looks.append((q.shape[0], q.shape[2], k.shape[2]))
        return attend(q, k, v, mask)

    monkeypatch.setattr(far_module, "attend", spy)
    steps = begin(model, guidance=guidance)
    next(steps)
    looks.clear()
    next(steps)
    batch, memory = 1 if guidance == 1 else 2, OLD * 12  # 14 frames and a new one, but for 3 of context
    context = [(batch, TOKENS, memory + (i + 1) * TOKENS) for i in range(CONTEXT)]
    window = (batch, TOKENS, memory + (CONTEXT + 1) * TOKENS)
    depth = NETWORK["depth"]
    assert looks == [(batch, OLD, memory)] * (depth - 1) + context * (depth - 1) + [window] * (depth * STEPS)


def test_tokens_of_old_frames_look_many_at_once(model, monkeypatch):
    looks, attend = [], layers.attend
    monkeypatch.setattr(far_module, "attend", lambda q, *rest: looks.append(q.shape[2]) or attend(q, *rest))
    next(begin(model, frames=16 + CONTEXT))
    assert looks[0] == OLD * far_module.BLOCK == far_module.QUERIES


def test_in_bfloat16_attention_is_plain_products_where_the_machine_multiplies_it_faster(model, monkeypatch):
    q, k, v = torch.randn(3, 2, 4, 96, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(96, 96, dtype=torch.bool).tril()
    exact = layers.attend(q, k, v, mask)
    for fast in (True, False):
        monkeypatch.setattr(layers, "fast_half", lambda device, fast=fast: fast)
        with torch.no_grad(), Products() as products:
            made = layers.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
        assert bool(products.fused) != fast
        assert (made - exact).abs().max() < 2**-5  # some roundings of numbers up to 4


def test_in_bfloat16_what_is_encoded_once_gives_the_frames_that_encoding_at_every_step_gives(tmp_path):
    halved = load(publish(tmp_path), dtype=torch.bfloat16)
    made = [[step.clean for step in islice(begin(halved, cache=c, guidance=1.5), 3)] for c in ("exact", "off")]
    assert torch.equal(torch.cat(made[0]), torch.cat(made[1]))
