"""Make examples/demo.webp: a walk there and back, true frames beside those that the model draws from memory.

    pip install '.[data]' && python examples/demo.py          # with --clip it renders examples/maze.mp4 too

The clip goes to another room and back, in a maze that was not trained on, chosen among 16. The first RETURN actions of
demo.jsonl go there and back again; then comes a walk drawn at random, of 300 drawn the first that meets no wall here.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from arvdm_cli import media
from arvdm_cli.evaluation.truth import place_seed
from arvdm_cli.worlds.maze import ACTIONS, Maze, MazeConfig
from arvdm_cli.worlds.renderer import Renderer

HERE = Path(__file__).parent
MAZE = Maze(MazeConfig(posters=12), place_seed(1_000_000, 53))
START = (40, 80, 16)  # row, column and heading of the clip's first frame
RETURN = 160  # actions that stay where the clip has been
STEPS = {0: "turns round", 16: "walks to the other room", 48: "looks about", 96: "walks back", 128: "looks about"}
SIDE, GAP, TOP = 256, 6, 30  # pixels


def follow(name: str, pose: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Poses that a file of actions leads to; an action that would walk into a wall is an error."""
    words = map(json.loads, (HERE / name).read_text().splitlines())
    return MAZE.follow(pose, map(ACTIONS.index, words))


def main() -> None:
    shown = follow("maze.jsonl", START)
    with Renderer(MAZE) as renderer:
        clip, truth = renderer.render(shown), renderer.render(follow("demo.jsonl", shown[-1])[:RETURN])
    if "--clip" in sys.argv:
        with media.Writer(HERE / "maze.mp4", 64, 64, media.Encoding(MAZE.config.fps, scale=2, crf=14)) as writer:
            writer.write(clip)
    with tempfile.TemporaryDirectory() as folder:
        words = f"generate -p maze.mp4 -a demo.jsonl -n {RETURN} --seed 1 -q --format png -o".split()
        subprocess.check_output([sys.executable, "-m", "arvdm_cli", *words, folder], cwd=HERE)
        made = media.read(folder).frames
    font, pictures = ImageFont.load_default(15), []
    for t, pair in enumerate(zip(truth, made, strict=True)):
        picture = Image.new("RGB", (2 * SIDE + GAP, TOP + SIDE), "#16181d")
        draw, step = ImageDraw.Draw(picture), STEPS[max(first for first in STEPS if first <= t)]
        for left, label, frame in zip((0, SIDE + GAP), (f"truth: {step}", "model, from memory"), pair, strict=True):
            draw.text((left + 8, TOP // 2), label, "white", font, "lm")
            picture.paste(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, TOP))
        pictures.append(picture)
    pause = [round(1000 / MAZE.config.fps)] * (RETURN - 1) + [1000]  # milliseconds
    pictures[0].save(HERE / "demo.webp", save_all=True, append_images=pictures[1:], duration=pause, loop=0, quality=70)


if __name__ == "__main__":
    main()
