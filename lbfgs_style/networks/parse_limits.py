"""Parse the bytes of an ONNX file, after checking how many objects the parser will make of them.

A file of a few megabytes can hold millions of empty nodes, of which the parser makes objects before any can
be checked. So the bytes are walked first, along the wire format of Protocol Buffers (tag, length, value);
which fields are messages is known from ONNX's descriptors. The walk only counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import NetworkError

if TYPE_CHECKING:
    import onnx

# Limits: fields of all messages together; VGG19 has about a thousand.
MAX_FIELDS = 200_000

# Bytes of packed integers; one byte of the file can become eight in memory.
MAX_PACKED = 100_000_000

# Levels of nested messages; a plain graph has seven.
MAX_DEPTH = 24

# First bytes of compressed files → name of the format.
_PACKERS = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z"}

# Wire types of Protocol Buffers.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

# Types of google.protobuf.descriptor.FieldDescriptor that take as many bytes in memory as in the file.
_STRING = 9
_BYTES_OR_FLOATS = (1, 2, _STRING, 12)  # double, float, string, bytes


class Malformed(Exception):
    """The bytes are not a Protocol Buffers message of this type."""


def parse(data: bytes, label: str) -> onnx.ModelProto:
    """Parse an ONNX file.

    Parameters
    ----------
    data : bytes
        The bytes of the file.
    label : str
        What messages call it.

    Raises
    ------
    NetworkError
        If it is not an ONNX file, is cut short, or has more fields than any network needs.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        _walk(memoryview(data), onnx.ModelProto.DESCRIPTOR, label)
        return onnx.ModelProto.FromString(data)
    except (Malformed, DecodeError) as error:
        packer = next((name for magic, name in _PACKERS.items() if data.startswith(magic)), None)
        if packer is not None:
            raise NetworkError(f"{label!r} is a {packer} archive: unpack it first.") from error
        raise NetworkError(
            f"{label!r} is not an ONNX model or was cut short: pull or export the network again."
        ) from error


def _walk(data: memoryview, descriptor: Any, label: str) -> None:
    """Count the fields of a message and of the messages nested in it; raise if there are too many."""
    fields = packed = 0
    open_messages: list[tuple[int, Any]] = [(len(data), descriptor)]  # (end, descriptor) of each
    offset = 0
    while open_messages:
        end, message = open_messages[-1]
        if offset == end:
            open_messages.pop()
            continue
        fields += 1
        tag, offset = read_varint(data, offset, end)
        wire, field = tag & 7, message.fields_by_number.get(tag >> 3)
        if wire == _VARINT:
            _, offset = read_varint(data, offset, end)
        elif wire in (_FIXED32, _FIXED64):
            offset += 4 if wire == _FIXED32 else 8
        elif wire == _LENGTH:
            length, offset = read_varint(data, offset, end)
            if field is not None and field.message_type is not None and offset + length <= end:
                open_messages.append((offset + length, field.message_type))
                length = 0
            elif field is not None and field.type not in _BYTES_OR_FLOATS:
                packed += length
            elif field is not None and field.type == _STRING and not _is_utf8(data[offset : offset + length]):
                raise NetworkError(
                    f"The network file {label!r} holds strings that are not UTF-8: export it again."
                )
            offset += length
        else:
            raise Malformed
        if offset > end:
            raise Malformed
        if fields > MAX_FIELDS or packed > MAX_PACKED or len(open_messages) > MAX_DEPTH:
            raise NetworkError(
                f"The network file {label!r} is too large or too deeply nested: expected at most "
                f"{MAX_FIELDS:,} fields, {MAX_PACKED:,} bytes of packed integers and {MAX_DEPTH} levels of "
                "messages."
            )


def _is_utf8(data: memoryview) -> bool:
    """Return whether a string is UTF-8; for others, Protocol Buffers returns bytes in place of text."""
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_varint(data: memoryview, offset: int, end: int) -> tuple[int, int]:
    """Return an integer of variable length, and the offset after it."""
    value = shift = 0
    while offset < end and shift < 70:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
    raise Malformed
