"""What a run leaves to look at: sheets, curve and model card."""

import json
import re
import shutil

import imageio.v3
import numpy as np
import pytest

from arvdm_cli.hub.checkpoint import load
from arvdm_cli.reports.results import read_csv
from arvdm_cli.training.loop import train
from arvdm_cli.training.validation import SPANS
from arvdm_cli.training.watch import curve
from arvdm_cli.training.watch.files import last_validation
from arvdm_cli.training.watch.sheet import BETWEEN, LINE, ROW, SHOWN, WIDTH, write_sheet
from support.training import configured, quiet


@pytest.mark.parametrize(("height", "width"), [(64, 64), (24, 40)])
def test_a_sheet_shows_true_frames_above_generated_ones_at_their_places(tmp_path, height, width):
    frames = np.random.default_rng(0).integers(0, 255, (2, 3, 32, height, width, 3), np.uint8)
    before, truth, made = frames[0, :, 0], frames[0], frames[1]
    write_sheet(tmp_path / "sheet.png", before, truth, made, "step 7")
    sheet = imageio.v3.imread(tmp_path / "sheet.png")
    scale = -(-WIDTH // width)
    tall, wide = scale * height + BETWEEN, scale * width + BETWEEN
    assert sheet.shape[1] == ROW + (1 + len(SHOWN)) * wide

    def tile(row, column):
        top, left = 2 * LINE + row * tall, ROW + column * wide
        return sheet[top : top + scale * height : scale, left : left + scale * width : scale]

    np.testing.assert_array_equal(tile(0, 0), before[0])
    for column, number in enumerate(SHOWN, 1):
        np.testing.assert_array_equal(tile(0, column), truth[0, number - 1])
        np.testing.assert_array_equal(tile(1, column), made[0, number - 1])
    assert (sheet[:LINE, :60] > 128).any() and (sheet[2 * LINE :, :ROW] > 128).any()  # words in the margins


def test_the_curve_has_a_row_for_each_measurement(run):
    out, _ = run
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if line["event"] != "encode"]
    rows = read_csv(out / curve.CSV)
    assert [(row["event"], row["step"]) for row in rows] == [(line["event"], line["step"]) for line in measured]
    held = [row for row in rows if row["event"] == "held-out"]
    assert [row["psnr 1"] for row in held] == [line["psnr"][0] for line in lines if line["event"] == "held-out"]
    assert imageio.v3.imread(out / curve.PNG).shape[1] > 600


def test_without_matplotlib_there_is_the_table_alone(run, tmp_path, monkeypatch):
    shutil.copy(run[0] / "metrics.jsonl", tmp_path)
    monkeypatch.setattr(curve, "find_spec", lambda name: None)
    curve.write_curve(tmp_path / "metrics.jsonl", SPANS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [curve.CSV, "metrics.jsonl"]


def test_the_curve_reads_measurements_of_earlier_versions(tmp_path):
    old = {"event": "held-out", "step": 2, "psnr": [20.0, 19.0], "repeat": [18.0, 17.0]}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    curve.write_curve(tmp_path / "metrics.jsonl", SPANS)
    (row,) = read_csv(tmp_path / curve.CSV)
    assert row["repeat 2-4"] == 17.0 and row["ceiling 1"] is None
    assert last_validation(tmp_path / "metrics.jsonl").psnr == [20.0, 19.0]


def test_a_run_leaves_a_card_with_its_figures_and_a_sample_beside_the_weights(run):
    out, events = run
    text = (out / "checkpoint" / "README.md").read_text()
    assert text.startswith("---\n") and "license: mit" in text and "# tiny\n" in text
    assert "3 episodes" in text and "1 held out" in text and "network 4 steps" in text and "torch" in text
    held = [event for event in events if event.name == "held-out"][-1]
    cells = " | ".join(f"{value:.1f}" for value in held.psnr)
    assert f"| the model | {cells} |" in text and "| repeating the last frame |" in text
    assert held.verdict[1:] in text and "arvdm generate -m" in text and "## Limits" in text
    assert (out / "checkpoint" / "sample.png").read_bytes() == (out / held.sheet).read_bytes()
    assert str(out.parent) not in text and "pip install arvdm" not in text  # it is on no package index
    assert not re.search(r"\b1 (episodes|held-out episodes|threads|cores)\b", text)


def test_the_last_event_of_encoding_is_that_of_the_last_episode(run):
    lines = [json.loads(line) for line in (run[0] / "metrics.jsonl").read_text().splitlines()]
    *_, last = [line for line in lines if line["event"] == "encode"]
    assert last["step"] == last["of"] - 1


def test_a_checkpoint_holds_the_walk_of_its_data_unless_the_training_file_has_one(run, data, tmp_path):
    walk = load(run[0] / "checkpoint").card["walk"]
    assert walk
    assert {phrase.rpartition("*")[0] for phrase in walk} <= {"forward", "backward", "left", "right", "stay"}
    config = configured(data, tmp_path / "run", steps=1, card={"walk": {"left*8": 1}})
    train(config, False, quiet)
    assert load(tmp_path / "run" / "checkpoint").card["walk"] == {"left*8": 1}
