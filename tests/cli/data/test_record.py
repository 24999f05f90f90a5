"""`arvdm data record` as a user runs it."""

import json

import numpy as np
import pytest

from arvdm_cli.data import clip_folder

pytest.importorskip("gymnasium")
from support.environments import NAME

SMALL = ("--episodes", "2", "--frames", "20", "--workers", "1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_an_environment_is_recorded_and_inspected(arvdm):
    done = arvdm("data", "record", NAME, "--out", "game", *SMALL)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "2 episodes of 20 frames in game\n"
    assert "5 actions: a0, a1, a2, a3, reset" in done.stderr and "40x32, stored as 40x32; 10 a second" in done.stderr
    shown = arvdm("data", "inspect", "game", "--sheet", "sheet.png", "--every", 5)
    assert shown.exit_code == 0, shown.stderr
    for words in (f"record, {NAME}", "policy random, seed 0, skip 1", "40x32, 10 fps", "reset ", "unknown 2"):
        assert words in " ".join(shown.stdout.split())
    facts = json.loads(arvdm("data", "inspect", "game", "--json", "-q").stdout)
    assert facts["recorded"]["environment"] == NAME and facts["recorded"]["policy"]["hold"] == 3


def test_json_tells_what_was_recorded(arvdm):
    done = arvdm("data", "record", NAME, "--out", "game", *SMALL, "--skip", "2", "--size", "24x16", "--json", "-q")
    facts = json.loads(done.stdout)
    assert done.stderr == "" and facts == {
        "folder": "game",
        "environment": NAME,
        "episodes": 2,
        "frames": 20,
        "actions": ["a0", "a1", "a2", "a3", "reset"],
        "fps": 5.0,
        "size": [16, 24],
        "skip": 2,
        "seed": 0,
    }


def test_arguments_of_the_environment_are_numbers_truths_or_strings(arvdm, tmp_path):
    flags = ("--env-arg", "space=buttons", "--env-arg", "longest=4")
    assert arvdm("data", "record", NAME, "--out", "game", *SMALL, *flags).exit_code == 0
    data = clip_folder.read("game")
    assert data.names == ("a0", "a1", "a2", "none", "reset")
    assert np.diff(np.flatnonzero(data.actions[0][:, -1])).max() <= 5
    assert json.loads((tmp_path / "game" / "record.json").read_text())["arguments"] == {
        "space": "buttons",
        "longest": 4,
    }


def test_the_same_command_resumes_and_another_one_is_refused(arvdm):
    words = ("data", "record", NAME, "--out", "game", "--frames", "20", "--workers", "1")
    assert arvdm(*words, "--episodes", 1).exit_code == 0
    assert "2 episodes" in arvdm(*words, "--episodes", 2).stdout
    done = arvdm(*words, "--episodes", 3, "--hold", 5)
    assert done.exit_code == 3 and 'was recorded with policy {"hold": 3.0}, not {"hold": 5.0}.' in done.stderr
    done = arvdm(*words, "--episodes", 3, "--size", "48x32")
    assert done.exit_code == 3 and "was recorded with size 40x32, not 48x32." in done.stderr
    assert "3/1" not in arvdm(*words, "--episodes", 1).stderr


BAD = {
    "no such environment": (2, ["Nothing-v0"], "cannot be opened"),
    "not an argument": (2, [NAME, "--env-arg", "space"], "is not KEY=VALUE"),
    "an argument it does not know": (2, [NAME, "--env-arg", "colour=1"], "colour"),
    "whose hint names the flag": (2, [NAME, "--env-arg", "colour=1"], "--env-arg"),
    "a size": (2, [NAME, "--size", "big"], "is not a size"),
    "a size that is no multiple of 8": (2, [NAME, "--size", "96x65"], "size is 96x65"),
    "frames": (2, [NAME, "--frames", "1"], "frames is 1"),
    "a hold without random play": (2, [NAME, "--hold", "2", "--policy", "support.environments:reader"], "--hold"),
    "a file that runs code": (2, [NAME, "--policy", "agent.zip"], "can run any code"),
    "no such file": (2, [NAME, "--policy", "none.jsonl"], "There is no file"),
    "no such policy": (2, [NAME, "--policy", "walk"], "is not a policy"),
    "sticky actions": (2, [NAME, "--sticky"], "no sticky actions"),
    "a fault of the environment": (2, [NAME, "--env-arg", "broken=2"], "the engine is on fire"),
}


@pytest.mark.parametrize(("code", "words", "says"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_its_code_and_leaves_nothing(arvdm, tmp_path, code, words, says):
    done = arvdm("data", "record", *words, "--out", "game", "--episodes", "1", "--workers", "1", "-q")
    assert done.exit_code == code, done.stderr
    assert done.stderr.startswith("arvdm: error: ") and len(done.stderr.splitlines()) <= 2
    assert says in done.stderr and not (tmp_path / "game").exists()


def test_what_a_package_prints_is_no_result(arvdm):
    done = arvdm("data", "record", "support.environments:Loud-v0", "--out", "game", *SMALL, "-q")
    assert done.exit_code == 0 and done.stdout == "2 episodes of 20 frames in game\n"
    assert "hello" in done.stderr
