"""One file of the corpus: how it is made, and what reading it must give."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.picture_bytes import gif, gif_frame


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A damaged or odd file.

    Attributes
    ----------
    group : str
        The kind of damage.
    name : str
        The file's name, unique in the corpus.
    content : bytes or function
        Its bytes, or a function that creates it at a path.
    wants : array or None
        What `lbfgs_style.images.to_array` must give.
    off : float
        How far each number may be from it.
    says : str or None
        Text of the line that refuses it. Where `wants` is None too, both are right: a picture of `shape` or a
        refusal, for damage that the format cannot detect.
    shape : tuple of int
        Height and width that such a picture must have; nothing where the damage may change it.
    written : bool
        Whether the picture is to be written in every format too, with what the file says beside its pixels.
    """

    group: str
    name: str
    content: bytes | Callable[[Path], object]
    wants: np.ndarray | None = None
    off: float = 0
    says: str | None = None
    shape: tuple[int, ...] = ()
    written: bool = False

    def make(self, folder: Path) -> Path:
        """Create the file in a folder."""
        path = folder / self.name
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path


def wave(height: int = 40, width: int = 48) -> np.ndarray:
    """Return a smooth RGB picture, which lossy formats bring back nearly as it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([80 + 3 * x, 100 + 3 * y, 60 + 2 * (x + y)], axis=2).astype(np.uint8)


def shown(light: np.ndarray) -> np.ndarray:
    """Return linear light as sRGB encodes it (IEC 61966-2-1), clipped to [0, 1]."""
    light = np.clip(light, 0, 1).astype(float)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def encoded(extension: str, rgb: np.ndarray, *flags: int) -> bytes:
    """Return a file of OpenCV's; from RGB, RGBA or grey."""
    bgr = rgb if rgb.ndim == 2 else rgb[..., [2, 1, 0, 3][: rgb.shape[2]]]
    return cv2.imencode(extension, np.ascontiguousarray(bgr), flags)[1].tobytes()


def indexed() -> tuple[np.ndarray, np.ndarray]:
    """Return indices, 40 by 48, and the 128 colors that they stand for."""
    y, x = np.mgrid[:40, :48]
    steps = np.arange(128)
    return (x + 2 * y) % 128, np.stack([2 * steps, 255 - steps, steps * 37 % 256], axis=1).astype(np.uint8)


def indexed_gif() -> tuple[bytes, np.ndarray]:
    """Return a GIF of one frame and its picture."""
    indices, palette = indexed()
    return gif(palette, [gif_frame(indices)], 48, 40), palette[indices]


@cache
def plain() -> dict[str, tuple[bytes, np.ndarray, float]]:
    """Return a sound file of each format: its bytes, its picture, and how far lossy ones are from it.

    The formats that keep every number are made from the picture itself, the lossy ones from a smooth one.
    """
    rgb = wave()
    unit = (rgb / 255).astype(np.float32)
    gray = rgb[..., 0]
    two = np.where(gray > 120, 255, 0).astype(np.uint8)
    best = (
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    )
    return {
        "png": (encoded(".png", rgb), rgb, 0),
        "jpg": (encoded(".jpg", rgb, *best), rgb, 6),
        "progressive.jpg": (encoded(".jpg", rgb, *best, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), rgb, 6),
        "restart.jpg": (encoded(".jpg", rgb, *best, cv2.IMWRITE_JPEG_RST_INTERVAL, 1), rgb, 6),
        "gray.jpg": (encoded(".jpg", gray, *best[:2]), gray, 6),
        "webp": (encoded(".webp", rgb, cv2.IMWRITE_WEBP_QUALITY, 101), rgb, 0),
        "lossy.webp": (encoded(".webp", rgb, cv2.IMWRITE_WEBP_QUALITY, 95), rgb, 12),
        "avif": (encoded(".avif", rgb, cv2.IMWRITE_AVIF_QUALITY, 95), rgb, 10),
        "tiff": (encoded(".tiff", rgb), rgb, 0),
        "float.tiff": (encoded(".tiff", unit), unit, 0),
        "bmp": (encoded(".bmp", rgb), rgb, 0),
        "gif": (*indexed_gif(), 0),
        "ppm": (encoded(".ppm", rgb), rgb, 0),
        "text.ppm": (encoded(".ppm", rgb, cv2.IMWRITE_PXM_BINARY, 0), rgb, 0),
        "pgm": (encoded(".pgm", gray), gray, 0),
        "pbm": (encoded(".pbm", two), two, 0),
        "pam": (encoded(".pam", rgb), rgb, 0),
        "pfm": (encoded(".pfm", unit), shown(unit), 1e-6),
        "hdr": (encoded(".hdr", unit), shown(unit), 0.01),
        "jp2": (encoded(".jp2", rgb, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000), rgb, 0),
        "ras": (encoded(".ras", rgb), rgb, 0),
    }


# 16 by 16 pixels of one colour, C M Y K = 20, 180, 90, 40 of 255, as Pillow 13 writes them at quality 95.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYI"
    "CwwLCgwJCgoK/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMF"
    "BQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldY"
    "WVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn"
    "6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD9rK+K6+lK/Vyiiiiiiiiiiiiv/9k="
)
