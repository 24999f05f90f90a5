"""Keys of actions, by their names or from a file."""

import pytest

from arvdm_cli.actions.phrases import MINECRAFT
from arvdm_cli.errors import ActionError, ConfigError, InputError
from arvdm_cli.play import keys
from support.checkpoints import ACTIONS

ATARI = ("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT")
ODD = tuple(f"thing {number}" for number in range(12))


@pytest.mark.parametrize(
    "names", [ACTIONS, MINECRAFT, ATARI, ODD, ()], ids=["maze", "minecraft", "atari", "odd", "none"]
)
def test_every_action_but_doing_nothing_has_a_key_that_exists(names):
    made = keys.default(names)
    assert set(made.keys) <= set(keys.KEYS)
    reached = {name for values in made.keys.values() for name in values}
    assert reached == set(names) - set(keys.IDLE)
    assert set(made.commands) & set(made.keys) == set()


def test_the_arrows_walk_where_there_is_no_camera_and_look_where_there_is_one():
    assert keys.default(ACTIONS).keys["up"] == keys.default(ACTIONS).keys["w"] == {"forward": 1}
    assert keys.default(MINECRAFT).keys["up"] == {"cameraX": -0.2}
    assert keys.default(MINECRAFT).keys["w"] == {"forward": 1}
    assert keys.default(MINECRAFT).mouse == {"x": "cameraY", "y": "cameraX"}


@pytest.mark.parametrize("names", [ACTIONS, MINECRAFT, ODD])
def test_a_written_file_reads_back_the_same(tmp_path, names):
    path = tmp_path / "keys.toml"
    made, written = keys.read_or_write(path, names)
    assert written and keys.read_or_write(path, names) == (made, False)


def test_keys_held_together_hold_all_their_actions_the_last_deciding():
    made = keys.KeyMap({"w": {"forward": 1}, "a": {"cameraX": -0.2, "jump": 1}, "d": {"cameraX": 0.2}})
    assert made.values(["w", "a"]) == {"forward": 1, "cameraX": -0.2, "jump": 1}
    assert made.values(["a", "d", "q"]) == {"jump": 1, "cameraX": 0.2}


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ('[keys]\nw = "fly"', ActionError, "fly"),
        ('[keys]\nboss = "left"', ConfigError, "boss"),
        ("[keys]\nw = 3", ConfigError, "not the name of an action"),
        ('[keys]\nw = "left right"', ConfigError, "not the name of an action"),
        ('[keys]\nw = "left=inf"', ActionError, "not a valid number"),
        ('w = "left"', ConfigError, "unknown table"),
        ("[mouse]\n", ConfigError, "no table keys"),
        ('[keys]\n[mouse]\nz = "left"', ConfigError, "unknown key 'z'"),
        ('[keys]\n[mouse]\nx = "fly"', ActionError, "fly"),
        ("[keys]\n[mouse]\nsensitivity = -1", ConfigError, "sensitivity"),
        ("[keys", InputError, "not a file of keys"),
        ("\udcff", InputError, "not a file of keys"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path, text, error, says):
    path = tmp_path / "keys.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(error, match=says):
        keys.read(path, ACTIONS)


def test_a_folder_is_not_a_file_of_keys(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        keys.read(tmp_path, ACTIONS)


def test_what_steers_to_both_sides_has_a_key_for_each():
    found = keys.default(("steer", "gas", "brake", "none", "reset"))
    assert found.values(["left", "w"]) == {"steer": -1.0, "gas": 1.0} and found.values(["d"]) == {"steer": 1.0}
    assert found.values(["s"]) == {"brake": 1.0} and not any("none" in held for held in found.keys.values())
