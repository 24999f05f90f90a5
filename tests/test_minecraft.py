"""From nothing to a video: `minecraft` is fetched from a Hub on this machine and driven with recorded actions."""

import json
import os
import shutil

import numpy as np
import pytest

from arvdm_cli import media
from support.loopback_hub import LoopbackHub
from support.oasis import publish
from support.paths import FIXTURES

REPO = "Etched/oasis-500m"


@pytest.fixture
def env(tmp_path):
    """A Hub that serves a tiny Oasis as `minecraft`, and the environment of a process that knows no other."""
    folder = publish(tmp_path / "published")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    registry = tmp_path / "registry.toml"
    names = "\n".join(f'"{name}" = ""' for name in files)
    registry.write_text(
        f'[minecraft]\nsummary = "tiny"\nrepo = "{REPO}"\nlicence = "MIT"\n[minecraft.files]\n{names}\n'
    )
    hub = LoopbackHub()
    hub.add(REPO, files)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ARVDM_"))}
    yield kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "ARVDM_REGISTRY": str(registry)}
    hub.close()


def test_minecraft_is_downloaded_driven_by_recorded_actions_and_played_back(shell, env, tmp_path):
    shutil.copy(FIXTURES / "oasis-image.png", tmp_path / "image.png")
    assert shell("download", "minecraft", env=env).returncode == 0
    told = json.loads(shell("info", "minecraft", "--json", env=env).stdout)
    assert told["actions"][11] == "forward" and told["sampling"]["solver"] == "ddim"

    command = ["generate", "-m", "minecraft", "-p", tmp_path / "image.png", "-a", FIXTURES / "oasis-actions.npy"]
    made = shell(*command, "-n", 32, "--seed", 5, "-o", tmp_path / "out.mp4", env=env)
    assert made.returncode == 0, made.stderr
    assert "crop" in made.stderr  # 640x360 into 80x60
    played = media.read(str(tmp_path / "out.mp4"), count=100)
    assert played.frames.shape == (32, 60, 80, 3) and played.frames.std() > 1
    beside = json.loads((tmp_path / "out.json").read_text())
    assert beside["frames"] == 32 and beside["sampling"]["cache"] == "exact" and len(beside["sha256"]) == 64

    # the frames are a matter of seed and actions: others make others
    for change, same in ((["--seed", 5], True), (["--seed", 6], False), (["--seed", 5, "-a", "forward*32"], False)):
        again = shell(*command, "-n", 4, *change, "-o", tmp_path / "again.y4m", "-y", env=env)
        assert again.returncode == 0, again.stderr
        lossless = shell(*command, "-n", 4, "--seed", 5, "-o", tmp_path / "first.y4m", "-y", env=env)
        assert lossless.returncode == 0
        one, other = ((tmp_path / f"{name}.y4m").read_bytes() for name in ("first", "again"))
        assert (one == other) == same


def test_every_preset_but_the_trained_one_runs_with_a_warning(shell, env, tmp_path):
    shell("download", "minecraft", env=env)
    for preset, warned in (("next-frame", False), ("rolling", True)):
        made = shell("generate", "-m", "minecraft", "-s", preset, "-n", 4, "-o", tmp_path / "out.y4m", "-y", env=env)
        assert made.returncode == 0, made.stderr
        assert ("was not trained for" in made.stderr) == warned


def test_actions_live_from_stdin_drive_one_frame_each(shell, env, tmp_path):
    shell("download", "minecraft", env=env)
    lines = "\n".join(json.dumps(action) for action in ("forward", {"cameraX": 0.1}, ["jump", "forward"]))
    options = {"env": env, "input": lines}
    made = shell("generate", "-m", "minecraft", "-a", "-", "-n", 0, "-o", tmp_path / "frames/%06d.png", **options)
    assert made.returncode == 0, made.stderr
    assert len(list((tmp_path / "frames").glob("*.png"))) == 3


def test_converted_weights_make_the_same_video_without_the_makers_files(shell, env, tmp_path):
    options = ("-n", 3, "--seed", 1, "-a", "forward*3")
    assert shell("convert", tmp_path / "published", tmp_path / "mine", env=env).returncode == 0
    refused = shell("convert", tmp_path / "published", tmp_path / "mine", env=env)
    assert refused.returncode == 10 and "exists" in refused.stderr
    pictures = []
    for name in ("published", "mine"):
        made = shell("generate", "-m", tmp_path / name, *options, "-o", tmp_path / f"{name}.y4m", env=env)
        assert made.returncode == 0, made.stderr
        pictures.append(np.frombuffer((tmp_path / f"{name}.y4m").read_bytes(), np.uint8))
    assert np.array_equal(*pictures)


def test_a_bench_tells_time_operations_and_memory_of_every_cache(shell, tmp_path):
    folder = publish(tmp_path / "tiny")
    caches = [word for cache in ("off", "exact", "keep") for word in ("--cache", cache)]
    told = shell("bench", folder, "--random-weights", *caches, "--frames", 1, "--json", "--threads", 1)
    assert told.returncode == 0, told.stderr
    off, exact, keep = json.loads(told.stdout)["settings"]
    # a full window of 6 frames, 10 steps; of the 5 in the context half of the last block is not needed
    part = 1 - 9 / 48  # of the work of a frame, in products of a width with itself: 9 of 2 * 24
    work = {"off": 10 * (1 + 5 * part), "exact": 10 + 5 * part, "keep": 10 + part}
    assert off["tflop_per_frame"] / exact["tflop_per_frame"] == pytest.approx(work["off"] / work["exact"], rel=0.03)
    assert off["tflop_per_frame"] / keep["tflop_per_frame"] == pytest.approx(work["off"] / work["keep"], rel=0.03)
    assert all(0 < row["share_of_machine"] < 2 and row["peak_memory_mb"] > 50 for row in (off, exact, keep))
