"""Prompts of text from the command line to the frames: encoded once, kept, and switched along a video."""

import json
import shutil
import sys
import weakref

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from arvdm_cli import api
from arvdm_cli.errors import ArvdmError, ArvdmWarning, UsageError
from arvdm_cli.hub import checkpoint
from arvdm_cli.models import text_encoder
from arvdm_cli.runs import saver, state_file, texts
from arvdm_cli.runs.request import Machine, TextSource
from support import wan, wan_codec
from support.pipelines import edit
from support.texts import TOKENS, save_checkpoint, save_encoder
from support.videos import frames_of

TEXTS = ["a street in the rain", " a cat &amp;amp; a dog\t\n on   the street ", "cafÃ© snow", "", "snow " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("texts"), negative_prompt="worst quality")


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache_of_these_tests(monkeypatch, shared_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "arvdm" / "prompts"


@pytest.fixture
def loaded(monkeypatch, cache):
    """Encoders that are loaded, as weak references."""
    encoders, load = [], text_encoder.load

    def watched(*args):
        tokenizer, encoder = load(*args)
        encoders.append(weakref.ref(encoder))
        return tokenizer, encoder

    monkeypatch.setattr(text_encoder, "load", watched)
    return encoders


@pytest.fixture
def generate(arvdm, folder, tmp_path):
    """Run the command into a lossless file of this name; gives its frames."""

    def run(name, *words, length=7):
        out = tmp_path / name
        done = arvdm("generate", "-m", folder, "-n", length, "--seed", 3, "-o", out, *words)
        assert done.exit_code == 0, done.stderr
        return frames_of(out)

    return run


def read(folder, *prompts, negative=None, **more):
    return texts.read_texts(folder, TextSource(tuple(prompts), negative), Machine(**more))


# Encoding


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_are_those_of_diffusers_to_the_bit(folder, dtype):
    pytest.importorskip("diffusers")
    pipeline = wan.quietly(lambda: __import__("diffusers").WanPipeline)
    tokenizer, encoder = text_encoder.load(folder, "cpu", getattr(torch, dtype))
    theirs = pipeline(tokenizer, encoder, None, None)
    for text, encoded in zip(
        TEXTS,
        text_encoder.encode(folder, [text_encoder.clean(each) for each in TEXTS], TOKENS, "cpu", getattr(torch, dtype)),
        strict=True,
    ):
        wanted, _ = theirs.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=TOKENS)
        own = texts.stacked([encoded.features, torch.zeros(TOKENS, wan.SMALL.text)])[:1]
        assert own.dtype == wanted.dtype and torch.equal(own, wanted)
    assert encoded.dropped > 0


def test_texts_are_encoded_by_one_encoder_which_is_gone_afterwards(folder, loaded):
    found = read(folder, (0, "a street"), (60, "snow"))
    assert found.negative == "worst quality" and found.features.shape[0] == 3
    assert found.features.dtype == torch.bfloat16
    assert len(loaded) == 1 and loaded[0]() is None
    assert read(folder, (0, "snow"), dtype="float32").features.dtype == torch.float32


def test_the_encoder_is_gone_before_the_network_is_loaded(folder, generate, loaded, monkeypatch):
    load = checkpoint.load

    def checked(*args):
        assert [each() for each in loaded] == [None]
        return load(*args)

    monkeypatch.setattr(checkpoint, "load", checked)
    generate("out.y4m", "--prompt", "a street")


def test_a_text_that_was_encoded_is_kept_by_encoder_text_and_dtype(folder, tmp_path, loaded, cache):
    first = read(folder, (0, "a street"))
    assert len(list(cache.iterdir())) == 2
    again = read(folder, (0, " a  street "))  # the same once it is cleaned
    assert torch.equal(again.features, first.features) and len(loaded) == 1
    read(folder, (0, "a street"), dtype="float32")
    other = save_encoder(tmp_path / "other", seed=8)
    for part in ("config.json", "model.safetensors", "sha256.json"):
        shutil.copy(folder / part, other / part)
    assert not torch.equal(read(other, (0, "a street")).features, first.features)
    assert len(loaded) == 3
    for file in cache.iterdir():
        file.write_bytes(b"half of a")
    assert torch.equal(read(folder, (0, "a street")).features, first.features) and len(loaded) == 4


def test_a_cache_that_cannot_be_written_is_a_warning(folder, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.warns(ArvdmWarning, match="cannot be kept") as caught:
        assert read(folder, (0, "snow"))
    assert sum("cannot be kept" in str(warning.message) for warning in caught) == 2


def test_a_text_that_is_too_long_is_cut_with_a_warning(folder):
    with pytest.warns(ArvdmWarning, match=f"of which the first {TOKENS} are used"):
        read(folder, (0, "a cat " * 30))


# Frames


def test_frames_follow_the_text_and_the_sidecar_tells_it(generate, folder, tmp_path):
    street, snow = generate("a.y4m", "--prompt", "a street"), generate("b.y4m", "--prompt", "snow")
    assert street.shape == snow.shape and not np.array_equal(street, snow)
    facts = json.loads((tmp_path / "b.json").read_text())
    assert facts["prompts"] == [[0, "snow"]] and facts["negative_prompt"] == "worst quality"


def test_a_prompt_is_seen_from_the_chunk_with_its_frame_on(generate):
    street = generate("a.y4m", "--prompt", "a street")
    both = generate("b.y4m", "--prompt", "4:snow", "--prompt", "a street")
    assert np.array_equal(both[:3], street[:3])  # chunks are of 3
    assert not np.array_equal(both[3:6], street[3:6])


@pytest.fixture(scope="module")
def with_time(tmp_path_factory):
    """A checkpoint whose latents are four frames each, but for the first."""
    pytest.importorskip("diffusers")
    return save_checkpoint(tmp_path_factory.mktemp("time"), wan_codec.codec())


def test_a_prompt_begins_with_the_latent_that_holds_its_frame(with_time):
    model = api.load(with_time)

    def frames(*text):
        return api.generate(model, text=["a street", *text], seed=3, length=13, schedule="next-frame")

    street, snow = frames(), {frame: frames((frame, "snow")) for frame in (5, 8, 9)}
    assert np.array_equal(snow[5], snow[8])  # a latent of frames 5 to 8
    for first in (5, 9):
        assert np.array_equal(snow[first][:first], street[:first])
        assert not np.array_equal(snow[first][first : first + 4], street[first : first + 4])
    continued = api.generate(model, prompt=street[:5], text=["a street", (3, "snow")], seed=3, length=8)
    assert len(continued) == 8


def test_a_prompt_that_is_added_where_a_latent_was_cut_begins_with_the_next_one(arvdm, with_time, tmp_path):
    common = ("--seed", 3, "-s", "next-frame", "--prompt", "a street")
    arvdm("generate", "-m", with_time, "-n", 13, "-o", tmp_path / "whole.y4m", *common, "--prompt", "9:snow")
    arvdm("generate", "-m", with_time, "-n", 7, "-o", tmp_path / "out.y4m", *common)
    done = arvdm("generate", "--extend", tmp_path / "out.y4m", "-n", 6, "--prompt", "snow")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(*(frames_of(tmp_path / f"{name}.y4m") for name in ("out", "whole")))
    assert json.loads((tmp_path / "out.json").read_text())["prompts"] == [[0, "a street"], [9, "snow"]]


def test_a_negative_prompt_without_guidance_is_said_to_have_no_effect(arvdm, folder, tmp_path):
    command = ("generate", "-m", folder, "-n", 3, "--prompt", "a street", "--negative-prompt", "a cat", "-y")
    done, guided = (arvdm(*command, *more, "-o", tmp_path / "out.y4m") for more in ((), ("--guidance", 4)))
    assert done.exit_code == 0 and done.stderr.count("--negative-prompt has no effect") == 1
    assert guided.exit_code == 0 and "has no effect" not in guided.stderr


def test_the_negative_prompt_matters_under_guidance_alone(generate):
    words = ("--prompt", "a street", "--negative-prompt", "a cat")
    assert np.array_equal(generate("a.y4m", *words), generate("b.y4m", *words[:2]))
    guided = generate("c.y4m", *words, "--guidance", 4), generate("d.y4m", *words[:2], "--guidance", 4)
    assert not np.array_equal(*guided)


class Stopped(Exception):
    pass


def without_encoder(folder, cache, into):
    """The checkpoint without its encoder of texts, and nothing in the cache."""
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(folder, into, ignore=shutil.ignore_patterns("text_encoder", "tokenizer"))
    return into


def test_a_run_is_resumed_and_extended_without_the_encoder(arvdm, folder, generate, tmp_path, cache, monkeypatch):
    words = ("--prompt", "a street", "--prompt", "4:snow")
    whole, longer = generate("whole.y4m", *words, length=9), generate("longer.y4m", *words, length=12)
    monkeypatch.setattr(saver, "EVERY", 0.0)

    def stop(self, frames, *args):
        add(self, frames, *args)
        if self.frames >= 6:
            raise Stopped

    add = saver.StateSaver.add
    with monkeypatch.context() as patch:
        patch.setattr(saver.StateSaver, "add", stop)
        command = ("generate", "-m", folder, "-n", 9, "--seed", 3, "-o", tmp_path / "out.y4m", *words)
        assert arvdm(*command).exit_code == 1
    bare = without_encoder(folder, cache, tmp_path / "bare")
    done = arvdm(*("generate", "-m", bare, *command[3:]), "--resume", "auto")
    assert done.exit_code == 0 and "resuming after" in done.stderr, done.stderr
    np.testing.assert_array_equal(frames_of(tmp_path / "out.y4m"), whole)
    done = arvdm("generate", "--extend", tmp_path / "out.y4m", "-n", 3)
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(frames_of(tmp_path / "out.y4m"), longer)


def test_other_texts_are_named_where_a_run_is_resumed(arvdm, folder, generate, tmp_path, loaded):
    generate("out.y4m", "--prompt", "a street")
    words = ("-n", 9, "--seed", 3, "-o", tmp_path / "out.y4m", "--resume", "auto")
    done = arvdm("generate", "-m", folder, "--prompt", "snow", *words)
    assert done.exit_code == 2 and 'prompts was [[0, "a street"]] and is [[0, "snow"]]' in done.stderr
    assert len(loaded) == 1


@pytest.mark.parametrize("attention", ["block", "full"])
@pytest.mark.parametrize("guidance", [1, 3])
def test_a_video_is_extended_by_a_prompt_as_if_it_had_been_given_at_first(
    arvdm, folder, generate, tmp_path, attention, guidance
):
    model = folder if attention == "block" else save_checkpoint(tmp_path / "full", attention=attention)
    words = ("-m", model, "--cache", "keep", "--guidance", guidance, "--prompt", "a street")
    whole = generate("whole.y4m", *words, "--prompt", "6:snow", length=12)
    generate("out.y4m", *words, length=6)
    done = arvdm("generate", "--extend", tmp_path / "out.y4m", "-n", 6, "--prompt", "snow")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(frames_of(tmp_path / "out.y4m"), whole)
    ours, theirs = (json.loads((tmp_path / name).read_text()) for name in ("out.json", "whole.json"))
    assert ours["prompts"] == theirs["prompts"] == [[0, "a street"], [6, "snow"]]


def test_the_texts_of_a_state_take_the_room_of_their_tokens(generate, tmp_path):
    generate("out.y4m", "--prompt", "snow", "--negative-prompt", "")
    saved = state_file.load_state(tmp_path / "out.state")
    assert saved.texts.shape[0] == 2 and saved.texts.shape[1] < TOKENS


def test_a_plan_is_printed_without_encoding(arvdm, folder, tmp_path, loaded):
    done = arvdm("generate", "-m", folder, "-n", 9, "--prompt", "snow", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["prompts"] == [[0, "snow"]] and not loaded


# What is refused

BAD = {
    "no prompt": (2, [], "none is given"),
    "an empty prompt": (2, ["--prompt", ""], "is empty"),
    "a prompt after the last frame": (2, ["--prompt", "a", "--prompt", "7:b"], "the video has 7 new frames"),
    "no prompt for the first frame": (2, ["--prompt", "3:b"], "none describes the frames before it"),
    "no number of a frame": (2, ["--prompt", "-3:b"], "not at the number of a frame"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_texts_are_errors_of_one_line_before_they_are_encoded(arvdm, folder, tmp_path, loaded, case):
    code, words, said = BAD[case]
    done = arvdm("generate", "-m", folder, "-n", 7, "-o", tmp_path / "out.y4m", *words)
    assert done.exit_code == code and said in done.stderr, done.stderr
    assert done.stderr.count("error:") == 1 and not (tmp_path / "out.y4m").exists() and not loaded


def test_texts_are_not_encoded_for_a_checkpoint_that_cannot_be_loaded(arvdm, folder, tmp_path, loaded):
    shutil.copytree(folder, tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    done = arvdm("generate", "-m", tmp_path / "bare", "-n", 7, "-o", tmp_path / "out.y4m", "--prompt", "snow")
    assert done.exit_code == 3 and "model.safetensors is missing" in done.stderr and not loaded


def test_a_text_for_a_model_that_takes_none_is_a_usage_error(arvdm, tiny, tmp_path):
    for words in (["--prompt", "snow"], ["--negative-prompt", "rain"]):
        done = arvdm("generate", "-m", tiny, "-n", 7, "-o", tmp_path / "out.y4m", *words)
        assert done.exit_code == 2 and "takes no prompt of text" in done.stderr
    assert arvdm("generate", "-m", tiny, "-n", 4, "--seed", 1, "-o", tmp_path / "out.y4m").exit_code == 0
    done = arvdm("generate", "--extend", tmp_path / "out.y4m", "-n", 4, "--prompt", "snow")
    assert done.exit_code == 2 and "takes no prompt of text" in done.stderr


def test_an_encoder_that_is_missing_or_broken_is_a_fault_of_the_checkpoint(arvdm, folder, tmp_path, cache):
    words = ("-n", 7, "-o", tmp_path / "out.y4m", "--prompt", "snow")
    bare = without_encoder(folder, cache, tmp_path / "bare")
    done = arvdm("generate", "-m", bare, *words)
    assert done.exit_code == 3 and "text_encoder is missing" in done.stderr and "hint:" in done.stderr
    shutil.copytree(folder / "tokenizer", bare / "tokenizer")
    (bare / "text_encoder").mkdir()
    assert arvdm("generate", "-m", bare, *words).exit_code == 3
    shutil.copy(folder / "text_encoder" / "config.json", bare / "text_encoder")
    (bare / "text_encoder" / "model.safetensors").write_bytes(b"not tensors")
    done = arvdm("generate", "-m", bare, *words)
    assert done.exit_code == 3 and "cannot be read" in done.stderr
    shutil.rmtree(bare / "text_encoder")
    save_encoder(bare, width=16)
    done = arvdm("generate", "-m", bare, *words)
    assert done.exit_code == 3 and "gives 16 features, the network takes 32" in done.stderr
    edit(bare / "text_encoder" / "config.json", d_model=24)
    done = arvdm("generate", "-m", bare, *words)
    assert done.exit_code == 3 and "tensors do not fit its config" in done.stderr


def test_without_the_packages_the_error_names_them(arvdm, folder, tmp_path, cache, monkeypatch):
    for package in ("transformers", "regex"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            done = arvdm("generate", "-m", folder, "-n", 7, "-o", tmp_path / "out.y4m", "--prompt", "snow")
        assert done.exit_code == 2 and "transformers" in done.stderr and "pip install" in done.stderr


# From Python


def test_python_makes_the_frames_of_the_command(generate, folder):
    command = generate("out.y4m", "--prompt", "a street", "--prompt", "3:snow", "--negative-prompt", "rain")
    model = api.load(folder)
    for text in (["a street", (3, "snow")], ["a street", "3:snow"]):
        frames = api.generate(model, text=text, negative_text="rain", seed=3, length=7)
        np.testing.assert_allclose(frames.astype(int), command, atol=2)  # y4m stores other colours
    chunks = api.stream(model, text="a street", seed=3)
    first = next(chunks)
    next(api.stream(model, text="snow", seed=3))  # another video, from the same model
    np.testing.assert_array_equal(first.frames, frames[:3])
    on = next(api.stream(model, text="a street", seed=3, state=first.state))
    np.testing.assert_array_equal(on.frames, next(chunks).frames)
    branch = next(api.stream(model, text="snow", seed=3, state=first.state))
    assert not np.array_equal(branch.frames, on.frames)


def test_python_refuses_texts_that_do_not_fit_the_model(folder, tiny):
    with pytest.raises(UsageError, match="none is given"):
        next(api.stream(api.load(folder), seed=1))
    with pytest.raises(UsageError, match="takes no prompt of text"):
        api.generate(str(tiny), text="snow", seed=1, length=2)
    model = api.load(folder)
    model.source = ""
    with pytest.raises(ArvdmError, match="not loaded from a checkpoint"):
        api.generate(model, text="snow", seed=1, length=2)
