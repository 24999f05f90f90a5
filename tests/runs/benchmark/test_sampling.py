"""A benchmark: every stage is timed, all time is told, and settings stand side by side."""

import io
import json
from dataclasses import replace

import pytest
import torch

from arvdm_cli.errors import ConfigError, UsageError
from arvdm_cli.hub import checkpoint
from arvdm_cli.media.ffmpeg import executable
from arvdm_cli.runs.benchmark import sampling as benchmark
from arvdm_cli.runs.benchmark import stopwatch, training
from arvdm_cli.workers import Messages
from support.oasis import publish
from support.tiny import model, network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint.save(model(), folder)
    return folder


@pytest.fixture(scope="module")
def row(tiny):
    return benchmark.measure(str(tiny), benchmark.Machine("cpu", "float32", 1), {"cache": "exact"}, 12)


def test_the_stages_and_what_lies_between_them_are_all_the_time(row):
    stages = row.stages
    assert list(stages) == list(benchmark.STAGES)
    told = sum(stage.seconds_per_frame for stage in stages.values()) + row.other_seconds_per_frame
    assert told == pytest.approx(row.seconds_per_frame)
    assert all(stages[name].seconds_per_frame > 0 for name in ("context", "denoise", "decode", "convert", "write"))
    assert row.frames >= 12 and row.frames_per_second == pytest.approx(1 / row.seconds_per_frame)
    assert len(row.frames_per_second_by_tenth) == min(10, row.frames // row.chunk)
    network = sum(stages[name].seconds_per_frame for name in (*benchmark.SAMPLING, "decode"))
    assert row.wall_over_network == pytest.approx(row.seconds_per_frame / network)


def test_without_an_ffmpeg_frames_are_written_all_the_same(tiny, row, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "no-such-program")
    monkeypatch.setattr(benchmark, "executable", executable.__wrapped__)
    other = benchmark.measure(str(tiny), benchmark.Machine("cpu", "float32", 1), {"cache": "exact"}, 4)
    assert row.container == "mp4" and other.container == "y4m"
    assert other.stages["write"].seconds_per_frame > 0


def test_a_network_without_memory_spends_nothing_on_it(tmp_path):
    timing = benchmark.measure(str(publish(tmp_path)), benchmark.Machine("cpu", "float32", 1), {"steps": 1}, 1)
    assert timing.slots == 0 and timing.stages["denoise"].tflop_per_frame > 0
    assert all(timing.stages[name].seconds_per_frame == 0 for name in ("remember", "compress"))


def test_operations_are_those_of_the_stages_that_sample(row):
    stages = row.stages
    assert row.tflop_per_frame == pytest.approx(sum(stages[name].tflop_per_frame for name in benchmark.SAMPLING))
    assert stages["denoise"].tflop_per_frame > 0 and stages["convert"].tflop_per_frame == 0


def test_more_denoising_steps_are_more_operations_in_one_stage_alone(tiny, row):
    other = benchmark.measure(str(tiny), benchmark.Machine("cpu", "float32", 1), {"steps": 2 * row.steps}, 12)
    for name in benchmark.SAMPLING:
        more = 2 if name == "denoise" else 1
        assert other.stages[name].tflop_per_frame == pytest.approx(more * row.stages[name].tflop_per_frame)


def test_a_shorter_past_leaves_memory_unfilled(tiny):
    machine, chosen = benchmark.Machine("cpu", "float32", 1), {"cache": "exact", "slots": 32}
    short, full = (benchmark.measure(str(tiny), machine, chosen, 1, past=past) for past in (2, None))
    assert short.past == 2 and full.past > 32
    assert short.stages["denoise"].tflop_per_frame < full.stages["denoise"].tflop_per_frame


def test_a_clock_tells_each_stage_apart_and_starts_anew_after_a_lap():
    clock = stopwatch.Clock(CPU)
    twice = clock.watch("twice", lambda x: 2 * x)
    assert twice(21) == 42
    with clock.stage("other"):
        pass
    lap = clock.lap()
    assert set(lap) == {"twice", "other"} and all(seconds >= 0 for seconds in lap.values())
    assert clock.lap() == {}


def test_the_products_of_a_call_are_taken_again_with_other_numbers():
    a, b = torch.rand(2, 8, 8)
    with stopwatch.Products() as products:
        made = torch.relu(a @ b) @ b
    assert torch.equal(made, torch.relu(a @ b) @ b)
    ((func, (left, _), _),) = products.seen.values()  # both are of one shape
    assert func.overloadpacket is torch.ops.aten.mm and [*products.often.values()] == [2]
    assert not torch.equal(left, a)
    assert products.again(CPU) > 0


def test_tenths_of_a_run_tell_whether_it_slows_down():
    assert benchmark.tenths([1.0] * 10 + [2.0] * 10, 4) == [4.0] * 5 + [2.0] * 5
    assert benchmark.tenths([0.5], 2) == [4.0]


def test_settings_stand_side_by_side(arvdm, tiny):
    words = ["bench", tiny, "--memory-slots", 0, "--memory-slots", 2, "--frames", 4, "--threads", 1]
    both = json.loads(arvdm(*words, "--json").stdout)["settings"]
    assert [row["slots"] for row in both] == [0, 2]
    assert all(row["cold_start_seconds"] > 0.1 and row["peak_memory_mb"] > 50 for row in both)
    assert both[0]["stages"]["remember"]["tflop_per_frame"] == 0 < both[1]["stages"]["remember"]["tflop_per_frame"]
    told = arvdm(*words[:2], "--frames", 4, "--threads", 1)
    assert told.exit_code == 0, told.stderr
    assert all(name in told.stdout for name in (*benchmark.STAGES, "frames/s", "cold start", "peak MB"))


def test_what_was_measured_before_an_error_is_told(arvdm, tiny):
    words = ["bench", tiny, "--cache", "exact", "--cache", "nonsense", "--frames", 4, "--threads", 1, "--json"]
    told = arvdm(*words)
    assert told.exit_code == 2 and "nonsense" in told.stderr
    assert [row["cache"] for row in json.loads(told.stdout)["settings"]] == ["exact"]


def test_bench_tells_what_it_is_doing(arvdm, tiny):
    told = arvdm("bench", tiny, "--random-weights", "--frames", 2, "--chunk", 4, "--threads", 1)
    assert told.exit_code == 0, told.stderr
    steps = ("drawing random weights", "measuring chunk 4", "cold start of `arvdm generate`")
    places = [told.stderr.index(step) for step in steps]
    assert places == sorted(places)
    assert "an AR step generates 4 frames, more than the 2" in told.stderr


@pytest.mark.parametrize("sign", [KeyboardInterrupt, SystemExit])
def test_a_bench_that_is_interrupted_tells_how_far_it_came(arvdm, tiny, monkeypatch, sign):
    def stop(*_):
        raise sign(143)

    monkeypatch.setattr(benchmark, "apart", stop)
    told = arvdm("bench", tiny, "--steps", 1, "--steps", 2)
    assert told.exit_code in (130, 143) and "interrupted; 0 of 2 settings were measured" in told.stderr


IDLE = [
    (("--train-steps", 3), "--train-steps"),
    (("--train", "--frames", 3), "--frames"),
    (("--train", "--random-weights", "--solver", "heun"), "--random-weights, --solver"),
    (("--threads", 100000), "100000 threads"),
]


@pytest.mark.parametrize(("words", "named"), IDLE)
def test_what_bench_cannot_obey_is_refused_before_it_measures(arvdm, tiny, monkeypatch, words, named):
    monkeypatch.setattr(benchmark, "apart", pytest.fail)
    told = arvdm("bench", tiny, *words)
    assert told.exit_code == 2 and named in told.stderr, told.stderr


def test_messages_of_another_process_are_read_line_by_line(tmp_path):
    messages = Messages(tmp_path / "log")
    assert messages.latest() is None
    messages.say("one")
    messages.say("two")
    with messages.path.open("a") as file:
        file.write("half")
    assert messages.latest() == "two"


def test_memory_of_a_model_without_one_is_refused(tiny, tmp_path):
    checkpoint.save(replace(checkpoint.load(tiny), network=network(fusion="none")), tmp_path / "none")
    with pytest.raises(ConfigError, match="no memory, so 2 groups"):
        benchmark.measure(str(tmp_path / "none"), benchmark.Machine("cpu", "float32", 1), {"slots": 2}, 4)


@pytest.mark.parametrize("schedule", ["fifo", "rolling"])
def test_a_cold_start_is_set_as_the_measurement_is(tiny, monkeypatch, schedule):
    started, surroundings = [], {}

    def start(words, env, **_):
        started.append(words)
        surroundings.update(env)
        return Started(0)

    monkeypatch.setattr(benchmark.subprocess, "Popen", start)
    monkeypatch.setenv("ARVDM_GENERATE_STEPS", "200")
    chosen = {"schedule": schedule, "steps": None, "context": 2, "slots": 0, "cache": None}
    assert benchmark.cold_start(str(tiny), benchmark.Machine("cpu", "auto", 1), chosen) > 0
    (words,) = started
    assert "ARVDM_GENERATE_STEPS" not in surroundings and "PATH" in surroundings
    flags = dict(zip(words[words.index("--progress") :: 2], words[words.index("--progress") + 1 :: 2], strict=True))
    assert flags == {
        "--progress": "none", "--schedule": schedule, "--context": "2", "--memory-slots": "0", "--device": "cpu",
        "--dtype": "auto", "--threads": "1",
    }  # fmt: skip


class Started:
    """A process that has ended with a code."""

    def __init__(self, code):
        self.stdout, self.returncode = io.BytesIO(), code

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def communicate(self):
        return b"", b"arvdm: error: so it is."


def test_a_cold_start_that_fails_is_no_time(tiny, monkeypatch):
    monkeypatch.setattr(benchmark.subprocess, "Popen", lambda words, **_: Started(3))
    with pytest.raises(UsageError, match=r"ended with 3 .* so it is"):
        benchmark.cold_start(str(tiny), benchmark.Machine("cpu", "auto", 1), {})


# Training


@pytest.fixture(scope="module")
def trained(tiny):
    return training.measure_training(str(tiny), "cpu", "float32", 1, frames=32, groups=4, steps=3, compile=False)


def test_frames_and_operations_of_training_are_told_for_the_same_steps(trained):
    assert trained.frames_per_second > 0 and trained.peak_memory_mb > 0
    seconds = trained.frames_per_step * trained.steps / trained.frames_per_second
    done = trained.tflop_per_step * trained.steps / seconds
    assert trained.share_of_machine == pytest.approx(done / trained.machine_tflop_per_second)


def test_training_on_more_memory_is_more_operations(tiny, trained):
    more = training.measure_training(str(tiny), "cpu", "float32", 1, frames=32, groups=16, steps=3, compile=False)
    assert more.tflop_per_step > trained.tflop_per_step


def test_bench_train_tells_its_figures_as_plain_values(arvdm, tiny):
    result = arvdm("bench", str(tiny), "--train", "--train-frames", "32", "--train-steps", "1", "--dtype", "float32",
                   "--memory-slots", "4", "--threads", "1", "--json")  # fmt: skip
    (row,) = json.loads(result.stdout)["settings"]
    assert row["groups"] == 4 and row["frames_per_step"] == 32 and row["dtype"] == "float32"
