"""arvdm's own loop gives what diffusers' loop of SkyReels-V2 gives, with UniPC, and at its order 1, which is Euler.

diffusers' UniPC keeps a view of the latents that the loop then writes into, so that its corrector begins from another
sample than the published one; here it is given copies.

Tolerances are absolute; latents have a magnitude of 1 to 4.
"""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from arvdm_cli import generate, load
from arvdm_cli.sampling.config import Plan, Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import given
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import Schedule, rolling
from arvdm_cli.sampling.state import Noise, start
from support.pipelines import assemble
from support.wan import SMALL, latents, network, prompted, quietly, skyreels_of, texts, wan_of
from support.wan_codec import autoencoder_of, codec

pytest.importorskip("diffusers")

CLOSE = 1e-5
SHAPE = (SMALL.channels, SMALL.height, SMALL.width)
NOISE = Noise(4, 1, SHAPE)
SAMPLING = Sampling(context=0, slots=0, stabilization=0.0, guidance=6.0)


ORDERS = {"euler": {"solver_order": 1, "disable_corrector": list(range(100))}, "unipc": {}}


def scheduler_of(solver):
    """diffusers' UniPC with flow matching, given copies."""

    def build():
        from diffusers import UniPCMultistepScheduler

        class Copying(UniPCMultistepScheduler):
            def step(self, output, time, sample, **more):
                return super().step(output, time, sample.clone(), **more)

        return Copying(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0, **ORDERS[solver])

    return quietly(build)


def pipeline_of(own, solver, monkeypatch, drawn):
    """diffusers' pipeline around a Wan; drawn: given a shape (b, c, f, h, w), its noise (b, f, c, h, w)."""

    def build():
        from diffusers import SkyReelsV2DiffusionForcingPipeline
        from diffusers.pipelines.skyreels_v2 import pipeline_skyreels_v2_diffusion_forcing as module

        monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: drawn(shape).transpose(1, 2))
        made = SkyReelsV2DiffusionForcingPipeline(None, None, skyreels_of(own), None, scheduler_of(solver))
        made.set_progress_bar_config(disable=True)
        return made

    return quietly(build)


def run(pipeline, text, frames, **more):
    """Latents (1, f, c, h, w) that the pipeline makes."""
    answer = pipeline(
        prompt=None, prompt_embeds=text[1:], negative_prompt_embeds=text[:1], height=8 * SMALL.height,
        width=8 * SMALL.width, num_frames=frames, guidance_scale=6.0, output_type="latent", return_dict=False, **more,
    )  # fmt: skip
    return answer[0].transpose(1, 2)


def levels_of(scheduler, steps):
    """The levels of a scheduler, whose first is 1 but for 1e-6."""
    scheduler.set_timesteps(steps)
    first, *rest = map(float, scheduler.sigmas)
    assert abs(first - 1) < 2e-6
    return [1.0, *rest]


@pytest.mark.parametrize(("solver", "rates"), [("euler", False), ("euler", True), ("unipc", False)])
def test_synchronous_long_video_is_outpainting_after_an_overlap(solver, rates, monkeypatch):
    own, text = network(attention="full", time="floor", rates=rates), texts(2)
    own.set_prompts(text)
    windows = iter((latents(7), *(torch.cat((latents(3), NOISE("init", first, 4)), 1) for first in (0, 4))))

    pipeline = pipeline_of(own, solver, monkeypatch, lambda shape: next(windows))  # 3 of later windows are known
    published = run(
        pipeline, text, 57, num_inference_steps=4, base_num_frames=25, overlap_history=9, ar_step=0, causal_block_size=1
    )
    plan = Plan(
        Schedule(tuple((level,) * 4 for level in levels_of(pipeline.scheduler, 4)), 4),
        replace(SAMPLING, context=3, solver=solver),
    )
    state = start(own, plan.sampling, published[:, :7], prompted(7))
    steps = stream(plan, own, FlowMatching("velocity"), state, NOISE, given(prompted(20)))
    made = torch.cat([step.clean for step in islice(steps, 2)], 1)
    torch.testing.assert_close(made, published[:, 7:15], rtol=0, atol=CLOSE)


def test_asynchronous_video_in_a_sliding_window_is_rolling(monkeypatch):
    own, text = network(attention="block", block=2, time="floor"), texts(2)
    own.set_prompts(text)
    pipeline = pipeline_of(own, "euler", monkeypatch, lambda shape: NOISE("init", 0, shape[2]))
    whole, windows = pipeline.generate_timestep_matrix, []

    def sliding(frames, timesteps, base, *rest):  # the pipeline's function can slide; the pipeline never asks it to
        return whole(frames, timesteps, 6, *rest)

    def keep(_, row, __, found):
        windows.append(found["latents"].transpose(1, 2).clone())
        return found

    monkeypatch.setattr(pipeline, "generate_timestep_matrix", sliding)
    published = run(
        pipeline, text, 61, num_inference_steps=6, ar_step=2, causal_block_size=2, callback_on_step_end=keep,
        callback_on_step_end_tensor_inputs=["latents"],
    )  # fmt: skip
    levels, preset = levels_of(pipeline.scheduler, 6), rolling(total=6, lag=2, chunk=2)
    schedule = Schedule(tuple(tuple(levels[round(6 * (1 - level))] for level in row) for row in preset.levels), 2)
    plan = Plan(schedule, SAMPLING)
    state = replace(start(own, SAMPLING, latents(0), prompted(0)), window=windows[3][:, :6])
    steps = stream(plan, own, FlowMatching("velocity"), state, NOISE, given(prompted(40)))
    made = torch.cat([step.clean for step in islice(steps, 5)], 1)
    torch.testing.assert_close(made, published[:, :10], rtol=0, atol=CLOSE)


class Alone:
    """A network that looks at each frame alone."""

    config = SMALL

    def integrate_actions(self, actions, origin):
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)

    def encode_context(self, context, levels, actions, origin, *, past=None):
        return None

    def __call__(self, window, levels, actions, past):
        return velocity(window, levels.view(1, -1, 1, 1, 1))


def velocity(frames, level):
    return torch.tanh(2 * frames) * (0.3 + level) + 0.5 * torch.cos(3 * frames)


def test_every_frame_of_a_rolling_window_takes_the_steps_of_unipc_by_itself():
    scheduler, preset = scheduler_of("unipc"), rolling(total=6, lag=2, chunk=2)
    levels = levels_of(scheduler, 6)
    schedule = Schedule(tuple(tuple(levels[round(6 * (1 - level))] for level in row) for row in preset.levels), 2)
    plan = Plan(schedule, replace(SAMPLING, guidance=1.0, solver="unipc", init_steps=2))
    state = start(Alone(), plan.sampling, latents(0), prompted(0))
    steps = stream(plan, Alone(), FlowMatching("velocity"), state, NOISE, given(prompted(60)))
    made = torch.cat([step.clean for step in islice(steps, 6)], 1)
    for frame in range(4, 12):  # those that have entered as noise
        x = NOISE("init", frame, 1)[:, 0]
        scheduler.set_timesteps(6)
        for time, level in zip(scheduler.timesteps, levels, strict=False):
            x = scheduler.step(velocity(x, level), time, x, return_dict=False)[0]
        torch.testing.assert_close(made[:, frame], x, rtol=0, atol=CLOSE)


def test_from_words_to_frames_a_folder_gives_what_diffusers_gives(tmp_path):
    pipeline = quietly(lambda: assemble(wan_of(network()), autoencoder_of(codec()), skyreels=False))
    pipeline.text_encoder.bfloat16().eval()  # as arvdm reads texts; float32 would take twice the file's memory
    quietly(lambda: pipeline.save_pretrained(tmp_path))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler_of("unipc")
    model = load(tmp_path, "cpu", "float32")
    sides = {"height": SMALL.height, "width": SMALL.width}  # a folder of this class is taken to be of 832x480
    model.network.config = replace(model.network.config, attention="full", time="floor", **sides)
    model.codec.config = replace(model.codec.config, **{name: 8 * side for name, side in sides.items()})
    levels = levels_of(pipeline.scheduler, 5)
    published = quietly(
        lambda: pipeline(
            "snow", "cold snow", height=8 * SMALL.height, width=8 * SMALL.width, num_frames=13, num_inference_steps=5,
            guidance_scale=4.0, latents=NOISE("init", 0, 4).transpose(1, 2), output_type="np", return_dict=False,
        )
    )[0]  # fmt: skip
    frames = generate(
        model, text="snow", negative_text="cold snow", seed=NOISE.seed, length=13, context=0, slots=0, guidance=4.0,
        schedule=Schedule(tuple((level,) * 4 for level in levels), 4), solver="unipc",
    )  # fmt: skip
    assert frames.shape == (13, 8 * SMALL.height, 8 * SMALL.width, 3) and frames.std() > 5
    difference = abs(frames.astype(float) - 255 * published[0])
    assert difference.max() <= 0.51  # of 255; frames are whole numbers here
