"""Make examples/play.webp: the page of `arvdm play maze --truth maze`, driven in Chromium one frame at a time.

    pip install '.[data,play,dev]' && python examples/play.py

Every frame is a step of a paused play and a picture of the page, so it looks the same however fast the machine is; what
the page shows of rates is left out.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SEED = 4
# keys held for some frames; Backspace goes back a second
MOVES = (("d", 12), ("a", 24), ("Backspace", 1), ("d", 16), ("w", 8))
VIEW, WIDTH = {"width": 1100, "height": 644}, 720  # of the page, and of the pictures, pixels
HIDDEN = "#state, #seat, #hud-fps, #hud-speed, #hud-key, aside section:last-child"


def shoot(page: Page) -> Image.Image:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)


def play(page: Page) -> list[tuple[Image.Image, int]]:
    """Pictures of the page, and the milliseconds for which each is shown."""
    frame = page.locator("#hud-frame")
    page.wait_for_function("document.querySelector('#hud-frame').textContent === '0'")
    hide = "all => all.forEach(each => (each.closest('#hud div') ?? each).style.display = 'none')"
    page.locator(HIDDEN).evaluate_all(hide)
    pictures = [(shoot(page), 600)]
    for key, frames in MOVES:
        page.keyboard.down(key)
        for _ in range(frames):
            before = frame.text_content()
            if key != "Backspace":
                page.keyboard.press(".")
            page.wait_for_function("before => document.querySelector('#hud-frame').textContent !== before", arg=before)
            pictures.append((shoot(page), 1000 if key == "Backspace" else 90))
        page.keyboard.up(key)
    return [*pictures, (shoot(page), 1000)]


def main() -> None:
    words = ["play", "maze", "--truth", "maze", "--seed", str(SEED), "--paused"]
    command = [sys.executable, "-m", "arvdm_cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW, bypass_csp=True, color_scheme="dark")
        page.set_default_timeout(120_000)
        page.goto(server.stdout.readline().strip())
        pictures = play(page)
        browser.close()
        server.terminate()
    (first, pause), *others = pictures
    pauses = [pause, *(pause for _, pause in others)]
    path = Path(__file__).parent / "play.webp"
    first.save(path, save_all=True, append_images=[each for each, _ in others], duration=pauses, loop=0, quality=60)


if __name__ == "__main__":
    main()
