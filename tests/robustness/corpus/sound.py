"""Odd files of the corpus that are sound: what they hold must be read right."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from tests.helpers.picture_bytes import (
    big_tiff,
    bmp,
    box,
    chunk,
    exif,
    gif,
    gif_frame,
    packed,
    png,
    tiff,
    webp_chunk,
    webp_with,
    with_segment,
)
from tests.robustness.corpus.cases import CMYK_JPEG, Case, encoded, indexed, plain, shown, wave

EXIF = b"Exif\0\0"


def cases() -> Iterator[Case]:
    """Yield all sound files."""
    yield from whole()
    yield from misnamed()
    yield from thin()
    yield from deep()
    yield from shallow()
    yield from colors()
    yield from animated()
    yield from transparent()
    yield from floats()
    yield from turned()
    yield from surrounded()


def whole() -> Iterator[Case]:
    """Yield a plain file of every format."""
    for name, (data, wants, off) in plain().items():
        yield Case("sound", f"whole.{name}", data, wants, off, written=True)


def misnamed() -> Iterator[Case]:
    """Give files the extension of another format: the content counts."""
    for name, other in zip(plain(), [*list(plain())[3:], *list(plain())[:3]], strict=True):
        data, wants, off = plain()[name]
        yield Case("wrong extension", f"{name.replace('.', '-')}-as.{other}", data, wants, off)
    data, wants, off = plain()["png"]
    for name in ("no-extension", "ends-with-a-dot.", "two.png.txt", "SHOUTS.PNG", "statistics.npy"):
        yield Case("wrong extension", name, data, wants, off)


def thin() -> Iterator[Case]:
    """Make a single pixel, row or column."""
    for height, width in ((1, 1), (1, 3000), (3000, 1), (1, 2), (2, 1)):
        flat = np.full((height, width, 3), (40, 160, 220), np.uint8)
        for kind, off in (
            ("png", 0),
            ("jpg", 4),
            ("webp", 12),
            ("tiff", 0),
            ("bmp", 0),
            ("ppm", 0),
            ("avif", 6),
        ):
            name = f"{height}x{width}.{kind}"
            yield Case("1×N", name, encoded(f".{kind}", flat), flat, off)
        indices = np.arange(height * width).reshape(height, width) % 128
        data = gif(indexed()[1], [gif_frame(indices)], width, height)
        yield Case("1×N", f"{height}x{width}.gif", data, indexed()[1][indices])


def deep() -> Iterator[Case]:
    """Yield pictures of 16, 12 and 10 bits."""
    rgb = wave().astype(np.uint16) * 257 - 128
    gray = rgb[..., 0]
    rgba = np.dstack([rgb, 65535 - gray])
    kinds = {"rgb": (rgb, 2), "gray": (gray, 0), "rgba": (rgba, 6)}
    for name, (samples, color) in kinds.items():
        yield Case("16-bit", f"deep-{name}.png", png(samples, color, 16), samples, written=True)
        yield Case("16-bit", f"deep-{name}-adam7.png", png(samples, color, 16, interlace=True), samples)
        yield Case("16-bit", f"deep-{name}.tiff", encoded(".tiff", samples), samples)
        if name != "rgba":
            more, photometric = (), 1 if name == "gray" else 2
            yield Case("16-bit", f"deep-{name}-mm.tiff", tiff(samples, photometric, more, ">"), samples)
    yield Case("16-bit", "deep.ppm", encoded(".ppm", rgb), rgb)
    yield Case("16-bit", "deep.pgm", encoded(".pgm", gray), gray)
    yield Case("16-bit", "deep.jp2", encoded(".jp2", rgb, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000), rgb)
    for bits in (10, 12):
        small = (rgb >> (16 - bits)).astype(np.uint16)
        data = encoded(".avif", small, cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 95)
        yield Case("16-bit", f"deep-{bits}.avif", data, rgb, 2500)


def shallow() -> Iterator[Case]:
    """Yield pictures with palettes and of fewer than 8 bits."""
    indices, palette = indexed()
    for depth in (1, 2, 4, 8):
        levels = 1 << depth
        few = indices % min(levels, 128)
        gray = (few * (255 // (levels - 1))).astype(np.uint8)
        colors = palette[: min(levels, 128)]
        table = chunk(b"PLTE", colors.tobytes())
        yield Case("palette", f"palette-{depth}.png", png(few, 3, depth, table), palette[few])
        data = png(few, 3, depth, table, interlace=True)
        yield Case("palette", f"palette-{depth}-adam7.png", data, palette[few])
        opacity = np.arange(len(colors), dtype=np.uint8)[::-1] * 2
        seen = chunk(b"tRNS", opacity.tobytes())
        wants = np.dstack([palette[few], opacity[few]])
        yield Case("palette", f"palette-{depth}-alpha.png", png(few, 3, depth, table + seen), wants)
        if depth < 8:
            yield Case("few bits", f"gray-{depth}.png", png(few, 0, depth), gray)
    for depth in (1, 4, 8):
        few = indices % (1 << min(depth, 7))
        colors = b"".join(bytes([*color[::-1], 0]) for color in palette[: 1 << depth].tolist())
        rows = [packed(row, depth) for row in few]
        yield Case("palette", f"palette-{depth}.bmp", bmp(rows[::-1], 48, depth, colors), palette[few])
        yield Case("palette", f"down-{depth}.bmp", bmp(rows, 48, depth, colors, top_down=True), palette[few])
    rgb = wave()
    rows = [row[:, ::-1].tobytes() for row in rgb]
    yield Case("few bits", "down-24.bmp", bmp(rows, 48, 24, top_down=True), rgb)
    five = (rgb >> 3).astype(np.uint16)
    rows = [(row[:, 0] << 10 | row[:, 1] << 5 | row[:, 2]).astype("<u2").tobytes() for row in five]
    yield Case("few bits", "five-bits.bmp", bmp(rows[::-1], 48, 16), rgb, 8)
    values = "".join(f"{value}\n" for value in rgb[..., 0].reshape(-1) // 16).encode()
    yield Case("few bits", "sixteen-levels.pgm", b"P2\n# dark\n48 40\n15\n" + values, rgb[..., 0] // 16 * 17)


def colors() -> Iterator[Case]:
    """Yield pictures in CMYK, and grey ones in several forms."""
    ink = np.full((16, 16, 4), (20, 180, 90, 40), np.uint8)
    # (1 − C)(1 − K) of 255: 198, 63, 139
    wants = np.full((16, 16, 3), (198, 63, 139), np.uint8)
    yield Case("CMYK", "cmyk.jpg", CMYK_JPEG, wants, 2)
    for order in "<>":
        data = tiff(ink, 5, order=order)
        yield Case("CMYK", f"cmyk-{'ii' if order == '<' else 'mm'}.tiff", data, wants, 2, written=True)
    gray = wave()[..., 0]
    yield Case("CMYK", "white-is-zero.tiff", tiff(255 - gray, 0), gray)
    rgb = wave()
    for order in "<>":
        name = "ii" if order == "<" else "mm"
        yield Case("CMYK", f"plain-{name}.tiff", tiff(rgb, order=order), rgb)
        yield Case("CMYK", f"big-{name}.tiff", big_tiff(rgb, order=order), rgb)


def animated() -> Iterator[Case]:
    """Yield animations, of which the first frame is used."""
    rgb = wave()
    film = cv2.Animation()
    film.frames = [np.ascontiguousarray(rgb[..., ::-1]), np.zeros((40, 48, 3), np.uint8)] * 2
    film.durations = [100] * 4
    for kind, flags, off in (("png", [], 0), ("webp", [cv2.IMWRITE_WEBP_QUALITY, 101], 0), ("avif", [], 16)):
        data = cv2.imencodeanimation(f".{kind}", film, flags)[1].tobytes()
        yield Case("animated", f"film.{kind}", data, rgb, off)
    indices, palette = indexed()
    later = gif_frame(np.zeros((10, 10), int), 4, 4)
    wait = b"!\xf9\4\4\x0a\0\0\0"
    loop = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    data = gif(palette, [wait + gif_frame(indices), wait + later], 48, 40, before=loop)
    yield Case("animated", "film.gif", data, palette[indices])
    pages = cv2.imencodemulti(".tiff", [np.ascontiguousarray(rgb[..., ::-1]), np.zeros((9, 9), np.uint8)])[1]
    yield Case("animated", "pages.tiff", pages.tobytes(), rgb)


def transparent() -> Iterator[Case]:
    """Yield pictures with alpha, some with content in it alone, some fully transparent."""
    rgb, gray = wave(), wave()[..., 0]
    black = np.dstack([np.zeros_like(rgb), gray])
    hidden = np.dstack([rgb, np.zeros_like(gray)])
    straight = np.dstack([rgb, 255 - gray])
    for name, rgba in (("black", black), ("hidden", hidden), ("straight", straight)):
        yield Case("alpha", f"{name}.png", png(rgba, 6), rgba, written=True)
        shown = np.where(rgba[..., 3:] == 0, 0, rgba) if name == "hidden" else rgba
        yield Case("alpha", f"{name}.webp", encoded(".webp", rgba, cv2.IMWRITE_WEBP_QUALITY, 101), shown)
        # libtiff multiplies by the alpha, here at least 34, and rounds: 0.5 · 255 / 34.
        yield Case("alpha", f"{name}.big.tiff", big_tiff(rgba, [(338, 2)]), shown, 4)
        yield Case("alpha", f"{name}.tiff", tiff(rgba, more=[(338, 3, 1, 2)]), shown, 4)
        if name != "hidden":
            film = encoded(".avif", rgba, cv2.IMWRITE_AVIF_QUALITY, 95)
            yield Case("alpha", f"{name}.avif", film, rgba, 10)
    two = np.dstack([gray, 255 - gray])
    yield Case(
        "alpha", "gray-alpha.png", png(two, 4), np.dstack([gray, gray, gray, 255 - gray]), written=True
    )
    clear = np.dstack([rgb, np.where((rgb == rgb[3, 5]).all(2), 0, 255)]).astype(np.uint8)
    key = chunk(b"tRNS", struct.pack(">3H", *rgb[3, 5].tolist()))
    yield Case("alpha", "one-color-is-clear.png", png(rgb, 2, 8, key), clear)
    clear = np.dstack([gray, gray, gray, np.where(gray == gray[3, 5], 0, 255)]).astype(np.uint8)
    key = chunk(b"tRNS", struct.pack(">H", int(gray[3, 5])))
    yield Case("alpha", "one-gray-is-clear.png", png(gray, 0, 8, key), clear)


def floats() -> Iterator[Case]:
    """Linear light beyond [0, 1] is clipped to it, infinity too; other numbers beyond it are refused."""
    unit = (wave() / 255).astype(np.float32)
    odd = {
        "infinite": (np.inf, 1),
        "minus-infinite": (-np.inf, 0),
        "very-large": (3e38, 1),
        "negative": (-2.5, 0),
        "tiny": (1e-42, 1e-42),
        "minus-zero": (-0.0, 0),
    }
    for name, (value, wanted) in odd.items():
        pixels, wants = unit.copy(), unit.copy()
        pixels[7, 9], wants[7, 9] = value, wanted
        light = b"PF\n48 40\n-1.0\n" + pixels[::-1].tobytes()
        yield Case("floats", f"{name}.pfm", light, shown(wants), 1e-6)
        for kind in (np.float32, np.float64):
            data = tiff(pixels.astype(kind), sample_format=3)
            refused = {"says": "infinity" if np.isinf(value) else "expected 0 to 1: clip"}
            outcome = refused if value != wanted else {"wants": wants.astype(kind)}
            yield Case("floats", f"{name}-{np.dtype(kind).name}.tiff", data, **outcome)
    yield Case(
        "floats",
        "gray.pfm",
        b"Pf\n48 40\n1.0\n" + unit[::-1, :, 0].astype(">f4").tobytes(),
        shown(unit[..., 0]),
        1e-6,
    )
    bright = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n" + bytes([255, 255, 255, 255] * 4)
    yield Case("floats", "bright.hdr", bright, np.ones((2, 2, 3), np.float32))


def turned() -> Iterator[Case]:
    """Yield pictures of the eight orientations of EXIF, in both byte orders."""
    rgb = wave()
    upright = [
        rgb,
        rgb[:, ::-1],
        rgb[::-1, ::-1],
        rgb[::-1],
        rgb.transpose(1, 0, 2),
        rgb.transpose(1, 0, 2)[:, ::-1],
        rgb[::-1, ::-1].transpose(1, 0, 2),
        rgb.transpose(1, 0, 2)[::-1],
    ]
    plain_jpeg, _, off = plain()["jpg"]
    plain_webp = plain()["webp"][0]
    for number, wants in enumerate(upright, 1):
        block = exif(number, "<>"[number % 2])
        group = "EXIF rotated"
        yield Case(group, f"turned-{number}.png", png(rgb, 2, 8, chunk(b"eXIf", block)), wants, written=True)
        yield Case(group, f"turned-{number}.jpg", with_segment(plain_jpeg, 0xE1, EXIF + block), wants, off)
        behind = webp_chunk(b"EXIF", block)
        yield Case(group, f"turned-{number}.webp", webp_with(plain_webp, (40, 48), 8, behind=behind), wants)
        yield Case(group, f"turned-{number}.tiff", tiff(rgb, more=[(274, 3, 1, number)]), wants)


def surrounded() -> Iterator[Case]:
    """Yield files with extra bytes before or after the picture."""
    for name in ("png", "jpg", "gif", "bmp", "ppm", "avif", "tiff"):
        data, wants, off = plain()[name]
        yield Case("trailing bytes", f"behind.{name}", data + b"and a postscript" * 9, wants, off)
    data, wants, off = plain()["jpg"]
    yield Case("trailing bytes", "two.jpg", data + data, wants, off)
    long = b"".join(with_segment(b"\xff\xd8", 0xFE, bytes(65_000))[2:] for _ in range(40))
    yield Case("trailing bytes", "long-comments.jpg", data[:2] + long + data[2:], wants, off)
    filled = data[:2] + b"\xff" * 500 + data[2:]
    yield Case("trailing bytes", "filled.jpg", filled, wants, off)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"word " * 9000))
    yield Case("trailing bytes", "long-text.png", png(wave(), 2, 8, text), wave())
    picture, wants, off = plain()["avif"]
    yield Case("trailing bytes", "free.avif", picture + box(b"free", bytes(99)), wants, off)
