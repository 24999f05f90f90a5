"""What TensorBoard reads of a run."""

import json
import sys
from dataclasses import replace

import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.training.loop import train
from arvdm_cli.training.validation import SPANS
from arvdm_cli.training.watch.tensorboard import FOLDER, TensorBoard
from support.training import Stopped, configured, quiet, stopped


def test_tensorboard_has_the_scalars_of_the_measurements_once_and_the_sheets(data, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "run"
    config = replace(configured(data, out, steps=60, every=20), log="tensorboard")
    with pytest.raises(Stopped):
        train(config, False, stopped("step", 40))  # which the run resumes from step 20
    train(config, True, quiet)
    events = reader.EventAccumulator(str(out / FOLDER), {reader.SCALARS: 0, reader.IMAGES: 0})
    events.Reload()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["loss"]) for line in lines if line["event"] == "step"]
    assert [scalar.step for scalar in events.Scalars("network/loss")] == [step for step, _ in losses] == [20, 40, 60]
    assert [scalar.value for scalar in events.Scalars("network/loss")] == pytest.approx([loss for _, loss in losses])
    held = [line["psnr"][0] for line in lines if line["event"] == "held-out"]
    assert [scalar.value for scalar in events.Scalars("held-out psnr/frame 1")] == pytest.approx(held)
    assert [image.step for image in events.Images("sheet")] == [20, 40, 60]
    assert "codec/psnr" in events.Tags()["scalars"]


def test_without_the_package_a_run_that_logs_to_it_is_refused_before_its_first_step(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="needs the package tensorboard") as caught:
        TensorBoard(tmp_path, SPANS, None)
    assert caught.value.hint == "pip install tensorboard"
    with pytest.raises(UsageError):
        train(replace(configured(data, tmp_path / "run"), log="tensorboard"), False, quiet)
    assert not (tmp_path / "run" / "state.pt").exists()
