"""A Hub in a thread: what the real client asks for, with a switch for every fault, and a note of every request."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
STORE = "/store/"  # where redirects lead: another origin, as the Hub's own store is


class LoopbackHub:
    """Serves repositories at `.url`; large files come from a second origin, to which the first redirects."""

    def __init__(self):
        self.repos = {}  # owner/name -> {file name: content}
        self.revisions = {}  # owner/name -> {revision: commit}
        self.seen = []  # (method, path, Authorization header) of every request
        self.status = {}  # part of a path -> (HTTP status, X-Error-Code)
        self.headers = {}  # further headers of every answer
        self.cut = None  # send so many bytes of each body and hang up
        self.ranges = True  # whether a request may ask for the rest
        self.flipped = ()  # names of files sent with one byte changed
        self.silent = ()  # parts of paths that are never answered
        self.pause = 0.0  # seconds between two pieces of a body
        self.piece = 2**16  # bytes
        self.listed = None  # names listed in place of the true ones
        self.large = ".safetensors"
        self.servers = [self.serve(), self.serve()]
        self.url, self.store = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)

    def serve(self):
        handler = type("Handler", (Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, repo, files, commit=COMMIT, revision="main"):
        self.repos[repo, commit] = files
        self.revisions.setdefault(repo, {})[revision] = commit
        self.revisions[repo][commit] = commit

    def bodies(self):
        """Paths of the files that were fetched."""
        return [path for method, path, _ in self.seen if method == "GET" and not path.startswith("/api/")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.command, path, self.headers.get("Authorization")))
        if any(part in path for part in self.hub.silent):
            time.sleep(20)
        for part, (status, code) in self.hub.status.items():
            if part in path:
                return self.send(status, {"X-Error-Code": code} if code else {})
        try:
            if path.startswith("/api/models/"):
                self.describe(path.removeprefix("/api/models/"))
            elif path.startswith(STORE):
                repo, commit, name = path.removeprefix(STORE).split("//")
                self.send_file(name, self.hub.repos[repo, commit][name], {})
            else:
                self.resolve(path)
        except LookupError:
            self.send(404, {"X-Error-Code": "RepoNotFound"})

    def describe(self, path):
        repo, what, revision = next(path.partition(part) for part in ("/revision/", "/tree/") if part in path)
        if repo not in self.hub.revisions:
            raise LookupError
        if revision not in self.hub.revisions[repo]:
            return self.send(404, {"X-Error-Code": "RevisionNotFound"})
        commit = self.hub.revisions[repo][revision]
        files = self.hub.repos[repo, commit]
        if what == "/revision/":
            return self.send_json({"id": repo, "sha": commit})
        names = self.hub.listed or list(files)
        sizes = {name: len(files.get(name, b"")) for name in names}
        self.send_json([{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in sizes.items()])

    def resolve(self, path):
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        commit = self.hub.revisions[repo][revision]
        files = self.hub.repos[repo, commit]
        if name not in files:
            return self.send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content, headers = files[name], {"X-Repo-Commit": commit}
        if not name.endswith(self.hub.large):
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self.send_file(name, content, headers | {"ETag": f'"{git}"'})
        headers |= {
            "Location": f"{self.hub.store}{STORE}{repo}//{commit}//{name}",
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
        }
        self.send(302, headers)

    def send_json(self, value):
        content = json.dumps(value).encode()
        self.send(200, {"Content-Type": "application/json", "Content-Length": str(len(content))}, content)

    def send_file(self, name, content, headers):
        if name in self.hub.flipped:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start, status = 0, 200
        wanted = self.headers.get("Range")
        if wanted and self.hub.ranges:
            start, status = int(wanted.removeprefix("bytes=").split("-")[0]), 206
            headers = headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.send(status, headers | {"Content-Length": str(len(content) - start)}, content[start:])

    def send(self, status, headers, content=b""):
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers | self.hub.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        file = not urlsplit(self.path).path.startswith("/api/")
        end = self.hub.cut if file and self.hub.cut is not None else len(content)
        try:
            for begin in range(0, min(end, len(content)), self.hub.piece):
                self.wfile.write(content[begin : min(begin + self.hub.piece, end)])
                self.wfile.flush()
                time.sleep(self.hub.pause if file else 0)
        except OSError:
            self.close_connection = True
        if end < len(content):
            self.close_connection = True
