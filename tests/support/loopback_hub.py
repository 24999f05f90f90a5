"""A Hub in a thread: what the real client asks for, with a switch for every fault, and a note of every request."""

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
STORE = "/store/"  # where redirects lead: another origin, as the Hub's own store is
PUT = "/put/"  # where large files are uploaded to, in that store


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
        self.stored = {}  # sha256 -> content of a large file that was uploaded
        self.commits = []  # (owner/name, branch, message) of every upload
        self.visibility = {}  # owner/name -> private, public or None, as it was created
        self.listed = None  # names listed in place of the true ones
        self.tags = {}  # owner/name -> tags of its card
        self.large = (".safetensors", ".pth")
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

    def do_POST(self):
        self.receive()

    def do_PUT(self):
        self.receive()

    def receive(self):
        """What an upload asks for."""
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.command, path, self.headers.get("Authorization")))
        body = self.body()
        if any(part in path for part in self.hub.silent):
            time.sleep(20)
        for part, (status, code) in self.hub.status.items():
            if part in path:
                return self.send(status, {"X-Error-Code": code} if code else {})
        if path.startswith(PUT):
            self.hub.stored[hashlib.sha256(body).hexdigest()] = body
            return self.send(200, {})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.send_json({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            return self.offer(json.loads(body))
        repo, what, branch = next(
            path.removeprefix("/api/models/").partition(part)
            for part in ("/preupload/", "/commit/", "/branch/")
            if part in path
        )
        answers = {"/preupload/": self.prepare, "/commit/": self.commit, "/branch/": self.branch}
        answers[what](repo, branch, body)

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def create(self, asked):
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.revisions:
            return self.send_json({"url": f"{self.hub.url}/{repo}"}, 409)
        self.hub.visibility[repo] = asked.get("visibility")
        self.hub.add(repo, {})
        self.send_json({"url": f"{self.hub.url}/{repo}"})

    def branch(self, repo, branch, _):
        if branch in self.hub.revisions[repo]:
            return self.send(409, {})
        self.hub.revisions[repo][branch] = self.hub.revisions[repo]["main"]
        self.send(200, {})

    def prepare(self, repo, branch, body):
        def mode(file):
            return "lfs" if file["path"].endswith((*self.hub.large, ".png")) else "regular"

        files = json.loads(body)["files"]
        answers = [{"path": f["path"], "uploadMode": mode(f), "shouldIgnore": False, "oid": None} for f in files]
        self.send_json({"files": answers})

    def offer(self, asked):
        """Where each large file goes that is not here yet."""

        def place(file):
            known = {"oid": file["oid"], "size": file["size"]}
            if file["oid"] in self.hub.stored:
                return known
            return known | {"actions": {"upload": {"href": f"{self.hub.store}{PUT}{file['oid']}"}}}

        self.send_json({"transfer": "basic", "objects": [place(file) for file in asked["objects"]]})

    def commit(self, repo, branch, body):
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(self.hub.repos[repo, self.hub.revisions[repo][branch]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        self.hub.commits.append((repo, branch, lines[0]["value"]["summary"]))
        commit = hashlib.sha1(body).hexdigest()
        self.hub.add(repo, files, commit, branch)
        url = f"{self.hub.url}/{repo}/commit/{commit}"
        self.send_json({"commitUrl": url, "commitOid": commit})

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
        parts = (path.partition(part) for part in ("/revision/", "/tree/") if part in path)
        repo, what, revision = next(parts, (path, "/revision/", "main"))
        if repo not in self.hub.revisions:
            raise LookupError
        if revision not in self.hub.revisions[repo]:
            return self.send(404, {"X-Error-Code": "RevisionNotFound"})
        commit = self.hub.revisions[repo][revision]
        files = self.hub.repos[repo, commit]
        if what == "/revision/":
            return self.send_json({"id": repo, "sha": commit, "tags": self.hub.tags.get(repo, [])})
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

    def send_json(self, value, status=200):
        content = json.dumps(value).encode()
        self.send(status, {"Content-Type": "application/json", "Content-Length": str(len(content))}, content)

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
