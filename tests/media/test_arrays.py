"""Arrays read back with the tools of others, whatever their length, and go on after any of their frames."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from safetensors import safe_open

from arvdm_cli.errors import OutputError, UsageError
from arvdm_cli.media import FORMATS, Encoding, Writer, arrays, holds_latents, occupied, resumes
from support.processes import wait_for
from support.videos import scene

FRAMES = scene(12)
LATENTS = np.random.default_rng(0).standard_normal((12, 4, 6, 8), np.float32)
every_kind = pytest.mark.parametrize("kind", arrays.ARRAYS)


def all_of(kind):
    return LATENTS if kind == "safetensors" else FRAMES


def open_writer(target, keep=None, latents=(4, 6, 8), facts=None, **options):
    return Writer(target, 48, 64, Encoding(**options), keep=keep, latents=latents, facts=facts)


def write(target, values, keep=None, **options):
    with open_writer(target, keep, **options) as writer:
        writer.write(values)


def back(target):
    if target.suffix != ".safetensors":
        array = np.load(target)
        return array["frames"] if target.suffix == ".npz" else array
    with safe_open(target, "np") as file:
        return file.get_tensor("latents")


@every_kind
def test_an_array_reads_back_the_same(kind, tmp_path):
    target = tmp_path / f"a.{kind}"
    write(target, all_of(kind))
    np.testing.assert_array_equal(back(target), all_of(kind))
    assert back(target).dtype == all_of(kind).dtype
    assert os.listdir(tmp_path) == [target.name] and occupied(target) and resumes(str(target))


@every_kind
@pytest.mark.parametrize("keep", [1, 5, 8])
def test_a_finished_array_goes_on_after_any_of_its_frames(kind, keep, tmp_path):
    target, values = tmp_path / f"a.{kind}", all_of(kind)
    write(target, values[:8])
    write(target, values[keep:], keep)
    np.testing.assert_array_equal(back(target), values)
    write(target, values[:0], 3)
    np.testing.assert_array_equal(back(target), values[:3])
    assert os.listdir(tmp_path) == [target.name]


@every_kind
def test_an_array_that_was_broken_off_goes_on(kind, tmp_path, monkeypatch):
    target, values = tmp_path / f"a.{kind}", all_of(kind)
    writer = open_writer(target)
    writer.write(values[:7])
    wait_for(lambda: writer.frames == 7)
    writer._sink.stream.write(b"half a frame")  # as a kill leaves it
    write(target, values[5:], 5)
    np.testing.assert_array_equal(back(target), values)
    assert os.listdir(tmp_path) == [target.name]


@every_kind
def test_frames_that_are_not_there_cannot_be_kept_and_what_is_there_stays(kind, tmp_path):
    target = tmp_path / f"a.{kind}"
    write(target, all_of(kind)[:5])
    with pytest.raises(OutputError, match="6 frames to keep"):
        open_writer(target, 6)
    np.testing.assert_array_equal(back(target), all_of(kind)[:5])
    assert os.listdir(tmp_path) == [target.name]
    target.write_bytes(b"no array")
    with pytest.raises(OutputError):
        open_writer(target, 1)
    assert target.read_bytes() == b"no array" and os.listdir(tmp_path) == [target.name]


def test_an_array_can_be_read_while_it_grows(tmp_path):
    with open_writer(tmp_path / "a.npy") as writer:
        writer.write(FRAMES[:3])
        wait_for(lambda: writer.frames == 3)
        np.testing.assert_array_equal(np.load(writer.path, mmap_mode="r"), FRAMES[:3])
    with open_writer(tmp_path / "a.safetensors") as writer:
        writer.write(LATENTS[:3])
        wait_for(lambda: writer.frames == 3)
        np.testing.assert_array_equal(back(writer.path), LATENTS[:3])


@pytest.mark.parametrize("length", [1, 20_000])
def test_latents_hold_the_facts_of_the_run_however_long(length, tmp_path):
    facts = {"model": "maze", "seed": "3"}
    with open_writer(tmp_path / "a.safetensors", facts=facts) as writer:
        writer.write(LATENTS)
        writer.facts["actions"] = "é" * length  # known only at the end
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == facts | {"actions": "é" * length}
    write(tmp_path / "a.safetensors", LATENTS[3:], 3, facts=facts)
    np.testing.assert_array_equal(back(tmp_path / "a.safetensors"), LATENTS)


@every_kind
def test_memory_does_not_grow_with_the_length(kind, tmp_path):
    values = np.zeros((1, 48, 64, 3), np.uint8) if kind != "safetensors" else LATENTS[:1]
    most = []
    for length in (10, 400):
        tracemalloc.start()
        with open_writer(tmp_path / f"a.{kind}") as writer:
            for _ in range(length):
                writer.write(values)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < most[0] + 20 * values.nbytes < 400 * values.nbytes


def test_scaled_frames_are_written_large(tmp_path):
    write(tmp_path / "a.npy", FRAMES, scale=2)
    np.testing.assert_array_equal(back(tmp_path / "a.npy"), FRAMES.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(
    ("name", "options", "seen"),
    [
        ("a.safetensors", {"scale": 2}, "safetensors holds latents, not frames at scale 2"),
        ("a.safetensors", {"latents": None}, "safetensors holds latents, not frames"),
        ("a.npy", {"crf": 3}, "npy has no crf"),
        ("-", {"format": "npz"}, "Cannot write npz to stdout"),
    ],
)
def test_what_an_array_cannot_be_is_a_usage_error(name, options, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=seen):
        open_writer(name, **options)
    assert os.listdir() == []


def test_a_format_added_to_the_table_is_known_everywhere(tmp_path, monkeypatch, arvdm, tiny):
    monkeypatch.setitem(FORMATS, "raw", FORMATS["npy"])
    assert resumes("a.raw") and not holds_latents("a.raw") and not occupied(tmp_path / "a.raw")
    assert arvdm("generate", "-m", tiny, "-n", 2, "--seed", 1, "-o", tmp_path / "a.raw").exit_code == 0
    assert np.load(tmp_path / "a.raw").shape == (2, 16, 16, 3) and (tmp_path / "a.state").exists()
    refused = arvdm("generate", "-m", tiny, "-o", tmp_path / "a.what")
    assert refused.exit_code == 2 and ".raw" in refused.stderr


def test_the_sidecar_and_the_arrays_of_one_run_say_the_same(arvdm, tiny, tmp_path):
    words = ("generate", "-m", tiny, "-n", 6, "--seed", 1, "-a", "forward*6", "--dtype", "float32")
    for kind in arrays.ARRAYS:
        assert arvdm(*words, "-o", tmp_path / f"{kind}.{kind}").exit_code == 0
    frames = np.load(tmp_path / "npy.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "npz.npz")["frames"], frames)
    run = json.loads((tmp_path / "safetensors.json").read_text())
    with safe_open(tmp_path / "safetensors.safetensors", "np") as file:
        facts = file.metadata()
        assert file.get_tensor("latents").shape == (6, 4, 2, 2)
    assert facts["actions"] == run["action_phrase"] == "forward*6"
    assert (facts["model"], facts["sha256"], facts["seed"], facts["fps"]) == (str(tiny), run["sha256"], "1", "15")
