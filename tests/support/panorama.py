"""A world that is known whole: a wide picture seen through a window that actions move; recordings and models of it.

The models know how the view moves and draw what they have seen; what they have not seen stays grey.
"""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from arvdm_cli.data.formats import Settings
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.memory import Memory
from arvdm_cli.sampling.model import Model
from arvdm_cli.sampling.state import Sampling

HEIGHT, WIDTH, STEP = 16, 32, 4  # of a frame, and pixels that an action moves it
NAMES, SIGNS = ("west", "east", "wait"), (-1, 1, 0)
GROUP = 2


def panorama(seed, steps=100):
    """Blots with edges to follow: uint8 (h, w, 3), with room for `steps` to each side of its middle."""
    blots = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 4, 2 * steps + WIDTH // 4, 3), np.uint8)
    return blots.repeat(4, 0).repeat(4, 1)


def film(walk, seed=0):
    """Frames (f, h, w, 3) and rows of actions (f, 3) of a walk, by number; what led into the first is not known."""
    wide, at = panorama(seed), 100 + np.cumsum([0, *(SIGNS[action] for action in walk)])
    frames = np.stack([wide[:, STEP * place :][:, :WIDTH] for place in at])
    rows = np.concatenate((np.zeros((1, 3)), np.eye(3)[np.array(walk, int)])).astype(np.float32)
    return frames, rows


def there_and_back(length=24, times=2):
    """A walk to the east, and back, and again."""
    return ([1] * length + [0] * length) * times


def wander(frames, seed=0):
    """A walk at random, in runs, that need not come back."""
    draw = np.random.default_rng(seed)
    return np.repeat(draw.integers(0, 3, frames), draw.integers(1, 5, frames))[: frames - 1].tolist()


def write(folder, films, names=NAMES, fps=10.0, poses=None):
    """Write a folder of recorded episodes, one of each film."""
    folder.mkdir(parents=True)
    frames, rows = (np.stack(parts) for parts in zip(*films, strict=True))
    settings = Settings("folder", "recordings", tuple(names), fps, frames.shape[2:4], frames.shape[1])
    (folder / "clips.json").write_text(json.dumps({"version": 1} | settings.to_json()))
    lines = [json.dumps({"file": f"{number}.mp4", "episodes": 1}) + "\n" for number in range(len(films))]
    (folder / "clips.jsonl").write_text("".join(lines))
    unknown = np.zeros((*frames.shape[:2], 3), np.int16)
    unknown[..., 0] = np.arange(frames.shape[1])  # every place is a new one
    arrays = {"frames": frames, "actions": rows[..., : len(names)], "poses": unknown if poses is None else poses}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


class Pixels(torch.nn.Module):
    """A codec that keeps every pixel."""

    config = SimpleNamespace(height=HEIGHT, width=WIDTH, channels=3)

    def encode(self, frames):
        return frames

    def decode(self, latents):
        return latents


@dataclass(frozen=True)
class Seen:
    """Frames and where they were seen from, the newest last."""

    frames: torch.Tensor  # (b, f, c, h, w)
    places: torch.Tensor  # (b, f), steps


class Walker(torch.nn.Module):
    """A network that moves its view by actions, or not, and remembers what has left the context, or not."""

    group = GROUP

    def __init__(self, obeys=True, remembers=True):
        super().__init__()
        self.obeys, self.remembers = obeys, remembers
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(channels=3, height=HEIGHT, width=WIDTH, actions=3, moves=(), fusion="prepend")

    def integrate_actions(self, actions, origin):
        moved = (actions @ torch.tensor(SIGNS, dtype=torch.float)).cumsum(1)  # (b, f)
        return torch.stack((moved, 0 * moved, 0 * moved), -1) + origin[:, None]

    def empty_memory(self, batch, device):
        return Memory.empty(batch, GROUP, 3 * HEIGHT * WIDTH, 3, instants=GROUP)

    def compress(self, latents, actions, poses):
        return latents.flatten(2)

    def encode_memory(self, memory, earlier=None):
        frames = memory.tokens.flatten(1, 2).unflatten(2, (3, HEIGHT, WIDTH))
        return Seen(frames, memory.poses[..., 0])

    def encode_context(self, context, levels, actions, origin, memory=None, *, past=None):
        seen = Seen(context, self.integrate_actions(actions, origin)[..., 0])
        if memory is None or not self.remembers:
            return seen
        return Seen(torch.cat((memory.frames, seen.frames), 1), torch.cat((memory.places, seen.places), 1))

    def advance(self, past, frames, actions):
        return past

    def __call__(self, window, levels, actions, past):
        here = torch.zeros(len(window), 3)
        here[:, 0] = past.places[:, -1]
        places = self.integrate_actions(actions if self.obeys else 0 * actions, here)[..., 0]  # (b, w)
        made = torch.zeros_like(window)
        for clip, frame in np.ndindex(*places.shape):
            for seen, place in zip(past.frames[clip], past.places[clip], strict=True):
                shift = STEP * int(places[clip, frame] - place)
                if abs(shift) < WIDTH:
                    ours, theirs = (
                        slice(max(0, -shift), WIDTH - max(0, shift)),
                        slice(max(0, shift), WIDTH + min(0, shift)),
                    )
                    made[clip, frame, ..., ours] = seen[..., theirs]
        return made


def walker(obeys=True, remembers=True, **card):
    """A model of this world."""
    sampling = Sampling("outpainting", {"chunk": 8, "steps": 1}, context=4, slots=64, group=GROUP)
    facts = {"name": "walker", "actions": list(NAMES), "fps": 10} | card
    network = Walker(obeys, remembers).eval()
    return Model(network, Pixels().eval(), FlowMatching(prediction="x0"), sampling, facts, "0" * 64)
