"""The OpenAPI document of the server, made from its limits and the fields of `Options`, and a page of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from html import escape
from typing import Any, get_args

from ..settings.limits import Choice, Flag, Int, Number
from ..settings.looks import LOOKS
from ..settings.option_fields import help_of, limits_of
from ..settings.options import Options
from ..version import __version__
from .jobs import State
from .requests import EXTRA, FILES, OF_SERVER, Limits

_FILES = {
    "content": "The content image.",
    "style": "A style image; several are blended.",
    "style_mask": "White where a style goes; one for each style, in their order, or none.",
    "keep_mask": "White where the content image is kept.",
    "content_map": "How much the content image holds: middle grey as without, white four times as much.",
    "face_mask": "White where faces are, which are held four times as much.",
    "init": "The initial image in place of the content image.",
}

_EXTRA = {
    "look": {"type": "string", "enum": [row.name for row in LOOKS], "description": "How to paint."},
    "style_blend": {"description": "Share of each style: a number, or one for each.", "default": 1},
    "style_scale": {"description": "Size of the strokes: a number, or one for each style.", "default": 1},
}


def options_schema() -> dict[str, Any]:
    """Return the JSON schema of the options of a request."""
    properties: dict[str, Any] = {name: _EXTRA[name] for name in EXTRA}
    for field in fields(Options):
        if field.name not in OF_SERVER:
            properties[field.name] = _property(field)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(field: Any) -> dict[str, Any]:
    limits = limits_of(field)
    schema: dict[str, Any] = {"description": help_of(field).text, "default": field.default}
    if isinstance(limits, Choice):
        schema |= {"type": "string", "enum": list(get_args(limits.literal))}
    elif isinstance(limits, Flag):
        schema |= {"type": "boolean"}
    elif isinstance(limits, Int | Number):
        kind = "integer" if isinstance(limits, Int) else "number"
        schema |= {"type": kind, "minimum": limits.least, "maximum": limits.most}
    elif limits is not None and limits.parameter is float:
        schema |= {"type": "number"}
    return schema


def document(limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lbfgs-style",
            "version": __version__,
            "description": "Every path begins with the token in the address of the page.",
        },
        "servers": [{"url": "."}],
        "paths": _paths(limits),
        "components": {"schemas": {"Job": _job_schema(), "Options": options_schema()}},
    }


# A type of content and its schema.
_Content = tuple[str, dict[str, Any]]

_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_JOB: _Content = ("application/json", {"$ref": "#/components/schemas/Job"})
_ERROR: _Content = ("application/json", {"type": "object", "properties": {"error": {"type": "string"}}})
_JPEG: _Content = ("image/jpeg", _BINARY)
_PNG: _Content = ("image/png", _BINARY)
_JOBS: _Content = (
    "application/json",
    {"type": "object", "properties": {"jobs": {"type": "array", "items": _JOB[1]}}},
)
_STREAM: _Content = ("text/event-stream", {"type": "string"})


def _paths(limits: Limits) -> dict[str, Any]:
    options: _Content = ("application/json", {"$ref": "#/components/schemas/Options"})
    unknown = {
        404: ("There is no such job, and there was none.", _ERROR),
        410: ("It ended long ago; its images are no longer kept.", _ERROR),
    }
    none = {409: ("There is no such image, or not yet.", _ERROR)}
    accepted = {
        202: ("The job waits in the queue.", _JOB),
        400: ("A file or an option is wrong; the text says what and what to do.", _ERROR),
        413: (f"More than {limits.max_bytes} bytes.", _ERROR),
        429: ("The queue is full; Retry-After has seconds.", _ERROR),
    }
    paths: dict[str, Any] = {
        "/api/jobs": {
            "post": _operation("Paint: append a job to the queue.", accepted, _form()),
            "get": _operation("The jobs that are kept.", {200: ("All, oldest first.", _JOBS)}),
        },
        "/api/jobs/{id}": {
            "get": _operation("A job.", {200: ("The job.", _JOB)} | unknown),
            "delete": _operation(
                "Stop a job, or take it out of the queue. A run that has begun keeps its best image.",
                {200: ("The job.", _JOB)} | unknown,
            ),
        },
        "/api/jobs/{id}/events": {
            "get": _operation(
                "Server-sent events, each named after the state, with the job as JSON, until it has ended.",
                {200: ("The stream.", _STREAM)} | unknown,
            )
        },
        "/api/jobs/{id}/preview": {
            "get": _operation("The image so far.", {200: ("JPEG.", _JPEG)} | none | unknown)
        },
        "/api/jobs/{id}/content": {
            "get": _operation("The content image, to compare.", {200: ("JPEG.", _JPEG)} | none | unknown)
        },
        "/api/jobs/{id}/image": {
            "get": _operation("The result with its recipe.", {200: ("PNG.", _PNG)} | none | unknown)
        },
        "/api/jobs/{id}/again": {
            "post": _operation(
                "Paint the same images with other options; a larger size continues from the result.",
                accepted | unknown,
                options,
            )
        },
    }
    identifier = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    for path, operations in paths.items():
        if "{id}" in path:
            operations["parameters"] = [identifier]
    return paths


def _operation(
    text: str, answers: Mapping[int, tuple[str, _Content]], body: _Content | None = None
) -> dict[str, Any]:
    """Return an operation; `answers` are status → what it means, and its content."""
    described = {
        str(status): {"description": line, "content": {kind: {"schema": schema}}}
        for status, (line, (kind, schema)) in answers.items()
    }
    operation: dict[str, Any] = {"summary": text, "responses": described}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {body[0]: {"schema": body[1]}}}
    return operation


def _form() -> _Content:
    files = {
        name: ({"type": "array", "items": _BINARY, "maxItems": most} if most > 1 else dict(_BINARY))
        | {"description": _FILES[name]}
        for name, most in FILES.items()
    }
    options = {"options": {"$ref": "#/components/schemas/Options"}}
    schema = {"type": "object", "required": ["content", "style"], "properties": files | options}
    return "multipart/form-data", schema


def _job_schema() -> dict[str, Any]:
    integer, number, text = {"type": "integer"}, {"type": "number"}, {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "id": text,
            "state": {"type": "string", "enum": list(get_args(State))},
            "content": text,
            "styles": {"type": "array", "items": text},
            "size": integer,
            "preview": integer | {"description": "Number of previews so far."},
            "waiting_before": integer | {"description": "Jobs before it in the queue."},
            "progress": number | {"description": "Share of the work that is done, 0 to 1."},
            "scale": integer,
            "scales": integer,
            "iteration": integer,
            "iterations": integer,
            "loss": number,
            "seconds": number,
            "width": integer,
            "height": integer,
            "error": text,
        },
    }


def page(description: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as a page without scripts."""
    parts: list[str] = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            answers = "".join(
                f"<li><code>{status}</code> {escape(answer['description'])}</li>"
                for status, answer in operation["responses"].items()
            )
            body = "".join(
                f"<p>Body: <code>{kind}</code></p>"
                for kind in operation.get("requestBody", {}).get("content", {})
            )
            parts.append(
                f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}</p>"
                f"{body}<ul>{answers}</ul>"
            )
    form = description["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "schema"
    ]
    files = {name: row for name, row in form["properties"].items() if name != "options"}
    options = description["components"]["schemas"]["Options"]["properties"]
    example = (
        "curl -F content=@photo.jpg -F style=@painting.jpg -F 'options={\"size\": 512}' ADDRESS/api/jobs\n"
        "curl -N ADDRESS/api/jobs/ID/events\n"
        "curl -o out.png ADDRESS/api/jobs/ID/image"
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>API of lbfgs-style</title>"
        '<link rel="stylesheet" href="page.css"></head><body class="docs"><main>'
        f"<h1>API of lbfgs-style {escape(__version__)}</h1><p>{escape(description['info']['description'])} "
        '<a href="openapi.json">OpenAPI document</a></p>'
        f"<pre>{escape(example)}</pre>{''.join(parts)}"
        f"<h2>Files of the form</h2>{_table(files)}<h2>Options</h2>{_table(options)}</main></body></html>"
    )


def _table(rows: Mapping[str, Any]) -> str:
    body = "".join(
        f"<tr><th><code>{escape(name)}</code></th><td>{escape(row.get('description', ''))}"
        f"{escape(_more(row))}</td></tr>"
        for name, row in rows.items()
    )
    return f"<table>{body}</table>"


def _more(row: Mapping[str, Any]) -> str:
    """Return choices, limits and default of a property, as text."""
    parts: list[str] = []
    if "enum" in row:
        parts.append(f"One of {', '.join(row['enum'])}.")
    if "minimum" in row:
        parts.append(f"From {row['minimum']} to {row['maximum']}.")
    if row.get("default") is not None:
        parts.append(f"Default {row['default']}.")
    return " " + " ".join(parts) if parts else ""
