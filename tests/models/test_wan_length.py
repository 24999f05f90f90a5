"""However long a video of a Wan becomes, it takes the memory of its first minute and obeys one law.

`ARVDM_TEST_LENGTH` sets the latents: `make length` takes 10,000.
"""

import os
import time
from dataclasses import replace
from itertools import islice

import pytest
import torch

from arvdm_cli.device import peak_memory_mb
from arvdm_cli.runs.state_file import to_tensors
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import choose
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.state import Noise, start
from support.wan import SMALL, latents, network, prompted, texts

LENGTH = int(os.environ.get("ARVDM_TEST_LENGTH", "120"))
PARTS = 10  # of the video, after each of which memory is read
SHAPE = (SMALL.channels, SMALL.height, SMALL.width)
ROLLING = Sampling(
    schedule="rolling", options={"blocks": 3, "chunk": 3, "steps": 1, "shift": 5.0}, solver="renoise", init_steps=2,
    context=6, slots=1, group=3, eviction="sink", stabilization=0.0, cache="keep",
)  # fmt: skip


class Same(Noise):
    """Noise that a frame has in common with all others a certain number of frames away."""

    period = 0

    def __call__(self, use, first, count, step=0):
        return super().__call__(use, first % self.period if self.period else first, count, step)


def begin(own, noise=None):
    """The state before a video, and its AR steps."""
    plan = choose(ROLLING)
    state = start(own, plan.sampling, latents(0), prompted(0))
    actions = lambda first, count: prompted(count)  # noqa: E731
    return (
        plan,
        state,
        lambda state: stream(plan, own, FlowMatching("velocity"), state, noise or Noise(1, 1, SHAPE), actions),
    )


@pytest.fixture(scope="module")
def own():
    made = network(attention="window", depth=2)
    made.set_prompts(texts(2))
    return made


def test_memory_stays_the_same_while_latents_come_and_go(own):
    _, state, steps = begin(own)
    sizes, peaks, began, frames = [], [], time.perf_counter(), 0
    for step in islice(steps(state), LENGTH // 3):
        frames += step.clean.shape[1]
        if frames % (3 * (LENGTH // 3 // PARTS)) == 0:
            sizes.append(sum(tensor.nbytes for tensor in to_tensors(step.state)[0].values()))
            peaks.append(peak_memory_mb(torch.device("cpu")) or 0)
            print(f"latent {frames}: {sizes[-1]} bytes of state, peak {peaks[-1]} MB, "
                  f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    assert frames == LENGTH // 3 * 3 and torch.isfinite(step.clean).all()
    assert len(set(sizes[2:])) == 1
    assert peaks[-1] - peaks[2] <= 8  # of small pieces that the system's allocator keeps


def test_late_latents_obey_the_law_of_early_ones(own):
    noise = Same(1, 1, SHAPE)
    noise.period = 3
    _, state, steps = begin(own, noise)
    early = list(islice(steps(state), 16))[-1].state
    late = replace(early, frame=early.frame + 3 * 1650, cached=early.cached + 3 * 1650)
    one, other = (next(iter(steps(each))).clean for each in (early, late))
    assert late.frame > 4950
    torch.testing.assert_close(one, other, rtol=0, atol=0)
