"""Files that look like readable images: what they are, and the remedy."""

from __future__ import annotations

import re

from . import tiff_declared

_CONVERT = "which cannot be read: convert it to PNG or JPEG"
_UNPACK = "which cannot be read: unpack it first"
_DOWNLOADED = (
    ", saved under the name of an image; expected the image itself: open its address in a browser, and "
    "save the image that it shows"
)

# Bytes of a file that are searched as text.
_TEXT_BYTES = 4096

# What may precede the first element of a page or drawing: white space, comments, processing instructions.
_PROLOGUE = re.compile(rb"(?:\s+|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_TEXTS = (
    (re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script)\b"), f"a web page{_DOWNLOADED}"),
    (re.compile(rb"<(?:!doctype\s+svg|svg)\b"), f"an SVG drawing, {_CONVERT}"),
    (re.compile(rb"<(?:!|\?xml)"), f"an XML or HTML document{_DOWNLOADED}"),
    (re.compile(rb"(?:\{\s*[\"}]|\[\s*[\[{\"])"), f"JSON text, perhaps a server's answer{_DOWNLOADED}"),
    (re.compile(rb"%pdf"), f"a PDF document, {_CONVERT}"),
)
# Camera raw files that do not begin as TIFF files do: Olympus, Panasonic, Fujifilm, Minolta, Sigma.
_RAW = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb")
_BEGINNINGS = (
    (b"\xff\x0a", f"a JPEG XL image, {_CONVERT}"),
    (b"\0\0\0\x0cJXL ", f"a JPEG XL image, {_CONVERT}"),
    (b"\x76\x2f\x31\x01", f"an OpenEXR image, {_CONVERT}"),
    (b"8BPS", f"a Photoshop document, {_CONVERT}"),
    (b"\0\0\1\0", f"an icon, {_CONVERT}"),
    (b"PK\3\4", f"a ZIP archive, {_UNPACK}"),
    (b"\x1f\x8b", f"a gzip archive, {_UNPACK}"),
)


def describe(data: bytes) -> str | None:
    """Return the kind of a file that looks like a readable image, with the remedy; None for others."""
    if data.startswith(_RAW) or data[6:14] == b"HEAPCCDR" or data[4:12] == b"ftypcrx ":
        return tiff_declared.RAW
    if data[4:8] == b"ftyp" and len(data) >= 16:
        return f"a film or another ISO media file, {_CONVERT}"
    text = _text(data)
    start = _PROLOGUE.sub(b"", text, count=1)
    for pattern, description in _TEXTS:
        if pattern.match(start) or pattern.match(text):
            return description
    return next((description for start, description in _BEGINNINGS if data.startswith(start)), None)


def _text(data: bytes) -> bytes:
    """Return the beginning of a file as lower-case text of one byte a letter, without leading blanks."""
    begin = data[:_TEXT_BYTES]
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        begin = begin.decode("utf-16", "ignore").encode()
    elif begin.startswith((b"<\0", b"{\0", b"\0<", b"\0{")):
        begin = begin.replace(b"\0", b"")
    return begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
