"""The engine that draws what is seen from a pose in a maze: ViZDoom's software renderer."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from ..errors import ArvdmError
from . import wad
from .maze import MazeConfig, import_extra
from .wad import Pose


class Level(Protocol):
    """What can be drawn: a maze, or several in one level."""

    config: MazeConfig

    def wad(self) -> bytes:
        """Write it as a level for the engine."""


class Renderer:
    """The engine on one level: `with Renderer(maze) as renderer: frames = renderer.render(poses)`.

    It starts in a temporary folder of its own, since it writes settings into the current one; start one at a time.
    """

    def __init__(self, maze: Level):
        self.maze = maze

    def __enter__(self) -> "Renderer":
        vizdoom = import_extra("vizdoom")
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="arvdm-"))
            level = Path(folder, "maze.wad")
            level.write_bytes(self.maze.wad())
            game = self._game = vizdoom.DoomGame()
            stack.callback(game.close)
            game.set_doom_scenario_path(str(level))
            game.set_doom_map("MAP01")
            game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
            game.set_screen_format(vizdoom.ScreenFormat.RGB24)
            for thing in ("hud", "weapon", "crosshair", "decals", "particles", "messages"):
                getattr(game, f"set_render_{thing}")(False)
            game.set_sound_enabled(False)
            game.set_window_visible(False)
            game.set_episode_timeout(0)
            game.add_game_args("+sv_cheats 1 +movebob 0 +stillbob 0 +r_fakecontrast 0")
            here = os.getcwd()
            os.chdir(folder)
            try:
                game.init()
            except Exception as error:  # the engine's exceptions share no base of their own
                raise ArvdmError(f"The maze renderer did not start: {error}") from error
            finally:
                os.chdir(here)
            # the middle square of a picture of 4:3 is used
            across = wad.across(self.maze.config.view)
            if abs(across - 90) > 0.01:  # 90 is the engine's own
                game.send_game_command(f"fov {across:.3f}")
                game.advance_action(16)  # it widens by 7 degrees a tic
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def render(self, poses: Sequence[Pose]) -> np.ndarray:
        """Draw each pose: uint8 (f, h, w, c)."""
        config = self.maze.config
        frames = np.empty((len(poses), config.size, config.size, 3), np.uint8)
        for frame, (row, column, heading) in zip(frames, poses, strict=True):
            x, y = wad.position(row / config.steps, column / config.steps)
            angle = heading / config.headings
            self._game.send_game_command("puke 1 " + " ".join(str(round(value * 65536)) for value in (x, y, angle)))
            self._game.advance_action(1)
            screen = self._game.get_state().screen_buffer[:, 40:280]  # (240, 240, 3)
            frame[:] = np.asarray(Image.fromarray(screen).resize((config.size, config.size), Image.Resampling.BOX))
        return frames


def film(level: Level, poses: np.ndarray) -> np.ndarray:
    """Render what is seen from poses (..., 3), each once: uint8 (..., h, w, 3)."""
    once, where = np.unique(poses.reshape(-1, 3), axis=0, return_inverse=True)
    with Renderer(level) as renderer:
        pictures = renderer.render([tuple(pose) for pose in once.tolist()])
    return pictures[where.reshape(poses.shape[:-1])]
