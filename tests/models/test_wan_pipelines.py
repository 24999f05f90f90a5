"""arvdm's own loop gives what diffusers' loop of SkyReels-V2 gives, with its UniPC at order 1, which is Euler.

Tolerances are absolute; latents have a magnitude of 1 to 4.
"""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import given
from arvdm_cli.sampling.plan import Plan
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import Schedule, rolling
from arvdm_cli.sampling.state import Noise, start
from support.wan import SMALL, latents, network, prompted, quietly, skyreels_of, texts

pytest.importorskip("diffusers")

CLOSE = 1e-5
SHAPE = (SMALL.channels, SMALL.height, SMALL.width)
NOISE = Noise(4, 1, SHAPE)
SAMPLING = Sampling(context=0, slots=0, stabilization=0.0, guidance=6.0)


def pipeline_of(own, monkeypatch, drawn):
    """diffusers' pipeline around a Wan; drawn: given a shape (b, c, f, h, w), its noise (b, f, c, h, w)."""

    def build():
        from diffusers import SkyReelsV2DiffusionForcingPipeline, UniPCMultistepScheduler
        from diffusers.pipelines.skyreels_v2 import pipeline_skyreels_v2_diffusion_forcing as module

        monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: drawn(shape).transpose(1, 2))
        scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0, solver_order=1,
            disable_corrector=list(range(100)),
        )  # fmt: skip
        made = SkyReelsV2DiffusionForcingPipeline(None, None, skyreels_of(own), None, scheduler)
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


def levels_of(pipeline, steps):
    """The levels of the pipeline's scheduler, whose first is 1 but for 1e-6."""
    pipeline.scheduler.set_timesteps(steps)
    first, *rest = map(float, pipeline.scheduler.sigmas)
    assert abs(first - 1) < 2e-6
    return [1.0, *rest]


@pytest.mark.parametrize("rates", [False, True])
def test_synchronous_long_video_is_outpainting_after_an_overlap(rates, monkeypatch):
    own, text = network(attention="full", time="floor", rates=rates), texts(2)
    own.set_prompts(text)
    windows = iter((latents(7), *(torch.cat((latents(3), NOISE("init", first, 4)), 1) for first in (0, 4))))

    pipeline = pipeline_of(own, monkeypatch, lambda shape: next(windows))  # 3 of later windows are known
    published = run(
        pipeline, text, 57, num_inference_steps=4, base_num_frames=25, overlap_history=9, ar_step=0, causal_block_size=1
    )
    plan = Plan(Schedule(tuple((level,) * 4 for level in levels_of(pipeline, 4)), 4), replace(SAMPLING, context=3))
    state = start(own, plan.sampling, published[:, :7], prompted(7))
    steps = stream(plan, own, FlowMatching("velocity"), state, NOISE, given(prompted(20)))
    made = torch.cat([step.clean for step in islice(steps, 2)], 1)
    torch.testing.assert_close(made, published[:, 7:15], rtol=0, atol=CLOSE)


def test_asynchronous_video_in_a_sliding_window_is_rolling(monkeypatch):
    own, text = network(attention="block", block=2, time="floor"), texts(2)
    own.set_prompts(text)
    pipeline = pipeline_of(own, monkeypatch, lambda shape: NOISE("init", 0, shape[2]))
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
    levels, preset = levels_of(pipeline, 6), rolling(total=6, lag=2, chunk=2)
    schedule = Schedule(tuple(tuple(levels[round(6 * (1 - level))] for level in row) for row in preset.levels), 2)
    plan = Plan(schedule, SAMPLING)
    state = replace(start(own, SAMPLING, latents(0), prompted(0)), window=windows[3][:, :6])
    steps = stream(plan, own, FlowMatching("velocity"), state, NOISE, given(prompted(40)))
    made = torch.cat([step.clean for step in islice(steps, 5)], 1)
    torch.testing.assert_close(made, published[:, :10], rtol=0, atol=CLOSE)
