"""Published protocols: laws of the scorings, and scores of models on clips as TECO published them."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from arvdm_cli import measure
from arvdm_cli.errors import DataError
from arvdm_cli.evaluation import metrics
from arvdm_cli.evaluation.metrics import Networks
from arvdm_cli.evaluation.protocol import clips as published
from arvdm_cli.evaluation.protocol.scoring import Pictures, Scoring, far, outline, pieces, prepare, score
from arvdm_cli.evaluation.studies import protocol
from arvdm_cli.evaluation.studies.protocol import ProtocolStudy, Run
from arvdm_cli.evaluation.study import run_study
from support.far import DMLAB, publish, write_dmlab
from support.panorama import film, there_and_back, walker, write

SHOWN, NEW = 4, 18


def landscape(clips=3, frames=SHOWN + NEW):
    """Smooth pictures that drift, uint8 (clips, f, 32, 32, 3)."""
    x = np.arange(32) / 5
    phase = np.arange(frames)[:, None] / 4 + x  # (f, w)
    waves = np.sin(phase)[:, None, :] + np.cos(x)[None, :, None]  # (f, h, w)
    colours = np.arange(1, 1 + 3 * clips).reshape(clips, 1, 1, 1, 3)
    return np.uint8(127 + 50 * np.sin(waves[None, ..., None] + colours))


def noisy(truth, amount, seed=0):
    noise = np.random.default_rng(seed).normal(0, amount, truth.shape)
    return np.uint8((truth + noise).clip(0, 255))


def distance(output, truth):
    """In the place of LPIPS's network: the mean difference of two batches (n, 3, h, w)."""
    return (output - truth).abs().mean((1, 2, 3)).reshape(-1, 1, 1, 1)


NETWORKS = Networks(
    metrics.lpips(distance, torch.device("cpu")), lambda videos: videos.mean((2, 3)).reshape(len(videos), -1)[:, :6]
)


# Laws of the scorings


def test_a_perfect_model_scores_the_ceiling():
    truth = landscape()
    for scoring in (Scoring(), Scoring(padded_ssim=True, unit_lpips=True)):
        figures = score(Pictures(truth, truth, SHOWN), scoring, NETWORKS)
        assert (figures["psnr"] == 100).all() and (figures["mse"] == 0).all()
        assert np.allclose(figures["ssim"], 1) and np.allclose(figures["lpips"], 0)
    features = [NETWORKS.i3d(videos) for videos in pieces(Pictures(truth, truth, SHOWN), Scoring(whole_clips=True))]
    assert metrics.frechet(*features) < 1e-6


def test_more_noise_scores_worse_by_every_figure_and_either_scoring():
    truth = landscape()
    for scoring in (Scoring(), far()):
        rows = []
        for amount in (4, 12, 36):
            pictures = Pictures(noisy(truth, amount), truth, SHOWN)
            shown = prepare(pictures, truth[:, :SHOWN], scoring)
            rows.append({name: values.mean() for name, values in score(shown, scoring, NETWORKS).items()})
        for name, sign in (("psnr", -1), ("ssim", -1), ("mse", 1), ("lpips", 1)):
            assert (np.diff([row[name] for row in rows]) * sign > 0).all(), name


def test_figures_are_means_over_new_frames_as_computed_by_hand():
    truth = landscape()
    made = noisy(truth, 20)
    figures = score(Pictures(made, truth, SHOWN), Scoring(), NETWORKS)
    error = np.square(made[:, SHOWN:] / 255 - truth[:, SHOWN:] / 255).mean((2, 3, 4))  # (clips, new)
    assert np.allclose(figures["mse"], error.mean(1), rtol=1e-4)
    assert np.allclose(figures["psnr"], (-10 * np.log10(error)).mean(1), rtol=1e-4)
    apart = np.abs(made[:, SHOWN:] / 255 - truth[:, SHOWN:] / 255).mean((1, 2, 3, 4))
    assert np.allclose(figures["lpips"], 2 * apart, rtol=1e-4)  # of pictures in [-1, 1]
    halved = score(Pictures(made, truth, SHOWN), Scoring(unit_lpips=True), NETWORKS)["lpips"]
    assert np.allclose(halved, apart, rtol=1e-4)  # of pictures in [0, 1]


def test_frames_of_the_context_are_not_compared():
    truth = landscape()
    made = truth.copy()
    made[:, :SHOWN] = 0
    assert (score(Pictures(made, truth, SHOWN), Scoring(), NETWORKS)["psnr"] == 100).all()


def test_the_makers_pictures_went_through_h264_beside_each_other_and_ours_did_not():
    truth = landscape(clips=1)
    decoded = noisy(truth[:, :SHOWN], 10)
    untouched = prepare(Pictures(truth, truth, SHOWN), None, Scoring(whole_clips=True))
    assert np.array_equal(untouched.made, truth)
    theirs = prepare(Pictures(truth, truth, SHOWN), decoded, far())
    figures = score(theirs, far(), NETWORKS)
    assert theirs.truth.shape == truth.shape and not np.array_equal(theirs.truth, truth)
    assert 25 < figures["psnr"][0] < 100  # a perfect model is below the ceiling there
    assert np.abs(theirs.truth[:, SHOWN:].astype(int) - truth[:, SHOWN:]).mean() < 8


def test_context_is_outlined_in_both_and_taken_from_the_codec_in_what_was_made():
    truth = landscape(clips=1)
    decoded = np.zeros_like(truth[:, :SHOWN])
    shown = prepare(Pictures(truth, truth, SHOWN), decoded, Scoring(border=True, decode_context=True))
    edge = np.ones((32, 32), bool)
    edge[1:-1, 1:-1] = False
    for part in (shown.made, shown.truth):
        assert (part[:, :SHOWN, edge] == (255, 0, 0)).all() and np.array_equal(part[:, SHOWN:], truth[:, SHOWN:])
    assert (shown.made[:, :SHOWN, 1:-1, 1:-1] == 0).all()
    assert np.array_equal(shown.truth[:, :SHOWN, 1:-1, 1:-1], truth[:, :SHOWN, 1:-1, 1:-1])
    blank = np.zeros((2, 4, 4, 3), np.uint8)
    outline(blank)
    assert (blank[..., 0] > 0).sum() == 2 * 12


def test_fvd_takes_stretches_of_new_frames_or_whole_clips():
    pictures = Pictures(landscape(), landscape(), SHOWN)
    assert [part.shape[:2] for part in pieces(pictures, Scoring())] == [(3, 16)] * 2
    assert [part.shape[:2] for part in pieces(pictures, Scoring(whole_clips=True))] == [(3, SHOWN + NEW)] * 2


# Clips


def test_clips_are_taken_as_they_were_published_with_the_action_after_the_last_frame(tmp_path):
    write_dmlab(tmp_path / "set" / "test" / "0", *[12] * 11)
    model = walker()
    found = published.formats.find(tmp_path / "set", split="test")
    taken = published.Published(found.clips, published.formats.settle(found), "")
    assert taken.names[:3] == ["0/0.npz", "0/1.npz", "0/2.npz"] and taken.names[10] == "0/10.npz"
    clip, file = taken.take(10), np.load(tmp_path / "set" / "test" / "0" / "10.npz")
    assert np.array_equal(clip.frames, file["video"])
    assert not clip.actions[0].any() and np.array_equal(clip.actions[1:].argmax(1), file["actions"])
    with pytest.raises(published.CheckpointError, match="makes frames of 32x16; the clips have 64x64"):
        published.open_clips(model, tmp_path / "set", None, False)


def test_a_list_says_which_clips_in_which_order(tmp_path):
    for worker in "ab":
        write_dmlab(tmp_path / "set" / worker, 12, 12)
    clips = published.formats.find(tmp_path / "set").clips
    listed = tmp_path / "dmlab_val.json"

    def order(*names):
        listed.write_text(json.dumps([{"video_path": name} for name in names]))
        return [clip.name for clip in published.in_order(clips, listed)]

    assert order("/home/them/dmlab/b/1.npz", "a/0.npz") == ["b/1.npz", "a/0.npz"]
    for wrong, words in (("b/7.npz", "none of the clips"), ("them/1.npz", "2 of the clips")):
        with pytest.raises(DataError, match=words):
            order(wrong)
    listed.write_text("{}")
    with pytest.raises(DataError, match="not a list of objects"):
        published.in_order(clips, listed)


# Whole studies


def study(folder, out, model, **changes):
    facts = {"models": ["walker"], "load": lambda name: model, "data": folder, "listed": None, "every": False}
    facts |= {"clips": 4, "length": None, "runs": protocol.plain_runs([20], False, Scoring()), "seeds": [0]}
    facts |= {"lpips": None, "fvd": None, "networks": Networks(i3d=NETWORKS.i3d), "out": out, "chosen": {}}
    return ProtocolStudy(**facts | changes)


@pytest.fixture(scope="module")
def returning(tmp_path_factory):
    """Recordings that come back to what they showed, so that a model that remembers knows all of it."""
    films = [film(there_and_back(16, times=2), seed) for seed in range(4)]
    return write(tmp_path_factory.mktemp("returning") / "data", films)


def test_a_model_that_knows_what_comes_scores_above_one_that_does_not(returning, tmp_path):
    knows = run_study(study(returning, tmp_path / "one", walker()), tmp_path / "one")
    blind = run_study(study(returning, tmp_path / "two", walker(obeys=False)), tmp_path / "two")
    unknown = Run(20, (Scoring(),), unknown_actions=True)
    without = run_study(study(returning, tmp_path / "three", walker(), runs=[unknown]), tmp_path / "three")
    (best,), (worse,), (still,) = (report.values["scores"] for report in (knows, blind, without))
    assert best["psnr"] > worse["psnr"] + 3 and best["ssim"] > worse["ssim"] and best["fvd"] < worse["fvd"]
    assert still["psnr"] < best["psnr"] and best["clips"] == 4 and best["new_frames"] == 65 - 20
    assert {row.actions for row in without.rows} == {"unknown"}
    by_clip = [row.psnr for row in knows.rows]
    assert best["psnr"] == pytest.approx(np.mean(by_clip), abs=1e-5)


def test_a_stopped_run_resumes_after_its_last_block_to_the_same_scores(returning, tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "BLOCK", 2)
    whole = run_study(study(returning, tmp_path / "whole", walker(), length=16), tmp_path / "whole")
    made, make = [], protocol.make

    def stopped(model, tasks, seed, progress):
        made.append(seed)
        if len(made) == 2:
            raise KeyboardInterrupt
        return make(model, tasks, seed, progress)

    monkeypatch.setattr(protocol, "make", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(returning, tmp_path / "out", walker(), length=16), tmp_path / "out")
    again = run_study(study(returning, tmp_path / "out", walker(), length=16), tmp_path / "out")
    assert made == [0, 2, 2] and again.values["scores"] == whole.values["scores"]
    assert again.values["scores"][0]["fvd"] is not None


def test_python_gives_the_scores_of_the_study(returning, tmp_path):
    few = {"clips": 2, "length": 12}
    ours = measure.protocol(walker(), returning, shown=[20], scoring=measure.Scoring("mine", padded_ssim=True), **few)
    runs = protocol.plain_runs([20], False, Scoring("mine", padded_ssim=True))
    theirs = run_study(study(returning, tmp_path, walker(), runs=runs, networks=Networks(), **few), tmp_path)
    assert ours.values["scores"] == theirs.values["scores"] and "mine" in str(ours)


def test_clips_that_are_too_short_are_refused_by_name(returning, tmp_path):
    for changes, words in (
        ({"length": 99}, "Clip 0 has 65 frames; 119 are needed"),
        ({"runs": protocol.plain_runs([65], False, Scoring())}, "leave none"),
    ):
        with pytest.raises(DataError, match=words):
            run_study(study(returning, tmp_path, walker(), **changes), tmp_path)


def test_far_is_scored_by_its_own_protocol_in_one_command(arvdm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "far", **DMLAB)
    write_dmlab(tmp_path / "dmlab" / "test" / "0", 8, 8)
    fast = ("--clips", 2, "--steps", 1, "--guidance", 1, "--dtype", "float32", "--seed", 0, "--seed", 2)
    command = ("eval", "protocol", "far", "--data", "dmlab", "--far", "--shown", 5, *fast)
    done = arvdm(*command)
    assert done.exit_code == 0, done.stderr
    assert "2 clips of TECO's DMLab" in done.stderr.replace("\n", " ")
    assert "LPIPS is not measured" in done.stderr and "FVD is not measured" in done.stderr
    assert re.search(r"5 +3 +far +2 +2 +[0-9.]+±", done.stdout)  # shown, new, scoring, clips, seeds
    report = json.loads((tmp_path / "protocol" / "protocol.json").read_text())
    rows = list(csv.DictReader((tmp_path / "protocol" / "protocol.csv").open()))
    assert len(rows) == 2 * 2 * 2 and {row["scoring"] for row in rows} == {"arvdm", "far"}  # seeds, clips
    scores = {(one["scoring"], one["seed"]): one["psnr"] for one in report["scores"]}
    assert len(set(scores.values())) == 4 and len(scores) == 4
    assert (tmp_path / "protocol" / "protocol.html").read_text().count("<img") == 2
    assert arvdm(*command).exit_code == 10
    assert arvdm(*command, "--compress").exit_code == 2  # --far sets it
    stopped = report | {"complete": False}
    (tmp_path / "protocol" / "protocol.json").write_text(json.dumps(stopped))
    again = arvdm(*command, "--json")
    assert "resuming after 4 clips" in again.stderr and json.loads(again.stdout)["scores"] == report["scores"]


def test_the_runs_of_far_are_those_of_its_makers(tmp_path):
    write_dmlab(tmp_path / "dmlab", 8)
    long, short = protocol.far_runs(tmp_path / "dmlab", None, False)
    assert (long.shown, long.unknown_actions, short.shown, short.unknown_actions) == (144, False, 36, True)
    assert [scoring.border for run in (long, short) for scoring in run.scorings] == [False, True, False, False]
    craft = tmp_path / "craft"
    craft.mkdir()
    np.savez(craft / "000000.npz", actions=np.zeros(8, int))
    (craft / "000000.mp4").touch()
    assert [run.unknown_actions for run in protocol.far_runs(craft, None, False)] == [False, False]
