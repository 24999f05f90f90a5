"""Whatever the data, the training file that is planned for it passes every check, and trains."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arvdm_cli.data.batches import Episodes
from arvdm_cli.errors import ConfigError, DataError
from arvdm_cli.hub import checkpoint
from arvdm_cli.training.check import check, fitted
from arvdm_cli.training.config import configure
from arvdm_cli.training.loop import train
from arvdm_cli.training.planning import sizes
from arvdm_cli.training.planning.document import write_document
from arvdm_cli.training.planning.facts import DataFacts, facts_of, read_facts
from arvdm_cli.training.planning.plan import plan
from arvdm_cli.training.planning.rate import Rate, estimate, measure, plan_steps
from support.clips import moving_squares, write_clips
from support.tiny import render
from support.training import quiet

PLAY = DataFacts(("data/play",), (40,), 300, 64, 64, ("left", "right"), 15.0)


def machine(speed, codec=0.5, encode=1e-3):
    """A machine on which a step takes as long as its network's products at `speed` a second."""

    def rate(config):
        products = 12 * config.network.depth * config.network.dim**2 * config.frames
        return Rate(
            codec, encode, 0.7 * products / speed, products / speed, 10**6, products // config.frames, 900, "cpu"
        )

    return rate


LAPTOP, SERVER = machine(4e8), machine(1e12, codec=0.01, encode=1e-6)


@dataclass
class Black:
    """Episodes of black frames, which take no memory."""

    facts: DataFacts
    count: int

    def __post_init__(self):
        facts, shape = self.facts, (self.count, self.facts.length)
        self.frames = np.broadcast_to(np.uint8(0), (*shape, facts.height, facts.width, 3))
        self.actions = np.broadcast_to(np.float32(0.5), (*shape, len(facts.names)))
        self.poses = np.broadcast_to(np.int16(0), (*shape, 3))
        self.names, self.fps = facts.names, facts.fps


sides = st.integers(2, 128).map(lambda number: 8 * number)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
data_sets = st.builds(
    lambda counts, *shape: DataFacts(tuple(f"data/{number}" for number in range(len(counts))), tuple(counts), *shape),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(2, 400),
    sides,
    sides,
    st.lists(text, max_size=6, unique=True).map(tuple),
    st.floats(1, 1000),
    st.booleans(),
)
hours = st.floats(1e-6, 1e4)


@given(data_sets, hours, st.sampled_from([LAPTOP, SERVER]), st.sampled_from(["cpu", "cuda"]))
def test_what_is_planned_for_any_data_reads_back_and_passes_every_check(tmp_path_factory, data, hours, rate, device):
    patches = (side for side in range(1, 9) if data.grid[0] % side == data.grid[1] % side == 0)
    if data.counts[0] == 1 or min(sizes.tokens_of(data.grid, side) for side in patches) > 400:
        with pytest.raises(ConfigError, match=r"tokens each|needed for validation"):  # no other data is without a plan
            plan(data, hours, rate, device=device)
        return
    planned = plan(data, hours, rate, device=device)
    takes = estimate(planned.config, planned.rate, data.frames)
    file = tmp_path_factory.getbasetemp() / "planned.toml"
    file.write_text(write_document(planned.values, data, hours, takes))
    assert configure(file) == planned.config
    parts = {name: Black(data, count) for name, count in zip(data.folders, data.counts, strict=True)}
    episodes = Episodes(parts, planned.config.held_out)
    check(fitted(planned.config, episodes), episodes)


@given(st.integers(2, 10**6), st.integers(2, 40))
def test_a_few_episodes_are_held_out_and_never_many(count, length):
    data = replace(PLAY, counts=(count,), length=length)
    assert 1 <= sizes.choose_held_out(data) <= min(64, max(1, count // 10))


def test_few_clips_hold_out_some_and_many_clips_no_more_than_are_needed():
    held_out = [sizes.choose_held_out(replace(PLAY, counts=(count,))) for count in (2, 20, 100, 1000, 20_000)]
    assert held_out == [1, 2, 8, 50, 64]
    assert sizes.choose_held_out(replace(PLAY, counts=(20_000,), height=360, width=640)) < 8  # they must fit in memory


def test_no_folder_is_held_out_as_a_whole():
    for counts in ((2, 1), (5, 2, 2), (1000, 1, 1), (2, 1000)):
        data = replace(PLAY, folders=tuple("abcd"[: len(counts)]), counts=counts)
        parts = {name: Black(data, count) for name, count in zip(data.folders, counts, strict=True)}
        Episodes(parts, sizes.choose_held_out(data))
    with pytest.raises(ConfigError, match="1 episode, and one is needed"):
        sizes.choose_held_out(replace(PLAY, counts=(1,)))


def size_of(config):
    return config.network.dim * config.network.depth


def test_more_hours_never_give_a_smaller_network_and_steps_fit_the_time():
    data = replace(PLAY, counts=(5000,))
    before = 0
    for hours in (0.1, 0.5, 1, 2, 10, 100):
        planned = plan(data, hours, LAPTOP)
        assert size_of(planned.config) >= before
        before = size_of(planned.config)
        takes = estimate(planned.config, planned.rate, data.frames)
        assert 0.5 * hours < takes.hours < hours or takes.encode_hours > 0.5 * hours
        assert planned.config.minutes == pytest.approx(60 * hours, rel=1e-3)
    assert before > size_of(plan(data, 0.1, LAPTOP).config)


def test_little_data_gets_a_small_network_however_much_time_there_is():
    few, many = (plan(replace(PLAY, counts=(count,)), 100, SERVER).config for count in (20, 20_000))
    assert size_of(few) < size_of(many) == max(size.dim * size.depth for size in sizes.SIZES)


def test_memory_is_trained_only_where_episodes_are_long_enough():
    for length in range(2, 200):
        clips = sizes.choose_clips(length)
        assert (clips.slots > 0) == (max(clips.groups) >= sizes.LEAST_GROUPS) == (length >= 48), length
    assert plan(replace(PLAY, length=30), 1, LAPTOP).config.network.fusion == "none"


@pytest.mark.parametrize(
    ("height", "width", "patch"),
    [
        (64, 64, 1),
        (96, 96, 2),
        (64, 96, 2),
        (32, 32, 1),
        (208, 160, 2),
        (360, 640, 5),
        (64, 72, 1),
        (88, 88, 1),
        (1024, 1024, 8),
    ],
)
def test_a_patch_divides_both_sides_and_leaves_few_tokens(height, width, patch):
    assert sizes.choose_patch((height // 8, width // 8)) == patch


def test_frames_whose_sides_share_no_divisor_are_refused_with_a_size_to_import():
    with pytest.raises(ConfigError, match="Frames of 1016x1000 take 15875 tokens each") as caught:
        plan(replace(PLAY, height=1000, width=1016), 1, LAPTOP)
    assert "--size" in caught.value.hint


def test_what_the_user_sets_is_kept_and_measured():
    seen = []

    def rate(config):
        seen.append(config)
        return LAPTOP(config)

    chosen = {"network": {"dim": 64}, "steps": 7, "out": "elsewhere", "sampling": {"context": 2}}
    config = plan(PLAY, 1, rate, chosen).config
    assert (config.network.dim, config.steps, config.out, config.sampling.context) == (64, 7, "elsewhere", 2)
    assert config.network.width == 8 and config.sampling.slots == 16
    assert {each.network.dim for each in seen} == {64}


@given(st.floats(1e-6, 1e3), st.floats(1e-4, 100), st.floats(0, 10), st.integers(0, 10**7))
def test_steps_are_planned_within_the_time_or_are_the_fewest(hours, step, codec, frames):
    assume(codec == 0 or codec > 1e-4)
    config = plan(PLAY, 1, LAPTOP).config
    rate = Rate(codec, 1e-4, step, step, 1, 1, None, "cpu")
    steps = plan_steps(config, rate, frames, hours)
    assert steps.network >= 2 and (steps.codec >= 2) == (codec > 0)
    seconds = steps.codec * codec + steps.network * step + frames * rate.encode
    assert seconds <= 3600 * hours or steps.network == 2 or steps.codec == 2


def test_a_short_run_spends_its_time_on_steps_and_not_on_validations_that_it_will_not_reach():
    config, rate = plan(PLAY, 1, LAPTOP).config, Rate(0.1, 1e-4, 1.0, 1.0, 1, 1, None, "cpu")
    for minutes in (1, 2, 4, 8, 60):
        seconds = 0.9 * 60 * minutes
        steps = plan_steps(config, rate, 0, minutes / 60)
        validations = min(12, -(-steps.network // 20))
        assert 0.85 * seconds - 12 <= 0.1 * steps.codec + steps.network + 6 * validations <= seconds


# On real folders

TINY = {
    "codec": {"fine": 8, "coarse": 8, "decoder_blocks": 1},
    "network": {"dim": 64, "depth": 1, "condition": 16},
    "frames": 12,
    "codec_batch": 2,
    "codec_steps": 2,
    "steps": 2,
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("length", "height", "width", "names"),
    [(2, 16, 16, "ab"), (9, 16, 24, "ab"), (24, 40, 24, ""), (60, 32, 48, "ab"), (60, 72, 64, "")],
)
def test_what_is_planned_trains_to_the_end(tmp_path, length, height, width, names):
    folder = moving_squares(tmp_path / "data", 3, length, height, width, names)
    chosen = TINY | {"out": str(tmp_path / "run"), "early": 0.5, "own_frames": 0.5 if length > 2 else 0.0}
    planned = plan(read_facts((str(folder),)), 1e-6, LAPTOP, chosen)
    model = checkpoint.load(train(planned.config, False, quiet))
    assert model.actions == tuple(names) and model.fps == 10
    assert (model.codec.config.height, model.codec.config.width) == (height, width)
    assert ("memory" if model.sampling.slots else "none") == ("memory" if length >= 48 else "none")


def test_steps_are_measured_on_the_settings_of_the_run_and_leave_no_trace(tmp_path):
    folder = moving_squares(tmp_path / "data", 3, 60)
    chosen = TINY | {"out": str(tmp_path / "run")}
    planned = plan(read_facts((str(folder),)), 1e-6, lambda config: measure(config, seconds=0.0), chosen)
    rate = planned.rate
    assert min(rate.codec_step, rate.encode, rate.early_step, rate.late_step) > 0
    assert rate.network_parameters > 10_000 and rate.action_scales == (8.0, 8.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_facts_tell_whether_frames_are_known_that_show_again_what_was_seen(tmp_path):
    assert read_facts((str(render(tmp_path / "maze")),)).returns
    assert not read_facts((str(moving_squares(tmp_path / "play")),)).returns
    still = Black(PLAY, 3)
    assert not facts_of({"still": still}).returns


def test_frames_of_odd_sizes_are_refused(tmp_path):
    with pytest.raises(DataError, match="multiples of 8"):
        facts_of({"odd": Black(replace(PLAY, height=60), 3)})


def test_folders_that_differ_are_refused_before_anything_is_planned(tmp_path):
    one = moving_squares(tmp_path / "one")
    other = write_clips(tmp_path / "other", np.zeros((2, 40, 32, 48, 3), np.uint8), np.zeros((2, 40, 1)), ["jump"])
    with pytest.raises(DataError, match="actions"):
        plan(read_facts((str(one), str(other))), 1, lambda config: measure(config, 0.0), TINY)
