"""However long a video of FAR becomes, it takes the memory that it took once its slots were full.

`ARVDM_TEST_LENGTH` sets the frames: `make length` takes 10,000.
"""

import os
import time

import torch

from arvdm_cli.device import peak_memory_mb
from arvdm_cli.hub.checkpoint import load
from arvdm_cli.runs.state_file import to_tensors
from arvdm_cli.sampling.generation import begin, choose, generate_states
from support.far import publish, rows

LENGTH = int(os.environ.get("ARVDM_TEST_LENGTH", "40"))
SLOTS = 64 if LENGTH >= 1000 else 8
PARTS = 10  # of the video, after each of which memory is read


def held(state):
    """Bytes of a state's tensors."""
    return sum(tensor.nbytes for tensor in to_tensors(state)[0].values())


def test_memory_stays_the_same_while_frames_are_evicted(tmp_path):
    model, labels = load(publish(tmp_path)), torch.arange(LENGTH) % 4
    plan = choose(model.sampling, slots=SLOTS, eviction="oldest", steps=2)
    state = begin(model, plan, torch.zeros(1, 0, 3, 64, 64), torch.zeros(1, 0, 4))

    def actions(first, count):
        return rows(labels[torch.arange(first, first + count) % LENGTH].unsqueeze(0))

    sizes, peaks, began = [], [], time.perf_counter()
    for number, chunk in enumerate(generate_states(model, plan, state, actions, seed=0, length=LENGTH), 1):
        assert chunk.frames.shape[1] == 1  # decoded too
        if number % (LENGTH // PARTS) == 0:
            sizes.append(held(chunk.state))
            peaks.append(peak_memory_mb(torch.device("cpu")) or 0)
            print(
                f"frame {number}: {sizes[-1]} bytes of state, peak {peaks[-1]} MB, {time.perf_counter() - began:.0f} s"
            )
    assert number == LENGTH and chunk.state.memory.count > 2 * SLOTS  # evicted more often than it has slots
    full = -(-(SLOTS + plan.sampling.context) // (LENGTH // PARTS))  # the part in which memory became full
    assert len(set(sizes[full:])) == 1
    assert peaks[-1] - peaks[full] <= 8  # of small pieces that the system's allocator keeps
