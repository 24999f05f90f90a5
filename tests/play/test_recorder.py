"""A recording, whose command generates the frames again to the bit."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from arvdm_cli import media
from arvdm_cli.errors import OutputExistsError
from arvdm_cli.play.opening import PlayRequest, open_session
from arvdm_cli.runs.output_check import blocks
from arvdm_cli.runs.request import Machine
from arvdm_cli.sampling.schedules import PRESETS
from support.paths import ROOT

HERE = Machine("cpu", "float32", 1)


def opened(tiny, folder, **more):
    return open_session(PlayRequest(str(tiny), 5, policy="random", record=folder, machine=HERE, **more))


class Play:
    """A session driven by hand, as fast as it goes, and the frames of the branch that is played."""

    def __init__(self, session):
        self.session, self.shown, self.now = session, {}, 0.0
        session.clock = self.clock
        viewer = session.subscribe()
        viewer.put = lambda frame: self.shown.update({frame.number: frame.picture})
        session.prepare()

    def clock(self):
        self.now += 100.0  # everything is due
        return self.now

    def run(self, frames):
        end = self.session._shown + frames
        while self.session._shown < end:
            self.session.turn()
            if self.session._job:
                self.session._job.exception()  # wait
        return self

    def command(self, *command):
        self.session.controls.command(*command)
        self.session.turn()
        return self

    def end(self):
        self.session.finish()
        count = self.session.recorder.frames
        return np.stack([self.shown[number] for number in range(1, count + 1)])


def generate_again(arvdm, folder):
    """The frames of the stored command, without loss."""
    words = shlex.split((folder / "command.txt").read_text())
    assert words[0] == "arvdm"
    words[words.index("--output") + 1] = str(folder / "again.npy")
    done = arvdm(*words[1:])
    assert done.exit_code == 0, done.stderr
    return np.load(folder / "again.npy")


def coded(frames, path):
    """The frames as a video of them shows them."""
    with media.Writer(path, *frames.shape[1:3], media.Encoding(15)) as writer:
        writer.write(frames)
    return media.read(path).frames


@pytest.mark.parametrize("preset", PRESETS)
def test_the_stored_command_generates_the_frames_again_also_after_rewinds(arvdm, tiny, tmp_path, preset):
    folder = tmp_path / "walk"
    play = Play(opened(tiny, folder, chosen={"schedule": preset}, prompts=(str(ROOT / "examples" / "maze.mp4"),)))
    play.run(13).command("rewind", 6)
    play.session.driver.seed = 99  # other actions from here on
    play.run(9).command("rewind", 2).run(5)
    frames = play.end()
    assert len(frames) > 13 - 6 + 9 - 2
    np.testing.assert_array_equal(generate_again(arvdm, folder), frames)


def test_a_video_is_cut_where_a_play_branches_off_and_is_the_one_that_was_shown(tiny, tmp_path):
    play = Play(opened(tiny, tmp_path / "walk")).run(20).command("rewind", 9)
    play.session.driver.seed = 99
    frames = play.run(6).end()
    clip = media.read(tmp_path / "walk" / "play.mp4").frames
    assert len(clip) == len(frames)
    again = coded(frames, tmp_path / "again.mp4")
    assert (clip[:8] == again[:8]).all()  # those after it are coded with others behind them, or another key frame
    assert np.abs(np.stack([*map(blocks, clip)]) - [*map(blocks, again)]).mean() < 2


@pytest.mark.parametrize("command", [("reset",), ("seed", 8), ("start", "nothing")])
def test_a_play_that_begins_again_is_recorded_from_there(arvdm, tiny, tmp_path, command):
    folder = tmp_path / "walk"
    play = Play(opened(tiny, folder, prompts=(str(ROOT / "examples" / "maze.mp4"),)))
    frames = play.run(9).command(*command).run(7).end()
    np.testing.assert_array_equal(generate_again(arvdm, folder), frames)


def test_a_recording_can_be_extended_as_a_generated_video_can(arvdm, tiny, tmp_path):
    folder = tmp_path / "walk"
    frames = Play(opened(tiny, folder)).run(11).end()
    assert json.loads((folder / "play.json").read_text())["frames"] == len(frames)
    done = arvdm("generate", "--extend", folder / "play.mp4", "-n", 6, "-a", "left*6")
    assert done.exit_code == 0, done.stderr
    assert len(media.read(folder / "play.mp4").frames) == len(frames) + 6


def test_a_play_without_frames_leaves_no_video(tiny, tmp_path):
    play = Play(opened(tiny, tmp_path / "walk"))
    play.session.finish()
    assert not list((tmp_path / "walk").glob("*.mp4"))


def test_a_folder_with_other_contents_is_not_touched(tiny, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="not empty"):
        opened(tiny, tmp_path)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_killed_play_leaves_a_video_that_plays_and_the_actions_of_all_its_frames(arvdm, tiny, tmp_path):
    folder = tmp_path / "walk"
    words = ("play", tiny, "--measure", 600, "--seed", 3, "--record", folder, "--dtype", "float32", "--threads", 1)
    command = [sys.executable, "-m", "arvdm_cli", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        part = folder / "play.part.mp4"
        while not (part.exists() and part.stat().st_size > 6000):
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    clip = media.read(part).frames
    frames = generate_again(arvdm, folder)
    assert 0 < len(clip) <= len(frames) + 1
    sure = min(len(clip), len(frames)) - 8  # the coding of a frame depends on some after it
    assert (clip[:sure] == coded(frames, tmp_path / "again.mp4")[:sure]).all()
    assert len((folder / "play.jsonl").read_text().splitlines()) >= len(clip)
