"""Streams of what a network with random weights makes."""

import torch

from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import given
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.state import Noise, Sampling, start
from support.tiny import latents, network, track

SAMPLING = Sampling(context=3, slots=2, group=2, init_steps=2)
SHORT = Sampling(context=3, slots=3, group=2, init_steps=3)


def dream(schedule, sampling, seed=3, batch=1, prompt=9, net=None):
    """A state, and a stream of what a network with random weights makes of it; clip i is seed + i alone or together."""
    net = net or network()
    clips = [seed + i for i in range(batch)]
    shown = torch.cat([latents(prompt, clip) for clip in clips])
    driven = torch.cat([track(prompt + 60, clip) for clip in clips])
    state = start(net, sampling, shown, driven[:, :prompt])
    return state, wake(schedule, sampling, state, seed, batch, prompt, net)


def wake(schedule, sampling, state, seed=3, batch=1, prompt=9, net=None):
    """Go on from a state."""
    driven = torch.cat([track(prompt + 60, seed + i) for i in range(batch)])[:, prompt:]
    noise = Noise(seed, batch, (2, 4, 4))
    return stream(Plan(schedule, sampling), net or network(), FlowMatching(), state, noise, given(driven))
