"""A conversation with the Hub through its own client: with whom, as whom, and for how long to wait.

The client may wait for minutes, and sends its token to whatever HF_ENDPOINT names; both are bounded here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

from ..errors import IntegrityError, NetworkError
from .connection import check_environment
from .registry import hub_client

PATIENCE = 30.0  # seconds without a new byte after which no further request is made
REQUEST = 10.0  # seconds one request may stay silent
PIECE = 2**20  # bytes between two looks at the progress; the client's own 10 MiB take minutes on a slow line


class Request(Protocol):
    """What is used of a request of the client's HTTP library, whichever it is."""

    method: str
    url: object
    headers: MutableMapping[str, str]
    extensions: MutableMapping[str, object]


class Response(Protocol):
    """What is used of an answer."""

    status_code: int
    headers: MutableMapping[str, str]
    request: Request


class Session:
    """One conversation with the Hub: with whom, as whom, and for how long to wait for something new.

    uploading: what we send takes time too, so that each answer counts as something new
    """

    def __init__(self, patience: float, uploading: bool = False):
        self.endpoint: str = hub_client().constants.ENDPOINT
        url = urlsplit(self.endpoint)
        home = url.scheme == "https" and f".{url.hostname}".endswith((".huggingface.co", ".hf.co"))
        # the user's login is for the Hub alone: a mirror gets a token only where one is set for it
        self.token: str | bool | None = None if home else os.environ.get("ARVDM_HUB_TOKEN") or False
        self.patience, self.uploading = patience, uploading
        self.refusal = ""  # of the last response
        self.renew()

    def renew(self) -> None:
        """Something new has come: the next request begins to wait again."""
        self.since: float | None = None  # when the first request was made that has brought nothing yet

    def before(self, request: Request) -> None:
        """Refuse a request that comes too late, and bound the others; the client retries for minutes."""
        self.since = self.since or time.monotonic()
        if time.monotonic() - self.since > self.patience:
            raise NetworkError(
                f"{self.endpoint} sent no new data for {self.patience:g} seconds{self.refusal}.",
                hint="Try again later, or wait longer with --timeout.",
            )
        silent = self.patience if self.uploading else min(REQUEST, self.patience)
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), silent)
        if _origin(str(request.url)) != _origin(self.endpoint):
            request.headers.pop("authorization", None)

    def after(self, response: Response) -> None:
        """Let no server choose how long we wait, or a file name in the cache that leads out of it."""
        self.refusal = f" but HTTP {response.status_code}" if response.status_code >= 400 else ""
        if self.uploading and not self.refusal:
            self.renew()
        for name in ("retry-after", "ratelimit"):
            response.headers.pop(name, None)
        if response.request.method == "HEAD":
            for name in ("etag", "x-linked-etag", "x-repo-commit"):
                value = response.headers.get(name, "")
                if not re.fullmatch(r'(W/)?"?(\w[\w.:=+-]*)?"?', value, re.ASCII):
                    raise IntegrityError(f"{self.endpoint} sent an invalid {name}: {value!r}.")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


@contextmanager
def open_session(patience: float, uploading: bool = False) -> Iterator[Session]:
    """Open a session: from here on the client asks it before every request.

    Raises: ConfigError where the environment sets a proxy or certificates that cannot be used
    """
    check_environment()
    client = hub_client()
    session = Session(patience, uploading)
    kind = type(client.utils.get_session())  # of whichever HTTP library this client uses
    hooks = {"request": [session.before], "response": [session.after]}
    client.set_client_factory(lambda: kind(event_hooks=hooks, follow_redirects=True))
    client.utils.logging.set_verbosity(client.utils.logging.CRITICAL)  # what went wrong is told once, in our words
    client.constants.DOWNLOAD_CHUNK_SIZE = PIECE
    yield session


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
