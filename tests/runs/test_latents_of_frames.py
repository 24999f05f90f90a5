"""A model whose latents stand for four frames: what users ask for and get is counted in frames, whatever cuts a latent.

Its frames depend on latents long before, yet a run that was killed or extended leads to the same ones.
"""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from arvdm_cli import generate, media, stream
from arvdm_cli.errors import UsageError
from arvdm_cli.evaluation.prediction import encode
from arvdm_cli.evaluation.rollout import Task, make
from arvdm_cli.evaluation.studies.protocol import decode
from arvdm_cli.media import Encoding, to_bytes
from arvdm_cli.models.wan import Wan
from arvdm_cli.play.player import ModelPlayer
from arvdm_cli.runs import events, saver, state_file
from arvdm_cli.runs.benchmark.sampling import measure
from arvdm_cli.runs.extension import extend
from arvdm_cli.runs.job import Job, load
from arvdm_cli.runs.request import Machine, PromptSource, Request
from arvdm_cli.sampling.generation import choose
from arvdm_cli.sampling.timing import Timing
from support.wan import save_tiny

pytest.importorskip("diffusers")

CPU, SEED, LONGEST = Machine("cpu", "float32"), 3, 21
PROMPT = 5  # frames, where there is a prompt


@pytest.fixture(scope="module", autouse=True)
def no_texts():
    """Let the network be sampled without a prompt of text: here frames are counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wan, "takes_prompts", False)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("wan") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    loaded, _ = load(folder, CPU)
    loaded.source = str(folder)
    return loaded


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Prompts as files, by their frames."""
    pictures = np.random.default_rng(0).integers(0, 255, (17, 32, 48, 3), np.uint8)
    files = {0: None}
    for count in (1, 2, 5, 10, 17):
        files[count] = str(tmp_path_factory.mktemp("clips") / f"{count}.npz")
        np.savez(files[count], frames=pictures[:count])
    return files


@pytest.fixture(scope="module")
def videos(model, clips):
    """The longest video of each kind, made at once: after no prompt, and after one."""
    return {count: generate(model, prompt=clips[count], seed=SEED, length=LONGEST) for count in (0, PROMPT)}


@pytest.fixture
def ask(model, tmp_path):
    """A request for frames into a file of this test."""

    def request(name="out.npy", **changes):
        encoding = Encoding(model.fps)
        asked = Request(model.source, str(tmp_path / name), SEED, choose(model.sampling), encoding, machine=CPU)
        return replace(asked, **changes)

    return request


class Stopped(Exception):
    pass


def stop_after(frames):
    def listen(event):
        if isinstance(event, events.FramesWritten) and event.frames >= frames:
            raise Stopped

    return listen


def read(request):
    """What a file of frames holds."""
    return media.read(request.output).frames if request.output.endswith(".y4m") else np.load(request.output)


# Lengths


@pytest.mark.parametrize("prompt", [0, PROMPT])
@pytest.mark.parametrize("length", [1, 4, 13, 14, 20])
def test_a_video_has_the_frames_asked_for_and_is_the_beginning_of_a_longer_one(model, clips, videos, prompt, length):
    made = generate(model, prompt=clips[prompt], seed=SEED, length=length)
    np.testing.assert_array_equal(made, videos[prompt][:length])


def test_the_first_chunk_has_three_frames_less_where_there_is_no_prompt(model, clips):
    for prompt, sizes in ((0, [5, 8, 8]), (PROMPT, [8, 8, 8])):
        chunks = list(islice(stream(model, clips[prompt], seed=SEED), 3))
        assert [len(chunk) for chunk in chunks] == [len(chunk.frames) for chunk in chunks] == sizes
        assert [len(chunk.latents) for chunk in chunks] == [2, 2, 2]


@pytest.mark.parametrize(("count", "used"), [(1, 1), (2, 1), (5, 5), (10, 9), (17, 13)])
def test_of_a_prompt_the_last_frames_are_used_that_fill_the_latents_that_the_model_sees(model, clips, ask, count, used):
    notes = []
    request = ask(prompt=PromptSource(clips[count], count=count if count < 17 else None), length=2, include_prompt=True)
    report = Job.load(request, notes.append).run(notes.append) if count == 10 else Job(request, model).run()
    assert report.settings.prompt_frames == used
    pictures = np.load(clips[count])["frames"]
    np.testing.assert_array_equal(read(request)[:-2], pictures[-used:])
    np.testing.assert_array_equal(generate(model, prompt=pictures, seed=SEED, length=2), read(request)[-2:])
    if count == 10:
        assert any("the last 9 of 10 frames are used" in getattr(note, "message", "") for note in notes)


# Killed, and extended


@pytest.mark.parametrize(
    ("name", "prompt", "include", "length"),
    [
        ("out.npy", 0, False, 14),
        ("out.npy", 0, False, LONGEST),
        ("out.npy", PROMPT, False, 14),
        ("out.npy", PROMPT, True, LONGEST),
        ("out.y4m", PROMPT, True, 14),
    ],
)
def test_a_run_that_was_stopped_after_any_chunk_resumes_to_the_same_frames(
    model, clips, ask, videos, name, prompt, include, length, monkeypatch
):
    monkeypatch.setattr(saver, "EVERY", 0.0)
    request = ask(name, prompt=PromptSource(clips[prompt]), length=length, include_prompt=include)
    for frames in range(1, length, 8):
        with pytest.raises(Stopped):
            Job(request, model).resume(state_file.saved_states(request.output), stop_after(frames))
    report = Job(request, model).resume(state_file.saved_states(request.output))
    assert report.complete and report.frames == length and report.resumed_after
    made = read(request)[prompt if include else 0 :].astype(int)
    assert made.shape == (length, 32, 48, 3)
    assert np.abs(made - videos[prompt][:length]).max() <= (2 if name.endswith("y4m") else 0)  # of its colours


def test_a_run_that_keeps_keys_and_values_resumes_to_the_same_frames(model, ask):
    request = ask(plan=choose(model.sampling, cache="keep"), length=LONGEST)
    with pytest.raises(Stopped):
        Job(request, model).run(stop_after(13))
    assert Job(request, model).resume(state_file.saved_states(request.output)).resumed_after == 13
    np.testing.assert_array_equal(read(request), generate(model, seed=SEED, length=LONGEST, cache="keep"))


@pytest.mark.parametrize(("prompt", "first"), [(0, 13), (0, 14), (PROMPT, 4), (PROMPT, 11)])
def test_a_video_that_cuts_a_latent_is_extended_to_the_frames_of_a_longer_one(model, clips, ask, videos, prompt, first):
    request = ask(prompt=PromptSource(clips[prompt]), length=first)
    assert Job(request, model).run().frames == first
    report = extend(request.output, LONGEST - first, "random", CPU)
    assert report.complete and report.frames == LONGEST
    np.testing.assert_array_equal(read(request), videos[prompt])


def test_a_state_stays_as_large_as_the_latents_that_frames_depend_on(model, monkeypatch):
    monkeypatch.setattr(type(model.codec), "reach", 5)
    chunks = list(islice(stream(model, seed=SEED), 5))
    sizes = [sum(tensor.nbytes for tensor in state_file.to_tensors(chunk.state)[0].values()) for chunk in chunks]
    assert sizes[2] == sizes[3] == sizes[4]
    assert all(chunk.state.recent.shape[1] == min(5, 2 * n + 2) for n, chunk in enumerate(chunks))


def test_after_more_latents_than_a_state_holds_frames_are_those_of_the_whole_video(model):
    chunks = list(islice(stream(model, seed=SEED, steps=1), 18))
    state = chunks[-2].state
    assert state.frame == 34 > state.recent.shape[1] == model.codec.reach
    whole = to_bytes(model.codec.decode(torch.cat([chunk.latents for chunk in chunks])[None])[0])
    more = next(stream(model, seed=SEED, steps=1, state=state))
    np.testing.assert_array_equal(more.frames, whole[-8:])


# What is written and given


@pytest.mark.parametrize("prompt", [0, PROMPT])
@pytest.mark.parametrize("include", [False, True], ids=["", "with its prompt"])
def test_a_file_of_latents_holds_those_of_the_frames_asked_for(model, clips, ask, prompt, include, monkeypatch):
    monkeypatch.setattr(saver, "EVERY", 0.0)
    timing = Timing.of(model.codec)
    request = ask("out.safetensors", prompt=PromptSource(clips[prompt]), length=14, include_prompt=include)
    with pytest.raises(Stopped):
        Job(request, model).run(stop_after(5))
    report = Job(request, model).resume(state_file.saved_states(request.output))
    assert report.complete and report.frames == 14
    latents = load_file(request.output)["latents"]
    shown = timing.latents(prompt, prompted=False) if include else 0
    assert len(latents) == shown + timing.latents(14, prompted=bool(prompt))
    if shown or not prompt:  # all latents of the video are there, so that it can be decoded
        frames = to_bytes(model.codec.decode(latents[None])[0])[prompt:][:14]
        np.testing.assert_array_equal(frames, generate(model, prompt=clips[prompt], seed=SEED, length=14))


def test_chunks_are_decoded_in_any_order_and_branches_from_any_state(model, videos):
    chunks = list(islice(stream(model, seed=SEED), 3))
    for chunk, first in ((chunks[2], 13), (chunks[0], 0), (chunks[1], 5)):
        np.testing.assert_array_equal(chunk.frames, videos[0][first : first + len(chunk)])
    more = next(stream(model, seed=SEED, state=chunks[0].state))
    np.testing.assert_array_equal(more.frames, chunks[1].frames)
    torch.testing.assert_close(more.latents, chunks[1].latents, rtol=0, atol=0)


def test_what_is_planned_and_measured_is_in_frames(arvdm, folder, model, ask):
    done = arvdm("generate", "-m", folder, "-n", 13, "--dtype", "float32", "--dry-run", "--context", 6)
    assert done.exit_code == 0 and "2 latents in the window" in done.stdout, done.stderr
    assert "context is 6 latents, more than the 4 " in done.stderr
    assert Job(ask(length=80), model).measure().seconds > 0
    timing = measure(str(folder), CPU, {}, frames=8)
    assert timing.frames == 8 and timing.chunk == 2 and len(timing.frames_per_second_by_tenth) == 1


def test_the_sidecar_counts_frames(model, ask, tmp_path):
    Job(ask(length=6), model).run()
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["frames"] == facts["length"] == 6 and facts["complete"]


def test_an_evaluation_makes_the_frames_that_users_get(model, clips):
    history = np.load(clips[10])["frames"][None, :7]  # of which the last 5 fill their latents
    task = Task(history, torch.zeros(1, 7 + 6, 0), choose(model.sampling))
    made = make(model, {"all": task}, SEED)["all"]
    np.testing.assert_array_equal(made[0], generate(model, prompt=history[0], seed=SEED, length=6))
    assert decode(model, history[:, :5]).shape == (1, 5, 32, 48, 3)


# What single frames are needed for


def test_what_counts_latents_as_frames_refuses_such_a_model(model):
    with pytest.raises(UsageError, match="4 frames"):
        ModelPlayer(model, choose(model.sampling))
    with pytest.raises(UsageError, match="4 frames"):
        encode(model, None)
    with pytest.raises(UsageError, match="6 frames"):
        decode(model, np.zeros((1, 6, 32, 48, 3), np.uint8))
