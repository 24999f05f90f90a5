"""Who may open the page of `arvdm play`, and how much a viewer may send.

A page in another tab must not drive the model: a name that resolves to this machine shows itself in Host (DNS
rebinding), a foreign page in Origin, a stranger in the token. They are checked in this order, for every request.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from ...errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MESSAGE = 4096  # bytes of the longest message of a page
VIEWERS = 8  # pages at once
WAITING = 2  # frames that a page was sent and has not yet drawn
RATE, BURST = (
    240,
    480,
)  # messages a second, and of them at once: keys, mouse and gamepad at 60 Hz, a reply to each frame
PORTS = {"http": 80, "https": 443}

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'self'",  # a notebook shows the page in a frame; Host and Origin are its own
    "require-trusted-types-for": "'script'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",  # the address of the first request holds the token
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",  # the page of an older version would not know the protocol
}


@dataclass(frozen=True)
class Guard:
    """What a request must show: a Host that is served here, no foreign Origin, and the token."""

    hosts: frozenset[str]  # names and addresses in lower case, without port
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @staticmethod
    def of(host: str, allowed: Sequence[str] = ()) -> Guard:
        """A guard of a server that listens on `host`, which other names may lead to.

        Raises: UsageError where one of the names cannot be that of a host
        """
        bound = () if is_wildcard(host) else (host,)
        return Guard(frozenset(name_of(each) for each in (*LOOPBACK, *bound, *allowed)))

    def refusal(self, hosts: Sequence[str], origins: Sequence[str], token: str | None) -> str | None:
        """Why a request is refused, None where it is not.

        hosts, origins: every header of that name; token: of the cookie or of the address
        """
        if len(hosts) != 1 or hostname(hosts[0]) not in self.hosts:
            return "This host is not served here: start arvdm play with --allow-host NAME."
        if len(origins) > 1 or any(not is_same_origin(origin, hosts[0]) for origin in origins):
            return "Another page may not open this one."
        if token is None or not hmac.compare_digest(token.encode(), self.token.encode()):
            return "Open the address that arvdm play printed: it ends in ?token=..."
        return None


def name_of(host: str) -> str:
    """The name or address that a user gives for a host, as `hostname` has it; raises UsageError where it is none."""
    bracketed = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    name = hostname(bracketed)
    if not name or "*" in name:
        raise UsageError(f"{host!r} is not a valid host.", hint="Give a name such as lab.example.org, or an address.")
    return name


def is_wildcard(host: str) -> bool:
    """Whether a server that listens on `host` is reached by any address of its machine."""
    return host in ("", "0.0.0.0", "::", "[::]")


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` is reached from its own machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hostname(host: str) -> str | None:
    """The name or address in a Host header, in lower case and without port; None where it has none."""
    try:
        return urlsplit(f"//{host}").hostname if not set(host) & set("/?#@\\ ") else None
    except ValueError:
        return None


def is_same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names the host and port of the Host header."""
    try:
        page = urlsplit(origin)
        usual = PORTS[page.scheme]
        asked = urlsplit(f"//{host}")
        if page.path or page.query or page.fragment or page.username is not None or page.hostname is None:
            return False
        return (page.hostname, page.port or usual) == (asked.hostname, asked.port or usual)
    except (KeyError, ValueError):
        return False


def cookie_name(port: int) -> str:
    """The name of the cookie with the token; browsers give a cookie to all ports of a host."""
    return f"arvdm-play-{port}"


def cookie_of(token: str, port: int) -> str:
    """A Set-Cookie header without a path: the browser then takes the page's own, whatever prefix a proxy gave it."""
    return f"{cookie_name(port)}={token}; HttpOnly; SameSite=Strict"


def token_of(cookies: str, query: Mapping[str, str], port: int) -> str | None:
    """The token that a request shows: that of its address, else that of its cookie."""
    if "token" in query:
        return query["token"]
    for pair in cookies.split(";"):  # not http.cookies, which stops at a cookie of somebody else's that it cannot read
        name, _, value = pair.strip().partition("=")
        if name == cookie_name(port):
            return value
    return None


class Allowance:
    """How many messages a viewer may still send: `RATE` a second, at most `BURST` at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.left = float(BURST)
        self.since = clock()

    def take(self) -> bool:
        """Count one message; False where it is one too many."""
        now = self.clock()
        self.left = min(BURST, self.left + (now - self.since) * RATE)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True
