"""`lbfgs-style serve` in a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import json
import re
import resource
import signal
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lbfgs_style import images
from tests.helpers.command import photo, start


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    data: bytes

    @property
    def json(self):
        return json.loads(self.data)


class Client:
    """Sends requests to the address of a server, which is that of its page."""

    def __init__(self, address, process):
        self.address, self._process = address, process
        parts = urlsplit(address)
        self.host, self.base = parts.netloc, parts.path

    def ask(self, method, path, body=None, headers=None, *, base=None):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, (self.base if base is None else base) + path, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def resident_bytes(self):
        """Return the memory of the server's process."""
        pages = Path(f"/proc/{self._process}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def get(self, path):
        return self.ask("GET", path)

    def post_form(self, files, options=None, path="api/jobs"):
        """Send files, (field, name, bytes) each, and options."""
        body, kind = form(files, options)
        return self.ask("POST", path, body, {"Content-Type": kind})

    def submit(self, **options):
        """Send a photo and a painting; return the job's identifier."""
        answer = self.post_form(PAIR, SMALL | options)
        assert answer.status == 202, answer.data
        return answer.json["id"]

    def events(self, job):
        """Return (event, summary) for each event until the stream ends."""
        text = self.get(f"api/jobs/{job}/events").data.decode()
        pairs = re.findall(r"^event: (\w+)\nid: \d+\ndata: (.*)$", text, re.MULTILINE)
        return [(name, json.loads(data)) for name, data in pairs]


def form(files, options=None):
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for field, name, data in files
    ]
    if options is not None:
        text = options if isinstance(options, str) else json.dumps(options)
        parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="options"\r\n\r\n{text}\r\n'.encode())
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


PHOTO = images.encode(images.from_array(photo()))
PAINTING = images.encode(images.from_array(photo()[::-1]))
PAIR = [("content", "photo.png", PHOTO), ("style", "painting.png", PAINTING)]

# A run of a moment.
SMALL = {"size": 32, "iterations": 2}

# A run that lasts until it is stopped.
ENDLESS = {"size": 64, "scales": "single", "iterations": 1_000_000}


@contextmanager
def running(network, *options):
    """Yield the client of a server that ends by SIGINT, with nothing on stderr and without delay."""
    server = start(
        *("serve", "--port", 0, "--network", network, "--device", "cpu", "--threads", 1, *options),
    )
    try:
        line = server.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), server.stderr.read()
        yield Client(line.split()[0], server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            _, errors = server.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
        assert "Traceback" not in errors
