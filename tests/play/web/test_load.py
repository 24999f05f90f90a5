"""Eight viewers at once, one slow and one dead: the others see every frame soon, and memory stays flat."""

import asyncio
import os
import statistics
import time

import pytest

from arvdm_cli.play.web import security
from support.pages import visit
from support.play import Landscape

SECONDS = float(os.environ.get("ARVDM_TEST_VIEWERS", "3"))  # `make viewers` takes ten minutes
SLOW = 0.3  # seconds in which a slow page draws a frame


def resident_mb():
    """Memory of this process; None where the system does not show it."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return None


class Steady:
    """Receives frames for a while and counts them, keeping no picture."""

    def __init__(self, page, delay=0.0):
        self.page, self.delay = page, delay
        self.frames, self.numbers, self.trips = 0, set(), []

    async def watch(self, end):
        while time.monotonic() < end:
            kind = await self.page.receive()
            self.page.headers.clear()
            if kind != "frame":
                continue
            self.frames += 1
            self.numbers.add(self.page.header["frame"])
            self.trips.append(self.page.header["trip"])
            await asyncio.sleep(self.delay)
            await self.page.send(ack=self.page.header["id"])


def report(viewers, slow, made, before, after):
    """Print what was measured."""
    seen = [len(viewer.numbers) for viewer in viewers]
    trips = sorted(trip for viewer in viewers for trip in viewer.trips)
    print(f"\n{made} frames in {SECONDS:g} s; fast viewers saw {min(seen)} to {max(seen)}, slow {slow.frames}")
    print(
        f"sent to acknowledged: median {statistics.median(trips):.1f} ms, 95 % {trips[int(0.95 * len(trips))]:.1f} ms"
    )
    print(f"memory {before:.0f} -> {after:.0f} MB")


@pytest.mark.slow
def test_eight_viewers_one_slow_and_one_dead_cost_no_memory_and_no_frames(capsys):
    async def visitor(browser, server):
        viewers = [Steady(await browser.open()) for _ in range(6)]
        slow = Steady(await browser.open(), SLOW)
        dead = await browser.connect()  # reads nothing
        while len(server.guests) < security.VIEWERS:
            await asyncio.sleep(0.01)
        stuck = server.guests[max(server.guests)]
        began = server.newest.number
        warm, end = time.monotonic() + SECONDS / 3, time.monotonic() + SECONDS
        everyone = [*viewers, slow]
        await asyncio.gather(*(viewer.watch(warm) for viewer in everyone))
        before = resident_mb()
        await asyncio.gather(*(viewer.watch(end) for viewer in everyone))
        after = resident_mb()
        made = server.newest.number - began
        assert stuck.id <= security.WAITING and not dead.headers
        assert all(len(guest.sent) <= security.WAITING for guest in server.guests.values())
        assert slow.frames < made
        assert min(viewer.frames for viewer in viewers) > slow.frames
        assert before is None or after - before < 20
        if SECONDS > 60:
            with capsys.disabled():
                report(viewers, slow, made, before, after)

    visit(visitor, Landscape(truth=True))
