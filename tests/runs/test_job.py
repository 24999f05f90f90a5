"""A run as Python calls it: it makes what the command makes, tells what happens by events, and prints nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from arvdm_cli.actions import phrases
from arvdm_cli.errors import ConfigError, OutputBusyError
from arvdm_cli.media import Encoding
from arvdm_cli.runs import events, saver, sidecar, state_file
from arvdm_cli.runs.extension import extend
from arvdm_cli.runs.job import Job, load
from arvdm_cli.runs.request import Machine, PromptSource, Request
from arvdm_cli.sampling.generation import choose
from support.checkpoints import ACTIONS
from support.videos import shown

CPU = Machine("cpu", "float32")


@pytest.fixture(scope="module")
def model(tiny):
    return load(tiny, CPU)[0]


@pytest.fixture
def ask(tiny, clip, model, tmp_path):
    """A request for 7 frames without loss, into a file of this test."""

    def request(name="out.mkv", **changes):
        encoding = Encoding(model.fps, codec="ffv1")
        asked = Request(str(tiny), str(tmp_path / name), 3, choose(model.sampling), encoding, machine=CPU)
        return replace(asked, **{"prompt": PromptSource(str(clip)), "length": 7} | changes)

    return request


class Stopped(Exception):
    pass


def stop_after(frames):
    def listen(event):
        if isinstance(event, events.FramesWritten) and event.frames >= frames:
            raise Stopped

    return listen


def test_a_job_makes_the_frames_of_the_command_and_prints_nothing(arvdm, tiny, clip, model, ask, tmp_path, capfd):
    report = Job(ask(), model).run()
    assert capfd.readouterr() == ("", "")
    words = ("-m", tiny, "-p", clip, "-n", 7, "--seed", 3, "--codec", "ffv1", "--dtype", "float32")
    assert arvdm("generate", *words, "-o", tmp_path / "command.mkv").exit_code == 0
    np.testing.assert_array_equal(shown(tmp_path / "out.mkv"), shown(tmp_path / "command.mkv"))
    assert report.complete and report.frames == report.new_frames == 7 and report.output == str(tmp_path / "out.mkv")
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("out", "command"))
    assert ours.keys() == theirs.keys() and ours == json.loads(json.dumps(report.to_json()))
    changing = {"output", "started", "seconds", "first_frame_seconds", "frames_per_second"}
    assert all(ours[name] == theirs[name] for name in ours.keys() - changing)


def test_a_request_sent_as_json_makes_the_same_frames_elsewhere(model, ask, tmp_path):
    Job(ask(), model).run()
    sent = json.dumps(ask("elsewhere.mkv").to_json())
    assert Job.load(Request.from_json(json.loads(sent))).run().complete
    np.testing.assert_array_equal(shown(tmp_path / "elsewhere.mkv"), shown(tmp_path / "out.mkv"))


def test_events_tell_the_start_every_chunk_and_the_states(model, ask, monkeypatch):
    monkeypatch.setattr(saver, "EVERY", 0.0)
    happened = []
    Job(ask(), model).run(happened.append)
    assert happened[0] == events.Started(ask().output, 7)
    written = [event.frames for event in happened if isinstance(event, events.FramesWritten)]
    assert written == [2, 4, 6, 7]  # chunks are of 2
    saved = [event.frames for event in happened if isinstance(event, events.StateSaved)]
    assert saved[0] == 0 and saved[-1] == 6 and saved == sorted(saved)


@pytest.mark.parametrize("actions", ["random", "forward*3 left*4"])
def test_an_interrupted_job_resumes_to_the_frames_and_the_actions_of_an_unbroken_one(model, ask, tmp_path, actions):
    whole = Job(ask("whole.mkv", actions=actions), model).run()
    job, happened = Job(ask(actions=actions), model), []

    def listen(event):
        happened.append(event)
        stop_after(4)(event)

    with pytest.raises(Stopped):
        job.run(listen)
    assert happened[-1] == events.Interrupted(job.request.output)
    assert not json.loads((tmp_path / "out.json").read_text())["complete"]
    happened.clear()
    report = job.resume(state_file.saved_states(job.request.output), happened.append)
    assert events.Resumed(job.request.output, 4) in happened
    assert report.complete and (report.resumed_after, report.new_frames) == (4, 3)
    assert report.action_phrase == whole.action_phrase
    np.testing.assert_array_equal(shown(tmp_path / "out.mkv"), shown(tmp_path / "whole.mkv"))


def test_the_actions_of_a_sidecar_lead_to_the_same_frames(model, ask, tmp_path):
    phrase = Job(ask(length=8), model).run().action_phrase  # whole chunks: the rest of one would have other actions
    drawn = phrases.random(ACTIONS, 8, 3)
    np.testing.assert_array_equal(phrases.parse(phrase, ACTIONS), drawn)
    assert Job(ask("again.mkv", actions=phrase, length=None), model).run().frames == 8
    np.testing.assert_array_equal(shown(tmp_path / "again.mkv"), shown(tmp_path / "out.mkv"))


def test_an_extended_video_tells_all_its_actions(model, ask):
    Job(ask(actions="forward*7"), model).run()
    report = extend(ask().output, 5, "left*5", CPU)
    assert report.action_phrase == "forward*7 left*5" and report.frames == 12
    track = phrases.parse(extend(ask().output, 2, "random", CPU).action_phrase, ACTIONS)
    np.testing.assert_array_equal(track[:12], phrases.parse("forward*7 left*5", ACTIONS))
    np.testing.assert_array_equal(track[12:], phrases.random(ACTIONS, 14, 3)[12:])


def test_a_run_without_a_length_that_was_stopped_is_extended_after_its_last_frame(model, ask, tmp_path):
    with pytest.raises(Stopped):
        Job(ask(length=0), model).run(stop_after(6))
    report = extend(ask().output, 4, "random", CPU)
    assert report.complete and report.frames == 10 and len(shown(tmp_path / "out.mkv")) == 10


def test_a_state_of_an_earlier_version_which_has_no_actions_is_resumed(model, ask, tmp_path):
    Job(ask("whole.mkv"), model).run()
    with pytest.raises(Stopped):
        Job(ask(), model).run(stop_after(4))
    (saved, *_) = state_file.saved_states(ask().output)
    report = Job(ask(), model).resume([replace(saved, phrase=None)])
    assert report.complete and report.action_phrase is None
    np.testing.assert_array_equal(shown(tmp_path / "out.mkv"), shown(tmp_path / "whole.mkv"))


def test_a_complete_job_is_not_made_again_and_no_job_resumes_another(model, ask):
    Job(ask(), model).run()
    states, happened = state_file.saved_states(ask().output), []
    report = Job(ask(), model).resume(states, happened.append)
    assert happened == [events.AlreadyComplete(ask().output, 7)] and report.complete and report.new_frames == 0
    with pytest.raises(ConfigError, match="seed was 3 and is 4"):
        Job(ask(seed=4), model).resume(states)


def test_a_shorter_request_makes_nothing_new(model, ask, tmp_path):
    Job(ask(), model).run()
    whole = shown(tmp_path / "out.mkv")
    report = Job(ask(length=1), model).resume(state_file.saved_states(ask().output))
    assert report.complete and report.new_frames == 0
    np.testing.assert_array_equal(shown(tmp_path / "out.mkv"), whole[: report.frames])


def test_one_job_at_a_time_writes_an_output(model, ask):
    with sidecar.hold(ask().output), pytest.raises(OutputBusyError):
        Job(ask(), model).run()
    assert Job(ask(), model).run().complete


def test_a_measured_job_writes_nothing(model, ask, tmp_path):
    estimate = Job(ask(length=600), model).measure()
    assert estimate.seconds == pytest.approx(600 / estimate.frames_per_second) and estimate.peak_memory_mb > 0
    assert Job(ask(length=0), model).measure().seconds is None
    assert not list(tmp_path.iterdir())
