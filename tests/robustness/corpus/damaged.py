"""Damaged files of the corpus, and odd ones that cannot be read: refused by name, or read right."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.helpers.picture_bytes import (
    PNG,
    big_tiff,
    box,
    chunk,
    directory,
    exif,
    gif,
    gif_frame,
    jpeg_segment,
    png,
    png_header,
    tiff,
    webp_with,
    with_segment,
)
from tests.robustness.corpus.cases import Case, indexed, plain, wave

TOO_LARGE = "pixels; expected at most"
EXIF = b"Exif\0\0"


def cases() -> Iterator[Case]:
    """Yield all damaged files."""
    yield from cut()
    yield from flipped()
    yield from empty()
    yield from foreign()
    yield from huge()
    yield from not_numbers()
    yield from damaged_exif()
    yield from turned_all_the_same()
    yield from damaged_words()
    yield from named()
    yield from no_files()


def cut() -> Iterator[Case]:
    """Leave out the end of a file, one byte of it or nearly all."""
    for name, (data, wants, _) in plain().items():
        for part in (0.02, 0.1, 0.3, 0.6, 0.9):
            kept = max(3, int(part * len(data)))
            yield Case("truncated", f"cut-{kept}.{name}", data[:kept], says="cut short")
        if name == "text.ppm":  # the last byte ends a line, and nothing is missing without it
            yield Case("truncated", f"cut-last.{name}", data[:-1], wants)
        else:
            yield Case("truncated", f"cut-last.{name}", data[:-1], says="cut short")


def flipped() -> Iterator[Case]:
    """Flip single bits. Without a checksum that cannot be detected: no crash, and the same size."""
    rng = np.random.default_rng(5)
    for name, (data, wants, _) in plain().items():
        for part in (0.2, 0.45, 0.7, 0.95):
            place = int(part * len(data)) + int(rng.integers(3))
            wrong = bytearray(data)
            wrong[place] ^= 1 << int(rng.integers(8))
            message = "damaged" if name == "png" else None  # it has a checksum for each chunk
            shape = wants.shape[:2] if part > 0.5 else ()  # before that, the size may be what is wrong
            yield Case("bit-flipped", f"bit-{place}.{name}", bytes(wrong), says=message, shape=shape)
        for place in (0, 1, 5):
            wrong = bytearray(data)
            wrong[place] ^= 0x20
            yield Case("bit-flipped", f"head-{place}.{name}", bytes(wrong))
        swapped = data[: len(data) // 2] + bytes(40) + data[len(data) // 2 + 40 :]
        yield Case("bit-flipped", f"hole.{name}", swapped, shape=wants.shape[:2])
    text = bytearray(png(wave(), 2, 8, chunk(b"tEXt", b"Comment\0harmless")))
    text[text.index(b"harm")] ^= 1
    yield Case("bit-flipped", "comment.png", bytes(text), wave())


def empty() -> Iterator[Case]:
    """Yield files of no bytes and of zeros."""
    for kind in ("png", "jpg", "webp", "avif", "tiff", "gif", "bmp", "ppm", "hdr", "pfm", "jp2", "none"):
        yield Case("zero bytes", f"empty.{kind}", b"", says="the file is empty; expected an image")
        yield Case("zero bytes", f"zeros.{kind}", bytes(4096), says="damaged, cut short, or of a format")


def foreign() -> Iterator[Case]:
    """Yield files of other kinds under the name of a picture."""
    isom = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    files = {
        "phone.jpg": (isom + bytes(400), "HEIC"),
        "film.jpg": (box(b"ftyp", b"isom", bytes(4)) + bytes(400), "a film or another ISO media file"),
        "modern.png": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "a JPEG XL image"),
        "modern-stream.png": (b"\xff\x0a" + bytes(99), "a JPEG XL image"),
        "render.png": (b"\x76\x2f\x31\x01\2\0\0\0", "an OpenEXR image"),
        "layers.png": (b"8BPS\0\1" + bytes(40), "a Photoshop document"),
        "scan.jpg": (b"%PDF-1.7\n", "a PDF document"),
        "drawing.png": (b"\n <svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        "drawing-too.png": (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "an SVG drawing"),
        "download.jpg": (b"<!DOCTYPE html><title>404</title>", "a web page"),
        "favicon.png": (b"\0\0\1\0\1\0" + bytes(60), "an icon"),
        "album.jpg": (b"PK\3\4" + bytes(60), "a ZIP archive, which cannot be read: unpack it first"),
        "packed.png": (b"\x1f\x8b\x08" + bytes(60), "a gzip archive"),
        "notes.png": (b"not a picture at all\n" * 9, "damaged, cut short, or of a format"),
        "program.jpg": (b"\x7fELF" + bytes(400), "damaged, cut short, or of a format"),
    }
    for name, (data, says) in files.items():
        yield Case("wrong extension", name, data, says=says)


def huge() -> Iterator[Case]:
    """Declare, in a few bytes, more pixels than fit into memory, or than numbers can count."""
    sides = struct.pack("<HH", 30000, 30000)
    frame = jpeg_segment(0xC0, struct.pack(">BHHB", 8, 30000, 30000, 3) + b"\1\x11\0\2\x11\0\3\x11\0")
    canvas = webp_with(plain()["webp"][0], (2**24, 2**24), 0)
    ispe = box(b"ispe", bytes(4), struct.pack(">II", 30000, 30000))
    head = {
        "png": png_header(30000, 30000) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""),
        "billions.png": png_header(2**31 - 1, 2**31 - 1),
        "jpg": b"\xff\xd8" + frame + b"\xff\xda",
        "webp": canvas,
        "avif": box(b"ftyp", b"avif", bytes(4), b"mif1")
        + box(b"meta", bytes(4), box(b"iprp", box(b"ipco", ispe))),
        "tiff": directory("<", [(256, 4, 1, 30000), (257, 4, 1, 30000)]),
        "mm.tiff": directory(">", [(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1)]),
        "tiles.tiff": tiff(wave(), more=[(322, 4, 1, 2**20), (323, 4, 1, 2**20)]),
        "gif": b"GIF89a" + sides + bytes(3),
        "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, 30000, -30000) + bytes(40),
        "old.bmp": b"BM" + bytes(12) + struct.pack("<I", 12) + sides + bytes(40),
        "ppm": b"P6\n# large\n30000 30000\n255\n",
        "pbm": b"P1 4000000000 4000000000\n",
        "pam": b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n",
        "pfm": b"PF\n30000 30000\n-1.0\n",
        "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n",
        "j2k": b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 47, 0, 30000, 30000, 0, 0, 30000, 30000, 0, 0, 3),
        "ras": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 30000, 30000, 24, 0, 1, 0, 0),
    }
    for name, data in head.items():
        yield Case("huge", f"huge.{name}", data, says=TOO_LARGE)
    large = bytearray(big_tiff(wave()))
    large[24 + 12 : 24 + 16] = large[24 + 32 : 24 + 36] = struct.pack("<I", 65535)
    yield Case("huge", "huge.big.tiff", bytes(large), says=TOO_LARGE)
    yield Case(
        "huge", "long.png", png_header(2**27, 1) + chunk(b"IEND", b""), says="sides of at most 1048576"
    )
    none = png_header(0, 0) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    yield Case("huge", "no-pixels.png", none, says="damaged or cut short")
    many = plain()["progressive.jpg"][0]
    yield Case(
        "huge", "scans.jpg", many[:-2] + b"\xff\xda" * 9999 + many[-2:], says="scans, which takes very long"
    )
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 25)))
    yield Case("huge", "profile.png", png(wave(), 2, 8, bomb * 8), wave())
    overlap = gif(indexed()[1], [gif_frame(np.zeros((200, 300), int))], 48, 40)
    yield Case("huge", "frame-beyond-screen.gif", overlap, shape=(40, 48))
    tags = [(40000 + i, 7, 900_000, 8) for i in range(20_000)]
    yield Case("huge", "tags.tiff", greedy(tags), says="cut short")


def greedy(tags: list[tuple[int, int, int, int]]) -> bytes:
    """Return a TIFF whose tags all claim the whole file, which is large enough for each."""
    return directory("<", [(256, 4, 1, 1), (257, 4, 1, 1), *tags]) + bytes(900_000)


def not_numbers() -> Iterator[Case]:
    """Yield floating-point pictures with NaN or infinity."""
    for name, pixels in {
        "one-nan": np.where(np.arange(5760).reshape(40, 48, 3) == 77, np.nan, wave() / 255),
        "all-nan": np.full((40, 48, 3), np.nan),
        "nan-and-infinity": np.full((40, 48, 3), (np.nan, np.inf, -np.inf)),
    }.items():
        for kind in (np.float32, np.float64):
            data = tiff(pixels.astype(kind), sample_format=3)
            yield Case("floats", f"{name}-{np.dtype(kind).name}.tiff", data, says="contains NaN")
        body = b"PF\n48 40\n-1.0\n" + pixels.astype("<f4").tobytes()
        yield Case("floats", f"{name}.pfm", body, says="contains NaN")
    for name, kind, of in (("int16", np.int16, 2), ("int32", np.int32, 2), ("uint32", np.uint32, 1)):
        data = tiff(np.zeros((4, 4), kind), 1, sample_format=of)
        yield Case("floats", f"{name}.tiff", data, says="")
    yield Case(
        "floats", "half.tiff", tiff((wave() / 255).astype(np.float16), sample_format=3), shape=(40, 48)
    )


def damaged_exif() -> Iterator[Case]:
    """Yield pictures with damaged EXIF blocks, which are ignored."""
    six = exif(6)
    pointer = directory("<", [(34665, 5, 1, 0)]) + b"\xff" * 64
    loop = directory("<", [(34665, 4, 1, 8), (34853, 4, 1, 8), (40965, 4, 1, 8)])
    blocks = {
        "empty": b"",
        "junk": b"junk" * 9,
        "head-alone": six[:8],
        "cut-count": six[:9],
        "cut-entry": six[:14],
        "far": b"II*\0\xff\xff\xff\x7f" + six[8:],
        "farther": b"II*\0\xff\xff\xff\xff" + six[8:],
        "many": six[:8] + b"\xff\xff" + six[10:],
        "orientation-0": exif(0),
        "orientation-9": exif(9),
        "orientation-65535": exif(65535),
        "no-type": directory("<", [(0x0112, 99, 1, 6)]),
        "no-count": directory("<", [(0x0112, 3, 0, 6)]),
        "greedy": directory("<", [(0x0112, 3, 2**32 - 1, 6)]),
        "pointer-of-64-bits": pointer[:18] + struct.pack("<I", 26) + pointer[22:],
        "loop": loop,
        "mixed-order": b"MM\0*" + six[4:],
        "big": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + bytes(40),
        "greedy-tags": greedy([(40000 + i, 7, 40_000, 8) for i in range(300)])[:60_000],
    }
    data, wants, off = plain()["jpg"]
    for name, block in blocks.items():
        inside = png(wave(), 2, 8, chunk(b"eXIf", block))
        yield Case("EXIF damaged", f"exif-{name}.png", inside, wave(), written=True)
        yield Case(
            "EXIF damaged",
            f"exif-{name}.jpg",
            with_segment(data, 0xE1, EXIF + block),
            wants,
            off,
            written=True,
        )


def turned_all_the_same() -> Iterator[Case]:
    """Yield pictures whose EXIF is damaged elsewhere than in the orientation, which is applied."""
    wants = wave()[::-1].transpose(1, 0, 2)
    for name, pointer in (("far", 2**31), ("cut", 20), ("farthest", 2**32 - 1)):
        for order in "<>":
            block = directory(order, [(0x0112, 3, 1, 6), (34665, 4, 1, pointer)])
            data = png(wave(), 2, 8, chunk(b"eXIf", block))
            yield Case("EXIF damaged", f"inner-{name}-{ord(order)}.png", data, wants, written=True)


def damaged_words() -> Iterator[Case]:
    """Yield pictures with damaged colour profiles, XMP and boxes: the pixels are read unchanged."""
    rgb = wave()
    formula = profile(b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, 0, 0, 0, 65536, 32768))
    steep = profile(b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, 2**31 - 1, 2**31 - 1, 2**31 - 1, 0, 0))
    flat = profile(b"para" + bytes(4) + struct.pack(">HH7i", 4, 0, 65536, 0, 32768, 65536, 32768, 0, 0))
    tags = b"".join(struct.pack(">4sII", b"%04x" % i, 0, 2**31) for i in range(9999))
    profiles = {
        "junk": b"junk" * 99,
        "short": bytes(20),
        "no-tags": profile(b"")[:132],
        "power-0": formula,
        "steep": steep,
        "flat": flat,
        "many-tags": bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(88) + struct.pack(">I", 9999) + tags,
        "billions-of-tags": bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(88) + b"\xff" * 4,
        "table-beyond": profile(b"curv" + bytes(4) + struct.pack(">IH", 2**32 - 1, 9)),
        "falls": profile(b"curv" + bytes(4) + struct.pack(">I3H", 3, 65535, 30, 0)),
    }
    for name, icc in profiles.items():
        inside = png(rgb, 2, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(icc)))
        yield Case("profile damaged", f"profile-{name}.png", inside, rgb, written=True)
    data, wants, off = plain()["jpg"]
    for name, segment in {
        "number-0": b"ICC_PROFILE\0\0\0",
        "no-numbers": b"ICC_PROFILE\0",
        "only-the-third": b"ICC_PROFILE\0\3\3" + profiles["steep"],
    }.items():
        yield Case(
            "profile damaged",
            f"segment-{name}.jpg",
            with_segment(data, 0xE2, segment),
            wants,
            off,
            written=True,
        )
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + b"\xff\xfe<tiff:Orientation>" * 99
    yield Case("profile damaged", "xmp.jpg", with_segment(data, 0xE1, xmp), wants, off, written=True)
    not_packed = png(rgb, 2, 8, chunk(b"iCCP", b"x\0\0not packed"))
    yield Case("profile damaged", "not-packed.png", not_packed, rgb, written=True)
    picture, wants, off = plain()["avif"]
    loop = box(b"free", b"\0\0\0\1free" + b"\xff" * 8)
    yield Case("profile damaged", "boxes.avif", picture + loop, wants, off, written=True)


def profile(curve: bytes) -> bytes:
    """Return an RGB profile of the primaries of sRGB whose three channels have that curve."""
    xyz = [(28578, 14579, 912), (25241, 46981, 6350), (9376, 3972, 46799)]
    columns = [b"XYZ " + bytes(4) + struct.pack(">3i", *column) for column in xyz]
    names = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    bodies = [*columns, curve, curve, curve]
    head = bytes(16) + b"RGB XYZ " + bytes(12) + b"acsp" + bytes(88) + struct.pack(">I", 6)
    table, data, start = b"", b"", len(head) + 72
    for name, body in zip(names, bodies, strict=True):
        table += struct.pack(">4sII", name, start + len(data), len(body))
        data += body
    return head + table + data


def named() -> Iterator[Case]:
    """Yield files with names that are hard to print, to quote or to store."""
    data, wants, off = plain()["png"]
    names = {
        "日本語の写真.png": None,
        "é-composed.png": None,
        "e\u0301-decomposed.png": None,
        "مرحبا.png": None,
        "🎨🖼️.png": None,
        "with a space.png": None,
        "'quotes' and \"double\".png": None,
        "--output=evil.png": None,
        "%s %d {} {0}.png": None,
        "back\\slash.png": None,
        "semi;colon&and|pipe.png": None,
        "line\nbreak.png": None,
        "\x1b[31mred.png": None,
        os.fsdecode(b"not-utf-8-\xff\xfe.png"): None,
        "n" * 251 + ".png": None,
        "字" * 83 + ".png": None,
    }
    for name in names:
        yield Case("names", name, data, wants, off)
        if len(name) < 60:
            yield Case("names", f"bad {name}", data[:90], says="damaged or cut short")

    def nothing(path: Path) -> None:
        pass

    yield Case("names", "m" * 252 + ".png", nothing, says="File name too long")
    yield Case("names", "long/" * 900 + "path.png", nothing, says="File name too long")
    yield Case("names", "zero\0byte.png", nothing, says="no file can have this name")
    yield Case("names", "missing.png", nothing, says="no such file")
    yield Case("names", "missing-folder/a.png", nothing, says="does not exist")


def no_files() -> Iterator[Case]:
    """Yield names of things that are no files, or files that may not be read."""

    def sealed(path: Path) -> None:
        path.write_bytes(plain()["png"][0])
        path.chmod(0)

    def behind_a_door(path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(plain()["png"][0])
        path.parent.chmod(0)

    def listening(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))

    def linked(target: str) -> Callable[[Path], object]:
        return lambda path: path.symlink_to(target)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.write(PNG)
            file.truncate(1 << 40)

    yield Case("no files", "folder.png", Path.mkdir, says="is a folder; expected an image file")
    yield Case("no files", "pipe.png", os.mkfifo, says="a named pipe, a socket or a device")
    yield Case("no files", "link-to-pipe.png", linked("pipe.png"), says="a named pipe, a socket or a device")
    yield Case("no files", "socket.png", listening, says="a named pipe, a socket or a device")
    yield Case("no files", "endless.png", linked("/dev/zero"), says="a named pipe, a socket or a device")
    yield Case("no files", "nothing.png", linked("/dev/null"), says="a named pipe, a socket or a device")
    yield Case("no files", "link-to-nowhere.png", linked("nowhere.png"), says="no such file")
    yield Case("no files", "link-to-itself.png", linked("link-to-itself.png"), says="symbolic link")
    yield Case("no files", "link-to-folder.png", linked("."), says="is a folder")
    yield Case("no files", "terabyte.png", sparse, says="more than 2147483647 bytes")
    yield Case("unreadable", "sealed.png", sealed, says="Permission denied")
    yield Case("unreadable", "door/closed.png", behind_a_door, says="Permission denied")
