"""A real browser: Debian's Chromium, driven by Playwright."""

import base64
import io
import os
import shutil
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image

ARGUMENTS = ("--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage")
PATIENCE = 60  # seconds for something that a loaded machine does late


def chromium():
    """Where the browser is; None where there is none. ARVDM_TEST_BROWSER=1 says that there must be one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or ("chromium" if os.environ.get("ARVDM_TEST_BROWSER") == "1" else None)


@contextmanager
def launched():
    """A browser of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()


class Tab:
    """A page in a browser: what is on it, and what it asked for and complained of."""

    def __init__(self, browser, url, script=None, route=None, **options):
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 860}} | options))
        if script:
            self.context.add_init_script(script)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complain(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        if route:
            self.page.route(*route)
        self.page.goto(url)

    def complain(self, kind, text):
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def close(self):
        self.context.close()

    def find(self, where):
        return self.page.locator(where)

    def text(self, where):
        return self.find(where).text_content()

    def frame(self):
        """The number of the frame that is shown."""
        shown = self.text("#hud-frame")
        return int(shown) if shown.lstrip("-").isdigit() else None

    def until(self, true):
        """Wait until something is true."""
        end = time.monotonic() + PATIENCE
        while not (value := true()):
            assert time.monotonic() < end, "it did not come true"
            self.page.wait_for_timeout(20)
        return value

    def live(self):
        """Wait until frames are shown."""
        self.until(lambda: self.frame() is not None and self.text("#state") != "Connecting")
        return self

    def picture(self, kind="model"):
        """What is on a canvas, int (h, w, 3), which may be subtracted."""
        code = """canvas => canvas.toDataURL("image/png").split(",")[1]"""
        data = base64.b64decode(self.find(f'figure[data-kind="{kind}"] canvas').evaluate(code))
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def shift(before, after, most=24):
    """By how many pixels to the right what is on a picture has moved: the shift that fits best."""
    width = before.shape[1]

    def misfit(by):
        left, right = max(0, by), min(width, width + by)
        return np.abs(after[:, left:right] - before[:, left - by : right - by]).mean()

    return min(range(-most, most + 1), key=misfit)
