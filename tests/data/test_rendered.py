"""Folders of rendered episodes: the same bytes however they came to be, and what is wrong with one is named."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from arvdm_cli.cli.data import app
from arvdm_cli.data.array_folder import lock
from arvdm_cli.data.rendered import KINDS, check, episode, make, read
from arvdm_cli.errors import DataError, OutputBusyError, OutputError, OutputExistsError, UsageError
from arvdm_cli.worlds.maze import (
    ACTIONS,
    FLOORS,
    LATER,
    LEFT,
    NARROW,
    RIGHT,
    WALLS,
    WIDE,
    Maze,
    MazeConfig,
)
from arvdm_cli.worlds.skies import SKIES

pytest.importorskip("labmaze")
pytest.importorskip("vizdoom")

SHORT = MazeConfig(frames=40)  # long enough for a way out and back


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("maze") / "made" / "at once"
    make(SHORT, 3, 5, out, workers=2)
    return out


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_poses_follow_from_actions_and_the_first_action_is_stay(folder):
    data = read(folder)
    for actions, poses, seed in zip(data.actions, data.poses, data.seeds, strict=True):
        maze = Maze(data.world, int(seed))
        assert actions[0] == 0
        assert maze.follow(tuple(poses[0].tolist()), actions.tolist()) == [tuple(pose) for pose in poses.tolist()]


def test_a_folder_holds_the_episodes_of_its_seeds(folder):
    data = read(folder)
    made = episode(data.world, int(data.seeds[1]))
    np.testing.assert_array_equal(data.frames[1], made.frames)
    np.testing.assert_array_equal(data.poses[1], made.poses)
    assert KINDS[data.kinds[1]] == made.kind
    assert isinstance(data.frames, np.memmap) and data.frames.shape == (3, 40, 64, 64, 3)


@pytest.mark.slow
def test_an_interrupted_folder_is_read_up_to_there_and_goes_on_to_the_same_bytes(tmp_path):
    def interrupt(finished, total):
        if finished == 1:
            raise KeyboardInterrupt

    out, at_once = tmp_path / "interrupted", tmp_path / "at once"
    with pytest.raises(KeyboardInterrupt):
        make(SHORT, 8, 5, out, workers=1, progress=interrupt)
    assert 1 <= len(read(out)) < 8 and read(out).planned == 8  # the next ones go on until the worker is stopped
    make(SHORT, 9, 5, out, workers=1)  # and one episode more than was asked for at first
    make(SHORT, 9, 5, at_once)
    for file in sorted(at_once.iterdir()):
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_folder_from_before_there_were_posters_skies_light_and_another_view_is_read_and_extended(copy):
    settings = json.loads((copy / "world.json").read_text())
    for name in ("posters", "bare", *LATER):
        del settings["world"][name]
    (copy / "world.json").write_text(json.dumps(settings))
    assert read(copy).world == SHORT
    make(SHORT, 4, 5, copy)
    assert len(read(copy)) == 4
    with pytest.raises(DataError, match="posters 0, not 3"):
        make(replace(SHORT, posters=3), 4, 5, copy)


def test_what_is_finished_is_not_rendered_again(copy):
    actions = np.load(copy / "actions.npy", mmap_mode="r+")
    actions[2] = 77
    actions.flush()
    seen = []
    make(SHORT, 3, 5, copy, progress=lambda *counts: seen.append(counts))
    make(SHORT, 1, 5, copy)  # asks for fewer than there are
    assert seen == [(3, 3)] and (read(copy).actions[2] == 77).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"walls": 9},
        {"turn": 22.5},
        {"size": 128},
        {"frames": 41},
        {"posters": 1},
        {"bare": 0.5},
        {"skies": 2},
        {"light": 0.5},
        {"walk": "free"},
        {"view": 90.0},
        {"eye": 0.5},
        {"height": 1.0},
        {"sky": "96e0ff"},
    ],
)
def test_a_folder_made_with_other_settings_is_refused_and_the_setting_named(copy, changed):
    (name,) = changed
    with pytest.raises(DataError, match=f"{name} {getattr(SHORT, name)}, not {changed[name]}"):
        make(replace(SHORT, **changed), 3, 5, copy)
    with pytest.raises(DataError, match="seed 5, not 6"):
        make(SHORT, 3, 6, copy)


def test_a_folder_that_cannot_be_written_is_an_error(folder, copy, tmp_path):
    with pytest.raises(OutputError, match="cannot be created"):
        make(SHORT, 1, 0, folder / "world.json" / "below")
    with pytest.raises(OutputError, match="GB"):
        make(SHORT, 10**9, 5, copy)
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(OutputExistsError, match="other files"):
        make(SHORT, 1, 0, tmp_path)
    with lock(copy), pytest.raises(OutputBusyError):
        make(SHORT, 3, 5, copy)


def test_a_folder_that_lost_a_file_is_an_error(copy):
    with open(copy / "poses.npy", "r+b") as file:
        file.truncate(200)
    for use in (lambda: make(SHORT, 3, 5, copy), lambda: read(copy)):
        with pytest.raises(DataError):
            use()
    (copy / "world.json").write_text("{")
    with pytest.raises(DataError, match=r"world\.json"):
        read(copy)


@pytest.mark.parametrize(
    ("name", "place", "value", "problem"),
    [
        ("frames", (1, 39), 0, "black|differ"),
        ("actions", (1, 20), 9, "action 9"),
        ("actions", (1, 0), 1, "not stay"),
        ("poses", (1, 20, 2), 33, "does not follow"),
        ("kinds", (1,), 77, "kind is 77"),
        ("seeds", (1,), 77, "seed is 77"),
    ],
)
def test_inspect_finds_a_corrupted_episode(copy, name, place, value, problem):
    array = np.load(copy / f"{name}.npy", mmap_mode="r+")
    array[place] = value
    array.flush()
    result = CliRunner().invoke(app, ["inspect", str(copy)])
    assert isinstance(result.exception, DataError)
    assert re.search(f"episode 1 .*({problem})", str(result.exception))
    assert check(read(copy), 0) is None and check(read(copy), 2) is None


def test_check_compares_the_frames_of_equal_poses_and_actions_with_the_way(folder):
    data = read(folder)
    frames, actions = data.frames.copy(), data.actions.copy()
    poses = data.poses.tolist()
    index, later = next((i, t) for i in range(3) for t in range(1, 40) if poses[i][t] in poses[i][:t])
    frames[index, later, 0, 0, 0] ^= 1
    assert "differ" in str(check(replace(data, frames=frames), index))
    actions[0, 20] = LEFT if actions[0, 20] != LEFT else RIGHT
    assert "frame 20 does not follow" in str(check(replace(data, actions=actions), 0))


def test_inspect_counts_what_make_wrote_and_draws_it(folder, tmp_path):
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["inspect", str(folder), "--sheet", str(sheet), "--every", "10"])
    assert result.exit_code == 0, result.output
    assert "120" in result.stdout and all(action in result.stdout for action in ACTIONS)
    assert Image.open(sheet).width == 4 * 64
    again = CliRunner().invoke(app, ["inspect", str(folder), "--sheet", str(sheet)])
    assert isinstance(again.exception, OutputExistsError)


def test_the_make_command_goes_on_with_a_folder_and_names_an_unknown_world(copy):
    flags = ["--out", str(copy), "--seed", "5", "--frames", "40", "--workers", "1"]
    result = CliRunner().invoke(app, ["make", "maze", "--episodes", "3", *flags])
    assert result.exit_code == 0 and "3 episodes of 40 frames" in result.stdout
    assert isinstance(CliRunner().invoke(app, ["make", "ocean", *flags]).exception, UsageError)
    changed = CliRunner().invoke(app, ["make", "maze", "--posters", "4", *flags])
    assert "posters 0, not 4" in str(changed.exception)


@pytest.mark.slow
def test_make_wide_equals_its_parts_and_a_flag_that_is_given_wins(tmp_path):
    def rendered(*flags):
        out = tmp_path / "-".join(flags).strip("-")
        rest = ["--out", str(out), "--episodes", "2", "--frames", "5", "--workers", "1"]
        result = CliRunner().invoke(app, ["make", "maze", *flags, *rest])
        assert result.exit_code == 0, result.output
        return read(out)

    parts = [f"--{name}={value}" for name, value in WIDE.items()]
    wide, same = rendered("--wide"), rendered(*parts)
    assert wide.world == same.world == MazeConfig(frames=5, **WIDE)
    np.testing.assert_array_equal(wide.frames, same.frames)
    assert rendered("--wide", "--skies=1", "--walls=4").world == MazeConfig(
        frames=5, **(WIDE | {"skies": 1, "walls": 4})
    )
    plain = rendered("--frames=5")
    assert plain.world == MazeConfig(frames=5) == MazeConfig(frames=5, **NARROW) and (plain.frames != wide.frames).any()
    assert len(WALLS) == WIDE["walls"] and len(FLOORS) == WIDE["floors"] and len(SKIES) == WIDE["skies"]
