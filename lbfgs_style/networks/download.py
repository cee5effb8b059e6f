"""Download one file: decide, stream to a ``.part`` file, go on where a cut left off, verify, rename.

The standard library's ``urllib.request`` does it: one streamed GET with a Range header needs no more, it
honours the proxy variables of the environment, and it adds no dependency of our own.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import NetworkError, NetworkFileError, printable
from ..system.locks import try_lock

Progress = Callable[[int, int | None], None]

_CHUNK = 1 << 18
_MAX_BYTES = 2_000_000_000
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True)
class Plan:
    """What a download has to do.

    Attributes
    ----------
    action : {"up-to-date", "verify", "resume", "fetch"}
        Nothing; check a part that has all its bytes; ask for the rest; ask for everything.
    offset : int
        Bytes that are here already.
    """

    action: Literal["up-to-date", "verify", "resume", "fetch"]
    offset: int = 0


def plan(*, installed: bool, part_bytes: int, size: int | None) -> Plan:
    """Decide what to do from what is on the disk. A pure function.

    Parameters
    ----------
    installed : bool
        Whether the finished file is there with the right hash.
    part_bytes : int
        Length of the unfinished file, 0 if there is none.
    size : int or None
        Length of the finished file, if known.
    """
    if installed:
        return Plan("up-to-date")
    if part_bytes <= 0 or (size is not None and part_bytes > size):
        return Plan("fetch")
    if part_bytes == size:
        return Plan("verify", part_bytes)
    return Plan("resume", part_bytes)


def download(
    url: str,
    destination: Path,
    *,
    size: int | None,
    known_hash: str,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download `url` to `destination`, unless it is there already.

    Parameters
    ----------
    url : str
        http or https.
    destination : Path
        The finished file. An unfinished one has the same name with ``.part`` added.
    size : int or None
        Expected length in bytes, if known.
    known_hash : str
        ``algorithm:digest``, as in ``sha256:…`` or ``md5:…``.
    progress : callable, optional
        Called as ``progress(bytes so far, bytes in all or None)`` after each chunk.
    timeout : float
        Seconds of silence after which the connection counts as cut.

    Returns
    -------
    Path
        `destination`.

    Raises
    ------
    NetworkError
        If the address is not http or https, or what came has the wrong size or hash (it is deleted).
    NetworkFileError
        If there is no network, the server refuses, the connection is cut (the part is kept: a second
        call goes on from there), another process or thread downloads the same file, or the disk cannot be
        written.
    """
    _check_scheme(url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Two writers of one part would mix their bytes, or rename it while the other still writes.
        with try_lock(destination) as ours:
            if not ours:
                raise NetworkFileError(
                    f"Another process is downloading {str(destination)!r}: wait until it has finished, then "
                    "run the same command again."
                )
            _download(url, destination, size, known_hash, progress, timeout)
    except NetworkError:
        raise
    except OSError as error:
        raise NetworkFileError(
            f"Cannot write {str(destination)!r}: {error.strerror or error}; free some space or set "
            "LBFGS_STYLE_CACHE to another folder."
        ) from error
    return destination


def _download(
    url: str,
    destination: Path,
    size: int | None,
    known_hash: str,
    progress: Progress | None,
    timeout: float,
) -> None:
    part = destination.with_name(destination.name + ".part")
    todo = plan(
        installed=destination.is_file() and file_hash(destination, known_hash) == known_hash.lower(),
        part_bytes=part.stat().st_size if part.is_file() else 0,
        size=size,
    )
    if todo.action == "up-to-date":
        return
    if todo.action != "verify":
        _fetch(url, part, todo.offset, size, progress, timeout)
    _verify(url, part, known_hash)
    part.replace(destination)


def file_hash(path: Path, known_hash: str) -> str:
    """Hash a file with the algorithm that `known_hash` names.

    Returns
    -------
    str
        ``algorithm:digest``, lower case.

    Raises
    ------
    NetworkError
        If the algorithm is unknown or missing.
    """
    algorithm, colon, _digest = known_hash.lower().partition(":")
    if not colon or algorithm not in hashlib.algorithms_available:
        raise NetworkError(f"Unknown hash {known_hash!r}: expected 'sha256:…' or 'md5:…'.")
    with path.open("rb") as file:
        # Published md5 sums tell damage, not malice; some systems forbid md5 for anything else.
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _verify(url: str, part: Path, known_hash: str) -> None:
    actual = file_hash(part, known_hash)
    if actual != known_hash.lower():
        part.unlink()
        raise NetworkError(
            f"What came from {url} has the wrong hash: expected {known_hash}, got {actual}; it was deleted, "
            "try again or another --url."
        )


def _check_scheme(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NetworkError(f"Not an address: {url!r} ({error}).") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkError(f"Cannot download from {url!r}: expected an http:// or https:// address.")


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but only to http and https (urllib would go on to ftp)."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(
    url: str, part: Path, offset: int, size: int | None, progress: Progress | None, timeout: float
) -> None:
    response = _open(url, offset, timeout)
    if response is None:
        offset, response = 0, _open(url, 0, timeout)
    assert response is not None  # only a request with an offset gives None
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            # The server ignored the range and sends everything.
            offset = 0
        total = _total(response, offset)
        if size is not None and total not in (size, None):
            raise NetworkError(
                f"{url} has {total:,} bytes, expected {size:,}: the file there is another one; try another "
                "--url."
            )
        received = _stream(response, url, part, offset, total or size, progress)
    expected = size if total is None else total
    if expected is not None and received < expected:
        raise _cut(url, received, expected)


def _open(url: str, offset: int, timeout: float) -> http.client.HTTPResponse | None:
    """Send the request; None if the server cannot go on at `offset`."""
    headers = {"User-Agent": "lbfgs-style", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    opener = urllib.request.build_opener(_WebRedirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if offset and error.code == _RANGE_NOT_SATISFIABLE:
            return None
        raise NetworkFileError(
            f"{url} answered {error.code} {printable(error.reason)}: try again later or another --url; "
            "'compact' works now, without a download."
        ) from error
    except NetworkError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NetworkFileError(
            f"Cannot reach {urlsplit(url).hostname} ({printable(str(reason))}): check the network and run it "
            "again; 'compact' works now, without a download."
        ) from error
    span = response.headers.get("Content-Range") or f"bytes {offset}-"
    if offset and not span.startswith(f"bytes {offset}-"):
        response.close()
        return None
    return response


def _total(response: http.client.HTTPResponse, offset: int) -> int | None:
    length = response.headers.get("Content-Length") or ""
    return offset + int(length) if length.isdecimal() and len(length) < 20 else None


def _stream(
    response: http.client.HTTPResponse,
    url: str,
    part: Path,
    offset: int,
    total: int | None,
    progress: Progress | None,
) -> int:
    received, limit = offset, total or _MAX_BYTES
    with part.open("ab" if offset else "wb") as file:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _cut(url, received, total) from error
            if not chunk:
                return received
            received += len(chunk)
            if received > limit:
                raise NetworkError(f"{url} sends more than {limit:,} bytes: not the file that was expected.")
            file.write(chunk)
            if progress is not None:
                progress(received, total)


def _cut(url: str, received: int, total: int | None) -> NetworkFileError:
    of = f" of {total:,}" if total is not None else ""
    return NetworkFileError(
        f"The connection to {urlsplit(url).hostname} was cut after {received:,}{of} bytes: run the same "
        "command again to go on from there; 'compact' works now, without a download."
    )
