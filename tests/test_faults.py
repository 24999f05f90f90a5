"""What users, files and machines do wrong, to the real command in a process of its own.

Every case ends with its exit code and one line of what went wrong, and leaves what was there before as it was.
"""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arvdm_cli.errors import IntegrityError
from arvdm_cli.hub import checkpoint
from support import warm
from support.checkpoints import vouch
from support.hub import FILES, fails, kept
from support.loopback_hub import COMMIT
from support.odd_files import BAD
from support.paths import ROOT
from support.processes import children, running
from support.training import TRAIN, losses
from support.videos import frames_of, run_ffmpeg, scene, write

LONG = 300  # seconds that a command may take on a busy machine


@pytest.fixture
def start(tmp_path):
    """Start the real command in the test's folder, in a process group of its own.

    forked: one that has torch already, and that is neither signalled nor limited
    """
    begun = []

    def start(*args, script=None, forked=False, **options):
        what = ["-m", "arvdm_cli"] if script is None else ["-c", script]
        command = warm.command(*what, *args) if forked else [sys.executable, *what, *map(str, args)]
        env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | options.pop("env", {})
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        first = options.pop("preexec_fn", lambda: None)

        def begin():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever the tests were told to ignore
            first()

        pipes["preexec_fn"] = begin
        begun.append(subprocess.Popen(command, cwd=tmp_path, env=env, start_new_session=True, **pipes | options))
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def refused(start, tmp_path):
    """Run a command that must fail: its code, one line of error, a hint at most, and every file as it was before."""

    def refused(code, *args, says="", new=(), **options):
        before = contents(tmp_path)
        data = options.pop("input", None)
        options["forked"] = options.get("script") is None and "preexec_fn" not in options
        process = start(*args, **options | ({"stdin": subprocess.PIPE} if data is not None else {}))
        out, told = process.communicate(data, timeout=LONG)
        told = told.decode(errors="replace")
        assert process.returncode == code, told
        lines = told.splitlines()
        assert [line for line in lines[-2:] if line.startswith("arvdm: error: ")], told
        assert told.count("arvdm: error: ") == 1 and told.count("hint: ") <= 1 and "Traceback" not in told, told
        assert says in told, told
        after = contents(tmp_path)
        assert {name: after.get(name) for name in before} == before
        assert {str(Path(name)) for name in after.keys() - before.keys()} <= set(new), after.keys() - before.keys()
        return told if out == b"" or options.get("stdout") else told + out.decode(errors="replace")

    return refused


def contents(folder):
    """Every file in a folder, by its name."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.stat().st_size < 1 << 24}


def limit(kind, amount):
    """What a child does first, to have less of something."""
    import resource

    return lambda: resource.setrlimit(getattr(resource, kind), (amount, amount))


def test_a_forked_process_ends_as_one_that_was_started(tmp_path):
    """So that those which are forked here are as good as those which a user starts."""
    codes = ["print(os.getcwd(), sys.argv, os.environ['X'], sys.stdin.read())", "sys.exit(3)", "sys.exit('no')"]
    codes += ["1 / 0", "atexit.register(print, 'end')", "os.kill(os.getpid(), 9)"]
    for code in codes:
        words = ("-c", f"import atexit, os, sys\n{code}", "a b")
        options = {"cwd": tmp_path, "env": os.environ | {"X": "\udcff"}, "input": b"in", "capture_output": True}
        forked, started = (subprocess.run(each, **options) for each in (warm.command(*words), [sys.executable, *words]))
        assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout), code
        assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


# Input video


def fixed(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def folder_without_images(folder):
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("x")


def cut_in_half(folder):
    write(folder / "whole.mkv", scene())
    run_ffmpeg("-i", folder / "whole.mkv", "-c", "copy", folder / "plain.mp4")
    data = (folder / "plain.mp4").read_bytes()
    (folder / "half.mp4").write_bytes(data[: len(data) // 2])


def sound_alone(folder):
    run_ffmpeg("-f", "lavfi", "-i", "sine", "-t", 1, folder / "sound.mp4")


def one_gigabyte(folder):
    with (folder / "raw.mp4").open("wb") as file:
        file.truncate(1 << 30)


def loop(folder):
    os.symlink("loop.mp4", folder / "loop.mp4")


def program(folder):
    """A picture whose name lies: PostScript, which Pillow would give to a program called gs."""
    (folder / "pages").mkdir()
    (folder / "pages" / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )


PROMPTS = {
    "1 nothing there": ("none.mp4", None, "'none.mp4'"),
    "2 a folder without images": ("notes", folder_without_images, "no image"),
    "2 a picture that is a program": ("pages", program, "not a readable image"),
    "3 empty": ("empty.mp4", fixed("empty.mp4", b""), "empty"),
    "3 text": ("text.mp4", fixed("text.mp4", BAD["text.mp4"]), "text.mp4"),
    "4 cut in half": ("half.mp4", cut_in_half, "index"),
    "6 sound alone": ("sound.mp4", sound_alone, "no video stream"),
    "12 a header that promises 60000x60000": ("huge.y4m", fixed("huge.y4m", BAD["huge.y4m"]), "60000x60000"),
    "12 a picture that promises 60000x60000": ("huge.png", fixed("huge.png", BAD["huge.png"]), "huge.png"),
    "12 a gigabyte of nothing": ("raw.mp4", one_gigabyte, "raw.mp4"),
    "13 a list of files": ("list.mp4", fixed("list.mp4", BAD["list.mp4"]), "playlist"),
    "13 an address": ("http://127.0.0.1:PORT/a.mp4", None, "download"),
    "13 a list of addresses": ("m3u8.mp4", fixed("m3u8.mp4", BAD["stream.mp4"]), "m3u8.mp4"),
    "15 a link to itself": ("loop.mp4", loop, "loop.mp4"),
    "15 a null byte": ("", None, "''"),
    "15 a name that is too long": ("x" * 300 + ".mp4", None, "too long"),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_that_cannot_be_read_is_refused(refused, tiny, tmp_path, name):
    source, make, says = PROMPTS[name]
    (tmp_path / "out.mp4").write_text("old")
    (tmp_path / "bin").mkdir()
    ghost = tmp_path / "bin" / "gs"
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path}/canary\n")
    ghost.chmod(0o755)
    with socket.socket() as server:  # nobody may ask it for anything
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.1)
        port = str(server.getsockname()[1])
        if make:
            make(tmp_path)
        for path in tmp_path.glob("m3u8.mp4"):
            path.write_bytes(path.read_bytes().replace(b"PORT", port.encode()))
        env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        words = ("generate", "-m", tiny, "-p", source.replace("PORT", port), "-n", 2, "-y", "-o", "out.mp4")
        script = MEASURED.format(most=300_000) if name.startswith("12") else None  # kB, for ffmpeg too
        refused(3, *words, says=says, env=env, script=script)
        with pytest.raises(TimeoutError):
            server.accept()


MEASURED = """
import resource, sys
from arvdm_cli import cli
try:
    cli.main()
finally:
    # a process inherits ru_maxrss from the one that started it, but not VmHWM
    own = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
    for used in (own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss):
        assert used < {most}, used
"""


def truncated(data, long_mp4):
    return data[: len(data) * 6 // 10]


def noisy(data, long_mp4):
    middle = len(data) // 2
    return data[:middle] + np.random.default_rng(1).bytes(3000) + data[middle + 3000 :]


@pytest.fixture
def works(start, tmp_path):
    """Run a command that must work; gives what it said on stderr."""

    def works(*args, **options):
        data = options.pop("input", None)
        process = start(*args, forked=True, **options | ({"stdin": subprocess.PIPE} if data is not None else {}))
        _, told = process.communicate(data, timeout=LONG)
        assert process.returncode == 0, told.decode(errors="replace")
        assert b"error" not in told
        return told.decode(errors="replace")

    return works


@pytest.mark.parametrize("damage", [truncated, noisy])
def test_5_a_damaged_prompt_is_a_warning_with_the_number_of_good_frames(works, tiny, long_mp4, tmp_path, damage):
    (tmp_path / "a.mp4").write_bytes(damage(long_mp4.read_bytes(), long_mp4))
    told = works("generate", "-m", tiny, "-p", "a.mp4", "-n", 2, "-o", "out.y4m", "-q")
    assert "arvdm: warning: prompt: damaged" in told and ("good frames" in told or damage is noisy)
    assert len(frames_of(tmp_path / "out.y4m")) == 2


def still(folder):
    imageio.v3.imwrite(folder / "in.png", scene(1)[0])
    return "in.png"


def rotated(folder):
    write(folder / "lying.mp4", scene())
    run_ffmpeg("-display_rotation", 90, "-i", folder / "lying.mp4", "-c", "copy", folder / "in.mp4")
    return "in.mp4"


def uneven(folder):
    write(folder / "even.mkv", scene(), codec="ffv1")
    run_ffmpeg("-i", folder / "even.mkv", "-vf", "setpts=(N+floor(N/3)*2)/15/TB", "-fps_mode", "passthrough",
               "-c:v", "ffv1", folder / "in.mkv")  # fmt: skip
    return "in.mkv"


def sized(height, width):
    def make(folder):
        write(folder / "in.mkv", scene(4, height, width), codec="ffv1")
        return "in.mkv"

    return make


def bright(folder):
    write(folder / "sdr.mkv", scene(4), codec="ffv1")
    run_ffmpeg("-i", folder / "sdr.mkv", "-vf", "format=yuv420p10le", "-c:v", "libx265", "-x265-params",
               "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
               folder / "in.mp4")  # fmt: skip
    return "in.mp4"


SEVERAL = """
import json, sys
from arvdm_cli import cli
for words in json.loads(sys.argv[1]):
    try:
        cli.app(words)
    except SystemExit as end:
        print(f"= {end.code or 0}", file=sys.stderr)
"""


@pytest.fixture
def several(start):
    """Run commands in one process, one after the other, as each would import torch for seconds: codes and stderr."""

    def several(*commands):
        process = start(json.dumps([list(map(str, words)) for words in commands]), script=SEVERAL, forked=True)
        told = process.communicate(timeout=LONG)[1].decode()
        assert "Traceback" not in told
        ends = re.split(r"^= (\d+)\n", told, flags=re.MULTILINE)
        assert len(ends) == 2 * len(commands) + 1, told
        return [(int(code), said) for said, code in zip(ends[::2], ends[1::2], strict=False)]

    return several


ODD = {
    "7 one frame": (still, "64x48 cropped"),
    "8 a phone's clip": (rotated, "rotated upright by 90 degrees"),
    "9 an uneven rate": (uneven, "frames became"),
    "10 97x65": (sized(65, 97), "97x65 cropped"),
    "10 1x1": (sized(1, 1), "1x1"),
    "10 very wide": (sized(8, 2000), "2000x8 cropped"),
    "11 high dynamic range": (bright, "high dynamic range"),
}


def test_an_odd_prompt_works_and_is_told(several, tiny, tmp_path):
    commands = []
    for i, (make, _) in enumerate(ODD.values()):
        (tmp_path / str(i)).mkdir()
        source = f"{i}/{make(tmp_path / str(i))}"
        commands.append(("generate", "-m", tiny, "-p", source, "-n", 2, "-o", f"{i}.y4m"))
    for i, (name, (code, told)) in enumerate(zip(ODD, several(*commands), strict=True)):
        assert code == 0 and ODD[name][1] in told and "error" not in told, (name, told)
        assert frames_of(tmp_path / f"{i}.y4m").shape == (2, 16, 16, 3)


def test_7_frames_that_are_not_there_are_named_with_both_numbers(refused, works, tiny, clip):
    words = ("generate", "-m", tiny, "-p", clip, "-n", 2, "-o", "out.y4m")
    told = refused(3, *words, "--prompt-start", 20, says="8 frames")
    assert "frame 20" in told
    assert "8 frames, fewer than the 30" in works(*words, "--prompt-count", 30)


SMALL = "from arvdm_cli import cli\nfrom arvdm_cli.media import decoder\ndecoder.SPOOL_BYTES = 1 << 21\ncli.main()\n"


def test_14_stdin_is_taken_whole_up_to_a_limit(refused, works, tiny, tmp_path):
    words = ("generate", "-m", tiny, "-p", "-", "-n", 2, "-o", "out.y4m")
    refused(3, *words, says="stdin", input=b"")
    refused(3, *words, says="stdin", preexec_fn=lambda: os.close(0))
    write(tmp_path / "a.mkv", np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3), dtype=np.uint8), crf=5)
    run_ffmpeg("-i", tmp_path / "a.mkv", "-c", "copy", tmp_path / "a.mp4")  # its index is at the end
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") > 1 << 20
    with open("/dev/zero", "rb") as endless:
        refused(3, *words, says="more than 2 MiB", stdin=endless, script=SMALL)
    works(*words, input=data)


NAMES = ["with space.mp4", "quo'te\".mp4", "new\nline.mp4", "-dash.mp4", b"not-\xff-utf8.mp4", "x" * 251 + ".mp4"]


def test_15_any_name_works_for_input_and_output(several, tiny, clip, tmp_path):
    """Each reads one name and writes the next, and so on round."""
    commands = []
    for i, (source, target) in enumerate(zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True)):
        (tmp_path / str(i)).mkdir()
        source, target = (os.path.join(str(i), os.fsdecode(name)) for name in (source, target))
        shutil.copy(clip, tmp_path / source)
        commands.append(("generate", "-m", tiny, "-p", source, "-n", 2, "-o", target))
    for (code, told), (*_, target) in zip(several(*commands), commands, strict=True):
        assert code == 0 and (tmp_path / target).is_file(), told


# Actions and data folders


ACTIONS = {
    "16 fewer than the frames": ("a.jsonl", b'"left"\n' * 3, "3 actions, but 4 frames need one each"),
    "16 no number": ("a.jsonl", b'"left"\n{"left": NaN}\n"left"\n"left"\n', "line 2"),
    "16 a row too narrow": ("a.jsonl", b'"left"\n"left"\n[1, 0]\n"left"\n', "line 3"),
    "16 an unknown name": ("a.csv", b"left,up\n1,0\n", "'up'"),
    "16 an array with NaN": ("a.npy", None, "row 1"),
    "17 a wrong delimiter": ("a.csv", b"left|right\n1|0\n", "left|right"),
    "17 a line of a gigabyte": ("a.csv", 1 << 30, "longer than"),
    "17 a line of a gigabyte of JSON": ("a.jsonl", 1 << 30, "longer than"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_that_cannot_be_used_are_refused_with_file_and_row(refused, tiny, tmp_path, name):
    file, content, says = ACTIONS[name]
    if isinstance(content, int):
        with (tmp_path / file).open("wb") as stream:
            stream.truncate(content)
    elif content is None:
        np.save(tmp_path / file, np.array([[0, 0, 0, 0, 1], [0, np.nan, 0, 0, 0]]))
    else:
        (tmp_path / file).write_bytes(content)
    if name.startswith("16 fewer"):
        words, most = ("generate", "-m", tiny, "-a", file, "-n", 4, "-o", "out.mp4"), None
    else:  # without torch, but for that the same way
        words, most = ("data", "convert", file, "out.jsonl"), 300_000  # kB
    told = refused(3, *words, says=says, script=most and MEASURED.format(most=most))
    assert file in told


def test_16_a_shorter_stream_ends_the_video_only_where_no_length_was_asked_for(works, tiny, tmp_path):
    for length, frames in ((0, 3), (5, 5)):
        works("generate", "-m", tiny, "-a", "-", "-n", length, "-y", "-o", "out.y4m", input=b'"left"\n' * 3)
        assert len(frames_of(tmp_path / "out.y4m")) in (frames, frames + 1)


def test_17_a_table_of_any_origin_is_read(works, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfleft;right\r\n1;0\r\n0;1\r\n")
    works("data", "convert", "a.csv", "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text() == '{"left": 1}\n{"right": 1}\n'


def archive(path, seed=0):
    draw = np.random.default_rng(seed)
    video = draw.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    np.savez(path, video=video, actions=draw.integers(0, 3, 8))


def test_18_a_corrupt_clip_among_many_is_left_out_and_listed(works, refused, tmp_path):
    (tmp_path / "many").mkdir()
    for index in range(100):
        archive(tmp_path / "many" / f"{index}.npz", index)
    whole = (tmp_path / "many" / "41.npz").read_bytes()
    (tmp_path / "many" / "41.npz").write_bytes(whole[: len(whole) // 2])
    told = works("data", "import", "many", "--out", "data", "--frames", 8, "--progress", "none")
    assert "1 of 100 clips were left out: 41.npz" in told.splitlines()[-1]
    made = ("frames", "actions", "poses")
    new = {f"strict/{name}.npy" for name in made} | {"strict/clips.json", "strict/clips.jsonl"}
    words = ("data", "import", "many", "--out", "strict", "--frames", 8, "--strict", "--progress", "none")
    refused(3, *words, says="41.npz", new=new)


def empty(folder):
    return ()


def looped(folder):
    os.symlink(".", folder / "round")
    return ()


def leaving(folder):
    archive(folder.parent / "secret.npz")
    os.symlink("../secret.npz", folder / "a.npz")
    return ("data/clips.json", "data/clips.jsonl")


@pytest.mark.parametrize("make", [empty, looped, leaving])
def test_19_a_folder_without_a_clip_of_its_own_is_refused(refused, tmp_path, make):
    (tmp_path / "source").mkdir()
    new = make(tmp_path / "source")
    refused(3, "data", "import", "source", "--out", "data", "--frames", 8, new=new)


# Checkpoints and the Hub


def test_20_an_unknown_name_is_answered_with_the_nearest(refused):
    assert "Known: maze" in refused(4, "generate", "-m", "mazes", "-n", 2, "-o", "out.mp4", says="'mazes'")


HUB = {  # what the Hub does -> exit code, words of the error
    "22 401": ({"/api/": (401, None)}, 4, "hf auth login"),
    "22 403": ({"/resolve/": (403, None)}, 4, "hf auth login"),
    "22 gated": ({"/api/": (403, "GatedRepo")}, 4, "gated"),
    "22 404": ({"/api/": (404, "RepoNotFound")}, 4, "no repository"),
    "23 503": ({"/resolve/": (503, None)}, 5, "503"),
}


@pytest.mark.parametrize("name", HUB)
def test_what_the_hub_refuses_is_one_line(hub, home, run_apart, name):
    hub.status, code, says = HUB[name]
    begun = time.monotonic()
    result = run_apart("download", "some/body", "--timeout", "1", "--progress", "none")
    assert fails(result, code) and says in result.stderr
    assert not {"model.safetensors", "config.json"}.intersection(kept(home))
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("name", ["23 refused", "23 silent", "24 cut", "25 flipped", "26 leaving"])
def test_what_the_hub_breaks_leaves_nothing_in_the_cache(hub, home, run_apart, name):
    hub.repos["some/body", COMMIT]["model.safetensors"] = os.urandom(2_500_000)
    if name == "23 refused":
        hub.close()
    elif name == "23 silent":
        hub.silent = ("/store/",)
    elif name == "24 cut":
        hub.cut, hub.ranges = 10_000, False
    elif name == "25 flipped":
        hub.flipped = ("model.safetensors",)
    else:
        hub.listed = [*FILES, "../../x", "C:\\x"]
    result = run_apart("download", "some/body", "--timeout", "1", "--progress", "none")
    assert fails(result, 6 if name[:2] in ("25", "26") else 5)
    assert not {"model.safetensors", "x"}.intersection(path.name for path in home.parent.rglob("*"))
    if name == "25 flipped":
        hub.flipped = ()
        assert run_apart("download", "some/body", "--progress", "none").returncode == 0


def test_21_offline_what_is_here_works_without_a_request(hub, run_apart):
    for command in ("download", "info"):
        assert fails(run_apart(command, "some/body", "--offline"), 4)
    assert hub.seen == []
    assert run_apart("download", "some/body").returncode == 0
    hub.seen.clear()
    assert run_apart("download", "some/body", "--offline").returncode == 0 and hub.seen == []


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture
def unloadable(refused, folder):
    """A copy of the checkpoint that was changed must be refused."""

    def unloadable(code, says=""):
        return refused(code, "generate", "-m", folder, "-n", 2, "-o", "out.mp4", says=says)

    return unloadable


class Run:
    """A pickle that writes a file as it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
def test_30_a_pickle_runs_nothing(unloadable, refused, folder, tmp_path, suffix):
    torch.save({"weights": Run(tmp_path / "canary")}, folder / f"model{suffix}")
    if suffix == ".safetensors":
        vouch(folder)
    else:
        (folder / "model.safetensors").unlink()
    unloadable(3, "model.safetensors" if suffix == ".safetensors" else "sha256.json")
    if suffix != ".safetensors":
        shutil.move(folder / f"model{suffix}", tmp_path / f"oasis500m{suffix}")
        shutil.copy(tmp_path / f"oasis500m{suffix}", tmp_path / f"vit-l-20{suffix}")
        refused(3, "convert", tmp_path, "made")
    assert not (tmp_path / "canary").exists()


def tensors(header, data=b"", length=None):
    """A file of safetensors by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin=0, end=4, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


MALFORMED = {
    "empty": b"",
    "header cut": tensors({"a": entry()})[:20],
    "data cut": tensors({"a": entry()}, bytes(3)),
    "a byte too many": tensors({"a": entry()}, bytes(5)),
    "huge length": tensors(b"{}", length=1 << 62),
    "no JSON": tensors(b"{..}"),
    "no UTF-8": tensors(b'{"\xff": 1}'),
    "deep JSON": tensors(b"[" * 100_000),
    "overlap": tensors({"a": entry(), "b": entry(2, 6)}, bytes(6)),
    "hole": tensors({"a": entry(), "b": entry(8, 12)}, bytes(12)),
    "negative shape": tensors({"a": entry(shape=[-1])}, bytes(4)),
    "overflow": tensors({"a": entry(0, 4, [1 << 62, 1 << 62])}, bytes(4)),
    "unknown dtype": tensors({"a": entry(dtype="X32")}, bytes(4)),
    "twice": tensors(b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2), bytes(4)),
    "no tensors": tensors({}),
}


def test_31_malformed_weights_are_refused(several, folder, tmp_path):
    models = []
    for name in MALFORMED:
        models.append(shutil.copytree(folder, tmp_path / "copies" / name))
        (models[-1] / "model.safetensors").write_bytes(MALFORMED[name])
        vouch(models[-1])
    for code, told in several(*(("generate", "-m", model, "-n", 2, "-o", "out.mp4") for model in models)):
        assert code == 3 and "model.safetensors" in told, told
        assert told.count("arvdm: error: ") == 1 and len(told.splitlines()) <= 2, told
    assert not list(tmp_path.glob("out*"))


def test_31_a_malformed_file_is_refused_by_a_command_of_its_own(unloadable, folder):
    (folder / "model.safetensors").write_bytes(MALFORMED["deep JSON"])
    vouch(folder)
    unloadable(3, "model.safetensors")


def drop(weights):
    del weights[next(iter(weights))]


def add(weights):
    weights["network.more"] = torch.zeros(3)


def reshape(weights):
    name = next(name for name in weights if weights[name].ndim == 2)
    weights[name] = weights[name].T.contiguous()[:1]


def whole(weights):
    name = next(name for name in weights if weights[name].is_floating_point())
    weights[name] = weights[name].to(torch.int32)


def spoil(weights):
    weights[next(name for name in weights if weights[name].is_floating_point())].view(-1)[0] = torch.nan


MISFITS = {"drop": (drop, 3), "add": (add, 3), "reshape": (reshape, 3), "whole": (whole, 3), "spoil": (spoil, 9)}


def test_32_33_weights_that_do_not_fit_are_named(several, folder, tmp_path):
    weights, models = load_file(folder / "model.safetensors"), []
    for name, (edit, _) in MISFITS.items():
        models.append(shutil.copytree(folder, tmp_path / "copies" / name))
        changed = {key: tensor.clone() for key, tensor in weights.items()}
        edit(changed)
        save_file(changed, models[-1] / "model.safetensors")
        vouch(models[-1])
    ends = several(*(("generate", "-m", model, "-n", 2, "-o", "out.mp4") for model in models))
    for name, (code, told) in zip(MISFITS, ends, strict=True):
        assert code == MISFITS[name][1], (name, told)
        assert told.count("arvdm: error: ") == 1 and re.search(r"(network|codec)\.\w+", told), (name, told)
    assert "network.more" in ends[1][1]
    assert not list(tmp_path.glob("out*"))


def test_33_nan_in_a_chunk_names_the_ar_step_and_the_frames_before_play(refused, tiny, tmp_path):
    rows = ['"left"'] * 6 + ['{"left": 3e38}'] * 6
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    words = ("generate", "-m", tiny, "-a", "a.jsonl", "-n", 12, "-o", "out.mp4", "--seed", 1, "--dtype", "float32")
    refused(9, *words, says="AR step 3", new={"out.mp4", *BESIDE})
    assert len(frames_of(tmp_path / "out.mp4")) == 6


def test_39_a_flipped_bit_is_found(unloadable, folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    unloadable(6, "sha256")


# Running

BESIDE = ("out.json", "out.state", "out.state.old")  # what a run that was broken off leaves to go on from


@pytest.mark.parametrize("target", ["out.mp4", "out.y4m"])
def test_34_a_full_disk_keeps_the_old_file_and_what_was_written_plays(refused, tiny, tmp_path, target):
    (tmp_path / target).write_text("old")
    part = target.replace("out", "out.part")
    words = ("generate", "-m", tiny, "-n", 0, "-y", "-o", target, "--scale", 8, "--seed", 1)
    refused(7, *words, says="File too large", new={part, *BESIDE}, preexec_fn=limit("RLIMIT_FSIZE", 100_000))
    assert len(frames_of(tmp_path / part)) >= 1


def test_34_a_full_stdout_is_told(refused, tiny):
    with open("/dev/full", "wb") as full:
        refused(7, "generate", "-m", tiny, "-n", 2, "-o", "-", says="No space left", stdout=full)


def endless(start, tiny, tmp_path, *args, **options):
    """Start a run without an end, and wait until it is under way."""
    process = start("generate", "-m", tiny, "-n", 0, "--seed", 1, "--progress", "json", *args, **options)
    for line in process.stderr:
        if b'"index": 9' in line:
            return process
    raise AssertionError(process.communicate())


def drain(process):
    """Take what a process says, so that it never waits for a reader."""
    threading.Thread(target=process.stderr.read, daemon=True).start()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="children are found in /proc")
def test_36_a_second_ctrl_c_stops_at_once(start, tiny, tmp_path):
    process = endless(start, tiny, tmp_path, "-o", "out.mp4")
    (encoder,) = children(process.pid)
    try:
        os.kill(encoder, signal.SIGSTOP)  # so that the first has to wait
        drain(process)
        process.send_signal(signal.SIGINT)
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 130
        assert not running(encoder)
    finally:
        if running(encoder):
            os.kill(encoder, signal.SIGKILL)


@pytest.mark.parametrize("format", ["y4m", "mp4"])
def test_37_a_reader_that_leaves_ends_it_quietly_with_no_orphan(start, tiny, format):
    process = start("generate", "-m", tiny, "-n", 0, "-o", "-", "--format", format, "-q")
    assert len(process.stdout.read(1000)) == 1000
    encoders = children(process.pid)
    process.stdout.close()
    assert process.wait(LONG) == 0 and b"error" not in process.stderr.read()
    assert len(encoders) == (format == "mp4") and not any(map(running, encoders))


def test_a_stdout_that_nobody_reads_does_not_freeze_ctrl_c(start, tiny, tmp_path):
    process = start("generate", "-m", tiny, "-n", 0, "-o", "-", "--scale", 8, "-q")
    process.stdout.read(1)
    time.sleep(2)  # the pipe is full by now
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == 130


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="children are found in /proc")
def test_an_encoder_that_is_killed_is_told_with_its_last_words(start, tiny, tmp_path):
    (tmp_path / "out.mp4").write_text("old")
    process = endless(start, tiny, tmp_path, "-o", "out.mp4", "-y")
    (encoder,) = children(process.pid)
    os.kill(encoder, signal.SIGKILL)
    told = process.communicate(timeout=LONG)[1].decode()
    assert process.returncode == 7 and "SIGKILL; last message" in told and told.count("arvdm: error: ") == 1
    assert (tmp_path / "out.mp4").read_text() == "old"


def test_two_runs_cannot_write_one_output(start, refused, tiny, tmp_path):
    process = endless(start, tiny, tmp_path, "-o", "out.mp4")
    drain(process)
    command = [sys.executable, "-m", "arvdm_cli", "generate", "-m", tiny, "-n", "2", "-y", "-o", "out.mp4"]
    second = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert second.returncode == 11 and second.stderr.count(b"arvdm: error: ") == 1, second.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == 130
    assert len(frames_of(tmp_path / "out.mp4")) >= 10


def test_an_output_that_exists_is_kept_where_nobody_can_be_asked(refused, tiny, tmp_path):
    (tmp_path / "out.mp4").write_text("old")
    refused(10, "generate", "-m", tiny, "-n", 2, "-o", "out.mp4", says="exists")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a folder that even root cannot write to")
def test_a_folder_that_may_not_be_written_is_told(refused, tiny):
    refused(7, "generate", "-m", tiny, "-n", 2, "-o", "/proc/out.mp4", says="/proc/out.mp4")


def test_an_unknown_key_is_answered_with_the_nearest(refused, tmp_path):
    (tmp_path / "run.toml").write_text("codec_stepz = 5\n")
    told = refused(2, "train", "run.toml", says="'codec_stepz'")
    assert "Did you mean 'codec_steps'?" in told


def peak(start, tiny, tmp_path):
    """The most memory, in bytes of addresses, that a small run has ever mapped."""
    script = "from arvdm_cli import cli\ntry: cli.main()\nfinally: print(open('/proc/self/status').read())"
    process = start("generate", "-m", tiny, "-n", 2, "-o", "small.y4m", script=script)
    status = process.communicate(timeout=LONG)[0].decode()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmPeak")).split()[1])


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="memory is measured in /proc")
def test_40_too_little_memory_is_told_with_what_to_lower(start, refused, tiny, tmp_path):
    most = peak(start, tiny, tmp_path) + (512 << 20)
    words = ("generate", "-m", tiny, "-n", 0, "-o", "out.y4m", "-s", "outpainting", "--steps", 1, "--chunk", 60_000)
    assert "--chunk" in refused(8, *words, "--scale", 1, says="memory", preexec_fn=limit("RLIMIT_AS", most))


# Training


KILLED = """
import os, signal
import torch
from pathlib import Path
from arvdm_cli import cli
from arvdm_cli.hub import checkpoint
from arvdm_cli.training.state import TrainState

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

when = {when!r}
states = 0
kept = TrainState.save
def save_state(state, path):
    global states
    states += 1
    if states == 3 and when == "in its state":
        torch.save, real = lambda state, part: (real(state, part), os.truncate(part, 1000), die()), torch.save
    kept(state, path)
    if states == 3 and when == "before its checkpoint":
        die()
    if states == 3 and when == "within its checkpoint":
        real = os.replace
        checkpoint.os.replace = lambda a, b: (real(a, b), Path(b).name == "model.safetensors" and die())
TrainState.save = save_state
cli.main()
"""


@pytest.mark.parametrize("when", ["in its state", "before its checkpoint", "within its checkpoint"])
def test_38_a_training_that_is_killed_as_it_saves_goes_on_as_if_it_had_not_been(start, works, trained, tmp_path, when):
    for name in ("data", "run.toml"):
        os.symlink(trained / name, tmp_path / name)
    process = start("train", "run.toml", script=KILLED.format(when=when))
    assert process.wait(LONG) == -signal.SIGKILL, process.communicate()
    if when == "within its checkpoint":
        with pytest.raises(IntegrityError):
            checkpoint.load(tmp_path / "run" / "checkpoint")
    else:
        assert checkpoint.load(tmp_path / "run" / "checkpoint").card["training"]["steps"] == 20
    works("train", "run.toml", "--resume")
    assert losses(tmp_path / "run") == losses(trained / "run")
    made, unbroken = (load_file(f / "run" / "checkpoint" / "model.safetensors") for f in (tmp_path, trained))
    assert all(torch.equal(made[name], unbroken[name]) for name in unbroken)
    assert checkpoint.load(tmp_path / "run" / "checkpoint").card["training"]["steps"] == 40


def test_38_a_full_disk_keeps_the_state_and_the_checkpoint_before_it(refused, trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    os.symlink(trained / "data", tmp_path / "data")
    (tmp_path / "run.toml").write_text(TRAIN)
    before = {name: data for name, data in contents(tmp_path).items() if "metrics" not in name}
    size = (tmp_path / "run" / "state.pt").stat().st_size
    (tmp_path / "run" / "metrics.jsonl").unlink()
    refused(7, "train", "run.toml", "--resume", "--steps", 60, says="state.pt", new={"run/metrics.jsonl"},
            preexec_fn=limit("RLIMIT_FSIZE", size // 2))  # fmt: skip
    assert {name: data for name, data in contents(tmp_path).items() if "metrics" not in name} == before


def test_38_a_folder_without_its_manifest_is_used_with_a_warning(shell, folder, tmp_path):
    (folder / "sha256.json").unlink()
    done = shell("generate", "-m", folder, "-n", 2, "-o", tmp_path / "out.mp4")
    assert done.returncode == 0 and (tmp_path / "out.mp4").is_file(), done.stderr
    assert (
        done.stderr.count("arvdm: warning: ") == 1 and "no sha256.json confirms the hash of config.json" in done.stderr
    )
