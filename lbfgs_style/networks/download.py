"""Download a file: plan, stream to a ``.part`` file, resume after an interruption, verify, rename.

With the standard library's ``urllib.request``, which honours the proxy variables of the environment: a
streamed GET with a Range header is all that is needed.
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
"""(bytes so far, bytes in total or None if unknown) → None."""

# Bytes that are read at once.
_CHUNK = 1 << 18

# Largest download of unknown length, in bytes.
MAX_BYTES = 2_000_000_000

# HTTP status of a server that cannot resume at an offset.
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The steps of a download.

    Attributes
    ----------
    action : {"up-to-date", "verify", "resume", "fetch"}
        Do nothing; verify a complete ``.part`` file; download the rest of it; download everything.
    offset : int
        Bytes that the ``.part`` file has.
    """

    action: Literal["up-to-date", "verify", "resume", "fetch"]
    offset: int = 0


def plan_download(*, installed: bool, part_bytes: int, size: int | None) -> DownloadPlan:
    """Plan a download from the state of the disk. A pure function.

    Parameters
    ----------
    installed : bool
        Whether the finished file exists and has the right hash.
    part_bytes : int
        Length of the ``.part`` file, 0 if it does not exist.
    size : int or None
        Length of the finished file; None if unknown.
    """
    if installed:
        return DownloadPlan("up-to-date")
    if part_bytes <= 0 or (size is not None and part_bytes > size):
        return DownloadPlan("fetch")
    if part_bytes == size:
        return DownloadPlan("verify", part_bytes)
    return DownloadPlan("resume", part_bytes)


def download(
    url: str,
    destination: Path,
    *,
    size: int | None,
    known_hash: str,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download `url` to `destination`, unless that file exists and has the right hash.

    Parameters
    ----------
    url : str
        http or https.
    destination : Path
        The finished file. An unfinished one has the same name with ``.part`` added.
    size : int or None
        Expected length in bytes; None if unknown.
    known_hash : str
        ``algorithm:digest``, as in ``sha256:…`` or ``md5:…``.
    progress : callable, optional
        Called after each chunk.
    timeout : float
        Seconds without data after which the connection counts as interrupted.

    Returns
    -------
    Path
        `destination`.

    Raises
    ------
    NetworkError
        If the URL is not http or https, or the data has the wrong size or hash (it is deleted).
    NetworkFileError
        If there is no network, the server refuses, the connection is interrupted (a second call resumes the
        download), another process or thread downloads the same file, or the disk cannot be written.
    """
    _check_scheme(url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that write one ``.part`` file would mix their bytes.
        with try_lock(destination) as is_ours:
            if not is_ours:
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
    plan = plan_download(
        installed=destination.is_file() and file_hash(destination, known_hash) == known_hash.lower(),
        part_bytes=part.stat().st_size if part.is_file() else 0,
        size=size,
    )
    if plan.action == "up-to-date":
        return
    if plan.action != "verify":
        _fetch(url, part, plan.offset, size, progress, timeout)
    _verify(url, part, known_hash)
    part.replace(destination)


def file_hash(path: Path, known_hash: str) -> str:
    """Return the hash of a file, by the algorithm that `known_hash` names.

    Returns
    -------
    str
        ``algorithm:digest`` in lower case.

    Raises
    ------
    NetworkError
        If the algorithm is unknown or missing.
    """
    algorithm, colon, _digest = known_hash.lower().partition(":")
    if not colon or algorithm not in hashlib.algorithms_available:
        raise NetworkError(f"Unknown hash {known_hash!r}: expected 'sha256:…' or 'md5:…'.")
    with path.open("rb") as file:
        # The published md5 sums detect damage, not attacks; some systems allow md5 for nothing else.
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _verify(url: str, part: Path, known_hash: str) -> None:
    actual = file_hash(part, known_hash)
    if actual != known_hash.lower():
        part.unlink()
        raise NetworkError(
            f"The download from {url} has the wrong hash: expected {known_hash}, got {actual}; it was "
            "deleted, try again or another --url."
        )


def _check_scheme(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NetworkError(f"Not an address: {url!r} ({error}).") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkError(f"Cannot download from {url!r}: expected an http:// or https:// address.")


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows redirects to http and https only; urllib's would follow them to ftp."""

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
            # The server ignored the Range header and sends the whole file.
            offset = 0
        total = _total(response, offset)
        if size is not None and total not in (size, None):
            raise NetworkError(
                f"{url} has {total:,} bytes, expected {size:,}: it is a different file; try another --url."
            )
        received = _stream(response, url, part, offset, total or size, progress)
    expected = size if total is None else total
    if expected is not None and received < expected:
        raise _interrupted(url, received, expected)


def _open(url: str, offset: int, timeout: float) -> http.client.HTTPResponse | None:
    """Send the request; return None if the server cannot resume at `offset`."""
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
    received, limit = offset, total or MAX_BYTES
    with part.open("ab" if offset else "wb") as file:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _interrupted(url, received, total) from error
            if not chunk:
                return received
            received += len(chunk)
            if received > limit:
                raise NetworkError(f"{url} sends more than {limit:,} bytes: not the file that was expected.")
            file.write(chunk)
            if progress is not None:
                progress(received, total)


def _interrupted(url: str, received: int, total: int | None) -> NetworkFileError:
    of = f" of {total:,}" if total is not None else ""
    return NetworkFileError(
        f"The connection to {urlsplit(url).hostname} was cut after {received:,}{of} bytes: run the same "
        "command again to resume; 'compact' works now, without a download."
    )
