"""Colour profiles made by hand, by the specification (ICC.1:2010)."""

from __future__ import annotations

import struct

# Colours of the primaries under D50, as the profiles of their owners have them.
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


def table(*values: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(values)}H", len(values), *values)


def para(kind: int, *numbers: float) -> bytes:
    fixed = [round(65536 * n) for n in numbers]
    return b"para" + bytes(4) + struct.pack(f">HH{len(fixed)}i", kind, 0, *fixed)


ADOBE_CURVE = gamma(563 / 256)
DOT_GAIN = gamma(1.8)
SRGB_CURVE = para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * v) for v in values))


def text(name: str) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + bytes(1 + 4 + 4 + 3 + 67)


def profile(space: str, tags: dict[str, bytes]) -> bytes:
    body, table = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag.encode(), start + len(body), len(data))
        body += data
    kind = b"mntr" if space != "CMYK" else b"prtr"
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02400000, kind, space.encode(), b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb(primaries=ADOBE, curve=ADOBE_CURVE, name="hand-made RGB") -> bytes:
    tags = {"desc": text(name), "wtpt": xyz(0.9642, 1, 0.82491), "cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {f"{c}XYZ": xyz(*primary) for c, primary in zip("rgb", primaries, strict=True)}
    return profile("RGB ", tags | {f"{c}TRC": curve for c in "rgb"})


def gray(curve=DOT_GAIN) -> bytes:
    return profile("GRAY", {"desc": text("hand-made grey"), "wtpt": xyz(0.9642, 1, 0.82491), "kTRC": curve})


def tables_only() -> bytes:
    return profile("RGB ", {"desc": text("a scanner"), "A2B0": b"mft2" + bytes(60)})


def cmyk() -> bytes:
    return profile("CMYK", {"desc": text("a press"), "A2B0": b"mft2" + bytes(60)})
