"""Python's own way in: frames come chunk by chunk, from anywhere to anywhere, and are those of the command."""

import subprocess
import sys
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors import safe_open

import arvdm_cli
from arvdm_cli import Chunk, Encoding, Schedule, generate, load, stream
from arvdm_cli.errors import ActionError, ArvdmError, ConfigError, ScheduleError, UsageError, VideoError
from arvdm_cli.media import read, to_bytes, to_tensor
from arvdm_cli.runs import events
from support.checkpoints import ACTIONS
from support.paths import ROOT
from support.videos import shown

SCHEDULES = ["outpainting:chunk=2,steps=2", "next-frame", "fifo:steps=3", "rolling:blocks=2", "pyramid:chunk=3"]
OWN = Schedule(((0.6, 1.0), (0.0, 0.6)), chunk=1)
every_schedule = pytest.mark.parametrize("schedule", [*SCHEDULES, OWN], ids=[*SCHEDULES, "own"])


@pytest.fixture(scope="module")
def model(tiny):
    return load(tiny, "cpu", "float32")


def frames_of(chunks, count):
    """The first frames of a stream."""
    frames = []
    while len(frames) < count:
        frames += [frame for chunk in islice(chunks, 1) for frame in chunk.frames]
    return np.stack(frames[:count])


@every_schedule
def test_a_stream_gives_the_frames_that_generate_returns(model, clip, schedule):
    frames = generate(model, prompt=clip, actions="forward*7", seed=3, schedule=schedule)
    assert frames.dtype == np.uint8 and frames.shape == (7, 16, 16, 3)
    streamed = frames_of(stream(model, clip, "forward*7", seed=3, schedule=schedule), 7)
    np.testing.assert_array_equal(streamed, frames)


def test_generate_writes_the_file_and_the_settings_of_the_command(arvdm, model, tiny, clip, tmp_path, capfd):
    encoding = Encoding(model.fps, codec="ffv1")
    report = generate(model, tmp_path / "api.mkv", clip, seed=3, length=6, encoding=encoding)
    assert capfd.readouterr() == ("", "")
    words = ("-m", tiny, "-p", clip, "-n", 6, "--seed", 3, "--codec", "ffv1", "--dtype", "float32")
    assert arvdm("generate", *words, "-o", tmp_path / "command.mkv").exit_code == 0
    np.testing.assert_array_equal(shown(tmp_path / "api.mkv"), shown(tmp_path / "command.mkv"))
    np.testing.assert_array_equal(generate(model, prompt=clip, seed=3, length=6), shown(tmp_path / "api.mkv"))
    assert report.complete and report.frames == 6
    done = arvdm("generate", "--extend", tmp_path / "api.mkv", "-n", 2, "--dtype", "float32")
    assert done.exit_code == 0 and len(shown(tmp_path / "api.mkv")) == 8, done.stderr


@every_schedule
def test_a_video_goes_on_from_the_state_of_any_chunk_to_the_same_frames(model, clip, schedule):
    chosen = {"seed": 3, "schedule": schedule}
    chunks = list(islice(stream(model, clip, "forward*30", **chosen), 4))
    for at in (0, 2):
        more = stream(model, actions="forward*30", state=chunks[at].state, **chosen)
        for before, after in zip(chunks[at + 1 :], more, strict=False):
            np.testing.assert_array_equal(after.frames, before.frames)
            torch.testing.assert_close(after.latents, before.latents, rtol=0, atol=0)


def test_random_actions_and_asked_ones_go_on_from_a_state_where_they_were(model, clip):
    for actions in ("random", lambda frame: frame % 5):
        whole = list(islice(stream(model, clip, actions, seed=3), 3))
        rest = list(islice(stream(model, actions=actions, seed=3, state=whole[0].state), 2))
        np.testing.assert_array_equal(rest[1].frames, whole[2].frames)


def test_a_branch_differs_and_leaves_the_video_as_it_was(model, clip):
    first = next(stream(model, clip, "forward*30", seed=3))
    context = first.state.context.clone()
    branches = [
        frames_of(stream(model, actions=actions, seed=seed, state=first.state), 4)
        for actions, seed in (("forward*30", 3), ("left*30", 3), ("forward*30", 4))
    ]
    assert not np.array_equal(branches[0], branches[1]) and not np.array_equal(branches[0], branches[2])
    torch.testing.assert_close(first.state.context, context, rtol=0, atol=0)


def test_latents_decode_to_the_frames(model, clip):
    for chunk in islice(stream(model, clip, seed=3), 3):
        assert isinstance(chunk, Chunk) and len(chunk) == len(chunk.frames) == len(chunk.latents) == 2
        with torch.no_grad():
            frames = model.codec.decode(chunk.latents.unsqueeze(0))
        np.testing.assert_array_equal(to_bytes(frames[0]), chunk.frames)


def test_latents_alone_are_never_decoded(model, clip, monkeypatch):
    monkeypatch.setattr(type(model.codec), "decode", None)
    assert next(stream(model, clip, seed=3)).latents.shape == (2, 4, 2, 2)


def test_latents_written_to_a_file_are_those_of_a_stream(model, clip, tmp_path):
    actions = "forward*5"
    report = generate(model, tmp_path / "a.safetensors", clip, actions, seed=3, include_prompt=True)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        written, facts = file.get_tensor("latents"), file.metadata()
    streamed = torch.cat([chunk.latents for chunk in islice(stream(model, clip, actions, seed=3), 3)])
    torch.testing.assert_close(written[-5:], streamed[:5], rtol=0, atol=0)
    assert len(written) == 5 + report.settings.prompt_frames and facts["actions"] == report.action_phrase == actions


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_arrays_are_resumed_and_extended_as_videos_are(arvdm, model, clip, tmp_path, kind):
    class Stopped(Exception):
        pass

    def stop(event):
        if isinstance(event, events.FramesWritten) and event.frames >= 4:
            raise Stopped

    def values(name):
        path = tmp_path / f"{name}.{kind}"
        if kind == "safetensors":
            with safe_open(path, "np") as file:
                return file.get_tensor("latents"), file.metadata()["actions"]
        return np.load(path)["frames"] if kind == "npz" else np.load(path)

    for name, on_event in (("whole", events.ignore), ("broken", stop)):
        with suppress(Stopped):
            generate(model, tmp_path / f"{name}.{kind}", clip, seed=3, length=10, on_event=on_event)
    words = ("-m", model.source, "-p", clip, "-n", 10, "--seed", 3, "--dtype", "float32", "--resume", "auto")
    done = arvdm("generate", *words, "-o", tmp_path / f"broken.{kind}")
    assert done.exit_code == 0 and "resuming after 4 frames" in done.stderr, done.stderr
    np.testing.assert_equal(values("broken"), values("whole"))
    for name in ("broken", "whole"):
        assert arvdm("generate", "--extend", tmp_path / f"{name}.{kind}", "-n", 3, "--dtype", "float32").exit_code == 0
    np.testing.assert_equal(values("broken"), values("whole"))


def test_a_prompt_is_the_same_as_a_file_an_array_and_a_tensor(model, clip):
    size = (model.codec.config.height, model.codec.config.width)
    fitted = read(clip, size=size).frames
    frames = generate(model, prompt=clip, seed=3, length=4)
    for prompt in (read(clip).frames, fitted, torch.from_numpy(fitted), to_tensor(fitted), str(clip)):
        np.testing.assert_array_equal(generate(model, prompt=prompt, seed=3, length=4), frames)
    shown_first = generate(model, prompt=clip, seed=3, length=4, include_prompt=True)
    np.testing.assert_array_equal(shown_first[-4:], frames)
    assert len(shown_first) > 4


def test_actions_are_the_same_in_every_form(model, clip, tmp_path):
    rows = np.eye(5, dtype=np.float32)[[1, 1, 3, 4]]
    (tmp_path / "rows.csv").write_text("action\nforward\nforward\nleft\nright\n")
    forms = [
        "forward*2 left right", tmp_path / "rows.csv", rows, torch.from_numpy(rows), np.array([1, 1, 3, 4]),
        ["forward", 1, {"left": 1}, rows[3]], lambda frame: ("forward", "forward", "left", "right")[frame % 4],
    ]  # fmt: skip
    frames = generate(model, prompt=clip, actions=forms[0], seed=3, length=4)
    for actions in forms[1:]:
        np.testing.assert_array_equal(generate(model, prompt=clip, actions=actions, seed=3, length=4), frames)
    assert not np.array_equal(generate(model, prompt=clip, actions="left*4", seed=3, length=4), frames)


def test_a_prompts_actions_are_the_same_in_every_form(model, clip, tmp_path):
    (tmp_path / "rows.csv").write_text("action\n" + "left\n" * 8)
    forms = ["left*8", tmp_path / "rows.csv", ["left"] * 8, np.full(8, 3)]
    frames = read(clip).frames
    led = [generate(model, prompt=prompt, seed=3, length=2, prompt_actions=form)
           for form in forms for prompt in (clip, frames)]  # fmt: skip
    for other in led[1:]:
        np.testing.assert_array_equal(other, led[0])
    unknown = generate(model, prompt=clip, seed=3, length=2)
    assert not np.array_equal(led[0], unknown)
    np.testing.assert_array_equal(generate(model, prompt=clip, seed=3, length=2, prompt_actions="?"), unknown)


def test_a_callable_is_asked_once_for_each_frame_in_order_and_no_earlier_than_the_window_needs(model, clip):
    asked = []
    chunks = stream(model, clip, lambda frame: asked.append(frame), seed=3, schedule="next-frame")
    for made in range(1, 4):
        assert len(next(chunks)) == 1
        assert asked == [*range(made)]
    asked.clear()
    next(stream(model, clip, lambda frame: asked.append(frame), seed=3, schedule="rolling:blocks=3,chunk=2"))
    assert asked == [*range(6)]


def test_presets_files_and_levels_make_schedules(tmp_path):
    rolling = Schedule.preset("rolling", blocks=2, chunk=1)
    assert rolling == Schedule.preset("rolling:blocks=2,chunk=1") and rolling.window == 2
    rolling.write(tmp_path / "own.json")
    assert Schedule.read(tmp_path / "own.json") == rolling == Schedule(rolling.levels, rolling.chunk)
    with pytest.raises(ScheduleError, match="No schedule is called 'roling'"):
        Schedule.preset("roling")


def wrong(model, clip, **given):
    """What must not be sampled, with a prompt and a seed unless these are given."""
    return lambda: next(stream(model, **{"prompt": clip, "seed": 1} | given))


@pytest.mark.parametrize(
    ("given", "error", "seen"),
    [
        ({"prompt": np.zeros((2, 3, 16, 16), np.uint8)}, VideoError, "uint8 (2, 3, 16, 16)"),
        ({"prompt": np.zeros((16, 16, 3), np.uint8)}, VideoError, "uint8 (16, 16, 3)"),
        ({"prompt": np.zeros((2, 16, 16, 3), np.int64)}, VideoError, "int64 (2, 16, 16, 3)"),
        ({"prompt": np.zeros((2, 16, 16, 3), np.float32)}, VideoError, "float32 (2, 16, 16, 3)"),
        ({"prompt": torch.full((2, 3, 16, 16), 255.0)}, VideoError, "255"),
        ({"prompt": torch.full((2, 3, 16, 16), torch.nan)}, VideoError, "nan"),
        ({"prompt": "missing.mp4"}, VideoError, "missing.mp4"),
        ({"actions": np.zeros((3, 7))}, ActionError, "float64 (3, 7)"),
        ({"actions": np.array([5])}, ActionError, "5 is not the index of an action"),
        ({"actions": ["forward", "jump"]}, ActionError, "Action 1: no action is called 'jump'"),
        ({"actions": lambda frame: "jump"}, ActionError, "frame 0: no action is called 'jump'"),
        ({"prompt_actions": "left*3"}, ActionError, "frames and 3 actions"),
        ({"prompt_actions": lambda frame: "left"}, ActionError, "no fixed number"),
        ({"schedule": "roling"}, ScheduleError, "'roling'"),
        ({"schedule": OWN, "steps": 3}, ScheduleError, "`steps`"),
        ({"memory_slots": 3}, UsageError, "'memory_slots'"),
        ({"steps": "3"}, UsageError, "'3'"),
        ({"context": -1}, ConfigError, "context is -1"),
    ],
)
def test_what_does_not_fit_is_one_error_with_the_value_seen(model, clip, given, error, seen):
    with pytest.raises(ArvdmError) as caught:
        wrong(model, clip, **given)()
    assert isinstance(caught.value, error) and seen in str(caught.value)


def test_a_state_goes_with_its_schedule_and_without_a_prompt(model, clip):
    state = next(stream(model, clip, seed=1, schedule="fifo:steps=3")).state
    with pytest.raises(ConfigError, match="window of 3 frames, but the schedule one of 2"):
        stream(model, seed=1, state=state)
    with pytest.raises(UsageError, match="not both"):
        stream(model, clip, seed=1, state=state, schedule="fifo:steps=3")
    with pytest.raises(UsageError, match="length of 0"):
        generate(model, prompt=clip, seed=1, length=0)


def test_a_model_says_what_it_offers(model, tiny):
    assert model.actions == tuple(ACTIONS) and model.fps == 15 and model.source == str(tiny)
    assert model.sampling.context == 2 and model.codec.config.height == 16


def test_the_public_names_are_there_and_bring_in_torch_when_first_used():
    for name in arvdm_cli.__all__:
        assert getattr(arvdm_cli, name) is not None and name in dir(arvdm_cli)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        arvdm_cli.nothing  # noqa: B018
    script = (
        "import sys, arvdm_cli\nprint('torch' in sys.modules)\nfrom arvdm_cli import Schedule\n"
        "print('torch' in sys.modules)\nfrom arvdm_cli import stream\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
