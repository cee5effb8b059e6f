"""The first frame of an animation and the first page of several are used, with one warning."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.images.formats import registry
from tests.helpers.command import paint, photo
from tests.helpers.picture_bytes import chunk, gif, gif_frame, png, tiff
from tests.robustness.corpus.cases import indexed, indexed_gif

BLACK = np.zeros((40, 48, 3), np.uint8)


def count(data: bytes) -> int:
    """Return the number of frames or pages of a file; 1 where its format is not recognised."""
    file_format = registry.format_of(data)
    return 1 if file_format is None else registry.frame_count(file_format, data)


def film(kind: str, count: int) -> bytes:
    animation = cv2.Animation()
    # Frames that differ: encoders merge those that do not.
    animation.frames = [np.full_like(BLACK, 60 * number) for number in range(count)]
    animation.durations = [100] * count
    return cv2.imencodeanimation(kind, animation)[1].tobytes()


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", [".png", ".webp", ".avif", ".gif"])
def test_using_the_first_frame_of_an_animation_is_reported(kind, count, caplog):
    picture = images.decode(film(kind, count), name=f"film{kind}")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        f"film{kind}: an animation of {count} frames: the first is used",
    )
    assert picture.rgb.max() < 0.05


def test_using_the_first_page_of_several_is_reported(caplog):
    data = cv2.imencodemulti(".tiff", [BLACK, BLACK[:9] + 99, BLACK])[1].tobytes()
    assert images.decode(data, name="scan.tif").rgb.shape == (40, 48, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "scan.tif: a file of 3 pages: the first page is used"
    ]


def two_pages(kind: int) -> bytes:
    """Return a TIFF whose second page is of a kind: 1 a reduced copy, 4 a mask."""
    data = bytearray(tiff(BLACK))
    (count,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 10 + 12 * count, len(data))
    page = struct.pack("<HHHIIHHII", 2, 254, 4, 1, kind, 256, 4, 1, 9) + bytes(4)
    return bytes(data) + page


@pytest.mark.parametrize(("kind", "pages"), [(0, 2), (1, 1), (4, 1)])
def test_reduced_copies_and_masks_are_no_pages(kind, pages, caplog):
    images.decode(two_pages(kind), name="a")
    assert len(caplog.records) == pages - 1


def test_pages_that_point_back_end():
    data = bytearray(tiff(BLACK))
    (entries,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 10 + 12 * entries, 8)
    assert count(bytes(data)) == 1


@pytest.mark.parametrize("kind", [".png", ".webp", ".avif", ".tiff", ".jpg", ".bmp"])
def test_a_single_picture_gives_no_warning(kind, caplog):
    images.decode(cv2.imencode(kind, BLACK)[1].tobytes(), name="a")
    images.decode(indexed_gif()[0], name="a")
    images.decode(png(BLACK, 2, 8, chunk(b"acTL", struct.pack(">II", 1, 0))), name="a")
    assert caplog.records == []


def test_gif_frames_with_tables_of_their_own_and_comments():
    indices, palette = indexed()
    comment = b"!\xfe\5,,,,,\0"
    frame = gif_frame(indices)
    with_palette = frame[:9] + b"\x86" + palette.tobytes() + frame[10:]
    data = gif(palette, [comment + frame, with_palette, comment + with_palette], 48, 40)
    assert count(data) == 3
    for end in range(len(data)):
        assert count(data[:end]) in (1, 3)


def test_damage_after_the_first_frame_leaves_no_count():
    for kind in (".avif", ".webp", ".png"):
        data = film(kind, 3)
        for end in range(0, len(data), 7):
            assert 0 <= count(data[:end]) <= 3
    assert registry.AVIF.frame_count(b"") == 1


def test_the_command_reports_it_in_one_line(folder, network, capfd):
    cv2.imwritemulti("pages.tiff", [photo(), photo()])
    assert paint(network, content="pages.tiff") == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "pages" in line]
    assert len(lines) == 1
    assert lines[0].endswith("pages.tiff: a file of 2 pages: the first page is used")
