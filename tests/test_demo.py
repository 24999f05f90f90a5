"""The demo: its clip shows a true maze, its walk comes back to what the clip has shown, and all tell one command."""

import importlib.util
import re

import numpy as np
import pytest

from arvdm_cli import media
from arvdm_cli.evaluation.metrics import psnr, unit
from support.paths import ROOT

pytest.importorskip("labmaze")
pytest.importorskip("vizdoom")


@pytest.fixture(scope="module")
def demo():
    """examples/demo.py, as a module."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_clip_shows_the_maze_it_names_from_the_poses_of_its_actions(demo):
    clip = media.read(ROOT / "examples" / "maze.mp4", size=(64, 64)).frames
    poses = demo.follow("maze.jsonl", demo.START)
    assert len(poses) == len(clip)
    with demo.Renderer(demo.MAZE) as renderer:
        truth = renderer.render(poses)
    assert psnr(unit(clip[None]), unit(truth[None])).min() > 35  # dB: what coding loses
    assert psnr(unit(clip[None, 1:]), unit(truth[None, :-1])).min() < 25  # one frame later it is another picture


def test_the_walk_of_the_demo_goes_out_and_back_where_the_clip_has_been(demo):
    shown = demo.follow("maze.jsonl", demo.START)
    walked = demo.follow("demo.jsonl", shown[-1])[: demo.RETURN]  # `follow` raises where a wall is in the way
    assert set(walked) <= set(shown)
    assert walked[-1] == shown[-1]
    places = [pose[:2] for pose in walked]
    far = max(abs(row - places[-1][0]) + abs(column - places[-1][1]) for row, column in places)
    assert far >= 2 * demo.MAZE.config.steps


def test_the_walk_of_the_demo_is_as_long_as_the_video():
    words = (ROOT / "examples" / "demo.jsonl").read_text().splitlines()
    assert f"--length {len(words)}" in command_of("README.md")


def test_the_picture_of_the_demo_loops_shows_the_whole_walk_and_is_small(demo):
    file = ROOT / "examples" / "demo.webp"
    with demo.Image.open(file) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (demo.RETURN, 0)
        picture.seek(40)
        frame = np.asarray(picture.convert("RGB")).astype(float)
    shown = demo.follow("maze.jsonl", demo.START)
    with demo.Renderer(demo.MAZE) as renderer:
        truth = renderer.render([demo.follow("demo.jsonl", shown[-1])[40]])[0]
    size = (demo.SIDE, demo.SIDE)
    enlarged = np.asarray(demo.Image.fromarray(truth).resize(size, demo.Image.Resampling.BICUBIC)).astype(float)
    left, right = frame[demo.TOP :, : demo.SIDE], frame[demo.TOP :, -demo.SIDE :]
    assert np.abs(left - enlarged).mean() < np.abs(right - enlarged).mean() < 20
    assert file.stat().st_size < 1_500_000
    assert "](examples/demo.webp)" in (ROOT / "README.md").read_text().split("##")[0]


def test_the_pictures_that_move_are_small_together_and_the_play_loops(demo):
    files = [ROOT / "examples" / name for name in ("demo.webp", "play.webp")]
    assert sum(file.stat().st_size for file in files) < 1_500_000
    with demo.Image.open(files[1]) as picture:
        assert picture.n_frames > 40 and picture.info["loop"] == 0
    assert all("examples/play.webp)" in (ROOT / name).read_text() for name in ("README.md", "docs/play.md"))


def command_of(name):
    """The command that makes the demo, as a file of the repository gives it."""
    (found,) = re.findall(r"arvdm generate .*-o demo\.mp4", (ROOT / name).read_text())
    return found


def test_make_demo_runs_the_command_that_the_readme_gives_for_it():
    assert command_of("Makefile").replace(" -y ", " ") == command_of("README.md")


def test_make_demo_says_where_its_video_comes_back(demo):
    seconds = [round(first / demo.MAZE.config.fps, 1) for first in (*demo.STEPS, demo.RETURN)]
    told = re.search(r"echo '(.*)'", (ROOT / "Makefile").read_text())[1]
    assert [float(number) for number in re.findall(r"\d+\.\d", told)] == seconds[1:]
