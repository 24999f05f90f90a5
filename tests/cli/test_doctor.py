"""`arvdm doctor` as a user runs it: what works, what does not, and nothing asked of anybody."""

import json
import socket
import sys

import pytest

from arvdm_cli import __version__
from arvdm_cli.cli import doctor
from arvdm_cli.errors import UsageError
from arvdm_cli.media import ffmpeg


@pytest.fixture
def examined(arvdm, monkeypatch, tmp_path):
    """Run it without a network: what it found, and how it ended."""

    def refuse(*_):
        raise AssertionError("a server was asked for something")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    ffmpeg.executable.cache_clear()

    def run(*flags):
        done = arvdm("doctor", "--json", *flags)
        return json.loads(done.stdout), done

    yield run
    ffmpeg.executable.cache_clear()


def test_it_tells_versions_devices_codecs_cache_and_free_space(examined):
    found, done = examined()
    assert done.exit_code == 0 and found["problems"] == [], done.stderr
    assert found["versions"]["arvdm"] == __version__ and all(found["versions"][name] for name in doctor.NEEDED)
    assert found["devices"]["auto"] and found["devices"]["auto_dtype"]
    assert [found["encoder"][codec] for codec in ("h264", "h265", "vp9", "ffv1")] == ["works"] * 4
    assert found["encoder"]["ffmpeg_version"] and found["hub"]["cache_bytes"] >= 0 and found["hub"]["maze"]
    assert found["space"]["here_free_bytes"] > 0


def test_every_setting_says_where_it_came_from_and_no_secret_is_shown(examined, monkeypatch):
    monkeypatch.setenv("ARVDM_PROGRESS", "none")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@hub.example")
    found, done = examined("--offline")
    told = {name: (setting["value"], setting["from"]) for name, setting in found["settings"].items()}
    assert told["progress"] == ("none", "environment ARVDM_PROGRESS")
    assert told["offline"] == (True, "flag --offline") and found["hub"]["offline"] is True
    assert told["color"] == ("auto", "default") and told["HF_HOME"][1] in ("default", "environment")
    assert told["HF_TOKEN"] == ("set", "environment") and told["HF_ENDPOINT"][0] == "https://hub.example"
    assert "secret" not in done.stdout + done.stderr


def test_an_encoder_that_is_missing_is_a_problem_and_the_rest_is_told_all_the_same(examined, monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    found, done = examined()
    assert done.exit_code == 2 and found["problems"][0]["code"] == 2
    assert done.stderr.count("arvdm: error: ") == 1 and "none" in done.stderr and "imageio-ffmpeg" in done.stderr
    assert found["versions"]["torch"] and found["space"]["here_free_bytes"]


def test_without_imageio_ffmpeg_another_program_will_do(monkeypatch, tmp_path):
    find = ffmpeg.executable.__wrapped__
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # so that it cannot be imported
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="No ffmpeg was found"):
        find()
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find() == str(program)


def test_an_encoder_that_does_not_work_is_a_problem(examined, monkeypatch, tmp_path):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho ffmpeg version 0 >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    found, done = examined()
    assert done.exit_code == 7 and "stopped" in found["encoder"]["h264"]


def test_a_package_that_is_missing_is_a_problem(examined, monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", (*doctor.NEEDED, "no-such-package"))
    found, done = examined()
    assert done.exit_code == 2 and "no-such-package" in done.stderr and found["versions"]["no-such-package"] is None


def test_a_full_disk_is_a_problem(examined, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST", 1 << 62)
    assert examined()[1].exit_code == 7


def test_people_get_a_table(arvdm):
    done = arvdm("doctor")
    assert done.exit_code == 0, done.stderr
    for word in ("torch", "ffmpeg", "h264", "cache", "free"):
        assert word in done.stdout
