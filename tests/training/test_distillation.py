"""Distillation: the target of one step is where the teacher's steps lead, and a run learns it."""

import json
from dataclasses import replace

import pytest
import torch

from arvdm_cli.errors import ConfigError
from arvdm_cli.hub import checkpoint
from arvdm_cli.sampling.diffusion import DDPM, FlowMatching
from arvdm_cli.sampling.schedules import PRESETS, preset
from arvdm_cli.sampling.solvers import estimate, euler, follow
from arvdm_cli.sampling.state import Sampling
from arvdm_cli.training.distillation import Teacher
from arvdm_cli.training.loop import train
from support.tiny import model, network
from support.training import configured, quiet

NOISY = torch.randn(3, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def bend(noisy, levels):
    """A prediction that hangs on latents and levels in a way of its own."""
    return torch.sin(2 * noisy) + levels.reshape(*levels.shape, 1, 1, 1)


def taught(name="outpainting", steps=3, diffusion=None, **options):
    made = model()
    made.diffusion = diffusion or FlowMatching(prediction="velocity")
    return Teacher(made, preset(name, **options), steps)


@pytest.mark.parametrize("diffusion", [FlowMatching(), DDPM()])
def test_the_estimate_undoes_a_step(diffusion):
    before, after = torch.full((3, 4), 0.8), torch.full((3, 4), 0.3)
    clean = torch.cos(NOISY)
    there = follow(diffusion, clean, NOISY, before, after)
    torch.testing.assert_close(estimate(diffusion, there, NOISY, before, after), clean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("diffusion", [FlowMatching(prediction="velocity"), DDPM(prediction="v")])
@pytest.mark.parametrize("name", ["outpainting", "rolling", "fifo"])
def test_one_step_with_the_estimate_ends_where_the_teachers_steps_end(name, diffusion):
    teacher = taught(name, diffusion=diffusion)
    w = teacher.schedule.window
    noisy = NOISY[:, :1].expand(-1, w, -1, -1, -1).clone()
    before, after = teacher.draw(3, torch.Generator().manual_seed(1))
    there = noisy
    for m in range(3):
        now, then = (before + (m + i) / 3 * (after - before) for i in (0, 1))
        there = euler(diffusion, bend, there, now, then)
    clean = teacher.estimate(bend, noisy, before, after)
    torch.testing.assert_close(follow(diffusion, clean, noisy, before, after), there, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_frames_that_wait_are_told_what_the_teacher_makes_of_them(name):
    teacher = taught(name)
    before, after = teacher.draw(64, torch.Generator().manual_seed(0))
    noisy = torch.randn(64, before.shape[1], 2, 4, 4)
    clean = teacher.estimate(bend, noisy, before, after)
    assert torch.isfinite(clean).all()
    wait = before == after
    first = teacher.model.diffusion.to_clean(bend(noisy, before), noisy, before)
    assert torch.equal(clean[wait], first[wait])


def test_steps_are_those_of_the_schedule_and_all_of_them_come():
    teacher = taught("outpainting", chunk=2, steps=4)
    before, after = teacher.draw(200, torch.Generator().manual_seed(0))
    assert sorted(set(before[:, 0].tolist())) == [0.25, 0.5, 0.75, 1.0]
    torch.testing.assert_close(before - after, torch.full((200, 2), 0.25))


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_its_own_steps_and_from_more_it_has(
    run, data, tmp_path
):
    folder = str(run[0] / "checkpoint")

    def loss(out, **chosen):
        train(configured(data, tmp_path / out, start=folder, distill=folder, early=0.0, **chosen), False, quiet)
        events = map(json.loads, (tmp_path / out / "metrics.jsonl").read_text().splitlines())
        return [event["loss"] for event in events if event["event"] == "step"]

    same = {"steps": 20, "every": 20, "lr": 0.0, "matrix_lr": 0.0}
    (nothing,) = loss("nothing", distill_steps=1, **same)
    (something,) = loss("something", distill_steps=2, **same)
    assert nothing < 1e-8 < something


def test_a_student_comes_nearer_to_its_teacher(data, tmp_path):
    teacher = replace(model(), diffusion=FlowMatching())
    checkpoint.save(teacher, tmp_path / "teacher")
    shape = {"network": teacher.network.config, "start": str(tmp_path / "teacher"), "early": 0.0, "warmup": 1}
    sampling = Sampling("outpainting", {"chunk": 4, "steps": 1}, slots=2, group=2)
    config = configured(data, tmp_path / "student", steps=200, every=200, distill=shape["start"], distill_steps=4,
                        sampling=sampling, **shape)  # fmt: skip
    train(config, False, quiet)
    events = map(json.loads, (tmp_path / "student" / "metrics.jsonl").read_text().splitlines())
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("part", ["codec", "diffusion", "network", "distill_steps"])
def test_a_teacher_that_does_not_fit_is_refused_and_an_older_run_stays(run, data, tmp_path, part):
    folder = run[0] / "checkpoint"
    others = {"codec": model().codec, "diffusion": DDPM(), "network": network(dim=64, depth=1, group=2)}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.jsonl").write_text("{}\n")
    if part in others:
        checkpoint.save(replace(checkpoint.load(folder), **{part: others[part]}), tmp_path / "other")
    distill = tmp_path / "other" if part in others else folder
    chosen = {"distill_steps": 0} if part == "distill_steps" else {}
    config = configured(data, tmp_path / "out", start=str(folder), distill=str(distill), early=0.0, **chosen)
    with pytest.raises(ConfigError, match=f"its {part} differs" if part in others else part):
        train(config, False, quiet)
    assert (tmp_path / "out" / "metrics.jsonl").read_text() == "{}\n"


def test_a_teacher_must_have_the_same_noise_and_moves_and_may_predict_otherwise():
    teacher = taught(diffusion=DDPM(prediction="v", count=50))
    codec, config = teacher.model.codec, teacher.model.network.config
    teacher.check("it", codec, config, DDPM(prediction="x0", count=50, least_level=0.3))
    with pytest.raises(ConfigError, match="its diffusion differs"):
        teacher.check("it", codec, config, DDPM(prediction="v", count=60))
    moves = tuple((2 * ahead, turned) for ahead, turned in config.moves)
    with pytest.raises(ConfigError, match="its network differs"):
        teacher.check("it", codec, replace(config, moves=moves), teacher.model.diffusion)
