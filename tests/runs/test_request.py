"""A request is plain values: it goes through JSON and comes back the same, and what is not one is refused."""

import json
import subprocess
import sys

import pytest

from arvdm_cli.errors import ConfigError, UsageError
from arvdm_cli.media import Encoding
from arvdm_cli.runs.request import Machine, PromptSource, Request
from arvdm_cli.runs.settings import Settings
from arvdm_cli.sampling.config import Plan, Sampling
from support.paths import ROOT
from support.tiny import SCHEDULES


def request(schedule=SCHEDULES["rolling"], **changes):
    plan = Plan(schedule, Sampling(options={"blocks": 2}, context=3))
    return Request("maze", "out.mp4", 3, plan, Encoding(12.5, crf=10), **changes)


def through_json(values):
    return json.loads(json.dumps(values))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_request_with_any_schedule_goes_through_json(schedule):
    asked = request(schedule)
    assert Request.from_json(through_json(asked.to_json())) == asked


def test_every_part_of_a_request_goes_through_json():
    prompt = PromptSource("a.mp4", 3, 8, "32x32+0+0", "a.csv")
    machine = Machine("cpu", "float32", 2, compile=True)
    asked = request(prompt=prompt, actions="left*3", length=7, include_prompt=True, machine=machine)
    assert Request.from_json(through_json(asked.to_json())) == asked


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": "3"}, "seed"),
        ({"seed": None}, "seed"),
        ({"length": 1.5}, "length"),
        ({"include_prompt": 1}, "include_prompt"),
        ({"prompt": {"paths": "a.mp4"}}, "paths"),
        ({"encoding": {"fps": 0}}, "0 frames per second"),
        ({"encoding": []}, "encoding"),
        ({"steps": 4}, "steps"),
        ({"chunk": 99}, "chunk"),
        ({"levels": [[1.0]]}, "levels"),
        ({"sampling": {"slots": -1}}, "slots"),
        ({"sampling": None}, "sampling"),
    ],
    ids=str,
)
def test_what_is_not_a_request_is_refused_by_the_name_of_what_is_wrong(changes, named):
    with pytest.raises(UsageError, match=named):
        Request.from_json(request().to_json() | changes)


@pytest.mark.parametrize("name", ["model", "output", "seed", "encoding", "levels"])
def test_a_request_that_lacks_something_is_refused(name):
    values = request().to_json()
    del values[name]
    with pytest.raises(ConfigError, match=name):
        Request.from_json(values)


def test_frames_cannot_be_both_compiled_and_deterministic():
    with pytest.raises(UsageError, match="--deterministic"):
        Machine(compile=True, deterministic=True)


def test_a_request_is_read_without_torch():
    script = "import sys; from arvdm_cli.runs import request; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


# Settings

EARLIER = {  # as the first versions wrote them
    "output": "out.mp4", "model": "maze", "sha256": "0" * 64, "prompt": "a.mp4", "prompt_frames": 8,
    "prompt_sha256": "1" * 64, "actions": "random", "length": 7, "seed": 3,
    "sampling": {"schedule": "outpainting", "options": {"chunk": 1, "steps": 1}, "context": 2, "slots": 0},
    "levels": [[1.0], [0.0]], "chunk": 1, "device": "cpu", "dtype": "float32", "include_prompt": False,
    "encoding": {"fps": 15, "crf": None, "codec": "ffv1", "scale": 1, "format": None},
}  # fmt: skip


@pytest.mark.parametrize("flags", [{}, {"deterministic": True}, {"compiled": True}], ids=str)
def test_settings_of_an_earlier_version_are_read_and_written_alike(flags):
    settings = Settings.from_json(EARLIER | flags)
    written = through_json(settings.to_json())
    assert written.keys() == (EARLIER | flags).keys()
    assert written.pop("sampling").items() >= EARLIER["sampling"].items()
    assert written.items() <= (EARLIER | flags).items()
    settings.check_unchanged(Settings.from_json(through_json(settings.to_json())))


def test_other_settings_are_named_where_they_decide_the_frames_and_free_where_they_do_not():
    settings = Settings.from_json(EARLIER)
    free = {"output": "b.mp4", "model": "runs/maze", "prompt": "b.mp4", "length": 9}
    settings.check_unchanged(Settings.from_json(EARLIER | free))
    with pytest.raises(ConfigError, match=r"compiled was null and is true; seed was 3 and is 4"):
        settings.check_unchanged(Settings.from_json(EARLIER | {"seed": 4, "compiled": True}))
