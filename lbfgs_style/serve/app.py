"""The routes of the server: the page, and the HTTP API that it uses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..errors import OptionError, StyleError
from ..settings.looks import LOOKS
from ..settings.options import Options
from ..version import __version__
from . import api_description, requests
from .events import described, stream
from .jobs import ForgottenJob, Job, Jobs, QueueFull, UnknownJob, Upload
from .requests import FILES, Limits

# Files of the page → their types.
_PAGE = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

# Characters of the longest name of a file that is kept.
_LONGEST_NAME = 100

# Requests whose images are read at the same time.
_MOST_UPLOADS = 4

# Characters of the longest message.
_LONGEST_TEXT = 1000

# Seconds after which a client whose job found no place may ask again.
_RETRY_SECONDS = 5

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes need.

    Attributes
    ----------
    jobs : Jobs
        All jobs.
    network : str
        Name of the network, or of its file without folders.
    options : Options
        Device, threads and memory of every job.
    limits : Limits
        What a request may ask for.
    uploads : Semaphore
        Requests whose images are read at the same time; others wait, so that they do not fill the memory.
    """

    jobs: Jobs
    network: str
    options: Options
    limits: Limits
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_UPLOADS))


def create(service: Service) -> Starlette:
    """Return the application."""

    def route(path: str, handler: Callable[[Service, Request], Awaitable[Response]], *methods: str) -> Route:
        return Route(path, _answering(service, handler), methods=methods)

    app = Starlette(
        routes=[
            route("/", _page, "GET"),
            route("/docs", _docs, "GET"),
            route("/openapi.json", _openapi, "GET"),
            route("/api/about", _about, "GET"),
            route("/api/jobs", _submit, "POST"),
            route("/api/jobs", _list, "GET"),
            route("/api/jobs/{id}", _show, "GET"),
            route("/api/jobs/{id}", _cancel, "DELETE"),
            route("/api/jobs/{id}/events", _events, "GET"),
            route("/api/jobs/{id}/preview", _preview, "GET"),
            route("/api/jobs/{id}/content", _content, "GET"),
            route("/api/jobs/{id}/image", _image, "GET"),
            route("/api/jobs/{id}/again", _again, "POST"),
            route("/{file}", _page, "GET"),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _defect},
    )
    app.router.redirect_slashes = False  # it would leave the token out of the address
    return app


async def _defect(request: Request, error: Exception) -> Response:
    """Answer a defect of the program; the server's log has it."""
    return _error(500, "internal error: the server's log has the details")


def _answering(service: Service, handler: Callable[[Service, Request], Awaitable[Response]]) -> Handler:
    """Return a handler whose expected errors become answers."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(service, request)
        except (StyleError, MultiPartException) as error:
            return _error(400, str(error) or "the form cannot be read")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except UnknownJob:
            return _error(404, "there is no job of this identifier, and there was none")
        except ForgottenJob:
            return _error(410, "this job ended long ago: its images are no longer kept")
        except QueueFull:
            return _error(429, "the queue is full: wait until a job has ended", _RETRY_SECONDS)

    return answer


def _error(status: int, text: str, retry_seconds: int | None = None) -> Response:
    headers = None if retry_seconds is None else {"retry-after": str(retry_seconds)}
    # A text may repeat what was sent: surrogates, which UTF-8 lacks, and megabytes.
    plain = text[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": plain}, status, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown path, or a method that a path does not have."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _page(service: Service, request: Request) -> Response:
    name = request.path_params.get("file", "index.html")
    if name not in _PAGE:
        raise HTTPException(404, "Not Found")
    data = resources.files("lbfgs_style.serve").joinpath("page", name).read_bytes()
    return Response(data, media_type=_PAGE[name])


async def _docs(service: Service, request: Request) -> Response:
    return HTMLResponse(api_description.page(api_description.document(service.limits)))


async def _openapi(service: Service, request: Request) -> Response:
    return JSONResponse(api_description.document(service.limits))


async def _about(service: Service, request: Request) -> Response:
    limits = service.limits
    return JSONResponse(
        {
            "version": __version__,
            "network": service.network,
            "looks": [{"name": row.name, "line": row.line} for row in LOOKS],
            "max_bytes": limits.max_bytes,
            "max_pixels": limits.max_pixels,
            "max_size": limits.max_size,
        }
    )


async def _submit(service: Service, request: Request) -> Response:
    async with service.uploads:
        files, values = await _form(request)
        return await _accepted(service, lambda: _job_of(service, files, values))


async def _form(request: Request) -> tuple[dict[str, list[Upload]], dict[str, Any]]:
    """Return the files of a form by their fields, and its options."""
    files: dict[str, list[Upload]] = {}
    values: dict[str, Any] = {}
    async with request.form(max_files=sum(FILES.values()), max_fields=8) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                data = await value.read()
                files.setdefault(name, []).append(Upload(_file_name(value.filename, name), data))
            elif name == "options":
                values = requests.read_values(value)
            else:
                raise OptionError(f"there is no field {name!r}: expected options, or files.")
    return files, values


def _job_of(service: Service, files: Mapping[str, list[Upload]], values: Mapping[str, Any]) -> Job:
    options = requests.options_of(values, service.options, service.limits)
    inputs = requests.inputs_of(files, service.network, values, service.limits)
    return service.jobs.submit(inputs, options)


async def _again(service: Service, request: Request) -> Response:
    job = service.jobs.get(request.path_params["id"])
    values = requests.read_values((await request.body()).decode("utf-8", "replace"))
    return await _accepted(
        service, lambda: service.jobs.submit(*requests.again(job, values, service.options, service.limits))
    )


async def _accepted(service: Service, submit: Callable[[], Job]) -> Response:
    """Answer with the job that a function appends to the queue."""
    job = await run_in_threadpool(submit)
    location = {"location": f"api/jobs/{job.id}"}
    return JSONResponse(described(service.jobs, job), 202, headers=location)


async def _list(service: Service, request: Request) -> Response:
    return JSONResponse({"jobs": [described(service.jobs, job) for job in service.jobs.all()]})


async def _show(service: Service, request: Request) -> Response:
    return JSONResponse(described(service.jobs, service.jobs.get(request.path_params["id"])))


async def _cancel(service: Service, request: Request) -> Response:
    return JSONResponse(described(service.jobs, service.jobs.cancel(request.path_params["id"])))


async def _events(service: Service, request: Request) -> Response:
    job = service.jobs.get(request.path_params["id"])
    return StreamingResponse(stream(service.jobs, job), media_type="text/event-stream")


async def _preview(service: Service, request: Request) -> Response:
    return _file(service, request, "preview", "image/jpeg")


async def _content(service: Service, request: Request) -> Response:
    return _file(service, request, "before", "image/jpeg")


async def _image(service: Service, request: Request) -> Response:
    return _file(service, request, "image", "image/png")


def _file(service: Service, request: Request, attribute: str, media_type: str) -> Response:
    job = service.jobs.get(request.path_params["id"])
    data = getattr(job, attribute)
    if data is None:
        return _error(409, f"this job has no such image: it is {job.state}")
    ending = ".png" if media_type == "image/png" else ".jpg"
    name = f'inline; filename="lbfgs-style-{job.id}{ending}"'
    return Response(data, media_type=media_type, headers={"content-disposition": name})


def _file_name(name: str | None, role: str) -> str:
    """Return the name of an upload without folders and control characters; its role if nothing is left."""
    plain = re.split(r"[/\\]", name or "")[-1]
    plain = "".join(letter for letter in plain if letter.isprintable()).strip()
    return plain[-_LONGEST_NAME:] or role
