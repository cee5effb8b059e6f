"""BMP files with masks: samples are read at the bits of their masks, alpha only if it has a mask."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import ImageFileError

BYTES = (0xFF0000, 0xFF00, 0xFF)
PIXEL = 0x80102030


def bmp(bits, masks, pixels, *, head=40, compression=3, down=False) -> bytes:
    """Return a BMP with masks behind its header of 40 bytes, or inside a longer one."""
    stored = np.asarray(pixels, np.int64).astype(f"<u{bits // 8}")
    height, width = stored.shape
    rows = b"".join(
        row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in (stored if down else stored[::-1])
    )
    info = struct.pack("<IiiHHI5I", head, width, -height if down else height, 1, bits, compression, *[0] * 5)
    info = (info + struct.pack(f"<{len(masks)}I", *masks)).ljust(head, b"\0")
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + rows


def read(data: bytes) -> np.ndarray:
    return images.to_array(images.decode(data, name="a.bmp"))


@pytest.mark.parametrize("head", [40, 52, 56, 108, 124])
@pytest.mark.parametrize("down", [False, True])
def test_without_a_mask_for_opacity_a_picture_is_opaque(head, down):
    """X8R8G8B8, as GIMP and GDI write it: the fourth byte means nothing."""
    pixels = [[PIXEL, 0x00FF0000, 0x0000FF00], [0x000000FF, 0x00FFFFFF, 0]]
    true = [[[16, 32, 48], [255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255], [0, 0, 0]]]
    assert read(bmp(32, BYTES, pixels, head=head, down=down)).tolist() == true


@pytest.mark.parametrize(
    ("masks", "compression", "head"),
    [((*BYTES, 0xFF000000), 3, 108), ((*BYTES, 0xFF000000), 3, 56), ((*BYTES, 0xFF000000), 6, 40)],
)
def test_with_a_mask_there_is_opacity(masks, compression, head):
    data = bmp(32, masks, [[PIXEL]], head=head, compression=compression)
    assert read(data).tolist() == [[[16, 32, 48, 128]]]


@pytest.mark.parametrize(
    ("bits", "masks", "pixel", "true"),
    [
        (32, (0xFF, 0xFF00, 0xFF0000), PIXEL, [48, 32, 16]),
        (32, (0xFF000000, 0xFF0000, 0xFF00), PIXEL, [128, 16, 32]),
        (32, (0x3FF00000, 0xFFC00, 0x3FF), 0x3FF00000 | 512 << 10, [255, 128, 0]),
        (32, (0xFF0000, 0xFF00, 0), PIXEL, [16, 32, 0]),
        (16, (0xF800, 0x7E0, 0x1F), 0xF81F, [255, 0, 255]),
        (16, (0x7C00, 0x3E0, 0x1F), 0x7C10, [255, 0, 132]),
        (16, (0x1F, 0x7E0, 0xF800), 0x1F, [255, 0, 0]),
        (16, (0xF00, 0xF0, 0xF), 0x0F70, [255, 119, 0]),
    ],
)
def test_samples_are_where_their_masks_say(bits, masks, pixel, true):
    assert read(bmp(bits, masks, [[pixel]])).tolist() == [[true]]


def test_an_alpha_that_is_zero_everywhere_is_ignored():
    """Screenshots have a mask for it and zeros below."""
    data = bmp(32, (*BYTES, 0xFF000000), [[0x00102030, 0x00FFFFFF]], head=124)
    assert read(data).tolist() == [[[16, 32, 48], [255, 255, 255]]]


def test_rows_of_an_odd_number_of_pixels():
    pixels = np.arange(15).reshape(3, 5) << 11
    assert (
        read(bmp(16, (0xF800, 0x7E0, 0x1F), pixels))[..., 0].tolist()
        == np.rint(np.arange(15).reshape(3, 5) * 255 / 31).astype(int).tolist()
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bmp(32, BYTES, [[PIXEL] * 5] * 4)[:-1], "damaged or cut short"),
        (bmp(32, BYTES, np.zeros((0, 3))), "damaged or cut short"),
        (bmp(32, BYTES, np.zeros((3, 0))), "damaged or cut short"),
        (
            bmp(32, BYTES, [[PIXEL]])[:18] + b"\xff" * 4 + bmp(32, BYTES, [[PIXEL]])[22:],
            "damaged or cut short",
        ),
        (bmp(32, (0xF0F0, 0xFF, 0xFF0000), [[PIXEL]]), "damaged: colour mask 0xf0f0 has gaps"),
        (
            bmp(16, (0xF00000, 0xFF, 0xFF00), [[1]]),
            "damaged: colour mask 0xf00000 is wider than a pixel of 16 bits",
        ),
    ],
)
def test_damage_is_refused(data, says):
    with pytest.raises(ImageFileError, match=f"^a.bmp: {says}; expected a whole BMP file: get another copy"):
        read(data)
