"""Sample a network of your own: a torch module that follows `arvdm_cli.sampling.network.VideoNetwork`."""

import sys
from dataclasses import dataclass

from torch import Tensor, cat, nn, ones

from arvdm_cli import Model, generate, load
from arvdm_cli.sampling.config import Sampling
from arvdm_cli.sampling.diffusion import FlowMatching


@dataclass(frozen=True)
class Past:  # the frames before a window, as the network encodes them
    latents: Tensor  # (b, f, c, h, w)
    frames: int


class Still(nn.Module):
    """Predict that every frame looks like the last one; `advance` is left out, which only views of a window call."""

    def __init__(self, config: object):
        super().__init__()
        self.config, self.gain = config, nn.Parameter(ones(()))  # channels, height, width and actions of a latent

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor:
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)  # nothing is known of motion

    def encode_context(self, context: Tensor, levels: Tensor, actions: Tensor, origin: Tensor, *, past=None) -> Past:
        latents = cat((past.latents, context), 1) if past else context
        return Past(latents, latents.shape[1])

    def forward(self, window: Tensor, levels: Tensor, actions: Tensor, past: Past) -> Tensor:
        return self.gain * past.latents[:, -1:].expand_as(window)  # clean latents (b, f, c, h, w)


maze, length = load("maze"), int(sys.argv[1]) if len(sys.argv) > 1 else 24  # its codec makes frames of latents
own = Model(Still(maze.network.config), maze.codec, FlowMatching(prediction="x0"), Sampling(slots=0), maze.card)
print(generate(own, "still.mp4", "examples/maze.mp4", seed=1, length=length, schedule="rolling:blocks=2").frames)
