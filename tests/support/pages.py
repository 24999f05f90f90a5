"""A page of `arvdm play` without a browser."""

import asyncio
import json
import struct
import threading
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from aiohttp import web

from arvdm_cli.play.web import security
from arvdm_cli.play.web.messages import PROTOCOL
from arvdm_cli.play.web.server import Server, ServerSettings
from support.play import KEYS, Landscape


@contextmanager
def serving(session=None, keys=KEYS, **settings):
    """A server with a session, both running; the session is a `Landscape` unless another is given."""
    session = session or Landscape()
    server = Server(session, keys, ServerSettings(**settings))
    server.start()
    session.start()
    try:
        yield server
    finally:
        server.stop()
        session.stop()


class Proxy:
    """Leads to a server under a prefix, as jupyter-server-proxy does: the prefix is stripped, Host stays."""

    PREFIX = "/user/me/proxy/9"

    def __init__(self, server):
        self.target = f"http://127.0.0.1:{server.port}"
        self.port = 0
        self.token = server.guard.token
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self):
        return f"http://localhost:{self.port}{self.PREFIX}/?token={self.token}"

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)

    async def _serve(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as self._client:
            app = web.Application()
            app.router.add_get(f"{self.PREFIX}/{{path:.*}}", self._forward)
            runner = web.AppRunner(app, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._over.wait()
            await runner.cleanup()

    async def _forward(self, request):
        address = f"{self.target}/{request.match_info['path']}?{request.query_string}"
        headers = {name: request.headers[name] for name in ("Host", "Origin", "Cookie") if name in request.headers}
        if request.headers.get("Upgrade", "").lower() != "websocket":
            async with self._client.get(address, headers=headers) as reply:
                return web.Response(body=await reply.read(), status=reply.status, headers=reply.headers)
        browser = web.WebSocketResponse()
        await browser.prepare(request)
        async with self._client.ws_connect(address, headers=headers) as server:
            await asyncio.wait(
                [asyncio.create_task(hand_on(*pair)) for pair in ((browser, server), (server, browser))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        return browser


async def hand_on(source, target):
    """Send on what comes through a socket until it is closed."""
    async for message in source:
        send = target.send_str if message.type is aiohttp.WSMsgType.TEXT else target.send_bytes
        await send(message.data)


class Page:
    """A socket to the server, and what came through it."""

    def __init__(self, socket):
        self.socket = socket
        self.hello, self.status, self.header, self.pictures = None, None, None, []
        self.headers = []  # of all frames

    async def receive(self):
        """Take one message, acknowledging nothing; the code of its closing where the socket was closed."""
        message = await self.socket.receive(timeout=600)
        if message.type is aiohttp.WSMsgType.BINARY:
            (length,) = struct.unpack_from("<I", message.data)
            self.header, at = json.loads(message.data[4 : 4 + length]), 4 + length
            self.headers.append(self.header)
            self.pictures = []
            for each in self.header["pictures"]:
                self.pictures.append((each["kind"], message.data[at : at + each["bytes"]]))
                at += each["bytes"]
            return "frame"
        if message.type is aiohttp.WSMsgType.TEXT:
            facts = json.loads(message.data)
            setattr(self, facts["type"], facts)
            return facts["type"]
        return self.socket.close_code

    async def until(self, true, acknowledge=True):
        """Take messages, drawing frames, until something is true of the page."""
        while not true(self):
            kind = await self.receive()
            assert isinstance(kind, str), kind
            if kind == "frame" and acknowledge:
                await self.send(ack=self.header["id"])

    async def send(self, **message):
        await self.socket.send_str(json.dumps(message))

    async def closed(self):
        """Take messages until the socket is closed; returns why."""
        while isinstance(kind := await self.receive(), str):
            pass
        return kind


class Browser:
    """Opens pages at a server, with what a browser would send."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.base = f"http://127.0.0.1:{server.port}"
        self.cookie = {"Cookie": f"{security.cookie_name(server.port)}={server.guard.token}"}

    async def get(self, path="/", headers=None, cookie=True, method="GET"):
        """The status, headers and body of a reply."""
        sent = (self.cookie if cookie else {}) | (headers or {})
        async with self.client.request(method, self.base + path, headers=sent, allow_redirects=False) as reply:
            return reply.status, reply.headers, await reply.read()

    async def connect(self, headers=None, cookie=True, protocol=PROTOCOL, path="/ws"):
        sent = (self.cookie if cookie else {}) | {"Origin": self.base} | (headers or {})
        address = f"{self.base}{path}?protocol={protocol}"
        return Page(await self.client.ws_connect(address, headers=sent, autoping=True))

    async def open(self):
        """A page that has its first frame."""
        page = await self.connect()
        await page.until(lambda it: it.hello and it.status and it.header)
        return page


@asynccontextmanager
async def browsing(server):
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Browser(server, client)


def visit(visitor, session=None, **settings):
    """Run `await visitor(browser, server)` against a server of its own."""

    async def run(server):
        async with browsing(server) as browser:
            await visitor(browser, server)

    with serving(session, **settings) as server:
        asyncio.run(run(server))
