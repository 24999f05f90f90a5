"""Files and words that nobody would write by hand: each is read, or refused in our own words, soon and in few bytes.

Real small files are changed at random. A few hundred are tried with every run of the tests, always the same ones;
`make fuzz` tries more than 10,000, others each time.
"""

import io
import json
import re
import resource
import signal
import struct
import threading
from contextlib import contextmanager, suppress
from copy import deepcopy

import imageio.v3
import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from arvdm_cli import media
from arvdm_cli.actions import files, formats, phrases
from arvdm_cli.cli import app, config
from arvdm_cli.cli.train.keys import overrides
from arvdm_cli.data import formats as data_formats
from arvdm_cli.errors import ArvdmError, InputError
from arvdm_cli.hub import checkpoint, registry
from arvdm_cli.runs import state_file
from arvdm_cli.sampling import generation, schedules
from arvdm_cli.training.config import TrainConfig, configure
from support import foreign
from support.checkpoints import vouch
from support.paths import ROOT
from support.videos import scene, write

NAMES = ("stay", "forward", "backward", "left", "right")
CPU = 20  # seconds that one case may take
GROWTH = 400_000  # kB that all cases of a test may take more than what was there before
SAID = 4000  # characters of an error


def cases(share=1.0):
    """How many cases a test tries, as a share of its profile's number."""
    return settings(max_examples=max(1, round(settings().max_examples * share)))


@contextmanager
def survived():
    """Let only errors of ours out, as short ones, and stop what does not end."""

    def stop(*_):
        raise AssertionError(f"it took more than {CPU} seconds")

    before, most = signal.signal(signal.SIGPROF, stop), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, CPU)
    refused = None
    try:
        yield
    except ArvdmError as error:
        refused = error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < GROWTH
    if refused:
        assert 1 < refused.code <= 11
        assert 0 < len(str(refused)) <= SAID and len(refused.hint or "") <= SAID, str(refused)[:SAID]


# Changes


ODD_BYTES = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b"'", b"\n", b"\r\n", b",", b";", b"=", b"*", b"+", b"{", b"}", b"[", b"]",
    b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"null", b"true", b"{}", b"[]", b'""', b"1.5", b"2026-01-01",
    b"9" * 30, b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"x" * 5000, b"a." * 300 + b"a = 1\n", b"\\ud800", b"%s",
    b"../../x", b"/dev/zero", b"\xf0\x9f\x8e\xa5", b"#", b"[[a]]\n",
]  # fmt: skip
ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 7, 63, 65, 1 << 20, 1 << 31, 1 << 63, -(1 << 63), 10**30]),
    st.sampled_from([0.0, -1.5, 0.1, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(["", "x", "stay", "../../x", "/etc/passwd", "\0", "\ud800", "x" * 3000, "1", "fifo", "dit", "{}"]),
    st.sampled_from([[], {}, [[]], [1, 2], ["stay"] * 5, [None], {"a": 1}, {"": {}}, {"forward*999999": 1}]),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
).map(deepcopy)  # as they are changed in their turn


@st.composite
def changed(draw, sources):
    """Bytes of one of some files, changed in up to four places."""
    data = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        upto = min(len(data), at + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(["byte", "cut", "drop", "twice", "odd", "in place", "number"]))
        if kind == "byte" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at:upto]
        elif kind == "twice":
            data[at:at] = data[at:upto]
        elif kind == "odd":
            data[at:at] = draw(st.sampled_from(ODD_BYTES))
        elif kind == "in place":
            data[at:upto] = draw(st.sampled_from(ODD_BYTES))
        elif kind == "number" and (numbers := list(re.finditer(rb"-?\d+\.?\d*", data))):
            found = draw(st.sampled_from(numbers))
            data[slice(*found.span())] = draw(st.sampled_from(ODD_BYTES))
    return bytes(data)


@st.composite
def rebuilt(draw, source):
    """A JSON value with up to three of its parts put to something else, taken out or added."""
    value = deepcopy(source)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = None, None
        part = value
        while isinstance(part, dict | list) and part:
            holder = part
            key = draw(st.sampled_from(list(part) if isinstance(part, dict) else range(len(part))))
            part = part[key]
            if draw(st.booleans()) and draw(st.booleans()):
                break
        if holder is None:
            break
        kind = draw(st.sampled_from(["value", "value", "value", "less", "more"]))
        if kind == "less":
            del holder[key]
        elif kind == "more" and isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(ODD_VALUES)
        else:
            holder[key] = draw(ODD_VALUES)
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


# Actions


WORDS = ["forward", "left", "?", "*", "=", "+", " ", "20", "0.5", "-1", "nan", "1e999", "9999", "99999999", "\0", "é"]


@cases()
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=12).map("".join)))
def test_any_phrase(phrase):
    with survived():
        track = phrases.parse(phrase, NAMES)
        assert track.shape[1] == 5 and np.isfinite(track).all()


TRACK = np.eye(5, dtype=np.float32)[[1, 1, 3, 2, 0, 4]]


def action_sources():
    found = []
    for suffix, form in formats.FORMATS.items():
        stream = io.BytesIO()
        form.write(stream, TRACK, NAMES)
        found.append((suffix, stream.getvalue()))
    text = b'"left"\n["forward", "right"]\n{"action": "left"}\n{"forward": 1, "left": 0.3}\n3\n[0, 0, 1, 0, 0]\nnull\n'
    frame = {"mouse": {"dx": 1, "dy": 2, "buttons": [0], "newButtons": []}, "keyboard": {"keys": ["key.keyboard.w"]}}
    recording = "\n".join(json.dumps(frame | {"hotbar": slot}) for slot in (0, 1, 8)).encode()
    return [*found, (".jsonl", text), (".csv", b"frame;action\n0;jump+left\n1;?\n"), (".jsonl", recording)]


@cases(2)
@given(st.sampled_from(action_sources()).flatmap(lambda one: st.tuples(st.just(one[0]), changed([one[1]]))))
def test_any_file_of_actions(folder, file):
    suffix, data = file
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    for names in (NAMES, phrases.MINECRAFT):
        with survived():
            track = files.read(path, names)
            assert track.shape[1] == len(names) and np.isfinite(track).all()


@cases()
@given(st.lists(st.one_of(ODD_VALUES.map(json.dumps).map(str.encode), st.binary(max_size=20)), max_size=5))
def test_any_live_actions(lines):
    with survived():
        for row in phrases.stream(lines, NAMES):
            assert row.shape == (5,) and np.isfinite(row).all()


# Settings


SCHEDULES = [path.read_bytes() for path in (ROOT / "examples" / "schedules").iterdir()]
SCHEDULES.append(b'{"levels": [[0.5, 1.0], [0.0, 0.5]], "chunk": 1}')


@cases()
@given(st.sampled_from([".toml", ".json"]), changed(SCHEDULES))
def test_any_schedule_file(folder, suffix, data):
    path = folder / f"schedule{suffix}"
    path.write_bytes(data)
    with survived():
        schedules.shift(schedules.read(path), 2.0)


@cases(0.5)
@given(rebuilt({"levels": [[0.25, 0.5, 0.75, 1.0], [0.0, 0.25, 0.5, 0.75]], "chunk": 1}))
def test_any_levels(folder, value):
    path = folder / "levels.json"
    path.write_text(json.dumps(value))
    with survived():
        schedules.read(path)


APP = typer.Context(typer.main.get_command(app))
CONFIGS = [
    b'color = "never"\n[generate]\nmodel = "maze"\nprompt-frames = ["a.mp4"]\nsteps = 4\nguidance = 1.5\nyes = true\n',
    b'[generate]\nschedule = "fifo"\nmemory-slots = 8\n[eval.pareto]\nout = "x"\nkind = "theme"\ngap = 64\n[train]\n',
]


@cases()
@given(st.booleans(), changed(CONFIGS))
def test_any_settings_file(folder, own, data):
    path = folder / "arvdm.toml"
    path.write_bytes(data)
    with survived():
        for words, setting in config.from_file(path, APP, own).items():
            assert own or config.is_anybodys(words, setting.value)


TRAINING = [path.read_bytes() for path in sorted((ROOT / "examples").glob("train-*.toml"))]


@cases()
@given(changed(TRAINING))
def test_any_training_file(folder, data):
    path = folder / "train.toml"
    path.write_bytes(data)
    with survived():
        assert isinstance(configure(path), TrainConfig)


@cases(0.5)
@given(st.lists(st.one_of(st.text(max_size=10), st.sampled_from(["--lr", "1e-3", "--x=" + "(" * 3000, "--", "--a"]))))
def test_any_flags_of_training(words):
    with survived():
        overrides(words)


REGISTRY = [(ROOT / "arvdm_cli" / "hub" / "registry.toml").read_bytes()]


@cases()
@given(changed(REGISTRY))
def test_any_registry(folder, data):
    path = folder / "registry.toml"
    path.write_bytes(data)
    with survived(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARVDM_REGISTRY", str(path))
        for entry in registry.entries():
            registry.place(entry)


@cases(0.5)
@given(st.text(max_size=20), st.sampled_from(["", "@", "/", "..", "a/b@", "\0"]))
def test_any_name_of_a_model(text, more):
    with survived():
        registry.resolve(text + more)


# Checkpoints


@pytest.fixture(scope="module")
def copy(tiny, folder):
    """A checkpoint to change, and its config and weights as they were."""
    place = folder / "model"
    place.mkdir()
    return place, json.loads((tiny / "config.json").read_text()), (tiny / "model.safetensors").read_bytes()


def load_anew(place, config, weights):
    (place / "config.json").write_text(config)
    (place / "model.safetensors").write_bytes(weights)
    return checkpoint.load(vouch(place))


def sample(model):
    """Make a first chunk, as `generate` would."""
    names = model.actions
    plan = generation.choose(model.sampling)
    schedule = plan.schedule
    if schedule.window * schedule.steps * plan.sampling.init_steps > 200:  # slow is what was asked for
        return
    phrases.random(names, 4, 0, model.card.get("walk")) if names else None
    assert model.fps > 0
    config = model.network.config
    track = torch.zeros(1, schedule.window, config.actions)
    prompt = torch.zeros(1, 0, 3, model.codec.config.height, model.codec.config.width)
    state = generation.begin(model, plan, prompt, track[:, :0])
    next(generation.generate(model, plan, state, generation.given(track), 0, 1))


@cases(1.5)
@given(data=st.data())
def test_any_config_of_a_checkpoint(copy, data):
    place, config, weights = copy
    value = data.draw(rebuilt(config))
    with survived():
        sample(load_anew(place, json.dumps(value), weights))


@cases(0.5)
@given(data=st.data())
def test_any_text_of_a_config(copy, data):
    place, config, weights = copy
    text = data.draw(changed([json.dumps(config, indent=1).encode()]))
    (place / "config.json").write_bytes(text)
    (place / "model.safetensors").write_bytes(weights)
    vouch(place)
    with survived():
        checkpoint.load(place)
    with survived():
        registry.describe(str(place))


@cases()
@given(data=st.data())
def test_any_weights(copy, data):
    place, config, weights = copy
    length = struct.unpack("<Q", weights[:8])[0]
    header, body = weights[8 : 8 + length], weights[8 + length :]
    kind = data.draw(st.sampled_from(["header", "rebuilt", "length", "body"]))
    if kind == "header":
        header = data.draw(changed([header]))
        length = len(header)
    elif kind == "rebuilt":
        header = json.dumps(data.draw(rebuilt(json.loads(header)))).encode()
        length = len(header)
    elif kind == "length":
        length = data.draw(st.integers(0, (1 << 64) - 1))
    else:
        body = body[: data.draw(st.integers(0, len(body)))] + data.draw(st.binary(max_size=9))
    with survived():
        load_anew(place, json.dumps(config), struct.pack("<Q", length) + header + body)


@cases(0.5)
@given(value=rebuilt({"config.json": "0" * 64, "model.safetensors": "0" * 64}))
def test_any_manifest(copy, value):
    place, config, weights = copy
    (place / "config.json").write_text(json.dumps(config))
    (place / "model.safetensors").write_bytes(weights)
    (place / "sha256.json").write_text(json.dumps(value))
    with survived():
        checkpoint.verify(place)


def told():
    tree = {"kind": "state", "parts": {"context": {"tensor": "state.context", "device": "cpu"}, "frame": {"value": 3}}}
    settings = {
        "output": "out.mp4", "model": "maze", "sha256": "0" * 64, "prompt": None, "prompt_frames": 0,
        "prompt_sha256": "0" * 64, "actions": "random", "length": 7, "seed": 3,
        "sampling": {"schedule": "outpainting", "options": {"chunk": 1}, "context": 2}, "levels": [[1.0], [0.0]],
        "chunk": 1, "device": "cpu", "dtype": "float32", "include_prompt": False,
        "encoding": {"fps": 15, "crf": None, "codec": "ffv1", "scale": 1, "format": None},
    }  # fmt: skip
    return {"format": 1, "settings": settings, "frames": 3, "complete": False, "tree": tree}


@cases()
@given(data=st.data())
def test_any_saved_state(folder, data):
    path = folder / "out.state"
    tensors = {name: torch.zeros(2, 2) for name in ("tail", "ahead", "state.context")}
    whole = save(tensors, {"run": json.dumps(data.draw(rebuilt(told())))})
    path.write_bytes(data.draw(st.one_of(st.just(whole), changed([whole]))))
    with survived():
        state_file.load_state(path)


# Prompts


@pytest.fixture(scope="module")
def prompts(folder):
    """Small videos and pictures of every kind."""
    for name in ("a.mp4", "a.mkv", "a.webm", "a.gif", "a.y4m"):
        write(folder / name, scene(6, 16, 16))
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.ppm"):
        imageio.v3.imwrite(folder / name, scene(1, 16, 16)[0])
    return [path.read_bytes() for path in sorted(folder.glob("a.*")) if path.suffix not in formats.FORMATS]


@cases(0.5)
@given(data=st.data())
def test_any_prompt(folder, prompts, data):
    path = folder / "prompt.mp4"
    path.write_bytes(data.draw(changed(prompts)))
    with survived():
        frames = media.read(path, count=4, fps=15, size=(16, 16)).frames
        assert frames.shape[1:] == (16, 16, 3) and 1 <= len(frames) <= 4
    assert threading.active_count() < 50


# Data sets of others


@pytest.fixture(scope="module")
def data_sets(folder):
    """Small data sets: the folder of each, and the bytes of each of its files."""
    root = folder / "data sets"
    foreign.lerobot_v3(root / "v3", ("top",), lengths=(6, 4)), foreign.lerobot_v21(root / "v2", lengths=(6, 4))
    foreign.gamefactory(root / "game", 1, 6), foreign.loopnav(root / "loop", frames=6)
    members = {"0.mp4": foreign.video_bytes(folder, range(6)), "0.json": b'[{"vx": 1}, 0.5, null, [1], "vx", {}]'}
    foreign.shard(root / "tar" / "a.tar", members)
    return [
        (place, {file: file.read_bytes() for file in sorted(place.rglob("*")) if file.is_file()})
        for place in sorted(root.iterdir())
    ]


@cases(0.5)
@given(data=st.data())
def test_any_data_set(data_sets, data):
    place, contents = data.draw(st.sampled_from(data_sets))
    file = data.draw(st.sampled_from(sorted(contents)))
    file.write_bytes(data.draw(changed([contents[file]])))
    try:
        with survived():
            found = data_formats.find(place)
            names = ("vx",) if found.actions is None else ()
            wanted = data_formats.settle(found, names, (16, 16), 2, encoded=data.draw(st.booleans()))
            for clip in found.clips:
                with suppress(InputError):
                    rows, _ = data_formats.cut_into_episodes(clip, wanted)
                    assert len(rows["actions"]) == len(rows["poses"]) >= 1 and np.isfinite(rows["actions"]).all()
    finally:
        file.write_bytes(contents[file])
