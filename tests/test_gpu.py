"""On a CUDA device: the frames of a CPU, alike from run to run, in half precision, compiled and resumed; training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from arvdm_cli.device import compile_network
from arvdm_cli.hub import checkpoint
from arvdm_cli.models.oasis import Past
from arvdm_cli.runs.benchmark import sampling as benchmark
from arvdm_cli.sampling.config import CACHES, Sampling
from arvdm_cli.sampling.generation import begin, choose, generate, given
from arvdm_cli.training.loop import train
from arvdm_cli.training.state import TrainState
from support.oasis import GOLDEN, deviation, index_to_level, publish
from support.tiny import WAYS, model, render, track
from support.training import Stopped, configured, quiet, stopped

pytestmark = pytest.mark.gpu
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def whole_products():
    """Multiply float32 as float32: convolutions would take the shorter numbers of the matrix units."""
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = False
    yield
    for kind, was in zip(kinds, before, strict=True):
        kind.allow_tf32 = was


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint.save(
        model(sampling=Sampling("outpainting", {"chunk": 3, "steps": 2}, context=3, slots=3, group=2)), folder
    )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return render(tmp_path_factory.mktemp("data") / "maze", 4, 128)


def video(folder, device, dtype=torch.float32, length=12, compile=False, **chosen):
    """Frames (1, f, 3, h, w) that continue a prompt of seven, on the CPU."""
    made = checkpoint.load(folder, device, dtype)
    if compile:
        compile_network(made, torch.device(device))
    plan = choose(made.sampling, **chosen)
    prompt = torch.rand(1, 7, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    state = begin(made, plan, prompt, track(7))
    drive = given(track(length, 1).to(device))
    return torch.cat([part.cpu() for part in generate(made, plan, state, drive, 3, length)], 1).float()


def close(one, other, atol=1e-3):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


# Sampling


@pytest.mark.parametrize("schedule", ["outpainting", "next-frame", "fifo", "rolling", "pyramid"])
def test_frames_are_those_of_a_cpu(tiny, schedule):
    close(video(tiny, DEVICE, schedule=schedule), video(tiny, "cpu", schedule=schedule))


@pytest.mark.parametrize("cache", CACHES)
def test_frames_are_those_of_a_cpu_whatever_is_kept_between_steps(tiny, cache):
    close(video(tiny, DEVICE, cache=cache), video(tiny, "cpu", cache=cache))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_frames_are_those_of_a_cpu_however_memory_enters(tmp_path, way):
    checkpoint.save(model(**way), tmp_path)
    close(video(tmp_path, DEVICE), video(tmp_path, "cpu"))


def test_oasis_predicts_and_paints_what_the_reference_does(tmp_path):
    oasis = checkpoint.load(publish(tmp_path), DEVICE)
    x, index, actions = (GOLDEN[f"dit.a.{name}"].to(DEVICE) for name in ("x", "t", "actions"))
    with torch.no_grad():
        made = oasis.network(x, index_to_level(index.cpu()).to(DEVICE), actions, Past([]))
        painted = oasis.codec.decode_pictures(GOLDEN["vae.z"].to(DEVICE))
    assert deviation(made.cpu(), GOLDEN["dit.a.out"]) < 1e-4
    assert deviation(painted.cpu(), GOLDEN["vae.decoded"]) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_makes_nearly_the_same_frames(tiny, dtype):
    half, whole = video(tiny, DEVICE, dtype, 6), video(tiny, DEVICE, length=6)
    assert not torch.equal(half, whole) and (half - whole).abs().mean() < 0.02


def test_a_compiled_network_makes_the_same_frames(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    close(video(tiny, DEVICE, compile=True), video(tiny, DEVICE))


def test_a_compiled_network_runs_in_bfloat16(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    one, other = video(tiny, DEVICE, torch.bfloat16, 6, True), video(tiny, DEVICE, torch.bfloat16, 6)
    assert (one - other).abs().mean() < 0.02


def test_deterministic_frames_are_the_same_in_another_run_also_in_one_that_was_resumed(shell, tiny, tmp_path):
    words = ("generate", "-m", tiny, "--device", DEVICE, "--seed", 5, "--deterministic", "-q", "-o")
    for name, *lengths in (("whole", 12), ("parts", 6, 12)):
        for length in lengths:
            resume = ("--resume", "auto") if length != lengths[0] else ()
            done = shell(*words, tmp_path / f"{name}.y4m", "-n", length, *resume)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "whole.y4m").read_bytes() == (tmp_path / "parts.y4m").read_bytes()
    assert json.loads((tmp_path / "parts.json").read_text())["resumed_after"] == 6


def test_a_benchmark_tells_the_memory_of_the_card(tiny):
    row = benchmark.measure(str(tiny), benchmark.Machine(DEVICE, "bfloat16"), {}, 6)
    assert row.device == DEVICE and 0 < row.peak_memory_mb < 4096
    assert row.stages["denoise"].tflop_per_frame > 0


# Training


def test_a_training_that_was_stopped_goes_on_to_a_checkpoint_that_loads(data, tmp_path):
    config = configured(data, tmp_path / "run", device=DEVICE, groups=(2,), early=0.0, own_frames=1.0)
    with pytest.raises(Stopped):
        train(config, False, stopped("held-out", 2))
    events = []
    train(config, True, events.append)
    assert TrainState.load(tmp_path / "run" / "state.pt").step == 4
    assert events[-1].name == "held-out" and np.isfinite(events[-1].psnr).all()
    for device in ("cpu", DEVICE):
        assert checkpoint.load(tmp_path / "run" / "checkpoint", device).card["training"]["steps"] == 4


def test_a_training_has_the_losses_of_a_cpu(data, tmp_path):
    losses = []
    for device in ("cpu", DEVICE):
        events = []
        config = configured(data, tmp_path / device, device=device, steps=20, every=20, early=0.0)
        train(config, False, events.append)
        losses += [event.loss for event in events if event.name == "step"]
    assert len(losses) == 2 and losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_student_learns_from_a_teacher(data, tmp_path):
    train(configured(data, tmp_path / "teacher", device=DEVICE), False, quiet)
    teacher = str(tmp_path / "teacher" / "checkpoint")
    sampling = Sampling("outpainting", {"chunk": 8, "steps": 2}, slots=2)
    config = configured(data, tmp_path / "student", device=DEVICE, start=teacher, distill=teacher, distill_steps=2)
    train(replace(config, sampling=sampling), False, quiet)
    assert TrainState.load(tmp_path / "student" / "state.pt").step == 4
