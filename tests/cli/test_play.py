"""`arvdm play` as a user runs it, without a screen."""

import json

import pytest


def test_a_play_is_measured_without_a_screen(arvdm, tiny):
    done = arvdm("play", tiny, "--measure", 1, "--json", "--seed", 1)
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["chunk"] == 2 and facts["obeyed_after"] == 0
    assert facts["frames"] > 0 and facts["frames_per_second"] > 0


def test_low_latency_is_measured_at_a_chunk_of_one(arvdm, tiny):
    done = arvdm("play", tiny, "--measure", 1, "--json", "--latency", "low")
    assert json.loads(done.stdout)["chunk"] == 1


def test_a_recording_ends_with_the_command_that_generates_it_again(arvdm, tiny, tmp_path):
    folder = tmp_path / "walk"
    done = arvdm("play", tiny, "--measure", 1, "--record", folder)
    assert done.exit_code == 0, done.stderr
    assert (folder / "command.txt").read_text().strip() in done.stderr
    again = arvdm("play", tiny, "--measure", 1, "--record", folder)
    assert again.exit_code == 10 and "not empty" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--truth", "moon"), 2, "No world is called 'moon'"),
        (("--policy", "gone.csv"), 3, "no file"),
        (("--speed", "7"), 2, "speed"),
        (("-s", "moon"), 2, "No schedule is called 'moon'"),
        (("-p", "gone.mp4"), 3, "gone.mp4"),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line(arvdm, tiny, words, code, says):
    done = arvdm("play", tiny, "--measure", 1, *words)
    assert done.exit_code == code and says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_keys_is_written_once_and_refused_where_it_names_no_action(arvdm, tiny, tmp_path):
    from arvdm_cli.cli.play import find_keys

    class Session:
        names = ("stay", "left")

    path = tmp_path / "keys.toml"
    assert find_keys(path, Session) == find_keys(path, Session)
    assert 'a = "left"' in path.read_text().replace('"a"', "a")
