"""What a viewer is shown: one frame, and where the play stands at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Frame:
    """One frame of a play; nothing writes into its arrays.

    New frames are counted from 1. Number 0 is the start: the last frame of the prompt, or grey without one; prompt
    frames before it have negative numbers.
    """

    number: int
    picture: np.ndarray  # uint8 (h, w, 3)
    truth: np.ndarray | None = None  # uint8 (h, w, 3) of the true world under the same actions; None: there is none
    other: np.ndarray | None = None  # uint8 (h, w, 3) of the second model under the same actions; its size may differ
    actions: Mapping[str, float] = field(default_factory=dict)  # that led into this frame: name -> value, none of 0
    psnr: float | None = None  # dB of `picture` against `truth`, at most 100
    other_psnr: float | None = None  # dB of `other` against `truth`
    latency_ms: float | None = None  # from a key to this frame, the first that obeys it in full; else None
    stamp: int | None = None  # newest stamp of the input (`Controls.hold`) that this frame obeys
    rate: float = 0.0  # frames shown a second, over the last ones; 0: not known yet
    factor: float = 1.0  # of the model's own rate: 0.6 is slow motion, because the model is slower or speed is set so
    speed: float = 1.0  # that was asked for, 0.25 to 4
    paused: bool = False
    policy: str = "human"  # who acts: human, random or file
    seed: int = 0
    start: str = ""  # name of the start, one of `Session.starts`
    branch: int = 0  # how many times the play has been rewound, reset or started again
    context: tuple[int, int] = (0, -1)  # first and last number of the frames that the network sees as they are
    memory: tuple[tuple[int, int], ...] = ()  # first and last number of each stretch of frames in memory, oldest first
    back: int = 0  # frames that a rewind can go back now
    recorded: int | None = None  # frames in the recording; None: not recording
    note: str = ""  # what the last command has to say, such as how far a rewind could go
    error: str = ""  # why the play has ended; then no frame follows
