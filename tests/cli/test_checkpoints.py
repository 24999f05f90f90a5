"""`arvdm info`: what a user wants to know of a checkpoint, in less than a screen."""

import json
import shutil

from support.checkpoints import shard


def test_info_fits_a_screen_and_tells_sizes(arvdm, tiny):
    told = arvdm("info", tiny)
    assert told.exit_code == 0, told.stderr
    assert len(told.stdout.splitlines()) < 24
    for fact in ("16x16", "parameters", "network", "codec", "on disk", "float32", "outpainting", "forward", "15"):
        assert fact in told.stdout
    assert "memory_tokens" not in told.stdout


def test_all_of_the_config_is_there_with_v_and_as_json(arvdm, tiny):
    assert "memory_tokens" in arvdm("-v", "info", tiny).stdout
    facts = json.loads(arvdm("info", tiny, "--json").stdout)
    assert facts["network"]["memory_tokens"] == 1 and set(facts["parameters"]) == {"network", "codec"}


def test_parameters_are_counted_in_shards_too(arvdm, tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "shards")
    whole = json.loads(arvdm("info", folder, "--json").stdout)["parameters"]
    shard(folder)
    assert json.loads(arvdm("info", folder, "--json").stdout)["parameters"] == whole


def test_weights_that_cannot_be_read_are_said_to_be_so_and_generate_nothing(arvdm, tiny, tmp_path):
    for number, data in enumerate((b"", b"\xff" * 99, b"\x02\0\0\0\0\0\0\0[]", b'\x09\0\0\0\0\0\0\0{"a": 12}')):
        folder = shutil.copytree(tiny, tmp_path / str(number))
        (folder / "model.safetensors").write_bytes(data)
        told = arvdm("info", folder)
        assert told.exit_code == 0 and "not readable" in told.stdout and "16x16" in told.stdout, told.stderr
        refused = arvdm("generate", "-m", folder, "-n", 2, "-o", tmp_path / "out.mp4")
        assert refused.exit_code in (3, 6) and not (tmp_path / "out.mp4").exists()
