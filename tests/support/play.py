"""A session of `arvdm play` without a model: a view over a wide picture that the actions move."""

import threading
from collections import deque

import numpy as np

from arvdm_cli.play.controls import Controls
from arvdm_cli.play.frame import Frame
from arvdm_cli.play.keys import KeyMap
from arvdm_cli.play.session import Viewer

SIDE, STRIDE = 64, 4  # of a picture; pixels that a turn moves it in a frame
NAMES = ("stay", "forward", "backward", "left", "right", "jump", "cameraX")
KEYS = KeyMap(
    keys={
        "w": {"forward": 1.0}, "up": {"forward": 1.0}, "s": {"backward": 1.0}, "a": {"left": 1.0}, "d": {"right": 1.0},
        "space": {"jump": 1.0}, "j": {"cameraX": -1.0}, "l": {"cameraX": 1.0},
    },
    mouse={"x": "cameraX"},
)  # fmt: skip


def landscape(seed):
    """A picture of stripes and blocks, uint8 (h, w, 3), wide enough for long turns."""
    random = np.random.default_rng(seed)
    columns = random.integers(40, 255, (1, 200, 3))
    rows = np.linspace(0.35, 1, 50)[:, None, None]
    return np.kron(columns * rows, np.ones((8, 8, 1))).astype(np.uint8)


class Landscape:
    """Answers what the server asks of a `Session`: left and right move the view, forward and backward raise it."""

    def __init__(self, fps=30.0, truth=False, other=False, names=NAMES, one=False):
        self.controls = Controls(one=one)
        self.names, self.fps, self.size = tuple(names), fps, (SIDE, SIDE)
        self.starts, self.policies, self.obeyed_after = ("clip", "nothing"), ("human", "random"), 3
        self.truth, self.other = truth, other
        self.viewers, self.lock, self.ending = [], threading.Lock(), threading.Event()
        self.seed, self.start_name, self.policy, self.speed = 1, "clip", "human", 1.0
        self.paused, self.branch, self.note, self.error = False, 0, "", ""
        self.states = deque([(700.0, 160.0)], maxlen=600)  # where the view is, in pixels and parts of them, newest last
        self.number, self.held, self.stamp = 0, {}, None
        self.commands = []  # all that came
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.picture = landscape(self.seed)

    def start(self):
        self.thread.start()

    def stop(self):
        self.ending.set()
        self.controls.wake()
        if self.thread.is_alive():
            self.thread.join(5)
        for viewer in list(self.viewers):
            viewer.close()

    def subscribe(self):
        def leave(viewer):
            with self.lock:
                if viewer in self.viewers:
                    self.viewers.remove(viewer)

        viewer = Viewer(leave)
        with self.lock:
            self.viewers.append(viewer)
        viewer.put(self.frame())
        return viewer

    def run(self):
        self.publish()
        while not self.ending.is_set():
            steps = self.obey()
            if not self.paused or steps:
                self.move()
            self.publish()
            self.controls.wait(None if self.paused else 1 / (self.fps * self.speed))

    def obey(self):
        """Carry commands out; returns how many steps were asked for."""
        steps = 0
        for command in self.controls.take_commands():
            self.commands.append((command.name, command.value))
            match command.name:
                case "pause":
                    self.paused = not self.paused if command.value is None else bool(command.value)
                case "step":
                    steps += 1
                case "rewind":
                    back = min(int(command.value), len(self.states) - 1)
                    for _ in range(back):
                        self.states.pop()
                    self.number, self.branch, self.note = self.number - back, self.branch + 1, f"back {back} frames"
                case "reset" | "seed" | "start":
                    if command.name == "seed":
                        self.seed = self.seed + 1 if command.value is None else command.value
                        self.picture = landscape(self.seed)
                    elif command.name == "start":
                        self.start_name = command.value
                    self.states = deque([(700.0, 160.0)], maxlen=600)
                    self.number, self.branch = 0, self.branch + 1
                case "speed":
                    self.speed = command.value
                case "policy":
                    self.policy = command.value or ("random" if self.policy == "human" else "human")
        return steps

    def move(self):
        keys = self.controls.read(self.names, 1)
        self.held = {name: float(value) for name, value in zip(self.names, keys.rows[0], strict=True) if value}
        self.stamp = keys.stamp
        along = self.held.get("right", 0) - self.held.get("left", 0) + self.held.get("cameraX", 0)
        up = self.held.get("backward", 0) - self.held.get("forward", 0)
        x, y = self.states[-1]
        height, width, _ = self.picture.shape
        self.states.append(((x + STRIDE * along) % (width - SIDE), min(max(y + STRIDE * up, 0), height - SIDE)))
        self.number += 1

    def frame(self):
        x, y = map(round, self.states[-1])
        view = self.picture[y : y + SIDE, x : x + SIDE]
        first = max(1, self.number - 15)
        memory = tuple((at, at + 3) for at in range(1, first - 4, 8))[-16:]
        return Frame(
            number=self.number,
            picture=view,
            truth=view[::-1] if self.truth else None,
            other=view[:, ::-1] if self.other else None,
            actions=self.held,
            psnr=24.3 if self.truth else None,
            stamp=self.stamp,
            rate=self.fps,
            speed=self.speed,
            factor=self.speed,
            paused=self.paused,
            policy=self.policy,
            seed=self.seed,
            start=self.start_name,
            branch=self.branch,
            context=(first, self.number),
            memory=memory,
            back=len(self.states) - 1,
            note=self.note,
            error=self.error,
        )

    def publish(self):
        frame = self.frame()
        with self.lock:
            viewers = list(self.viewers)
        for viewer in viewers:
            viewer.put(frame)
