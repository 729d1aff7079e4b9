"""A server on localhost that answers as the Hugging Face hub; /authors/ has the files of the datasets' authors."""

import contextlib
import hashlib
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

from benchmark.data.download.hub import REPOSITORY

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The contents of the repository, its failures, and the requests it got."""

    files: dict[str, bytes] = field(default_factory=dict)
    published: dict[str, bytes] = field(default_factory=dict)  # in /authors/
    broken: dict[str, int] = field(default_factory=dict)  # name to HTTP status; "" is the list of the repository
    headers: dict[str, str] = field(default_factory=dict)  # of broken answers
    patience: int = 1000  # number of broken answers before correct ones
    cut_after: dict[str, int] = field(default_factory=dict)  # name to the bytes after which the connection breaks, once
    damaged: set[str] = field(default_factory=set)  # names whose content has another checksum than listed
    no_ranges: bool = False  # ignore range requests
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    tokens: list[str | None] = field(default_factory=list)  # Authorization header of each request
    url: str = ""

    def fetched(self) -> list[tuple[str, str | None]]:
        """The requested files, each with its range."""
        files = ("/resolve/", "/authors/")
        return [(path.rpartition("/")[2], part) for _, path, part in self.requests if any(at in path for at in files)]

    def listing(self) -> dict:
        """The repository's description and list of files."""
        siblings = [{"rfilename": ".gitattributes", "size": 12, "blobId": "0" * 40}]
        for name, content in self.files.items():
            lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            blob = hashlib.sha1(content).hexdigest()
            siblings.append({"rfilename": name, "size": len(content), "blobId": blob, "lfs": lfs})
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": REVISION, "siblings": siblings, "tags": []}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Print nothing."""

    def do_GET(self):
        """Send the list, a file or a part of it."""
        if REPOSITORY in self.path or "/authors/" in self.path:  # not other requests of huggingface_hub
            self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
            self.hub.tokens.append(self.headers.get("Authorization"))
        path = self.path.partition("?")[0]
        if re.fullmatch(rf"/api/models/{REPOSITORY}(/revision/[\w.]+)?", path):
            if not self._is_broken(""):
                self._answer(200, json.dumps(self.hub.listing()).encode())
            return
        found = re.fullmatch(rf"/{REPOSITORY}/resolve/{REVISION}/(.+)|/authors/(.+)", path)
        name, held = (found[1] or found[2], self.hub.files if found[1] else self.hub.published) if found else ("", {})
        if name not in held:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif not self._is_broken(name):
            self._send_file(name, held[name])

    do_HEAD = do_GET

    def _is_broken(self, name: str) -> bool:
        if name not in self.hub.broken or self.hub.patience <= 0:
            return False
        self.hub.patience -= 1
        self._answer(self.hub.broken[name], b"no", self.hub.headers)
        return True

    def _send_file(self, name: str, content: bytes) -> None:
        whole = len(content)
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": REVISION}
        if name.endswith("gz"):
            headers["Content-Encoding"] = "gzip"  # as some web servers declare; it must not be decoded
        if name in self.hub.damaged:
            content = content[: whole // 2] + b"\0damage\0" + content[whole // 2 + 8 :]
        status, start = 200, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and not self.hub.no_ranges:
            status, start = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        cut = self.hub.cut_after.pop(name, None) if self._wants_content(name) else None
        self._answer(status, content[start:], headers, cut=cut)

    def _wants_content(self, name: str) -> bool:
        """The first request for an authors' file asks for its size only."""
        return name not in self.hub.published or self.hub.fetched().count((name, None)) > 1

    def _answer(self, status: int, body: bytes, headers: Mapping = MappingProxyType({}), cut: int | None = None):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that wants the size only hangs up
            self.wfile.write(body[:cut] if self.command == "GET" else b"")
        if cut is not None:
            self.close_connection = True


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start the server in a thread; the caller shuts it down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def zip_folder(folder: Path, path: Path, *, top: str = "") -> bytes:
    """Pack a folder as a zip; returns the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in sorted(folder.rglob("*")):
            opened.write(file, f"{top}{file.relative_to(folder).as_posix()}")
    return path.read_bytes()


def tar_folder(folder: Path, path: Path, *, top: str = "") -> bytes:
    """Pack a folder as a gzipped tar with entries for folders; returns the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as opened:
        for file in sorted(folder.rglob("*")):
            opened.add(file, f"{top}{file.relative_to(folder).as_posix()}", recursive=False)
    return path.read_bytes()
