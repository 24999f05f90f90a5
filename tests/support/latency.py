"""How soon the page of `arvdm play` shows that a key was obeyed: `python latency.py [SECONDS [CHUNK...]]`.

maze-fast in bfloat16 is driven in Chromium for some seconds at each chunk. A key goes down and stays down until the
next, 0.3 to 0.7 s later or once it is obeyed; its time ends when the first frame that obeys it has been drawn.
"""

import random
import statistics
import subprocess
import sys
import time

from support.browser import Tab, launched
from support.paths import ROOT

KEYS = {"w": "forward", "a": "left", "d": "right"}
WARM = 5  # seconds before the first key that counts
WATCH = """
const ACTIONS = { KeyW: "forward", KeyA: "left", KeyD: "right" };
window.answers = [];
window.pressed = null;
addEventListener("keydown", (event) => {
  if (!event.repeat) window.pressed = { action: ACTIONS[event.code], time: performance.now() };
}, true);
new MutationObserver((changes) => {
  for (const { target, oldValue } of changes) {
    const shown = target.classList.contains("obeyed") && !(oldValue ?? "").split(" ").includes("obeyed");
    if (!shown || target.dataset.action !== window.pressed?.action) continue;
    window.answers.push(performance.now() - window.pressed.time);
    window.pressed = null;
  }
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["class"], attributeOldValue: true });
"""


def drive(tab, seconds):
    """Press keys for a while: frames shown a second, and milliseconds from each key to its first frame."""
    draw, held, begun = random.Random(0), None, None
    end = time.monotonic() + WARM + seconds
    while (now := time.monotonic()) < end or begun is None:
        if begun is None and now > end - seconds:
            begun = (now, tab.frame())
            tab.page.evaluate("window.answers = []")
        key = draw.choice([key for key in KEYS if key != held])
        if held:
            tab.page.keyboard.up(held)
        tab.page.keyboard.down(key)
        held = key
        tab.page.wait_for_timeout(draw.uniform(300, 700))
        tab.until(lambda: tab.page.evaluate("window.pressed === null"))
    lasted, frames = time.monotonic() - begun[0], tab.frame() - begun[1]
    return frames / lasted, sorted(tab.page.evaluate("window.answers"))


def measure(browser, chunk, seconds):
    """Play at one chunk, and print what was measured."""
    words = ["play", "maze-fast", "-p", str(ROOT / "examples" / "maze.mp4"), "--chunk", str(chunk), "--seed", "1"]
    command = [sys.executable, "-m", "arvdm_cli", *words, "--dtype", "bfloat16"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as play:
        try:
            tab = Tab(browser, play.stdout.readline().strip(), script=WATCH).live()
            rate, answers = drive(tab, seconds)
            tab.close()
        finally:
            play.terminate()
    p95 = answers[min(len(answers) - 1, int(0.95 * len(answers)))]
    print(
        f"chunk {chunk}: {rate:.1f} frames/s, {len(answers)} keys, "
        f"p50 {statistics.median(answers):.0f} ms, p95 {p95:.0f} ms",
        flush=True,
    )


def main(seconds="30", *chunks):
    with launched() as browser:
        for chunk in chunks or (1, 2, 4):
            measure(browser, int(chunk), float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
