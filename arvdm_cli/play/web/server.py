"""The page of `arvdm play`: frames to up to 8 viewers, and what one of them presses to the session."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources

from aiohttp import WSMsgType, web

from ...configs import Json
from ...errors import UsageError
from ..frame import Frame
from ..keys import KeyMap
from ..session import Session, Viewer
from . import messages, security
from .pictures import to_jpeg, to_png
from .seats import Seats

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# Why a socket is closed; page/link.js has the same numbers
ENDED, OLD_PAGE, TOO_MUCH, FULL = 4000, 4001, 1008, 1013
HEARTBEAT = 10.0  # seconds between questions whether a page is still there
PATIENCE = 1.0  # seconds that open connections get at the end


@dataclass(frozen=True)
class ServerSettings:
    """Where the page is served, and what it shows beside the session."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any that is free
    allowed: tuple[str, ...] = ()  # other names that lead to it, as of a proxy
    title: str = "arvdm"  # the model's name
    paused: bool = False  # whether the session begins paused, and stays so when a page opens


class Server:
    """Serves one session, in a thread of its own, until `stop`.

    While nobody looks on the session is paused: a page that is closed costs nothing.
    """

    def __init__(self, session: Session, keys: KeyMap, settings: ServerSettings):
        self.session, self.keys, self.settings = session, keys, settings
        self.guard = security.Guard.of(settings.host, settings.allowed)
        self.port = settings.port
        self.seats = Seats()
        self.guests: dict[int, Guest] = {}
        self.asleep = False  # paused because nobody looks on
        self.newest: Frame | None = None
        self.encoded: tuple[Frame, list[tuple[str, bytes]]] | None = None
        self.page = page()
        self._watch = session.subscribe()  # what is known of the session while no page is open
        self._ended = threading.Event()
        self._ready: threading.Event = threading.Event()
        self._fault: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="arvdm-play-server", daemon=True)

    @property
    def url(self) -> str:
        """The address that opens the page; who has it can drive."""
        host = self.settings.host
        if security.is_wildcard(host):
            host = self.settings.allowed[0] if self.settings.allowed else "127.0.0.1"
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"http://{host}:{self.port}/?token={self.guard.token}"

    def start(self) -> None:
        """Serve from now on.

        Raises: UsageError where the address cannot be used
        """
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            self._thread.join()
            raise self._fault

    def wait(self) -> None:
        """Wait until the session ends."""
        while not self._ended.wait(0.5):  # in turns, as some systems hold a signal back until a wait ends
            pass

    def stop(self) -> None:
        """Close all pages' sockets and end; returns within about two seconds."""
        if self._loop is not None and self._over is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(2 * PATIENCE)
        self._watch.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # raised again by `start`, in the caller's thread
            self._fault = error
        finally:
            self._ended.set()
            self._ready.set()

    async def _serve(self) -> None:
        runner = web.AppRunner(self._app(), handle_signals=False, access_log=None, shutdown_timeout=PATIENCE)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.settings.host.strip("[]") or None, self.settings.port)
            try:
                await site.start()
            except (OSError, OverflowError) as error:
                raise self._unusable(error) from error
            self.port = runner.addresses[0][1]
            self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
            self._rest()
            watching = asyncio.create_task(self._follow())
            self._ready.set()
            await self._over.wait()
            watching.cancel()
            await asyncio.gather(*(guest.end(ENDED, "ended") for guest in self.guests.values()))
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._check(request, handler)

        app = web.Application(client_max_size=security.MESSAGE, middlewares=[check])
        app.router.add_get("/", self._index)
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/shot.png", self._shot)
        app.router.add_get("/{name}", self._file)
        return app

    def _unusable(self, error: Exception) -> UsageError:
        where = f"{self.settings.host}:{self.settings.port}"
        reason = getattr(error, "strerror", None) or str(error)
        return UsageError(
            f"The page cannot be served at {where}: {reason}.", hint="Leave out --port: any that is free."
        )

    async def _follow(self) -> None:
        """Keep the newest frame, and notice the end of the session."""
        changed = listen(self._watch)
        while not self._watch.closed:
            self.newest = self._watch.take(0) or self.newest
            await changed.wait()
            changed.clear()
        self.newest = self._watch.take(0) or self.newest
        self._ended.set()

    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a request that is not the page's own; every reply carries the headers of a careful page."""
        token = security.token_of(request.headers.get("Cookie", ""), request.query, self.port)
        hosts, origins = (request.headers.getall(name, []) for name in ("Host", "Origin"))
        refusal = self.guard.refusal(hosts, origins, token)
        if refusal:
            return web.Response(status=403, text=f"{refusal}\n", headers=security.HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"{error.reason}\n", headers=security.HEADERS)
        if not response.prepared:
            response.headers.update(security.HEADERS)
        return response

    async def _index(self, request: web.Request) -> web.StreamResponse:
        response = self._reply("index.html")
        # no redirect to an address without the token: after a link from elsewhere it would arrive without the cookie
        response.headers["Set-Cookie"] = security.cookie_of(self.guard.token, self.port)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._reply(request.match_info["name"])

    def _reply(self, name: str) -> web.Response:
        if name not in self.page:
            raise web.HTTPNotFound
        return web.Response(body=self.page[name], content_type=KINDS[name.rpartition(".")[2]], charset="utf-8")

    async def _shot(self, request: web.Request) -> web.StreamResponse:
        """The newest frame to the bit, which its JPEG is not."""
        if self.newest is None:
            raise web.HTTPNotFound
        pictures = [picture for _, picture in messages.views(self.newest)]
        return web.Response(body=to_png(pictures), content_type="image/png")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """A viewer, from its coming to its going."""
        socket = web.WebSocketResponse(max_msg_size=security.MESSAGE, heartbeat=HEARTBEAT, compress=False, timeout=0.5)
        await socket.prepare(request)
        if request.query.get("protocol") != str(messages.PROTOCOL):
            await socket.close(code=OLD_PAGE, message=b"old page")
        elif len(self.seats.taken) >= security.VIEWERS:
            await socket.close(code=FULL, message=b"full")
        else:
            number = self.seats.enter()
            guest = self.guests[number] = Guest(self, number, socket, self.session.subscribe())
            self._wake()
            self.announce()
            try:
                await guest.stay()
            finally:
                guest.slot.close()
                del self.guests[number]
                self.moved(self.seats.leave(number))
                self._rest()
        return socket

    def _rest(self) -> None:
        """Pause the session if nobody looks on and nobody has paused it."""
        paused = self.newest.paused if self.newest else self.settings.paused
        if not self.guests and not paused:
            self.asleep = True
            self.session.controls.command("pause", True)

    def _wake(self) -> None:
        if self.asleep:
            self.asleep = False
            self.session.controls.command("pause", False)

    def moved(self, changed: bool) -> None:
        """After a change of seats: let go of what the last driver held, and tell everyone."""
        if changed:
            self.session.controls.release_all()
        self.announce()

    def announce(self) -> None:
        for guest in self.guests.values():
            guest.wake.set()

    def pictures(self, frame: Frame) -> list[tuple[str, bytes]]:
        """The pictures of a frame as JPEG, encoded once for all viewers."""
        if self.encoded is None or self.encoded[0] is not frame:
            self.encoded = frame, [(kind, to_jpeg(picture)) for kind, picture in messages.views(frame)]
        return self.encoded[1]


def serve(session: Session, keys: KeyMap, settings: ServerSettings, on_open: Callable[[str], None]) -> None:
    """Play a session that has not begun on a page, until the session ends or the user interrupts it.

    on_open: is given the address of the page once it can be opened
    Raises: UsageError where the page cannot be served; what ended the session, where that was an error
    """
    server = Server(session, keys, settings)
    server.start()
    try:
        session.start()
        on_open(server.url)
        server.wait()
    finally:
        server.stop()
        session.stop()
    if session.error is not None:
        raise session.error


class Guest:
    """A viewer at the other end of a socket: the newest frame to it while it draws them, its input from it."""

    def __init__(self, server: Server, number: int, socket: web.WebSocketResponse, slot: Viewer):
        self.server, self.number, self.socket, self.slot = server, number, socket, slot
        self.wake = listen(slot)
        self.allowance = security.Allowance()
        self.sent: dict[int, float] = {}  # frames not yet acknowledged: id -> when they were sent
        self.id = 0
        self.trip = 0.0  # seconds from sending a frame to hearing that it was drawn, over the last ones
        self.status: Json = {}

    @property
    def drives(self) -> bool:
        return self.server.seats.driver == self.number

    async def stay(self) -> None:
        """Until the page or the session ends."""
        tasks = [asyncio.create_task(each) for each in (self.show(), self.listen())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            with suppress(ConnectionError):  # it left while something was sent to it
                task.result()

    async def end(self, code: int, reason: str) -> None:
        await self.socket.close(code=code, message=reason.encode())

    async def show(self) -> None:
        """Send status and frames: at most `security.WAITING` that were not drawn yet, always the newest."""
        hello = messages.hello(self.server.session, self.server.settings.title, self.server.keys)
        await self.socket.send_str(json.dumps(hello))
        while True:
            await self.send_status()
            if len(self.sent) < security.WAITING and (frame := self.slot.take(0)) is not None:
                await self.send(frame)
                continue
            await self.wake.wait()
            self.wake.clear()

    async def send_status(self) -> None:
        status: Json = {"type": "status", "drives": self.drives, "viewers": len(self.server.seats.taken)}
        if status != self.status:
            self.status = status
            await self.socket.send_str(json.dumps(status))

    async def send(self, frame: Frame) -> None:
        self.id += 1
        number, stamp = divmod(frame.stamp or 0, messages.STAMPS)
        head = messages.header(frame) | {
            "id": self.id,
            "stamp": stamp if number == self.number else None,  # what others pressed is no measure of this page
            "trip": round(self.trip * 1000, 1),
        }
        pictures = self.server.pictures(frame)
        self.sent[self.id] = time.monotonic()
        await self.socket.send_bytes(messages.pack(head, pictures))

    async def listen(self) -> None:
        """Take what the page sends until it goes, or sends what no page of this version would."""
        async for packet in self.socket:
            try:
                if not self.allowance.take():
                    raise messages.MessageError("too many messages")
                if packet.type is not WSMsgType.TEXT:
                    raise messages.MessageError("not text")
                self.obey(messages.read(packet.data, self.server.session))
            except messages.MessageError as error:
                await self.end(TOO_MUCH, str(error))
                return

    def obey(self, message: messages.Message) -> None:
        """Acknowledgements and seats of everyone; the rest of who drives."""
        if message.ack is not None:
            self.acknowledge(message.ack)
        elif message.seat == "take":
            self.server.moved(self.server.seats.take(self.number))
        elif message.seat == "hand":
            self.server.moved(self.server.seats.hand(self.number))
        elif self.drives:
            self.drive(message)

    def drive(self, message: messages.Message) -> None:
        controls = self.server.session.controls
        stamp = self.number * messages.STAMPS + (message.stamp or 0)
        if message.hold is not None:
            controls.hold(message.hold, stamp)
        elif message.move is not None:
            controls.move(message.move, stamp)
        elif message.release:
            controls.release_all()
        elif message.command is not None:
            controls.command(message.command.name, message.command.value)

    def acknowledge(self, id: int) -> None:
        """A frame was drawn; one that was dropped in between will not be."""
        when = self.sent.get(id)
        if when is not None:
            trip = time.monotonic() - when
            self.trip = trip if not self.trip else 0.8 * self.trip + 0.2 * trip
        self.sent = {each: sent for each, sent in self.sent.items() if each > id}
        self.wake.set()


def listen(slot: Viewer) -> asyncio.Event:
    """An event of the running loop that is set whenever there is something to take from a slot."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(event.set)

    slot.listen(wake)
    event.set()
    return event


def page() -> dict[str, bytes]:
    """The files of the page, by name; nothing else is served."""
    folder = resources.files(__package__) / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in KINDS}
