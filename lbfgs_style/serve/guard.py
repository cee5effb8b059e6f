"""Who may ask the server, and what every answer forbids the browser.

Nothing is answered without the token, which is the first part of every path. That alone keeps pages of other
sites out: they cannot know it. Host, Origin and Sec-Fetch-Site are checked as well, so that neither a name
that is made to point at this machine (DNS rebinding) nor a leaked address opens the server to a foreign page.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-robots-tag": "noindex",
}


# Seconds without a part of a body after which a request is refused.
BODY_SECONDS = 20


class _TooLarge(Exception):
    """Raised in the application while it reads a body that is longer than allowed."""


class Guard:
    """ASGI application that lets requests through to another one, or refuses them.

    Parameters
    ----------
    app : ASGI application
        Gets the path without the token.
    token : str
        First part of every path.
    hosts : collection of str
        Names that a Host header may have; numerical addresses may stand there as well.
    max_bytes : int
        Bytes of a request's body.
    body_seconds : float
        Seconds without a part of a body after which a request is refused.
    """

    def __init__(
        self,
        app: Asgi,
        token: str,
        hosts: Collection[str],
        max_bytes: int,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._body_seconds = body_seconds
        self._app, self._token, self._hosts, self._max_bytes = app, token, frozenset(hosts), max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        refusal = self._refusal(scope["method"], headers, first)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if not slash:
            await _answer(send, 308, "see below /TOKEN/", {"location": f"/{self._token}/"})
            return
        inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}
        body = _Body(receive, self._max_bytes, self._body_seconds)

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_encoded(HEADERS)]
            if not (body.too_large or body.is_late):  # else the application's answer to that is replaced
                await send(message)

        with suppress(_TooLarge, TimeoutError):
            await self._app(inner, body.receive, guarded_send)
        if body.too_large:
            await _answer(send, *self._too_large())
        elif body.is_late:
            await _answer(send, 408, f"nothing came for {self._body_seconds} seconds: send it again")

    def _refusal(self, method: str, headers: dict[str, str], token: str) -> tuple[int, str] | None:
        """Return status and text where a request is refused."""
        host = headers.get("host", "")
        if not self._knows(host):
            return 403, "this server does not answer to the name in the address"
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self._token.encode()):
            return (
                403,
                "the token in the address is missing or wrong: use the address that the server printed",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "requests of other sites are refused"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and method != "GET":
            return 403, "requests of other sites are refused"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> tuple[int, str]:
        return (
            413,
            f"the request is too large: at most {self._max_bytes} bytes are taken: send smaller images",
        )

    def _knows(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _Body:
    """The body of a request, of which at most `most` bytes are read.

    Attributes
    ----------
    too_large, is_late : bool
        It had more, or stopped coming.
    """

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._left, self.too_large = receive, most, False
        self.is_late, self._seconds = False, seconds
        self._ended = False  # what comes after the body is the end of the connection

    async def receive(self) -> Message:
        """Return the next part, or raise _TooLarge."""
        # A client that stops sending would hold its place for ever.
        try:
            message = await asyncio.wait_for(self._receive(), None if self._ended else self._seconds)
        except TimeoutError:
            self.is_late = True
            raise
        self._ended = self._ended or not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_large = True
            raise _TooLarge
        return message


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": text}).encode()
    every = HEADERS | {"content-type": "application/json", "content-length": str(len(body))} | (headers or {})
    await send({"type": "http.response.start", "status": status, "headers": _encoded(every)})
    await send({"type": "http.response.body", "body": body})
