"""Which groups of the past stay in memory, and that they stay as they were."""

from itertools import pairwise

import pytest
import torch

from arvdm_cli.sampling.memory import EVICTIONS, Memory, stride
from arvdm_cli.sampling.state import State
from support.tiny import restore, store

SLOTS = (2, 3, 4, 5, 8, 16)


def remember(memory):
    """Append a group whose tensors all tell its number."""
    poses = torch.tensor([0.0, 1.0]).view(1, 2, 1) + torch.full((2, 2, 3), float(memory.count))
    return memory.append(torch.full((2, 3, 4), float(memory.count)), poses[..., :1], poses)


def history(slots, groups, evict=stride):
    """Every memory from the first group to the last."""
    memory = Memory.empty(2, 3, 4, 1)
    for _ in range(groups):
        memory = remember(memory)
        if len(memory) > slots:
            memory = evict(memory)
        yield memory


def test_empty_memory_has_no_slots_in_use():
    memory = Memory.empty(2, 3, 4, 1)
    assert len(memory) == 0
    assert (memory.tokens.shape, memory.actions.shape, memory.poses.shape) == ((2, 0, 3, 4), (2, 0, 1), (2, 0, 3))


def test_a_group_is_kept_with_the_mean_of_its_actions_and_places():
    memory = remember(remember(Memory.empty(2, 3, 4, 1)))
    assert memory.tokens.shape == (2, 2, 3, 4)
    assert torch.equal(memory.poses[:, 1], torch.full((2, 3), 1.5))
    assert torch.equal(memory.actions[:, 1], torch.full((2, 1), 1.5))


def test_groups_are_numbered_in_the_order_they_enter_and_the_newest_has_age_0():
    memory = remember(remember(remember(Memory.empty(2, 3, 4, 1))).drop(0))
    assert memory.numbers.tolist() == [1, 2] and memory.ages.tolist() == [1, 0] and memory.count == 3
    assert memory.drop(1).ages.tolist() == [1]  # though the newer one is forgotten


def test_appending_and_dropping_leave_the_memory_they_began_with_unchanged():
    before = remember(Memory.empty(2, 3, 4, 1))
    after = remember(before)
    assert len(before) == 1 and len(after.drop(0)) == 1 and len(after) == 2


def test_dropping_a_slot_forgets_that_group_alone():
    memory = Memory.empty(2, 3, 4, 1)
    for _ in range(4):
        memory = remember(memory)
    assert memory.drop(1).numbers.tolist() == [0, 2, 3]
    assert memory.drop(1).tokens[0, :, 0, 0].tolist() == [0, 2, 3]


@pytest.mark.parametrize("evict", EVICTIONS.values(), ids=EVICTIONS)
@pytest.mark.parametrize("slots", SLOTS)
def test_memory_fills_its_slots_and_never_exceeds_them(slots, evict):
    for number, memory in enumerate(history(slots, 100, evict)):
        assert len(memory) == min(number + 1, slots)
        assert memory.count == number + 1
        assert memory.tokens.shape[1] == memory.actions.shape[1] == memory.poses.shape[1] == len(memory.numbers)


@pytest.mark.parametrize("evict", EVICTIONS.values(), ids=EVICTIONS)
@pytest.mark.parametrize("slots", SLOTS)
def test_eviction_keeps_the_other_groups_in_order_and_as_they_were(slots, evict):
    for memory in history(slots, 100, evict):
        numbers = memory.numbers.tolist()
        assert numbers == sorted(set(numbers))
        assert torch.equal(memory.tokens, memory.numbers.view(1, -1, 1, 1).expand_as(memory.tokens).float())
        assert torch.equal(memory.poses, memory.numbers.view(1, -1, 1).expand_as(memory.poses) + 0.5)
        assert torch.equal(memory.actions, memory.numbers.view(1, -1, 1).expand_as(memory.actions) + 0.5)


@pytest.mark.parametrize("evict", EVICTIONS.values(), ids=EVICTIONS)
@pytest.mark.parametrize("slots", SLOTS)
def test_what_is_forgotten_never_comes_back(slots, evict):
    for before, after in pairwise(history(slots, 100, evict)):
        newest = after.numbers.max()
        assert set(after.numbers.tolist()) <= {*before.numbers.tolist(), int(newest)}


# Stride: the whole past stays covered


@pytest.mark.parametrize("slots", SLOTS)
def test_under_stride_no_gap_is_wider_than_the_grid_and_the_first_group_stays(slots):
    for number, memory in enumerate(history(slots, 200)):
        numbers = memory.numbers.tolist()
        assert numbers[0] == 0
        assert all(later - earlier <= memory.stride for earlier, later in pairwise(numbers))
        assert number - numbers[-1] < memory.stride


@pytest.mark.parametrize("slots", SLOTS)
def test_under_stride_the_grid_is_a_power_of_two_no_coarser_than_the_slots_ask_for(slots):
    for number, memory in enumerate(history(slots, 200)):
        grid = memory.stride
        assert grid & (grid - 1) == 0
        assert -(-(number + 1) // grid) <= slots  # as many groups stand on it
        assert grid == 1 or -(-(number + 1) // (grid // 2)) >= slots


@pytest.mark.parametrize("slots", SLOTS)
def test_under_stride_every_group_on_the_grid_is_kept(slots):
    for number, memory in enumerate(history(slots, 200)):
        assert set(range(0, number + 1, memory.stride)) <= set(memory.numbers.tolist())


@pytest.mark.parametrize("slots", SLOTS)
def test_under_stride_what_is_kept_beside_the_grid_is_newer_than_what_was_thinned(slots):
    for number, memory in enumerate(history(slots, 200)):
        kept = set(memory.numbers.tolist())
        half = range(0, number + 1, max(1, memory.stride // 2))
        forgotten = [n for n in half if n not in kept]
        if memory.stride > 1 and forgotten:
            assert not [n for n in kept if n % memory.stride and n in half and n < max(forgotten)]


def test_memory_with_its_grid_survives_a_file(tmp_path):
    *_, memory = history(4, 30)
    context = torch.zeros(2, 1, 2, 2, 2)
    store(State(context, context[:, :, 0, 0], torch.zeros(2, 3), memory), tmp_path / "state.pt")
    read = restore(tmp_path / "state.pt").memory
    assert read.stride == memory.stride > 1 and read.count == memory.count == 30
    assert torch.equal(read.tokens, memory.tokens) and torch.equal(read.numbers, memory.numbers)
