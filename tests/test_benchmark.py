"""A benchmark: every stage is timed, all time is told, and settings stand side by side."""

import json

import pytest
import torch
from tiny import model

from arvdm_cli import benchmark, checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint.save(model(), folder)
    return folder


@pytest.fixture(scope="module")
def row(tiny):
    return benchmark.measure(str(tiny), ("cpu", "float32", 1), {"cache": "exact"}, 12)


def test_the_stages_and_what_lies_between_them_are_all_the_time(row):
    stages = row["stages"]
    assert list(stages) == list(benchmark.STAGES)
    told = sum(stage["seconds_per_frame"] for stage in stages.values()) + row["other_seconds_per_frame"]
    assert told == pytest.approx(row["seconds_per_frame"])
    assert all(stages[name]["seconds_per_frame"] > 0 for name in ("context", "denoise", "decode", "convert", "write"))
    assert row["frames"] >= 12 and row["frames_per_second"] == pytest.approx(1 / row["seconds_per_frame"])
    assert len(row["frames_per_second_by_tenth"]) == min(10, row["frames"] // row["chunk"])
    assert row["wall_over_network"] > 1


def test_operations_are_those_of_the_stages_that_sample(row):
    stages = row["stages"]
    assert row["tflop_per_frame"] == pytest.approx(sum(stages[name]["tflop_per_frame"] for name in benchmark.SAMPLING))
    assert stages["denoise"]["tflop_per_frame"] > 0 and stages["convert"]["tflop_per_frame"] == 0


def test_more_denoising_steps_are_more_operations_in_one_stage_alone(tiny, row):
    other = benchmark.measure(str(tiny), ("cpu", "float32", 1), {"steps": 2 * row["steps"]}, 12)
    for name in benchmark.SAMPLING:
        more = 2 if name == "denoise" else 1
        assert other["stages"][name]["tflop_per_frame"] == pytest.approx(more * row["stages"][name]["tflop_per_frame"])


def test_a_clock_tells_each_stage_apart_and_starts_anew_after_a_lap():
    clock = benchmark.Clock(CPU)
    twice = clock.watch("twice", lambda x: 2 * x)
    assert twice(21) == 42
    with clock.stage("other"):
        pass
    lap = clock.lap()
    assert set(lap) == {"twice", "other"} and all(seconds >= 0 for seconds in lap.values())
    assert clock.lap() == {}


def test_the_products_of_a_call_are_taken_again_with_other_numbers():
    a, b = torch.rand(2, 8, 8)
    with benchmark.Products() as products:
        made = torch.relu(a @ b) @ b
    assert torch.equal(made, torch.relu(a @ b) @ b)
    assert [func.overloadpacket for func, *_ in products.seen] == [torch.ops.aten.mm] * 2
    assert not torch.equal(products.seen[0][1][0], a)
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
