"""The server of the page: who gets it, who drives, and what a slow, dead or rude viewer costs."""

import asyncio
import io
import socket
import threading

import aiohttp
import numpy as np
import pytest
from PIL import Image

from arvdm_cli.errors import UsageError
from arvdm_cli.play.web import security
from arvdm_cli.play.web.server import ENDED, FULL, OLD_PAGE, TOO_MUCH, Server, ServerSettings
from support.pages import visit
from support.play import KEYS, Landscape

PATHS = ("/", "/page.js", "/shot.png", "/ws", "/nothing")


def test_the_printed_address_opens_the_page_and_a_cookie_opens_the_rest():
    async def visitor(browser, server):
        status, headers, body = await browser.get(f"/?token={server.guard.token}", cookie=False)
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8") and b"<canvas" in body
        assert server.url == f"http://127.0.0.1:{server.port}/?token={server.guard.token}"
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        browser.cookie = {"Cookie": f"somebody=else; {cookie.partition(';')[0]}"}
        for name, kind in (("page.js", "text/javascript"), ("page.css", "text/css"), ("favicon.svg", "image/svg+xml")):
            status, headers, body = await browser.get(f"/{name}")
            assert (status, headers.get("Content-Type")) == (200, f"{kind}; charset=utf-8") and body
        assert (await browser.open()).hello["model"] == "arvdm"

    visit(visitor)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "evil.example:80", "Origin": "http://evil.example:80"},
     {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}],
    ids=str,
)  # fmt: skip
def test_another_host_or_origin_is_refused_everywhere_even_with_the_token(headers):
    async def visitor(browser, server):
        for path in PATHS:
            assert (await browser.get(path, headers))[0] == 403
            assert (await browser.get(f"{path}?token={server.guard.token}", headers))[0] == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.connect(headers)
        assert refused.value.status == 403 and not server.seats.taken

    visit(visitor)


def test_without_the_token_everything_is_refused():
    async def visitor(browser, server):
        for path in PATHS:
            assert (await browser.get(path, cookie=False))[0] == 403
            assert (await browser.get(f"{path}?token=wrong"))[0] == 403
            status, _, body = await browser.get(path, {"Cookie": f"arvdm-play-{server.port}=wrong"}, cookie=False)
            assert status == 403 and server.guard.token.encode() not in body
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.connect(cookie=False)
        assert refused.value.status == 403

    visit(visitor)


def test_a_program_without_an_origin_may_connect_with_the_token():
    async def visitor(browser, server):
        address = f"{browser.base}/ws?protocol=1&token={server.guard.token}"
        async with browser.client.ws_connect(address) as socket:
            assert (await socket.receive_json())["type"] == "hello"

    visit(visitor)


def test_a_name_that_was_allowed_is_served():
    async def visitor(browser, server):
        names = {"Host": "lab.example.org", "Origin": "https://lab.example.org"}
        assert (await browser.get("/", names))[0] == 200
        page = await browser.connect(names)
        await page.until(lambda it: it.header)

    visit(visitor, allowed=("lab.example.org",))


def test_every_reply_forbids_other_sources():
    async def visitor(browser, server):
        for path, cookie in ((path, cookie) for path in PATHS for cookie in (True, False)):
            _, headers, _ = await browser.get(path, cookie=cookie)
            for name, value in security.HEADERS.items():
                assert headers[name] == value, (path, name)

    visit(visitor)


def test_only_the_files_of_the_page_are_served():
    async def visitor(browser, server):
        for path in (
            "/server.py",
            "/../server.py",
            "/%2e%2e/server.py",
            "/..%2fserver.py",
            "/page",
            "/page.js/",
            "/a/b",
        ):
            assert (await browser.get(path))[0] == 404
        assert (await browser.get("/", method="POST"))[0] == 405

    visit(visitor)


def test_the_page_names_no_other_host_and_no_absolute_path():
    from arvdm_cli.play.web.server import page

    files = {name: data.decode() for name, data in page().items()}
    assert {"index.html", "page.js", "page.css", "favicon.svg"} <= files.keys()
    for name, text in files.items():
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "://" not in text.replace("`${scheme}//", ""), name
        assert not any(f'{way}="/' in text for way in ("src", "href")), name
        assert "style=" not in text and " onclick" not in text and "innerHTML" not in text, name


def test_frames_come_with_their_pictures():
    async def visitor(browser, server):
        page = await browser.open()
        await page.until(lambda it: len({header["frame"] for header in it.headers}) > 3)
        assert [kind for kind, _ in page.pictures] == ["model", "truth"]
        for _, data in page.pictures:
            assert Image.open(io.BytesIO(data)).size == (64, 64)
        assert page.header["psnr"] == 24.3
        ids = [header["id"] for header in page.headers]
        assert ids == sorted(set(ids))

    visit(visitor, Landscape(truth=True))


def test_a_page_that_draws_nothing_gets_two_frames_and_then_the_newest():
    async def visitor(browser, server):
        fast, slow = await browser.open(), await browser.connect()
        await fast.until(lambda it: it.header["frame"] > 30)
        await slow.until(lambda it: len(it.headers) == security.WAITING, acknowledge=False)
        last = slow.header["frame"]
        await fast.until(lambda it: it.header["frame"] > last + 20)  # the other one is not held up
        await slow.send(ack=slow.header["id"])
        await slow.until(lambda it: len(it.headers) == security.WAITING + 1, acknowledge=False)
        assert slow.header["frame"] >= last + 20  # those in between are gone

    visit(visitor)


def test_a_page_that_reads_nothing_holds_nobody_up():
    async def visitor(browser, server):
        request = (
            f"GET /ws?protocol=1&token={server.guard.token} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as dead:
            dead.sendall(request.encode())
            page = await browser.open()
            await page.until(lambda it: it.status["viewers"] == 2)
            first = page.header["frame"]
            await page.until(lambda it: it.header["frame"] > first + 30)
            (guest,) = (guest for guest in server.guests.values() if guest.trip == 0)
            assert guest.id <= security.WAITING
        await page.until(lambda it: it.status["viewers"] == 1)

    visit(visitor)


def test_keys_of_the_driver_move_the_picture_and_come_back_with_their_stamp():
    async def visitor(browser, server):
        page = await browser.open()
        assert page.status == {"type": "status", "drives": True, "viewers": 1}
        await page.send(hold={"right": 1, "cameraX": 0.5}, stamp=41)
        await page.until(lambda it: it.header["stamp"] == 41)
        assert page.header["held"] == {"right": 1.0, "cameraX": 0.5}
        await page.send(release=True)
        await page.until(lambda it: it.header["held"] == {})

    visit(visitor)


@pytest.mark.parametrize(
    "message", [b"x", "no json", "[]", '{"hold": {"fly": 1}, "stamp": 1}', '{"command": "screenshot"}']
)
def test_a_message_that_is_none_closes_its_socket_only(message):
    async def visitor(browser, server):
        good, bad = await browser.open(), await browser.open()
        await (bad.socket.send_bytes if isinstance(message, bytes) else bad.socket.send_str)(message)
        assert await bad.closed() == TOO_MUCH
        await good.until(lambda it: it.status["viewers"] == 1)

    visit(visitor)


def test_a_message_that_is_too_long_closes_its_socket():
    async def visitor(browser, server):
        page = await browser.open()
        await page.socket.send_str(" " * security.MESSAGE + "{}")
        assert await page.closed() == 1009

    visit(visitor)


def test_too_many_messages_at_once_close_their_socket(monkeypatch):
    monkeypatch.setattr(security, "RATE", 0)

    async def visitor(browser, server):
        page = await browser.open()
        for _ in range(security.BURST):
            await page.send(release=True)
        assert await page.closed() == TOO_MUCH

    visit(visitor)


def test_a_ninth_page_is_refused_until_one_leaves():
    async def visitor(browser, server):
        pages = [await browser.open() for _ in range(security.VIEWERS)]
        assert await (await browser.connect()).closed() == FULL
        await pages[3].socket.close()
        await pages[0].until(lambda it: it.status["viewers"] == security.VIEWERS - 1)
        assert (await browser.open()).status["viewers"] == security.VIEWERS

    visit(visitor)


@pytest.mark.parametrize("protocol", ["0", "2", "", "x"])
def test_a_page_of_another_version_is_sent_away(protocol):
    async def visitor(browser, server):
        assert await (await browser.connect(protocol=protocol)).closed() == OLD_PAGE
        assert not server.seats.taken

    visit(visitor)


def test_one_drives_and_others_watch_until_one_takes_over():
    async def visitor(browser, server):
        driver, watcher = await browser.open(), await browser.open()
        assert (driver.status["drives"], watcher.status["drives"]) == (True, False)
        await watcher.send(hold={"left": 1}, stamp=1)
        await watcher.send(command="pause", value=True)
        await driver.send(hold={"right": 1}, stamp=2)
        await driver.until(lambda it: it.header["stamp"] == 2)
        assert driver.header["held"] == {"right": 1.0} and not driver.header["paused"]
        await watcher.send(seat="take")
        await watcher.until(lambda it: it.status["drives"] and it.header["held"] == {})  # keys are up
        assert watcher.header["stamp"] is None  # that of somebody else
        await driver.until(lambda it: not it.status["drives"])
        await watcher.send(seat="hand")
        await driver.until(lambda it: it.status["drives"])

    visit(visitor)


def test_when_the_driver_leaves_keys_are_up_and_the_next_drives():
    async def visitor(browser, server):
        driver, watcher = await browser.open(), await browser.open()
        await driver.send(hold={"right": 1}, stamp=1)
        await watcher.until(lambda it: it.header["held"] == {"right": 1.0})
        await driver.socket.close()
        await watcher.until(lambda it: it.status["drives"] and it.header["held"] == {})
        assert watcher.status["viewers"] == 1

    visit(visitor)


def test_while_nobody_looks_on_the_session_is_paused():
    async def visitor(browser, server):
        page = await browser.open()
        await page.until(lambda it: it.header["frame"] > 3 and not it.header["paused"])
        await page.socket.close()
        while not server.newest.paused:
            await asyncio.sleep(0.01)
        page = await browser.open()
        await page.until(lambda it: not it.header["paused"])
        await page.send(command="pause", value=True)
        await page.until(lambda it: it.header["paused"])
        await page.socket.close()
        while server.guests:
            await asyncio.sleep(0.01)
        assert (await browser.open()).header["paused"]  # what a user paused stays so

    visit(visitor)


def test_commands_reach_the_session_and_a_rewind_shows_the_frame_of_then():
    async def visitor(browser, server):
        page = await browser.open()
        await page.send(hold={"right": 1}, stamp=1)
        seen = {}

        def note(page):
            seen.setdefault((page.header["branch"], page.header["frame"]), page.pictures)
            return page.header["frame"] > 12

        await page.until(note)
        await page.send(command="pause", value=True)
        await page.until(lambda it: it.header["paused"])
        await page.send(command="rewind", value=5)
        await page.until(lambda it: it.header["branch"] == 1)
        assert page.pictures == seen.get((0, page.header["frame"]), page.pictures)
        assert page.header["note"] == "back 5 frames"

    visit(visitor)


def test_a_screenshot_is_the_newest_frame_to_the_bit():
    async def visitor(browser, server):
        page = await browser.open()
        await page.send(command="pause", value=True)
        await page.until(lambda it: it.header["paused"])
        await asyncio.sleep(0.1)
        status, headers, data = await browser.get("/shot.png")
        assert (status, headers["Content-Type"]) == (200, "image/png")
        frame = server.newest
        np.testing.assert_array_equal(
            Image.open(io.BytesIO(data)), np.concatenate([frame.picture, frame.truth], axis=1)
        )

    visit(visitor, Landscape(truth=True))


@pytest.mark.parametrize("reads", [True, False])
def test_the_server_ends_with_a_page_open(reads):
    async def visitor(browser, server):
        page = await browser.open()
        ending = threading.Thread(target=server.stop)
        ending.start()
        if reads:
            assert await page.closed() == ENDED
        await asyncio.to_thread(server._thread.join, 60)
        assert not server._thread.is_alive()

    visit(visitor)


def test_the_end_of_the_session_ends_the_wait_and_pages_see_its_error():
    async def visitor(browser, server):
        page = await browser.open()
        server.session.error = "The network returned NaN."
        server.session.publish()
        await asyncio.to_thread(server.session.stop)
        await page.until(lambda it: it.header["error"])
        await asyncio.to_thread(server.wait)
        assert page.header["error"] == "The network returned NaN."

    visit(visitor)


def test_a_session_that_begins_paused_stays_so_when_a_page_opens():
    async def visitor(browser, server):
        page = await browser.open()
        await page.send(command="step")
        await page.until(lambda it: it.header["frame"] == 1)
        assert page.header["paused"]

    session = Landscape()
    session.paused = True
    visit(visitor, session, paused=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_that_cannot_be_used_is_an_error_of_one_line(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        session = Landscape()
        server = Server(session, KEYS, ServerSettings(host=host, port=taken.getsockname()[1]))
        with pytest.raises(UsageError, match="cannot be served") as error:
            server.start()
        assert "\n" not in str(error.value)
        server.stop()
        session.stop()


def test_the_address_of_a_server_can_be_opened_whatever_it_listens_on():
    def url(**settings):
        server = Server(Landscape(), KEYS, ServerSettings(**settings))
        return server.url.partition("/?")[0]

    assert url(port=80) == "http://127.0.0.1:80"
    assert url(host="::1", port=80) == url(host="[::1]", port=80) == "http://[::1]:80"
    assert url(host="0.0.0.0", port=80) == "http://127.0.0.1:80"
    assert url(host="0.0.0.0", allowed=("10.0.0.5",), port=80) == "http://10.0.0.5:80"
