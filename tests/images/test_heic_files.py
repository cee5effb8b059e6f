"""HEIC: pixels, orientation, 10 bits, alpha and metadata by the extra, and one line without it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from lbfgs_style import ImageFileError, images
from tests.helpers.command import photo

heif = pytest.importorskip("pillow_heif")


def encoded(array: np.ndarray, **named: object) -> bytes:
    """Return a lossless HEIC file of an array."""
    deep, channels = array.dtype == np.uint16, array.shape[2]
    mode = {(False, 3): "RGB", (True, 3): "RGB;16", (False, 4): "RGBA"}[deep, channels]
    image = heif.from_bytes(mode, array.shape[1::-1], array.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, quality=-1, chroma=444, matrix_coefficients=0, **named)
    return buffer.getvalue()


def test_pixels_and_metadata():
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F] = "a phone"
    exif[0x0112] = 6  # pillow_heif writes it as a property of the image: turned to the right
    picture = images.decode(encoded(photo(40, 56), exif=exif.tobytes()), name="a.heic")
    assert np.abs(images.to_array(picture).astype(int) - np.rot90(photo(40, 56), -1)).max() <= 1
    assert b"a phone" in picture.metadata.exif
    assert picture.dtype == np.uint8


def test_ten_bits():
    deep = np.repeat(np.arange(64, dtype=np.uint16)[None, :, None] * 1000, 48, 0) * np.ones(3, np.uint16)
    picture = images.decode(encoded(deep))
    assert picture.dtype == np.uint16
    assert np.abs(images.to_array(picture).astype(int) - deep).max() <= 2 * 65535 / 1023


def test_alpha():
    rgba = np.dstack([photo(40, 56), np.full((40, 56), 100, np.uint8)])
    picture = images.decode(encoded(rgba))
    assert picture.alpha is not None
    np.testing.assert_allclose(picture.alpha, 100 / 255, atol=2 / 255)


def test_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(ImageFileError, match="pixels"):
        images.decode(encoded(photo(40, 56)), max_pixels=1000)


@pytest.mark.parametrize("cut", [0.3, 0.8])
def test_a_damaged_file_is_one_line(cut):
    data = encoded(photo(40, 56))
    with pytest.raises(ImageFileError) as caught:
        images.decode(data[: int(cut * len(data))], name="a.heic")
    assert "\n" not in str(caught.value)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageFileError, match=r"a\.heic: a HEIC image, which needs the extra heic: pip"):
        images.decode(encoded(photo(40, 56)), name="a.heic")
