"""`arvdm train DATA`, `arvdm train init` and `train --dry-run`, as a user runs them."""

import json
from types import SimpleNamespace

import pytest

from arvdm_cli import media
from arvdm_cli.hub import checkpoint
from arvdm_cli.training.config import configure
from arvdm_cli.training.planning.rate import Rate
from support.clips import moving_squares
from support.training import TRAIN

TINY = ["--codec-steps", 2, "--steps", 2, "--frames", 12, "--codec-batch", 2, "--device", "cpu", "--network.dim", 64]
TINY += ["--network.depth", 1, "--codec.fine", 8, "--codec.coarse", 8, "--codec.decoder-blocks", 1]


@pytest.fixture
def play(tmp_path, monkeypatch):
    """A folder in which data/play has recorded episodes, wider than high."""
    monkeypatch.chdir(tmp_path)
    moving_squares(tmp_path / "data" / "play", 4, 60)
    return tmp_path


@pytest.fixture
def no_measuring(monkeypatch):
    """Take no steps to see how long they take."""
    known = Rate(0.01, 1e-4, 0.02, 0.03, 10_000, 20_000, 800, "cpu")
    monkeypatch.setattr("arvdm_cli.training.planning.run.measure", lambda config: known)


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_of_data_trains_a_model_that_generates(arvdm, play):
    done = arvdm("train", "data/play", *TINY)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "checkpoint in runs/play/checkpoint"
    assert "the settings of this run are in runs/play/train.toml: a network of" in " ".join(done.stderr.split())
    config = configure(play / "runs" / "play" / "train.toml")
    assert (config.steps, config.data, config.out, config.network.dim) == (2, ("data/play",), "runs/play", 64)
    made = arvdm("generate", "-m", "runs/play", "-n", 6, "-a", "right*3 down*3", "-o", "made.mkv", "--codec", "ffv1")
    assert made.exit_code == 0, made.stderr
    assert media.read("made.mkv", start=0).frames.shape == (6, 32, 48, 3)
    model = checkpoint.load(play / "runs" / "play" / "checkpoint")
    assert model.actions == ("right", "down") and model.network.config.action_scales == (8.0, 8.0)


def test_a_run_on_data_resumes_with_the_file_that_was_written_and_is_not_replaced_unasked(arvdm, play):
    assert arvdm("train", "data/play", *TINY).exit_code == 0
    file = play / "runs" / "play" / "train.toml"
    before = file.read_bytes()
    assert arvdm("train", "data/play").exit_code == 10
    for words in (["data/play", "--resume"], ["runs/play", "--resume"], ["runs/play/train.toml", "--resume"]):
        done = arvdm("train", *words, "--steps", 3)
        assert done.exit_code == 0, done.stderr
        assert file.read_bytes() == before
    assert checkpoint.load(play / "runs" / "play" / "checkpoint").card["training"]["steps"] == 3
    assert "has finished after 3 steps" in arvdm("train", "data/play", "--resume", "--steps", 3).stderr
    assert arvdm("train", "data/play", *TINY, "-y").exit_code == 0


def test_a_training_file_that_was_edited_is_not_replaced_unasked(arvdm, play):
    file = play / "runs" / "play" / "train.toml"
    file.parent.mkdir(parents=True)
    file.write_text("edited")
    done = arvdm("train", "data/play", *TINY)
    assert done.exit_code == 10 and "arvdm train runs/play/train.toml" in done.stderr
    assert file.read_text() == "edited"


def test_data_without_actions_trains_a_model_that_generates_with_a_prompt_and_without(arvdm, play):
    moving_squares(play / "data" / "film", 3, 30, names=())
    done = arvdm("train", "data/film", *TINY)
    assert done.exit_code == 0 and "Warning" not in done.stderr, done.stderr
    for number, prompt in enumerate([[], ["-p", "0.mkv"]]):
        made = arvdm("generate", "-m", "runs/film", *prompt, "-n", 4, "-o", f"{number}.mkv", "--codec", "ffv1")
        assert made.exit_code == 0 and "Warning" not in made.stderr, made.stderr
    assert checkpoint.load(play / "runs" / "film" / "checkpoint").actions == ()


def test_several_folders_are_one_run_with_the_name_of_the_first(arvdm, play, no_measuring):
    moving_squares(play / "data" / "more", 3, 60, seed=1)
    done = arvdm("train", "data/play", "data/more", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["name"] == "play" and run["data"]["counts"] == [4, 3]


def test_init_writes_a_file_to_train_by_and_nothing_else(arvdm, play, no_measuring):
    done = arvdm("train", "init", "data/play", "--hours", 2, "--network.patch", 1)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "play.toml written; arvdm train play.toml"
    config = configure(play / "play.toml")
    assert (config.minutes, config.network.patch, config.card["actions"]) == (120, 1, ["right", "down"])
    text = (play / "play.toml").read_text()
    assert "# 4 episodes of 60 frames, 48x32, 10 frames/s, 2 actions." in text
    keys = [line for line in text.splitlines() if " = " in line.partition("#")[0]]
    assert all("  # " in line for line in keys)  # each says what it means
    assert [name for name in entries(play) if not name.startswith("data")] == ["play.toml"]
    (play / "play.toml").write_text("edited")
    assert arvdm("train", "init", "data/play").exit_code == 10
    assert arvdm("train", "init", "data/play", "-o", "other.toml", "--json").exit_code == 0
    assert (play / "play.toml").read_text() == "edited"


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(arvdm, play):
    before = entries(play)
    done = arvdm("train", "data/play", "--dry-run", *TINY, "--json")
    assert done.exit_code == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["steps"] == run["codec_steps"] == 2 and run["frames_per_step"] == 12 and run["device"] == "cpu"
    numbers = ("codec_parameters", "network_parameters", "frames_per_second", "hours", "disk_bytes", "latents_bytes")
    assert all(run[name] > 0 for name in numbers)
    assert run["action_scales"] == [8, 8]
    (play / "run.toml").write_text(TRAIN.replace("height = 32\nwidth = 32", "height = 32\nwidth = 48"))
    words = ["--data", "data/play", "--network.width", 6, "--network.actions", 2]
    shown = arvdm("train", "run.toml", *words, "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    for name in ("data", "actions", "codec", "network", "speed", "time", "memory", "disk"):
        assert any(line.startswith(f"{name} ") for line in shown.stdout.splitlines())
    assert entries(play) == sorted([*before, "run.toml"])


def test_hours_set_the_limit_and_the_steps_of_a_training_file(arvdm, play, no_measuring):
    (play / "run.toml").write_text('data = "data/play"\nheld_out = 1\nsteps = 5\n[network]\nactions = 2\n')
    done = arvdm("train", "run.toml", "--hours", 0.5, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["minutes"] == 30 and run["steps"] > 1000 and 0.4 < run["hours"] < 0.5
    chosen = arvdm("train", "run.toml", "--hours", 0.5, "--steps", 9, "--dry-run", "--json")
    assert json.loads(chosen.stdout)["runs"][0]["steps"] == 9


def test_encoding_that_takes_most_of_the_time_and_too_few_steps_are_warned_of(arvdm, play, monkeypatch):
    slow = Rate(0.01, 0.5, 2.0, 3.0, 10_000, 20_000, None, "cpu")
    monkeypatch.setattr("arvdm_cli.training.planning.run.measure", lambda config: slow)
    done = arvdm("train", "data/play", "--hours", 0.05, "--dry-run")
    assert "steps of the network are few: allow more time with --hours" in done.stderr
    assert "encoding 240 frames takes" in done.stderr and "not known here" in done.stdout


def test_latents_that_the_disk_cannot_hold_are_warned_of(arvdm, play, no_measuring, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "the latents need" in arvdm("train", "data/play", "--dry-run").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["films"], ["contains no episodes", "arvdm data import films --out data/films"]),
        (["films/a.mp4"], ["is a video, not a training file", "arvdm data import"]),
        (["empty"], ["contains no episodes", "arvdm data make"]),
        (["model"], ["is a checkpoint, not data", "--start model"]),
        (["nowhere"], ["nowhere does not exist", "a folder of data"]),
        (["data/play", "run.toml"], ["data/play is data, and run.toml a training file"]),
        (["init", "run.toml"], ["run.toml is not a folder of episodes", "arvdm train run.toml"]),
        (["init", "nowhere"], ["nowhere does not exist"]),
        (["init", "--steps", "3"], ["No data"]),
        (["--steps", "3"], ["No data and no training file"]),
    ],
)
def test_a_mix_up_is_told(arvdm, play, words, says):
    for folder in ("films", "empty", "model"):
        (play / folder).mkdir()
    (play / "films" / "a.mp4").write_bytes(b"")
    (play / "model" / "config.json").write_text("{}")
    (play / "run.toml").write_text("")
    done = arvdm("train", *words)
    assert done.exit_code in (2, 3), done.stderr
    assert all(part in " ".join(done.stderr.split()) for part in says), done.stderr
