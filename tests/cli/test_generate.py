"""`arvdm generate` as a user runs it, on a tiny model with random weights."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from arvdm_cli import media
from arvdm_cli.actions import files, formats, phrases
from arvdm_cli.hub import checkpoint
from arvdm_cli.media.ffmpeg import executable
from support.checkpoints import ACTIONS
from support.paths import EXAMPLES, ROOT
from support.tiny import model
from support.videos import frames_of


def test_a_clip_is_continued_into_a_video_of_the_length_asked_for(arvdm, tiny, clip, tmp_path):
    done = arvdm("generate", "-m", tiny, "-p", clip, "-n", 7, "--seed", 3, "-o", tmp_path / "out.mp4")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out.mp4")
    assert frames_of(tmp_path / "out.mp4").shape == (7, 16, 16, 3)
    assert "20x16 cropped to 16x16" in done.stderr


def test_the_sidecar_tells_model_settings_seed_and_frames(arvdm, tiny, clip, tmp_path):
    arvdm("generate", "-m", tiny, "-p", clip, "-n", 5, "--seed", 3, "--steps", 3, "-o", tmp_path / "out.mp4")
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["frames"] == 5 and facts["complete"] and facts["seed"] == 3
    assert facts["sampling"]["options"] == {"chunk": 2, "steps": 3} and len(facts["levels"]) == 4
    assert facts["sha256"] == checkpoint.digest(tiny / "model.safetensors")


def test_a_longer_video_begins_with_the_frames_of_a_shorter_one(arvdm, tiny, clip, tmp_path):
    for length in (4, 9):
        arvdm("generate", "-m", tiny, "-p", clip, "-n", length, "--seed", 3, "-o", tmp_path / f"{length}.y4m")
    assert np.array_equal(frames_of(tmp_path / "9.y4m")[:4], frames_of(tmp_path / "4.y4m"))


def test_clip_i_of_a_batch_is_the_clip_alone_with_seed_plus_i(arvdm, tiny, clip, tmp_path):
    arvdm("generate", "-m", tiny, "-p", clip, "-p", clip, "-n", 4, "--seed", 3, "-o", tmp_path / "out.y4m")
    arvdm("generate", "-m", tiny, "-p", clip, "-n", 4, "--seed", 4, "-o", tmp_path / "alone.y4m")
    assert np.array_equal(frames_of(tmp_path / "out-1.y4m"), frames_of(tmp_path / "alone.y4m"))
    assert not np.array_equal(frames_of(tmp_path / "out-0.y4m"), frames_of(tmp_path / "alone.y4m"))


def test_a_video_may_begin_without_a_prompt(arvdm, tiny, tmp_path):
    done = arvdm("generate", "-m", tiny, "-n", 4, "--seed", 1, "-o", tmp_path / "out.y4m")
    assert done.exit_code == 0, done.stderr
    assert len(frames_of(tmp_path / "out.y4m")) == 4


@pytest.mark.parametrize("preset", ["next-frame", "fifo", "rolling", "pyramid"])
def test_every_preset_makes_a_video_with_a_warning_where_the_model_was_not_trained_for_it(
    arvdm, tiny, clip, tmp_path, preset
):
    done = arvdm("generate", "-m", tiny, "-p", clip, "-n", 3, "-s", preset, "-o", tmp_path / "out.y4m")
    assert done.exit_code == 0, done.stderr
    assert len(frames_of(tmp_path / "out.y4m")) == 3
    assert done.stderr.count("warning") == 1


def test_actions_come_from_a_phrase_a_file_and_stdin_alike(arvdm, tiny, clip, tmp_path):
    (tmp_path / "walk.jsonl").write_text('"forward"\n"forward"\n"left"\n"left"\n')
    common = ("generate", "-m", tiny, "-p", clip, "--seed", 1)
    arvdm(*common, "-a", "forward*2 left*2", "-n", 4, "-o", tmp_path / "a.y4m")
    arvdm(*common, "-a", tmp_path / "walk.jsonl", "-o", tmp_path / "b.y4m")
    lines = '{"action": "forward"}\n' * 2 + '{"left": 1}\n' * 2
    done = arvdm(*common, "-a", "-", "-n", 0, "-o", tmp_path / "c.y4m", input=lines)
    assert done.exit_code == 0, done.stderr
    for name in "bc":
        assert np.array_equal(frames_of(tmp_path / f"{name}.y4m"), frames_of(tmp_path / "a.y4m"))


def test_actions_of_a_prompt_lead_into_the_same_frames_from_every_format(arvdm, tiny, clip, tmp_path):
    walk = phrases.parse("? forward*3 left*4", ACTIONS)  # into each frame of the clip
    for suffix, form in formats.FORMATS.items():
        known = tmp_path / f"known{suffix}"
        files.write(known, files.shift(walk, -form.lead), ACTIONS)
        flags = ["-a", "left*3", "--prompt-actions", known, "--seed", 1, "-o", tmp_path / f"{suffix}.y4m"]
        done = arvdm("-v", "generate", "-m", tiny, "-p", clip, *flags)
        assert done.exit_code == 0 and str(form) in done.stderr, done.stderr
        assert np.array_equal(frames_of(tmp_path / f"{suffix}.y4m"), frames_of(tmp_path / ".jsonl.y4m"))
    arvdm("generate", "-m", tiny, "-p", clip, "-a", "left*3", "--seed", 1, "-o", tmp_path / "unknown.y4m")
    assert not np.array_equal(frames_of(tmp_path / "unknown.y4m"), frames_of(tmp_path / ".jsonl.y4m"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_dtype_makes_a_video(arvdm, tiny, clip, tmp_path, dtype):
    done = arvdm("generate", "-m", tiny, "-p", clip, "-n", 9, "--dtype", dtype, "-o", tmp_path / "out.y4m")
    assert done.exit_code == 0, done.stderr
    assert len(frames_of(tmp_path / "out.y4m")) == 9


def test_a_dry_run_prints_the_plan_and_makes_nothing(arvdm, tiny, clip, tmp_path):
    done = arvdm("generate", "-m", tiny, "-p", clip, "-n", 600, "-o", tmp_path / "out.mp4", "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert plan["length"] == 600 and plan["frames_per_second"] > 0 and plan["sampling"]["context"] == 2
    assert not list(tmp_path.iterdir())


BAD = {
    "no such prompt": (3, ["-p", "nowhere.mp4"]),
    "no such model": (4, ["-m", "mazes"]),
    "no such hub model": (4, ["-m", "nobody/nothing"]),
    "no such schedule": (2, ["-s", "outpaint"]),
    "no such option of a schedule": (2, ["-s", "fifo", "--chunk", "4"]),
    "no such action": (3, ["-a", "forwards*3"]),
    "too few actions": (3, ["-a", "forward*3", "-n", "4"]),
    "no such format": (2, ["-o", "out.avi"]),
    "no such solver": (2, ["--solver", "dpm"]),
    "no such cache": (2, ["--cache", "never"]),
    "no such device": (2, ["--device", "cuda:9"]),
    "no such dtype": (2, ["--dtype", "int4"]),
    "two things on stdin": (2, ["-p", "-", "-a", "-"]),
    "a negative length": (2, ["-n", "-1"]),
}


@pytest.mark.parametrize(("code", "flags"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_its_code_and_one_line(arvdm, tiny, tmp_path, monkeypatch, code, flags):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = [] if "-m" in flags else ["-m", tiny]
    out = [] if "-o" in flags else ["-o", "out.mp4"]
    done = arvdm("generate", *model, *out, *flags)
    assert done.exit_code == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("hint:", "prompt:"))]
    assert len(errors) == 1 and errors[0].startswith("arvdm: error: ")
    assert not list(tmp_path.glob("out*"))


def test_an_existing_output_is_kept_unless_y_is_given(arvdm, tiny, clip, tmp_path):
    (tmp_path / "out.y4m").write_text("precious")
    common = ("generate", "-m", tiny, "-p", clip, "-n", 2, "-o", tmp_path / "out.y4m")
    assert arvdm(*common).exit_code == 10
    assert (tmp_path / "out.y4m").read_text() == "precious"
    assert arvdm(*common, "-y").exit_code == 0
    assert len(frames_of(tmp_path / "out.y4m")) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_run_with_its_code_and_a_file_that_plays(tiny, clip, tmp_path, number, code):
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "arvdm_cli", "generate", "-m", str(tiny), "-p", str(clip), "-n", "0"]
    command += ["-o", str(out), "--progress", "json"]
    heed = functools.partial(signal.signal, number, signal.SIG_DFL)  # whatever the tests themselves were told to ignore
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as run:
        for line in run.stderr:
            if '"index": 9' in line:
                break
        run.send_signal(number)
        run.stderr.read()
    assert run.returncode == code
    facts = json.loads((tmp_path / "out.json").read_text())
    assert not facts["complete"]
    assert len(frames_of(out)) == facts["frames"] >= 10


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(tiny, clip, tmp_path):
    command = f"{sys.executable} -m arvdm_cli generate -m {tiny} -p {clip} -n 0 -o - | head -c 1000 | wc -c"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1000" and "error" not in done.stderr


@pytest.mark.parametrize("script", ["into-ffmpeg", "from-ffmpeg", "batch"])
def test_the_pipelines_in_examples_work(tiny, clip, tmp_path, script):
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "arvdm"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m arvdm_cli "$@" -m {tiny}\n')
    wrapper.chmod(0o755)
    env = os.environ | {
        "PATH": f"{wrapper.parent}:{os.environ['PATH']}",
        "FFMPEG": executable(),
        "PYTHONPATH": str(ROOT),
    }
    command = ["bash", str(EXAMPLES / "pipelines" / f"{script}.sh"), str(clip)]
    out = "takes" if script == "batch" else "out.mp4"
    done = subprocess.run([*command, out, "4"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made = list((tmp_path / out).glob("*.mp4")) if script == "batch" else [tmp_path / out]
    assert len(made) == (6 if script == "batch" else 1)
    assert all(len(frames_of(path)) == 4 for path in made)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tiny, clip, tmp_path):
    script = (
        "import resource, sys; from arvdm_cli.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for length in (40, 400):
        out = tmp_path / f"{length}.mp4"
        command = [sys.executable, "-c", script, "generate", "-m", str(tiny), "-p", str(clip), "-q", "-o", str(out)]
        done = subprocess.run([*command, "-n", str(length)], capture_output=True, text=True, timeout=600)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.slow
def test_deterministic_frames_are_the_same_whatever_the_threads_and_the_number_of_prompts(shell, tmp_path):
    prompt = EXAMPLES / "maze.mp4"
    words = ("generate", "-n", 8, "--seed", 5, "--dtype", "float32", "-q", "--deterministic")  # without it they differ
    for name, threads, prompts in (("one", 1, 1), ("two", 2, 1), ("both", 2, 2)):
        out = ("--threads", threads, "-o", tmp_path / f"{name}.y4m")
        done = shell(*words, *("-p", prompt) * prompts, *out, timeout=600)
        assert done.returncode == 0, done.stderr
    one, two, both = ((tmp_path / f"{name}.y4m").read_bytes() for name in ("one", "two", "both-0"))
    assert one == two == both
    assert json.loads((tmp_path / "one.json").read_text())["deterministic"] is True


@pytest.mark.slow
def test_a_compiled_network_makes_the_same_frames_and_says_that_it_was_compiled(
    arvdm, tiny, clip, tmp_path, monkeypatch
):
    if not shutil.which("g++"):
        pytest.skip("there is no compiler here")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kept"))
    words = ("generate", "-m", tiny, "-p", clip, "-n", 8, "--seed", 1, "--codec", "ffv1", "-o")
    assert arvdm(*words, tmp_path / "plain.mkv").exit_code == 0
    done = arvdm(*words, tmp_path / "compiled.mkv", "--compile")
    assert done.exit_code == 0 and str(tmp_path / "kept") in done.stderr.replace("\n", ""), done.stderr
    plain, compiled = (frames_of(tmp_path / f"{name}.mkv").astype(int) for name in ("plain", "compiled"))
    assert np.abs(plain - compiled).max() <= 2
    assert list((tmp_path / "kept").iterdir())
    assert json.loads((tmp_path / "compiled.json").read_text())["compiled"]


@pytest.mark.slow
def test_what_cannot_be_compiled_is_said(arvdm, shell, tiny, tmp_path):
    words = ("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4", "--compile")
    both = arvdm(*words, "--deterministic")
    assert both.exit_code == 2 and "--deterministic" in both.stderr
    none = shell(*words, env=os.environ | {"CXX": "no-such-compiler"})
    assert none.returncode == 2 and "'no-such-compiler'" in none.stderr
    broken = shell(
        *words, env=os.environ | {"CXX": shutil.which("false"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kept")}
    )
    assert broken.returncode == 2 and "cannot be compiled" in broken.stderr and "--compile" in broken.stderr
    assert not (tmp_path / "out.mp4").exists()


def test_a_folder_for_compiled_code_that_cannot_be_made_is_said(arvdm, tiny, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "kept"))
    monkeypatch.setenv("CXX", sys.executable)
    done = arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4", "--compile")
    assert done.exit_code == 7 and "TORCHINDUCTOR_CACHE_DIR" in done.stderr


def test_a_video_is_extended_as_it_was_made(arvdm, tiny, tmp_path):
    assert arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4").exit_code == 0
    done = arvdm("generate", "--extend", tmp_path / "out.mp4", "-n", 2, "--compile")
    assert done.exit_code == 2 and "without --compile" in done.stderr


# Flags that cannot be obeyed

IDLE = {
    "--include-prompt": ["--include-prompt"],
    "--prompt-actions": ["--prompt-actions", "left*3"],
    "--prompt-crop": ["--prompt-crop", "8x8+0+0"],
    "--prompt-start": ["--prompt-start", "2"],
    "--prompt-count": ["--prompt-count", "2"],
}


@pytest.mark.parametrize("flag", IDLE)
def test_a_flag_of_prompts_is_refused_without_a_prompt(arvdm, tiny, tmp_path, flag):
    done = arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4", *IDLE[flag])
    assert done.exit_code == 2 and f"{flag}: there is no prompt" in done.stderr
    assert not list(tmp_path.iterdir())


def test_settings_from_elsewhere_that_a_run_does_not_need_are_left_aside(arvdm, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("ARVDM_GENERATE_INCLUDE_PROMPT", "1")
    monkeypatch.setenv("ARVDM_GENERATE_SCALE", "2")
    assert arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4").exit_code == 0
    done = arvdm("generate", "--extend", tmp_path / "out.mp4", "-n", 2)
    assert done.exit_code == 0, done.stderr


def test_an_extension_refuses_flags_that_it_cannot_obey_and_names_them(arvdm, tiny, tmp_path):
    target = tmp_path / "out.mp4"
    assert arvdm("generate", "-m", tiny, "-n", 2, "-o", target).exit_code == 0
    before = target.read_bytes()
    words = ("-m", "maze-fast", "--steps", 2, "--seed", 7, "--scale", 3, "--dry-run")
    done = arvdm("generate", "--extend", target, "-n", 4, *words)
    assert done.exit_code == 2 and target.read_bytes() == before
    assert all(flag in done.stderr for flag in ("--model", "--steps", "--seed", "--scale", "--dry-run"))


NUMBERS = ["--guidance", "--history-guidance", "--eta", "--stabilization", "--shift"]


@pytest.mark.parametrize("flag", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
def test_a_number_that_cannot_be_is_refused_before_a_model_is_looked_for(arvdm, flag, value):
    done = arvdm("generate", "-m", "no-such-model", flag, value)
    assert done.exit_code == 2 and flag.strip("-") in done.stderr.replace("_", "-")


UNFIT = {  # output, flags -> what is said
    ("a.gif", "--crf", "20"): "gif has no crf or codec",
    ("a.webm", "--codec", "h264"): "webm cannot hold the codec 'h264'",
    ("a.mkv", "--codec", "ffv1", "--crf", "9"): "ffv1 is lossless",
    ("a.mp4", "--crf", "60"): "60 is not a valid crf of h264",
    ("frames/", "--codec", "h264"): "png has no crf or codec",
    ("a.safetensors", "--scale", "2"): "safetensors holds latents",
    ("a.webm", "--format", "mp4", "--codec", "vp9"): "mp4 cannot hold the codec 'vp9'",
    ("", "-n", "1"): "The name of the output is empty",
}


@pytest.mark.parametrize("flags", UNFIT)
def test_an_encoding_that_does_not_fit_the_output_is_refused_before_a_model_is_looked_for(arvdm, flags):
    done = arvdm("generate", "-m", "no-such-model", "-n", 1, "-o", *flags)
    assert done.exit_code == 2 and UNFIT[flags] in done.stderr and "hint:" in done.stderr, done.stderr


def test_a_rate_that_images_cannot_store_is_said_to_be_in_the_sidecar(arvdm, tiny, tmp_path):
    done = arvdm("generate", "-m", tiny, "-n", 1, "--fps", 20, "-o", f"{tmp_path}/frames/")
    assert done.exit_code == 0 and "png stores no frame rate; --fps 20 is kept in" in done.stderr
    assert json.loads((tmp_path / "frames.json").read_text())["encoding"]["fps"] == 20
    done = arvdm("generate", "-m", tiny, "-n", 1, "--fps", 20, "-o", tmp_path / "a.mp4")
    assert done.exit_code == 0 and "frame rate" not in done.stderr


def test_images_of_an_older_video_that_stay_beside_a_shorter_one_are_named(arvdm, tiny, tmp_path):
    words = ("generate", "-m", tiny, "--seed", 1, "-y", "-o", f"{tmp_path}/frames/")
    assert "older images" not in arvdm(*words, "-n", 3).stderr
    assert "1 older images from 000002.png on are still in" in arvdm(*words, "-n", 2).stderr


def test_a_sidecar_that_described_another_video_is_not_replaced_without_a_word(arvdm, tiny, tmp_path):
    words = ("generate", "-m", tiny, "--seed", 1, "-n", 1, "-y", "-o")
    assert "described" not in arvdm(*words, tmp_path / "a.mp4").stderr
    assert "described" not in arvdm(*words, tmp_path / "a.mp4").stderr
    done = arvdm(*words, tmp_path / "a.mkv")
    assert done.exit_code == 0 and f"a.json described {tmp_path / 'a.mp4'}" in done.stderr.replace("\n", " ")


def test_of_two_files_of_actions_beside_a_prompt_the_one_that_is_read_is_named(arvdm, tiny, clip, tmp_path):
    shutil.copy(clip, tmp_path / "p.mkv")
    count = len(media.read(clip).frames)
    (tmp_path / "p.jsonl").write_text('"left"\n' * count)
    (tmp_path / "p.csv").write_text("action\n" + "forward\n" * count)
    done = arvdm("generate", "-m", tiny, "-p", tmp_path / "p.mkv", "-n", 1, "-o", tmp_path / "a.mp4")
    assert done.exit_code == 0 and "actions read from p.jsonl, not from p.csv" in done.stderr


def test_a_format_that_is_not_that_of_the_name_is_warned_of(arvdm, tiny, tmp_path):
    words = ("generate", "-m", tiny, "-n", 1, "--seed", 1, "-y", "--format", "gif", "-o")
    assert "written as gif" in arvdm(*words, tmp_path / "a.mp4").stderr
    assert "written as gif" not in arvdm(*words, tmp_path / "a.gif").stderr


def test_settings_beyond_those_of_training_are_warned_of_with_both_numbers(arvdm, tiny, tmp_path):
    flags = ("--context", 400, "--chunk", 3, "--memory-slots", 5)
    done = arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4", *flags)
    assert done.exit_code == 0, done.stderr
    assert "context is 400 frames, more than the 2 " in done.stderr
    assert "chunk is 3 frames, more than the 2 " in done.stderr and "--length is 2" in done.stderr
    assert "memory is 5 groups, more than the 2 " in done.stderr
    usual = arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "usual.mp4", "--context", 1)
    assert "beyond" not in usual.stderr


def test_choices_without_effect_are_warned_of(arvdm, tiny, tmp_path):
    flags = ("--view", 3, "--memory-slots", 0, "--eviction", "oldest")
    done = arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4", *flags)
    assert "--view has no effect" in done.stderr and "--eviction has no effect" in done.stderr
    done = arvdm(
        "generate", "-m", tiny, "-n", 2, "-y", "-o", tmp_path / "out.mp4", "--context", 0, "--context-noise", 0.1
    )
    assert "--context-noise has no effect" in done.stderr


def test_actions_for_a_model_without_any_are_warned_of(arvdm, tmp_path):
    mute = model(actions=0, moves=())
    mute.card["actions"] = []
    checkpoint.save(mute, tmp_path / "mute")
    flags = ("-n", 2, "-a", "forward*2", "--guidance", 2)
    done = arvdm("generate", "-m", tmp_path / "mute", "-o", tmp_path / "out.mp4", *flags)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("the model has no actions") == 2


def test_more_threads_than_a_machine_can_use_are_refused(arvdm, tiny, tmp_path):
    done = arvdm("generate", "-m", tiny, "-n", 2, "-o", tmp_path / "out.mp4", "--threads", 100000)
    assert done.exit_code == 2 and "100000 threads" in done.stderr


def test_a_dry_run_draws_no_seed(arvdm, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = json.loads(arvdm("generate", "-m", tiny, "-n", 4, "--dry-run", "--json").stdout)
    assert plan["seed"] is None and plan["output"] == f"{tiny.name}-SEED.mp4"
    given = json.loads(arvdm("generate", "-m", tiny, "-n", 4, "--seed", 9, "--dry-run", "--json").stdout)
    assert given["seed"] == 9


# Schedules side by side


def test_schedules_are_written_one_file_each_and_side_by_side(arvdm, tiny, clip, tmp_path):
    words = ("generate", "-m", tiny, "-p", clip, "-n", 6, "--seed", 3)
    done = arvdm(*words, "-s", "outpainting:chunk=1", "-s", "fifo", "-o", tmp_path / "both.y4m")
    assert done.exit_code == 0, done.stderr
    names = [str(tmp_path / name) for name in ("both-outpainting-chunk=1.y4m", "both-fifo.y4m", "both.y4m")]
    assert done.stdout.split() == names
    alone = arvdm(*words, "-s", "fifo", "-o", tmp_path / "alone.y4m")
    assert alone.exit_code == 0
    assert np.array_equal(frames_of(tmp_path / "both-fifo.y4m"), frames_of(tmp_path / "alone.y4m"))
    left, right, both = map(frames_of, names)
    shown, scale = both[:, -16 * 12 :, :, :], 12  # each at least 192 pixels wide, under a line of text
    assert len(both) == 6 and both.shape[2] == 2 * 192 + 4
    for half, frames in ((shown[:, :, :192], left), (shown[:, :, -192:], right)):
        assert np.abs(half[:, scale // 2 :: scale, scale // 2 :: scale].astype(int) - frames).max() <= 6
    assert both[0, : -16 * 12].max() > 200


def test_schedules_of_several_prompts_are_shown_side_by_side_for_each(arvdm, tiny, clip, tmp_path):
    words = ("-p", clip, "-p", clip, "-s", "outpainting", "-s", "fifo", "-n", 2, "--seed", 3)
    assert arvdm("generate", "-m", tiny, *words, "-o", tmp_path / "out.mkv").exit_code == 0
    names = {"out-0", "out-0-outpainting", "out-0-fifo", "out-1", "out-1-outpainting", "out-1-fifo"}
    assert {path.stem for path in tmp_path.glob("*.mkv")} == names


@pytest.mark.parametrize(
    "flags", [("-o", "-"), ("-o", "frames/"), ("-n", "0"), ("-a", "-"), ("-s", "fifo"), ("-s", "nonsense")]
)
def test_schedules_that_cannot_be_compared_are_refused(arvdm, tiny, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    done = arvdm("generate", "-m", tiny, "-s", "outpainting", "-s", "fifo", *flags)
    assert done.exit_code == 2, done.stderr
    assert not list(tmp_path.iterdir())
