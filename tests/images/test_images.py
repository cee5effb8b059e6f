"""Arrays and files in, pictures inside, the same kind out."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import ImageError, ImageFileError, OptionError
from lbfgs_style.images import codec
from lbfgs_style.images.formats import base, registry

SHAPES = [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)]


def declared(data: bytes) -> tuple[str, tuple[int, int] | None]:
    """Return the format of a file and the size that it declares."""
    file_format = registry.format_of(data)
    assert file_format is not None
    return file_format.name, registry.declared_size(file_format, data)


def sample(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    if np.issubdtype(dtype, np.integer):
        return (values * np.iinfo(dtype).max).astype(dtype)
    return values.astype(np.float32).astype(dtype)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colour_type: int, rows: list[bytes], extra: bytes = b"") -> bytes:
    """An 8-bit PNG, by the specification: colour types 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)


def jpeg_with(orientation: int, bgr: np.ndarray, order: str = "<") -> bytes:
    plain = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    body = b"Exif\0\0" + exif(orientation, order)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


# --- arrays


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_comes_back_the_same(shape, dtype):
    array = sample(shape, dtype)
    back = images.to_array(images.from_array(array))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_whole_number_comes_back(dtype):
    array = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    np.testing.assert_array_equal(images.to_array(images.from_array(array)), array)


def test_a_picture_is_contiguous_float32_rgb_between_0_and_1():
    array = np.array([[[255, 0, 51, 102]]], np.uint8)
    picture = images.from_array(array)
    assert picture.rgb.dtype == np.float32
    assert picture.rgb.flags.c_contiguous
    np.testing.assert_allclose(picture.rgb, [[[1, 0, 0.2]]], rtol=1e-6)
    np.testing.assert_allclose(picture.alpha, [[0.4]], rtol=1e-6)
    assert not picture.gray


def test_a_picture_does_not_follow_its_array():
    array = np.zeros((2, 2, 3), np.float32)
    picture = images.from_array(array)
    array[:] = 1
    assert picture.rgb.max() == 0


def test_big_endian_arrays_are_taken():
    array = np.array([[1, 65535]], ">u2")
    back = images.to_array(images.from_array(array))
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, [[1, 65535]])


def test_colours_of_a_grey_picture_go_back_as_luma():
    grey = images.from_array(np.zeros((1, 3), np.float32))
    primaries = np.eye(3, dtype=np.float32)[np.newaxis]
    back = images.to_array(images.with_rgb(grey, primaries))
    np.testing.assert_allclose(back, [[0.2126, 0.7152, 0.0722]], atol=1e-6)


def test_whole_numbers_are_rounded_to_the_nearest():
    picture = images.from_array(np.zeros((1, 3, 3), np.uint8))
    rgb = np.array([[[0.4 / 255] * 3, [0.6 / 255] * 3, [254.6 / 255] * 3]], np.float32)
    assert images.to_array(images.with_rgb(picture, rgb))[0, :, 0].tolist() == [0, 1, 255]


def test_new_pixels_are_clipped_and_alpha_follows_their_size():
    picture = images.from_array(np.full((2, 2, 4), 128, np.uint8))
    new = images.with_rgb(picture, np.full((4, 6, 3), 1.5, np.float32))
    assert new.rgb.max() == 1
    assert new.alpha is not None
    back = images.to_array(new)
    assert back.shape == (4, 6, 4)
    assert np.unique(back[..., 3]).tolist() == [128]


def test_values_slightly_outside_the_range_are_clipped():
    back = images.to_array(images.from_array(np.array([[-5e-7, 1 + 5e-7]])))
    assert back.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((2, 2, 3), 255.0), "divide by 255"),
        (np.full((2, 2, 3), 65535.0), "divide by 65535"),
        (np.full((2, 2, 3), -0.5), "from -0.5 to -0.5"),
        (np.full((2, 2, 3), np.nan), "NaN"),
        (np.full((2, 2, 3), np.inf), "infinity"),
        (np.zeros((2, 2, 3), bool), "bool"),
        (np.zeros((2, 2, 3), np.longdouble), "float32"),
        (np.zeros((2, 2, 3), np.int64), r"uint8\) if it is 0 to 255"),
        (np.zeros((2, 2, 3), complex), "complex"),
        (np.zeros((3, 5, 7), np.uint8), "transpose"),
        (np.zeros((5, 7, 2), np.uint8), "channels"),
        (np.zeros((1, 5, 7, 3), np.uint8), "batch"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        ("photo.jpg", "images.read"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused_in_one_line(array, says):
    with pytest.raises(ImageError, match=says) as caught:
        images.from_array(array, name="the style")
    message = str(caught.value)
    assert message.startswith("the style: ")
    assert "expected" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "rgb", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.float32), np.full((2, 2, 3), np.nan)]
)
def test_new_pixels_that_are_no_picture_are_refused(rgb):
    with pytest.raises(ImageError, match="new pixels"):
        images.with_rgb(images.from_array(np.zeros((2, 2), np.uint8)), rgb)


# --- files: round trips


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("shape", SHAPES)
def test_lossless_files_bring_everything_back(tmp_path, shape, suffix, dtype):
    array = sample(shape, dtype)
    path = tmp_path / f"picture{suffix}"
    images.write(path, images.from_array(array))
    picture = images.read(path)
    assert picture.gray == (len(shape) == 2 or shape[2] == 1)
    np.testing.assert_array_equal(images.to_array(picture), array[..., 0] if shape[2:] == (1,) else array)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_lossy_files_come_back_nearly_the_same_in_8_bit(tmp_path, suffix, dtype):
    ramp = np.linspace(0.2, 0.8, 32)
    rgb = np.stack(np.broadcast_arrays(ramp, ramp[:, np.newaxis], 0.5), axis=2)
    array = rgb if dtype is np.float32 else rgb * np.iinfo(dtype).max
    path = tmp_path / f"picture{suffix}"
    images.write(path, images.from_array(array.astype(dtype)))
    picture = images.read(path)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture.rgb, rgb, atol=0.03)


@pytest.mark.parametrize("shape", [(64, 512), (64, 512, 3), (64, 512, 4)])
def test_avif_keeps_ten_bits_of_a_deep_picture(tmp_path, shape):
    """A slope over two of 255 steps: in 8 bits it has three values."""
    slope = np.linspace(0.5, 0.5 + 2 / 255, 512).reshape(1, -1, *[1] * (len(shape) - 2))
    array = np.rint(65535 * np.broadcast_to(slope, shape)).astype(np.uint16)
    images.write(tmp_path / "deep.avif", images.from_array(array), quality=100)
    picture = images.read(tmp_path / "deep.avif")
    assert picture.dtype == np.uint16
    actual = images.to_array(picture)
    assert actual.shape == shape
    assert len(np.unique(actual)) > 5
    np.testing.assert_allclose(actual / 65535, array / 65535, atol=1.5 / 1023)


def test_quality_makes_a_difference(tmp_path):
    picture = images.from_array(sample((64, 64, 3), np.uint8))
    for suffix in (".jpg", ".webp"):
        images.write(tmp_path / f"low{suffix}", picture, quality=20)
        images.write(tmp_path / f"high{suffix}", picture, quality=95)
        low, high = (tmp_path / f"{name}{suffix}" for name in ("low", "high"))
        assert low.stat().st_size < 0.7 * high.stat().st_size


def test_webp_keeps_alpha(tmp_path):
    array = np.full((8, 8, 4), 100, np.uint8)
    array[:4, :, 3] = 200
    images.write(tmp_path / "a.webp", images.from_array(array))
    np.testing.assert_array_equal(images.to_array(images.read(tmp_path / "a.webp"))[..., 3], array[..., 3])


def test_jpeg_lays_alpha_over_white(tmp_path):
    array = np.zeros((8, 16, 4), np.uint8)
    array[:, 8:, 3] = 255
    images.write(tmp_path / "a.jpg", images.from_array(array), quality=100)
    picture = images.read(tmp_path / "a.jpg")
    assert picture.alpha is None
    assert picture.rgb[:, :8].min() > 0.98
    assert picture.rgb[:, 8:].max() < 0.02


def test_floating_point_goes_to_png_as_8_bit(tmp_path):
    images.write(tmp_path / "a.png", images.from_array(np.full((2, 2, 3), 0.5)))
    back = images.to_array(images.read(tmp_path / "a.png"))
    assert back.dtype == np.uint8
    assert np.unique(back).tolist() == [128]


def test_names_outside_ascii_and_plain_strings(tmp_path):
    path = tmp_path / "Großvögel 画 🎨.png"
    images.write(str(path), images.from_array(np.full((2, 3), 7, np.uint8)))
    assert images.to_array(images.read(str(path))).tolist() == [[7, 7, 7]] * 2


# --- files: what they mean


def test_red_is_the_first_channel(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png(2, 1, 2, [b"\xff\0\0" * 2]))
    assert images.to_array(images.read(path)).tolist() == [[[255, 0, 0]] * 2]
    images.write(tmp_path / "again.png", images.read(path))
    assert cv2.imread(str(tmp_path / "again.png")).tolist() == [[[0, 0, 255]] * 2]


def test_rgba_in_order(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(1, 1, 6, [bytes([10, 20, 30, 40])]))
    assert images.to_array(images.read(path)).tolist() == [[[10, 20, 30, 40]]]


def test_a_palette_becomes_rgb(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 3, [bytes([1, 0])], png_chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))))
    assert images.to_array(images.read(path)).tolist() == [[[4, 5, 6], [1, 2, 3]]]


def test_grey_with_alpha_stays_grey(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 4, [bytes([10, 200, 20, 100])]))
    picture = images.read(path)
    assert picture.gray
    assert images.to_array(picture).tolist() == [[[10, 10, 10, 200], [20, 20, 20, 100]]]
    green = images.with_rgb(picture, np.array([[[0, 1, 0]] * 2], np.float32))
    assert images.to_array(green)[0, 0].tolist() == [182, 182, 182, 200]  # 255 · 0.7152 = 182.4


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [0, 0.25, 230],
            "floating-point samples from 0 to 230; expected 0 to 1: clip or rescale them in an image editor",
        ),
        (
            [-0.7, 0.25, 0.8],
            "floating-point samples from -0.7 to 0.8; expected 0 to 1: clip or rescale them",
        ),
        ([0, 0.25, np.inf], "contains NaN or infinity"),
    ],
)
def test_floating_point_files_are_in_the_range_of_float_arrays(tmp_path, values, says):
    path = tmp_path / "a.tiff"
    path.write_bytes(cv2.imencode(".tiff", np.array([values], np.float32))[1].tobytes())
    with pytest.raises(ImageError, match=re.escape(says)) as caught:
        images.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    path.write_bytes(cv2.imencode(".tiff", np.array([[0, 0.25, 1 + 5e-7]], np.float32))[1].tobytes())
    assert images.to_array(images.read(path)).tolist() == [[0, 0.25, 1]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_jpeg_that_lies_on_its_side_is_put_upright(tmp_path, order):
    # Orientation 6: the camera's first row is the right-hand side of the scene.
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8] = 255
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with(6, stored, order))
    rgb = images.read(path).rgb
    assert rgb.shape == (32, 16, 3)
    assert rgb[:, 8:].min() > 0.95
    assert rgb[:, :8].max() < 0.05


@pytest.mark.parametrize("orientation", range(10))
def test_orientations_agree_with_opencv(tmp_path, orientation):
    # OpenCV turns colour pictures itself where alpha is not asked for.
    pixels = sample((3, 5, 4), np.uint8)
    rows = [row.tobytes() for row in pixels]
    path = tmp_path / "a.png"
    path.write_bytes(png(5, 3, 6, rows, png_chunk(b"eXIf", exif(orientation))))
    array = images.to_array(images.read(path))
    np.testing.assert_array_equal(array[..., 2::-1], cv2.imread(str(path), cv2.IMREAD_COLOR))
    alpha = png(5, 3, 0, [row.tobytes() for row in pixels[..., 3]], png_chunk(b"eXIf", exif(orientation)))
    path.write_bytes(alpha)
    np.testing.assert_array_equal(array[..., 3], cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("damaged", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"junkjunkjunk", exif(6)[:14]])
def test_damaged_exif_turns_nothing(damaged):
    pixels = sample((2, 3), np.uint8)
    np.testing.assert_array_equal(base.upright(pixels, damaged), pixels)


def tiff_with_alpha(extra_samples: int) -> bytes:
    """One uncompressed RGBA pixel, 50 100 25 128, by the TIFF 6.0 specification."""
    entries = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 2), (273, 0), (277, 4), (278, 1), (279, 4)]
    entries.append((338, extra_samples))
    end = 8 + 2 + 12 * len(entries) + 4
    body = b""
    for tag, value in entries:
        if tag == 258:
            body += struct.pack("<HHII", tag, 3, 4, end)
        else:
            body += struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, end + 8 if tag == 273 else value)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + body + bytes(4) + struct.pack("<4H", 8, 8, 8, 8) + bytes([50, 100, 25, 128])


@pytest.mark.parametrize(("extra_samples", "rgb"), [(1, [100, 199, 50]), (2, [50, 100, 25])])
def test_colours_of_a_tiff_are_not_multiplied_by_alpha(tmp_path, extra_samples, rgb):
    # ExtraSamples 1 says that the file holds multiplied colours, 2 that it does not.
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_with_alpha(extra_samples))
    pixel = images.to_array(images.read(path))[0, 0]
    assert pixel[3] == 128
    np.testing.assert_allclose(pixel[:3].astype(int), rgb, atol=1)


# --- files: errors


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "portrait.png").touch()
    with pytest.raises(ImageFileError, match=r"potrait\.png: no such file\. Did you mean 'portrait\.png'\?"):
        images.read(tmp_path / "potrait.png")
    with pytest.raises(ImageFileError, match="does not exist"):
        images.read(tmp_path / "nowhere" / "a.png")


def test_a_folder_that_may_not_be_listed_suggests_nothing(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ImageFileError, match=r"a\.png: no such file\.$"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture at all",
        b"\x89PNG\r\n\x1a\n",
        png(4, 4, 0, [b"\0" * 4] * 4)[:40],
        b"\xff\xd8\xff\xe0",
    ],
)
def test_files_that_are_no_pictures_are_refused_by_name(tmp_path, content):
    path = tmp_path / "junk.png"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=r"junk\.png: ") as caught:
        images.read(path)
    assert "\n" not in str(caught.value)


PAGES = [
    b"<!DOCTYPE html><title>404</title>",
    b"\xef\xbb\xbf \n<HTML lang=en>",
    b"<!-- saved from a site -->\n<!-- <b> --><html>",
    b"<head><title>404</title></head>",
    b"<body>",
    b"<?xml version='1.0'?>\n<html xmlns='http://www.w3.org/1999/xhtml'>",
    b"<?xml version='1.0'?><!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN'>",
    "<!DOCTYPE html>".encode("utf-16"),
    b"\xfe\xff" + "\n<html>".encode("utf-16-be"),
    "<html>".encode("utf-16-le"),
    "<html>".encode("utf-16-be"),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_web_page_under_the_name_of_a_picture_is_recognised(tmp_path, page):
    path = tmp_path / "photo.jpg"
    path.write_bytes(page)
    with pytest.raises(ImageFileError) as caught:
        images.read(path)
    assert str(caught.value) == (
        f"{path}: a web page, saved under the name of an image; expected the image itself: open its "
        "address in a browser, and save the image that it shows"
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            b'{"error": "not found"}',
            "JSON text, perhaps a server's answer, saved under the name of an image;",
        ),
        (b'\n[\n {"a": 1}]', "JSON text, perhaps a server's answer, saved under the name of an image;"),
        (b"{}", "JSON text"),
        (b"<!-- drawn --><svg>", "an SVG drawing, which cannot be read: convert it to PNG or JPEG"),
        (b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC ''>", "an SVG drawing"),
        (
            b"<?xml version='1.0'?><Error><Code>",
            "an XML or HTML document, saved under the name of an image;",
        ),
        (b"<!DOCTYPE book>", "an XML or HTML document"),
        (b"<!-- " + b"-" * 9000, "an XML or HTML document"),
        (b"<!--" * 9000, "an XML or HTML document"),
        (b"%PDF-1.7", "a PDF document, which cannot be read: convert it to PNG or JPEG"),
        (b"PK\3\4" + bytes(60), "a ZIP archive, which cannot be read: unpack it first"),
        (b"\x1f\x8b\x08" + bytes(60), "a gzip archive, which cannot be read: unpack it first"),
    ],
)
def test_text_and_archives_under_the_name_of_a_picture_are_recognised(data, says):
    with pytest.raises(ImageFileError, match=rf"^photo\.jpg: {re.escape(says)}"):
        images.decode(data, name="photo.jpg")


@pytest.mark.parametrize("data", [b"{not JSON", b"[not JSON", b"<header>", b"<Error>", b"\xff\xfe\0"])
def test_other_text_is_not_recognised(data):
    with pytest.raises(ImageFileError, match=r"^a: damaged, cut short, or of a format that cannot be read"):
        images.decode(data, name="a")


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(ImageFileError, match="folder"):
        images.read(tmp_path)


def test_too_many_pixels_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30000, 30000, 0, [b""]))
    monkeypatch.setattr(cv2, "imdecodeWithMetadata", None)
    with pytest.raises(ImageFileError, match="30000×30000"):
        images.read(path)


def test_max_pixels_holds_for_every_format(tmp_path):
    images.write(tmp_path / "a.jpg", images.from_array(np.zeros((8, 8), np.uint8)))
    assert images.read(tmp_path / "a.jpg", max_pixels=64).rgb.shape == (8, 8, 3)
    with pytest.raises(ImageFileError, match="at most 63"):
        images.read(tmp_path / "a.jpg", max_pixels=63)


def test_the_decoded_size_is_limited_too(monkeypatch):
    data = images.encode(images.from_array(np.zeros((8, 8), np.uint8)))
    monkeypatch.setattr(codec, "header", lambda name, data: (registry.PNG, (1, 1)))
    assert images.decode(data, max_pixels=64).rgb.shape == (8, 8, 3)
    with pytest.raises(ImageFileError, match="8×8 pixels; expected at most 63"):
        images.decode(data, max_pixels=63)


def test_reading_a_header_is_limited():
    """A gap of any length is white space for these formats; nobody writes one."""
    for gap, size in ((1 << 10, (3, 5)), (1 << 17, None)):
        assert declared(b"P6" + b" " * gap + b"5 3\n255\n") == ("PNM", size)


@pytest.mark.parametrize("between", [b"\xff", b"\xff\x01", b"\xff\xe0\0\2", b"\xff\xfe\0\4\xff\xd9"])
def test_reading_the_segments_of_a_jpeg_is_limited(between):
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 8, 8, 5, 7, 0)
    for count, size in ((1000, (5, 7)), (100_001, None)):
        data = b"\xff\xd8\xff" + (count * between).removeprefix(b"\xff") + frame
        assert declared(data) == ("JPEG", size)


@pytest.mark.parametrize("code", range(0xC0, 0xD0))
def test_kinds_of_frames_of_a_jpeg(code):
    """ITU-T T.81, table B.1: SOF0 to SOF15, but DHT, JPG and DAC have their codes between them."""
    data = b"\xff\xd8\xff" + bytes([code]) + struct.pack(">HBHHB", 8, 8, 5, 7, 0)
    size = None if code in (0xC4, 0xC8, 0xCC) else (5, 7)
    assert declared(data) == ("JPEG", size)


@pytest.mark.parametrize(("end", "size"), [(30, (5, 7)), (29, None), (24, None)])
def test_the_header_of_an_extended_webp_has_30_bytes(end, size):
    """RFC 9649, section 2.7: the sides less one, of 24 bits each, stand at its end."""
    data = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\6\0\0" + b"\4\0\0"
    assert declared(data[:end]) == ("WebP", size)


def test_a_picture_that_begins_elsewhere_on_the_grid_of_jpeg_2000():
    """ITU-T T.800, B.2: of a grid of 100×80 the picture leaves 30 columns and 20 rows out."""
    data = b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 47, 0, 100, 80, 30, 20, 100, 80, 0, 0, 3)
    assert declared(data) == ("JPEG 2000", (60, 70))


@pytest.mark.parametrize("key", [b"", b"\0", b"\0\0\0", b"\0\7\0\7\0\7"])
def test_a_transparent_grey_of_the_wrong_length_is_ignored(key):
    chunk = png_chunk(b"tRNS", key)
    array = images.to_array(images.decode(png(2, 1, 0, [bytes([7, 9])], chunk)))
    assert array.tolist() == [[7, 9]]


@pytest.mark.parametrize("name", ["imdecodeWithMetadata", "imencode"])
def test_a_memory_error_of_opencv_is_a_memory_error(monkeypatch, name):
    """It is no fault of the picture."""
    picture = images.from_array(np.zeros((8, 8), np.uint8))
    data = images.encode(picture)
    error = cv2.error("Failed to allocate 4294967296 bytes")
    error.code = cv2.Error.STS_NO_MEM

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(cv2, name, fail)
    with pytest.raises(MemoryError, match="Failed to allocate"):
        images.decode(data) if name == "imdecodeWithMetadata" else images.encode(picture)


@pytest.mark.parametrize("says_why", [True, False])
def test_what_opencv_cannot_encode_leaves_the_old_file(tmp_path, monkeypatch, says_why):
    def fail(*args, **kwargs):
        if says_why:
            error = cv2.error()
            error.err = "no\n  room"  # as OpenCV sets it
            raise error
        return False, None

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(cv2, "imencode", fail)
    says = "the image: no room" if says_why else r"the image: write a \.png, or a smaller image"
    with pytest.raises(ImageFileError, match=rf"a\.png: OpenCV cannot encode {says}"):
        images.write(path, images.from_array(np.zeros((8, 8), np.uint8)))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_of_opencv_name_the_file(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(70000, 70000, 0, [b""]))
    with pytest.raises(ImageFileError, match=r"bomb\.png: OpenCV") as caught:
        images.read(path, max_pixels=2**40)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [(np.zeros((2, 2), np.int16), "int16"), (np.full((2, 2), np.nan, np.float32), "NaN")],
)
def test_unfit_samples_are_refused(tmp_path, pixels, says):
    path = tmp_path / "a.tiff"
    path.write_bytes(cv2.imencode(".tiff", pixels)[1].tobytes())
    with pytest.raises(ImageFileError, match=says):
        images.read(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_files_cut_short_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    images.write(path, images.from_array(sample((64, 64, 3), np.uint8)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageFileError, match="cut short"):
        images.read(path)


# --- writing


def test_a_failed_encoding_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(b"old")
    too_wide = images.from_array(np.zeros((1, 16384, 3), np.uint8))  # WebP ends at 16383
    with pytest.raises(ImageFileError, match=r"16384×1 pixels does not fit \.webp"):
        images.write(path, too_wide)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    class Full(io.FileIO):
        def write(self, data: bytes) -> int:
            super().write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda self, mode: Full(self, mode))
    with pytest.raises(ImageFileError, match=r"a\.png: cannot be written: No space left"):
        images.write(path, images.from_array(np.zeros((8, 8), np.uint8)))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")
def test_a_written_file_is_an_ordinary_one(tmp_path):
    plain, real, link = tmp_path / "plain", tmp_path / "real.png", tmp_path / "link.png"
    plain.touch()
    link.symlink_to(real)
    images.write(link, images.from_array(np.zeros((2, 2), np.uint8)))
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("out", "no extension"),
        ("out.jpge", r"Did you mean '\.jpe?g'"),
        ("out.gif", r"expected one of \.png"),
        ("missing/out.png", "does not exist"),
        ("", "is a folder"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_beforehand(tmp_path, name, says):
    with pytest.raises(ImageFileError, match=says):
        images.check_output(tmp_path / name)
    with pytest.raises(ImageFileError):
        images.write(tmp_path / name, images.from_array(np.zeros((2, 2), np.uint8)))


def test_a_locked_folder_is_refused_beforehand(tmp_path, monkeypatch):
    images.check_output(tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ImageFileError, match="permission"):
        images.check_output(tmp_path / "out.png")


@pytest.mark.parametrize(("name", "longest"), [("a.webp", 16_383), ("a.jpg", 65_500), ("a.PNG", 1_000_000)])
def test_what_a_format_cannot_hold_is_refused_beforehand(tmp_path, name, longest):
    images.check_output(tmp_path / name, (longest, 7))
    with pytest.raises(
        ImageFileError, match=rf"{longest + 1}×7 pixels does not fit.*at most {longest} pixels"
    ):
        images.check_output(tmp_path / name, (7, longest + 1))


@pytest.mark.parametrize("suffix", [".webp", ".jpg"])
def test_the_longest_side_of_a_format_is_the_longest_written(tmp_path, suffix):
    longest = registry.OUTPUT_FORMATS[suffix].capacity.longest
    images.write(tmp_path / f"a{suffix}", images.from_array(np.zeros((1, longest), np.uint8)))
    assert images.read(tmp_path / f"a{suffix}").rgb.shape == (1, longest, 3)


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_is_from_1_to_100(tmp_path, quality):
    with pytest.raises(OptionError, match=str(quality)):
        images.write(tmp_path / "a.jpg", images.from_array(np.zeros((2, 2), np.uint8)), quality=quality)


def test_importing_does_not_load_opencv():
    code = "import sys, lbfgs_style.images; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- sizes


def test_halving_is_the_mean_of_four():
    image = np.array([[0.0, 0.2, 1.0, 1.0], [0.4, 0.6, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(images.resize(image, (1, 2)), [[0.3, 0.5]], atol=1e-6)


def test_shrinking_counts_every_pixel():
    dot = np.zeros((4, 4), np.float32)
    dot[0, 0] = 1
    np.testing.assert_allclose(images.resize(dot, (1, 1)), [[1 / 16]], atol=1e-6)
    # A new pixel covers 1.5 old ones: (1 · 0.9 + 0.5 · 0.3) / 1.5 and (0.5 · 0.3 + 1 · 0) / 1.5.
    row = np.array([[0.9, 0.3, 0.0]], np.float32)
    np.testing.assert_allclose(images.resize(row, (1, 2)), [[0.7, 0.1]], atol=1e-6)


def test_views_are_resized_as_they_look():
    image = sample((4, 6, 3), np.float32)
    turned = image[::-1, :, ::-1]
    np.testing.assert_array_equal(images.resize(turned, (2, 3)), images.resize(turned.copy(), (2, 3)))


def test_one_side_shrinks_by_area_while_the_other_grows():
    image = np.array([[0.0, 1.0] * 4], np.float32)
    np.testing.assert_allclose(images.resize(image, (3, 2)), np.full((3, 2), 0.5), atol=1e-6)


@pytest.mark.parametrize("size", [(3, 3), (7, 5), (14, 20), (30, 4), (1, 1)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_constant_stays_constant(size, channels):
    result = images.resize(np.full((7, 10, *channels), 0.3, np.float32), size)
    assert result.shape == size + channels
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, 0.3, atol=1e-6)


def test_growing_does_not_leave_the_range():
    edge = np.zeros((8, 8, 3), np.float32)
    edge[:, 4:] = 1
    grown = images.resize(edge, (32, 32))
    assert grown.min() == 0
    assert grown.max() == 1


def test_the_same_size_is_the_same_array():
    image = np.zeros((3, 4, 3), np.float32)
    assert images.resize(image, (3, 4)) is image


def test_resizing_to_nothing_is_refused():
    with pytest.raises(ImageError, match="0×4"):
        images.resize(np.zeros((3, 4), np.float32), (0, 4))


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((480, 640), 320, (240, 320)),
        ((640, 480), 320, (320, 240)),
        ((100, 100), 512, (512, 512)),
        ((3, 1000), 100, (1, 100)),
        ((2, 3), 4, (3, 4)),  # 8/3 = 2.67
        ((333, 500), 256, (170, 256)),  # 170.496
        ((333, 500), 500, (333, 500)),
    ],
)
def test_fit_scales_the_longer_side(size, longest, expected):
    assert images.fit(size, longest) == expected


def test_fit_refuses_nothing():
    with pytest.raises(ImageError, match="at least 1"):
        images.fit((10, 10), 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_result_leaves_without_needless_copies(dtype: type[np.generic]) -> None:
    """A finished [3,H,W] becomes an array through one float copy of it at a time and what is kept."""
    planes = np.random.default_rng(0).normal(0.5, 0.4, (3, 256, 256)).astype(np.float32)
    kind = images.from_array(np.zeros((2, 2, 3), dtype))
    tracemalloc.start()
    try:
        finished = images.with_rgb(kind, images.to_hwc(planes))
        images.to_array(finished)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept, working = planes.nbytes, planes.nbytes
    whole_numbers = 0 if dtype is np.float32 else planes.size * np.dtype(dtype).itemsize
    assert peak < 1.05 * (kept + working + whole_numbers)


def test_reading_and_writing_make_no_copies_for_opencv():
    picture = images.from_array(np.zeros((2048, 4096, 3), np.uint8))
    data = images.encode(picture)
    samples = picture.rgb.size
    for work, held in ((lambda: images.encode(picture), 2), (lambda: images.decode(data), 1 + 4)):
        tracemalloc.start()
        try:
            work()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # Bytes: whole numbers, once in either order; floating point. Threads convert strips in between.
        assert peak < (held + 0.5) * samples
