"""A server on this machine that can misbehave in several ways."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DATA = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()


@dataclass
class Site:
    """What the local server serves and how it misbehaves; `ranges` records the Range of each request."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    honours_ranges: bool = True
    range_error: int = 0
    announces_length: bool = True
    length: str | None = None
    silence: threading.Event | None = None
    redirect: str | None = None
    ranges: list[str | None] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Site]:
    """Serve `DATA` as ``/file.bin``, and what the caller adds, on a port of this machine."""
    state = Site(files={"/file.bin": DATA})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if state.redirect and self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            start = int(wanted[6:-1]) + state.range_error if wanted and state.honours_ranges else 0
            if start >= len(data):
                self.send_error(416)
                return
            body = data[start:]
            self.send_response(206 if start else 200)
            if state.announces_length:
                self.send_header("Content-Length", state.length or str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(body[: state.cut_after])
            if state.silence is not None and not state.silence.wait(20):
                state.ranges.append("nobody gave up")

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
