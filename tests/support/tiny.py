"""Small things that several tests share: schedules, a network that keeps what it was given, a film, a data folder."""

import json
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.models.compress import COMPRESSIONS
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.models.fusion import FUSIONS
from arvdm_cli.runs.state_file import from_tensors, to_tensors
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.memory import Memory
from arvdm_cli.sampling.model import Model
from arvdm_cli.sampling.sampler import stream
from arvdm_cli.sampling.schedules import fifo, next_frame, outpainting, pyramid, rolling, shift
from arvdm_cli.sampling.state import Noise, Sampling, start
from arvdm_cli.worlds.maze import MazeConfig

SCHEDULES = {
    "outpainting": outpainting(),
    "outpainting 3 2": outpainting(3, 2),
    "outpainting 1 1": outpainting(1, 1),
    "next-frame": next_frame(),
    "next-frame 1": next_frame(1),
    "fifo": fifo(),
    "fifo 1": fifo(1),
    "fifo 3": fifo(3),
    "rolling": rolling(),
    "rolling 3 1 4": rolling(3, 1, 4),
    "rolling 2 3 2": rolling(2, 3, 2),
    "rolling 9/4 3": rolling(total=9, lag=4, chunk=3),
    "rolling 5/5 2": rolling(total=5, lag=5, chunk=2),
    "rolling, shifted": shift(rolling(), 3.0),
    "pyramid": pyramid(),
    "pyramid 3 2 2": pyramid(3, 2, 2),
    "pyramid 3 2 0": pyramid(3, 2, 0),
}

MOVES = ((0.0, 0.0), (0.125, 0.0), (-0.125, 0.0), (0.0, 11.25), (0.0, -11.25))  # stay, forward, backward, left, right

# What a run file says of a codec and a network of 32x32 frames; it ends among the network's lines
SHAPE = """
[codec]
channels = 2
height = 32
width = 32
fine = 8
coarse = 8
decoder_blocks = 1
[network]
channels = 2
height = 4
width = 4
dim = 64
depth = 1
condition = 16
memory_tokens = 4
"""


# A network that knows the video


class Film:
    """A video with a prompt: its true latents (b, f, 2, 2, 2), and actions (b, f, 3) that say which frame they lead to.

    Action t is (t + 1, clip + 1, 1), counted from the first frame of the prompt.
    """

    def __init__(self, prompt=0, length=120, batch=1):
        self.prompt, self.batch = prompt, batch
        self.latents = torch.randn(batch, prompt + length, 2, 2, 2, generator=torch.Generator().manual_seed(7))
        number = torch.arange(1.0, 1 + prompt + length).expand(batch, -1)
        clip = torch.arange(1.0, 1 + batch).unsqueeze(1).expand_as(number)
        self.actions = torch.stack((number, clip, torch.ones_like(number)), -1)

    def new(self, first, count):
        """True latents of new frames, which are counted from the end of the prompt."""
        return self.latents[:, self.prompt + first :][:, :count]

    def drive(self, first, count):
        """Actions that lead into new frames."""
        return self.actions[:, self.prompt + first :][:, :count]

    def noise(self, seed=5):
        return Noise(seed, self.batch, (2, 2, 2))


@dataclass
class Seen:
    """The past as it was shown to a Recorder."""

    context: torch.Tensor
    levels: torch.Tensor
    actions: torch.Tensor
    origin: torch.Tensor
    memory: Memory
    past: "Seen | None" = None  # frames right before the context, shown earlier

    @property
    def shown(self):
        """All frames that are held, whenever they were shown."""
        return torch.cat((self.past.shown, self.context), 1) if self.past else self.context

    @property
    def frames(self):
        return self.shown.shape[1]

    def drop(self, frames):
        left = self.shown[:, frames:]
        return Seen(left, self.levels, self.actions, self.origin, self.memory) if left.shape[1] else None


@dataclass
class Call:
    """What a Recorder was given to predict from."""

    window: torch.Tensor
    levels: torch.Tensor
    actions: torch.Tensor
    past: Seen


class Recorder:
    """A network that keeps what it was given and answers as one that knows the film.

    A group is compressed to the numbers of its frames; a pose is how many frames have led to it.
    """

    group = 2

    def __init__(self, film, diffusion=None):
        self.film, self.diffusion = film, diffusion or FlowMatching()
        self.calls, self.looks, self.remembered, self.compressed = [], [], [], []

    def integrate_actions(self, actions, origin):
        return origin.unsqueeze(1) + torch.arange(1, 1 + actions.shape[1]).view(1, -1, 1)

    def compress(self, latents, actions, poses):
        self.compressed.append((latents, actions, poses))
        return actions[..., 0].unsqueeze(1)  # (b, 1, g)

    def encode_memory(self, memory, earlier=None):
        self.remembered.append(memory)
        return memory

    def encode_context(self, context, levels, actions, origin, memory=None, *, past=None):
        self.looks.append(Seen(context, levels, actions, origin, memory, past))
        return self.looks[-1]

    def empty_memory(self, batch, device):
        return Memory.empty(batch, 1, self.group, 3)

    def advance(self, past, frames, actions):
        return past

    def __call__(self, window, levels, actions, past):
        self.calls.append(Call(window, levels, actions, past))
        first = int(actions[0, 0, 0]) - 1
        clean = self.film.latents[:, first : first + window.shape[1]]
        clean = clean.repeat(window.shape[0] // clean.shape[0], 1, 1, 1, 1)  # guidance asks of more clips at once
        alpha, sigma = self.diffusion.spread(levels, window)
        noise = (window - alpha * clean) / sigma.clamp_min(1e-6)
        answers = {"x0": clean, "velocity": noise - clean, "v": alpha * noise - sigma * clean, "epsilon": noise}
        return answers[self.diffusion.prediction]


def begin(network, sampling, film):
    """Show a Recorder the prompt of its film."""
    network.group = sampling.group
    return start(network, sampling, film.latents[:, : film.prompt], film.actions[:, : film.prompt])


def play(schedule, sampling, film, network, state=None):
    """Stream a film's new frames through a Recorder."""
    state = state or begin(network, sampling, film)
    return stream(Plan(schedule, sampling), network, network.diffusion, state, film.noise(), film.drive)


def joined(steps):
    """The latents of some steps of a stream."""
    return torch.cat([step.clean for step in steps], 1)


def take(steps, frames):
    """The first frames of a stream."""
    taken = []
    while sum(step.clean.shape[1] for step in taken) < frames:
        taken += islice(steps, 1)
    return joined(taken)[:, :frames]


# A network with weights


WAYS = {  # for past frames to enter, and to shrink
    f"{fusion}, {compression}": {"fusion": fusion, "compression": compression}
    for fusion in FUSIONS
    for compression in COMPRESSIONS
    if fusion != "none"
}
WAYS |= {f"{name}, 2 instants": way | {"instants": 2} for name, way in WAYS.items() if way["compression"] != "none"}


def network(seed=0, **config):
    """A VideoDiT all of whose weights are at work."""
    shape = {"channels": 2, "height": 4, "width": 4, "dim": 64, "depth": 2, "condition": 16, "memory_tokens": 4}
    shape["group"] = 2
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        made = VideoDiT(DiTConfig(**(shape | {"moves": MOVES} | config)))
        for weight in made.parameters():
            weight.add_(0.15 * torch.randn_like(weight))
    return made.eval()


def model(seed=0, sampling=None, **config):
    """A whole checkpoint: 32x32 frames, latents (2, 4, 4)."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        codec = Codec(CodecConfig(channels=2, height=32, width=32, fine=8, coarse=8, decoder_blocks=1)).eval()
        codec.normalise.get_buffer("running_mean").uniform_(-0.1, 0.1)
        codec.normalise.get_buffer("running_var").uniform_(0.01, 0.1)
    card = {"name": "tiny", "actions": ["stay", "forward", "backward", "left", "right"], "fps": 12.5}
    sampling = sampling or Sampling(context=3, slots=3, group=2)
    return Model(network(seed, **config), codec, FlowMatching(), sampling, card)


def track(frames, seed=0, batch=1):
    """Random one-hot actions (b, f, 5)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(5)[torch.randint(5, (batch, frames), generator=generator)]


def latents(frames, seed=0, batch=1):
    """Random latents (b, f, 2, 4, 4)."""
    return torch.randn(batch, frames, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def remember(net, groups, seed=0, batch=1):
    """Memory of random groups of frames, one after the other."""
    group, memory, origin = net.config.group, net.empty_memory(batch, "cpu"), torch.zeros(batch, 3)
    for number in range(groups):
        actions = track(group, seed + number, batch)
        poses = net.integrate_actions(actions, origin)
        tokens = net.compress(latents(group, seed + number, batch), actions, poses)
        memory, origin = memory.append(tokens, actions, poses), poses[:, -1]
    return memory, origin


def whole(past):
    """Keys and values of each block, (b, heads, n, HEAD), of all that stands before a window."""
    return [tuple(torch.cat(each, 2) for each in zip(*row.parts, strict=True)) for row in past.keys]


# Files


def store(state, path):
    """Save a state as a file of plain tensors."""
    tensors, tree = to_tensors(state)
    save_file(tensors, path, {"state": json.dumps(tree)})


def restore(path):
    """Read back what `store` wrote."""
    with safe_open(path, "pt") as file:
        return from_tensors({name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["state"]))  # noqa: SIM118


def render(folder, episodes=4, frames=128, size=32, seed=0):
    """Write a data folder by hand: moving gradients, and actions at random on the lattice of a world without walls."""
    folder.mkdir(parents=True)
    world = MazeConfig(size=size, frames=frames)
    draw = np.random.default_rng(seed)
    actions = draw.integers(0, 5, (episodes, frames)).astype(np.uint8)
    actions[:, 0] = 0
    turned, moved = np.array([0, 0, 0, 1, -1])[actions], np.array([0, 1, -1, 0, 0])[actions]
    heading = turned.cumsum(1) % 4  # so few poses that many come back
    poses = np.stack((100 + moved.cumsum(1), np.full_like(heading, 100), heading), -1).astype(np.int16)
    ramp = np.add.outer(np.arange(size), 2 * np.arange(size))[..., None] * np.array([1, 2, 3])
    shift = 8 * poses[..., 0] + 40 * poses[..., 2] + 16 * np.arange(episodes)[:, None]
    pictures = ((ramp + shift[..., None, None, None]) % 256).astype(np.uint8)
    arrays = {
        "frames": pictures,
        "actions": actions,
        "poses": poses,
        "kinds": np.zeros(episodes, np.uint8),
        "seeds": np.arange(episodes),
        "done": np.ones(episodes, np.uint8),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    settings = {"format": 1, "world": asdict(world), "seed": seed, "episodes": episodes}
    (folder / "world.json").write_text(json.dumps(settings))
    return folder
