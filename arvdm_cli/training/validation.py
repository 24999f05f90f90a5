"""Held-out episodes, continued and compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Episodes
from ..media import to_bytes
from ..models.codec import Codec
from ..reports.comparison import changed_psnr
from ..sampling.generation import begin, choose, generate, given
from ..sampling.model import Model
from .events import Validated
from .watch.sheet import write_sheet
from .watch.verdict import verdict

SPANS = ((0, 1), (1, 4), (4, 8), (8, 16), (16, 32))  # new frames whose PSNR is reported together
OBEDIENCE = slice(1, 8)  # new frames on which true actions are compared with those of other episodes
DIFFER = 0.05  # share of frames whose action must be another, so that other actions say something
CHECKED = 8  # frames of a held-out episode on which a codec is checked
PROMPT = 64  # true frames that a model is shown at most


def decibels(made: Tensor, truth: Tensor) -> Tensor:
    """PSNR of each frame, (b, f), for frames (b, f, 3, h, w) in [-1, 1]."""
    return -10 * (made - truth).div(2).square().mean((2, 3, 4)).clamp_min(1e-10).log10()


@dataclass(frozen=True)
class Clips:
    """Held-out episodes, cut in their middle."""

    rows: np.ndarray  # (b,), numbers of the episodes
    times: slice  # of the prompt and the new frames
    prompt: Tensor  # (b, f, 3, h, w)
    truth: Tensor  # (b, f, 3, h, w), new frames
    length: int  # new frames

    @property
    def before(self) -> Tensor:
        """The last frame of the prompt, (b, 1, 3, h, w)."""
        return self.prompt[:, -1:]

    @property
    def repeated(self) -> Tensor:
        """The last frame of the prompt in place of every new frame."""
        return self.before.expand_as(self.truth)

    @property
    def average(self) -> Tensor:
        """The mean of the prompt's frames in place of every new frame: what a model draws that places nothing."""
        return self.prompt.mean(1, keepdim=True).expand_as(self.truth)


def cut_held_out(episodes: Episodes, length: int) -> Clips:
    """The held-out episodes around their middle, with at most `length` new frames."""
    frames = episodes.pictures.shape[1]
    middle = frames // 2
    prompt, length = min(PROMPT, middle), min(length, frames - middle)
    times = slice(middle - prompt, middle + length)
    clip = episodes.frames(episodes.held_out, times)
    return Clips(episodes.held_out, times, clip[:, :prompt], clip[:, prompt:], length)


@torch.no_grad()
def validate(model: Model, episodes: Episodes, step: int, sheet: Path, length: int = 32) -> Validated:
    """Continue held-out episodes with their true actions: PSNR by frame, and a sheet of truth above made.

    step: after which the model is validated
    """
    model.network.eval()
    clips = cut_held_out(episodes, length)
    made = continue_clips(model, clips, actions_of(episodes, clips.rows, clips.times))
    through = through_codec(model.codec, clips.truth)
    event = Validated(
        step,
        psnr=by_span(decibels(made, clips.truth)),
        repeat=by_span(decibels(clips.repeated, clips.truth)),
        average=by_span(decibels(clips.average, clips.truth)),
        ceiling=by_span(decibels(through, clips.truth)),
        changed=on_changed(made, clips),
        changed_repeat=on_changed(clips.repeated, clips),
        changed_average=on_changed(clips.average, clips),
        changed_ceiling=on_changed(through, clips),
        obeyed=obedience(model, episodes, clips, made),
        sheet=sheet.name,
    )
    title = f"step {step}: true frames above generated ones, by number of the new frame"
    write_sheet(sheet, bytes_of(clips.before)[:, 0], bytes_of(clips.truth), bytes_of(made), title)
    model.network.train()
    return replace(event, verdict=verdict(event, SPANS))


@torch.no_grad()
def check_codec(codec: Codec, episodes: Episodes) -> list[str]:
    """What a codec keeps a network from, a sentence each: no frame can be better than a true one through the codec."""
    clips = cut_held_out(episodes, CHECKED)
    frames = torch.cat((clips.before, clips.truth), 1)
    ceiling, repeat = (
        from_frame_to_frame(part, frames) for part in (through_codec(codec, clips.truth), frames[:, :-1])
    )
    if ceiling is None or repeat is None or ceiling >= repeat:
        return []
    return [
        f"the codec limits: on pixels that change, true frames through it reach {ceiling:.1f} dB and the frame before "
        f"{repeat:.1f} dB; train it longer (codec_steps) or with more channels."
    ]


def from_frame_to_frame(made: Tensor, frames: Tensor) -> float | None:
    """Mean PSNR in dB of frames (b, f, 3, h, w) on pixels that change to each from the frame before; None without any.

    frames: the true ones, (b, f + 1, 3, h, w), and the one before them
    """
    parts = (bytes_of(part).reshape(-1, 1, *part.shape[3:], 3) for part in (made, frames[:, 1:], frames[:, :-1]))
    each = [changed_psnr(one, true, before[0])[0] for one, true, before in zip(*parts, strict=True)]
    return None if np.isnan(each).all() else float(np.nanmean(each))


def bytes_of(frames: Tensor) -> np.ndarray:
    """Frames (b, f, 3, h, w) in [-1, 1] as uint8 (b, f, h, w, 3)."""
    flat = to_bytes(frames.flatten(0, 1))
    return flat.reshape(*frames.shape[:2], *flat.shape[1:])


def actions_of(episodes: Episodes, rows: np.ndarray, times: slice) -> Tensor:
    """Actions (b, f, a) that led into some frames of episodes."""
    return episodes.one_hot(rows)[:, times]


def continue_clips(model: Model, clips: Clips, actions: Tensor, length: int = 0) -> Tensor:
    """New frames (b, f, 3, h, w) after the prompts of clips, on the CPU.

    actions: (b, f, a), of prompt and new frames; length: new frames, 0 for all
    """
    prompt, plan = clips.prompt.shape[1], choose(model.sampling)
    actions = actions.to(next(model.codec.parameters()).device)
    state = begin(model, plan, clips.prompt, actions[:, :prompt])
    steps = generate(model, plan, state, given(actions[:, prompt:]), seed=0, length=length or clips.length)
    return torch.cat(list(steps), 1).cpu()


def through_codec(codec: Codec, frames: Tensor) -> Tensor:
    """Frames (b, f, 3, h, w), encoded and decoded: the best that a network on this codec can make of them."""
    device = next(codec.parameters()).device
    parts = frames.split(16, 1)
    return torch.cat([codec.decode(codec.encode(part.to(device))).cpu() for part in parts], 1)


def obedience(model: Model, episodes: Episodes, clips: Clips, made: Tensor) -> float | None:
    """How much true actions beat those of other episodes: PSNR in dB of frames 2-8, on pixels that change if any do.

    made: with true actions
    Returns None without actions, and where those of other episodes are nearly the same
    """
    length = min(OBEDIENCE.stop, clips.length)
    if not episodes.names or length <= OBEDIENCE.start:
        return None
    others = episodes.train[np.linspace(0, len(episodes.train) - 1, len(clips.rows)).round().astype(int)]
    actions = actions_of(episodes, clips.rows, clips.times)
    shuffled, prompt = actions.clone(), clips.prompt.shape[1]
    shuffled[:, prompt:] = actions_of(episodes, others, clips.times)[:, prompt:]
    differ = (actions != shuffled)[:, prompt : prompt + length].any(-1).float().mean().item()
    if differ < DIFFER:
        return None
    other = continue_clips(model, clips, shuffled, length)
    start = replace(clips, truth=clips.truth[:, :length], length=length)
    gains = scores(made[:, :length], start) - scores(other, start)  # (b, f)
    of_all = decibels(made[:, :length], start.truth) - decibels(other, start.truth)
    chosen = gains if not np.isnan(gains[:, OBEDIENCE]).all() else of_all.numpy()
    return round(float(np.nanmean(chosen[:, OBEDIENCE])), 2)


def by_span(each: Tensor) -> list[float]:
    """Means of PSNR (b, f) in dB over episodes and each of SPANS that has frames."""
    means = each.mean(0)
    return [round(means[a:b].mean().item(), 2) for a, b in SPANS if a < len(means)]


def scores(frames: Tensor, clips: Clips) -> np.ndarray:
    """PSNR (b, f) in dB of frames (b, f, 3, h, w) on pixels that differ from the prompt's last frame; or NaN."""
    parts = zip(bytes_of(frames), bytes_of(clips.truth), bytes_of(clips.before), strict=True)
    return np.stack([changed_psnr(made, truth, before[0]) for made, truth, before in parts])


def on_changed(frames: Tensor, clips: Clips) -> list[float | None]:
    """Means of `scores` over episodes and each of SPANS that has frames; None where nothing changes."""
    each = scores(frames, clips)
    spans = [each[:, a:b] for a, b in SPANS if a < each.shape[1]]
    return [None if np.isnan(part).all() else round(float(np.nanmean(part)), 2) for part in spans]
