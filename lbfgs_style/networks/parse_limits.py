"""A walk through the bytes of an ONNX file before anything is made of them.

A file of a few megabytes can hold millions of empty nodes, and the parser makes objects of all of them before
anybody can look at one. The walk follows the wire format of Protocol Buffers (tag, length, value), knows from
ONNX's own description which fields are messages, and makes nothing: it only counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import NetworkError

if TYPE_CHECKING:
    import onnx

MAX_FIELDS = 200_000
"""Fields of all messages together; VGG19 has about a thousand."""

MAX_PACKED = 100_000_000
"""Bytes of packed integers: one byte of the file can become eight in memory."""

MAX_DEPTH = 24
"""Messages within messages; a plain graph has seven."""

_PACKERS = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z"}

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

# Of google.protobuf.descriptor.FieldDescriptor: what takes as much memory as it has bytes.
_STRING = 9
_BYTES_OR_FLOATS = (1, 2, _STRING, 12)  # double, float, string, bytes


class _Malformed(Exception):
    """The bytes are no Protocol Buffers message of this kind."""


def parse(data: bytes, label: str) -> onnx.ModelProto:
    """Make a model of the bytes of a file.

    Parameters
    ----------
    data : bytes
        An ONNX file.
    label : str
        What to call it in a message.

    Raises
    ------
    NetworkError
        If it is no ONNX file, is cut short, or has more fields than any network needs.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        _walk(memoryview(data), onnx.ModelProto.DESCRIPTOR, label)
        return onnx.ModelProto.FromString(data)
    except (_Malformed, DecodeError) as error:
        packer = next((name for magic, name in _PACKERS.items() if data.startswith(magic)), None)
        if packer is not None:
            raise NetworkError(f"{label!r} is a {packer} archive: unpack it first.") from error
        raise NetworkError(
            f"{label!r} is not an ONNX model or was cut short: pull or export the network again."
        ) from error


def _walk(data: memoryview, kind: Any, label: str) -> None:
    """Count the fields of a message of `kind` and of the messages in it."""
    fields = packed = 0
    inside: list[tuple[int, Any]] = [(len(data), kind)]
    place = 0
    while inside:
        end, message = inside[-1]
        if place == end:
            inside.pop()
            continue
        fields += 1
        tag, place = _varint(data, place, end)
        wire, field = tag & 7, message.fields_by_number.get(tag >> 3)
        if wire == _VARINT:
            _, place = _varint(data, place, end)
        elif wire in (_FIXED32, _FIXED64):
            place += 4 if wire == _FIXED32 else 8
        elif wire == _LENGTH:
            length, place = _varint(data, place, end)
            if field is not None and field.message_type is not None and place + length <= end:
                inside.append((place + length, field.message_type))
                length = 0
            elif field is not None and field.type not in _BYTES_OR_FLOATS:
                packed += length
            elif field is not None and field.type == _STRING and not _is_text(data[place : place + length]):
                raise NetworkError(
                    f"The network file {label!r} holds names that are no text: expected UTF-8."
                )
            place += length
        else:
            raise _Malformed
        if place > end:
            raise _Malformed
        if fields > MAX_FIELDS or packed > MAX_PACKED or len(inside) > MAX_DEPTH:
            raise NetworkError(
                f"The network file {label!r} is built like no feature network: expected at most "
                f"{MAX_FIELDS:,} fields, {MAX_PACKED:,} bytes of packed integers and {MAX_DEPTH} messages in "
                "each other."
            )


def _is_text(data: memoryview) -> bool:
    """Tell whether a string is UTF-8: of others, Protocol Buffers would give bytes where text is expected."""
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _varint(data: memoryview, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise _Malformed
