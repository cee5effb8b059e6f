"""Images of Pillow given to the library: converted by their mode, or refused by its name."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import ImageError
from lbfgs_style.images import pillow_images
from tests.helpers.picture_bytes import chunk, png

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)


class Stand:
    """A stand-in with what identifies an image of Pillow: a mode, and methods of its own."""

    def __init__(self, mode="RGB", orientation=1, array=PHOTO):
        self.mode, self.orientation, self.array, self.info = mode, orientation, array, {}

    def convert(self, mode):
        raise ValueError(f"conversion from {self.mode} to {mode} not supported")

    def load(self):
        return None

    def getbands(self):
        return tuple(self.mode)

    def getexif(self):
        return {0x0112: self.orientation}

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.fixture
def pil():
    return pytest.importorskip("PIL.Image")


def taken(image) -> np.ndarray:
    return images.to_array(images.from_array(image, name="content"))


@pytest.mark.parametrize("mode", ["P", "CMYK", "HSV", "YCbCr", "RGBX", "LAB"])
def test_modes_of_color_become_rgb(pil, mode):
    try:
        image = pil.fromarray(PHOTO).convert(mode)
    except ValueError:
        pytest.skip("older versions of Pillow do not convert LAB")
    actual = taken(image)
    assert actual.shape == (6, 7, 3)
    np.testing.assert_array_equal(actual, np.asarray(image.convert("RGB")))
    assert np.abs(actual.astype(int) - PHOTO).mean() < (40 if mode == "P" else 4)


def test_a_palette_of_few_colors_comes_back_exactly(pil):
    few = PHOTO // 128 * 255
    np.testing.assert_array_equal(taken(pil.fromarray(few).quantize(8)), few)


@pytest.mark.parametrize("clear", [0, bytes([255, 0, 128])])
def test_a_palette_with_transparency_keeps_it(pil, clear):
    image = pil.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.info["transparency"] = clear
    alpha = [0, 255, 255] if clear == 0 else [255, 0, 128]
    colors = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert taken(image).tolist() == [[[*color, a] for color, a in zip(colors, alpha, strict=True)]]


def test_a_transparent_color_of_rgb_becomes_alpha(pil):
    image = pil.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    image.info["transparency"] = (4, 5, 6)
    assert taken(image)[0, :, 3].tolist() == [255, 0]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGBa", "La"])
def test_modes_of_opacity_keep_it(pil, mode):
    colors = [[200, 200, 200, 255], [100, 100, 100, 128]]
    image = pil.fromarray(np.array([colors], np.uint8))
    image = image.convert("LA" if mode == "La" else "RGBA").convert(mode)
    np.testing.assert_allclose(taken(image)[0].astype(int), colors, atol=1)


def test_a_palette_with_alpha_keeps_it(pil):
    image = pil.frombytes("PA", (2, 1), bytes([0, 255, 1, 128]))
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert taken(image).tolist() == [[[10, 20, 30, 255], [40, 50, 60, 128]]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_a_transparent_grey_of_16_bits_keeps_them(pil, mode):
    deep = np.array([[0, 4112, 65535, 4113]], np.uint16)
    image = pil.frombytes(mode, (4, 1), deep.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    image.info["transparency"] = 4112
    picture = images.from_array(image)
    assert picture.gray
    actual = images.to_array(picture)
    assert actual.dtype == np.uint16
    np.testing.assert_array_equal(actual[..., :3], np.dstack([deep] * 3))
    assert actual[..., 3].tolist() == [[65535, 0, 65535, 65535]]


def test_a_file_of_deep_grey_is_the_same_by_pillow(pil):
    deep = np.array([[0, 4112, 65535, 4113]], np.uint16)
    data = png(deep, 0, 16, chunk(b"tRNS", struct.pack(">H", 4112)))
    ours, pillows = images.decode(data), images.from_array(pil.open(io.BytesIO(data)))
    np.testing.assert_array_equal(pillows.rgb, ours.rgb)
    np.testing.assert_array_equal(pillows.alpha, ours.alpha)


@pytest.mark.parametrize(("key", "alpha"), [(0, [0, 255]), (1, [255, 0]), (255, [255, 0])])
def test_black_and_white_keep_their_transparency(pil, key, alpha):
    image = pil.fromarray(np.array([[False, True]]))
    image.info["transparency"] = key
    assert taken(image).tolist() == [[[0, 0, 0, alpha[0]], [255, 255, 255, alpha[1]]]]
    assert images.from_array(image).gray


def test_grey_with_alpha_is_grey(pil):
    gray = pil.fromarray(PHOTO[..., 0])
    clear = gray.copy()
    clear.info["transparency"] = int(PHOTO[0, 0, 0])
    for image in (gray.convert("LA"), gray.convert("LA").convert("La"), clear):
        picture = images.from_array(image)
        assert picture.gray
        colored = images.with_rgb(picture, PHOTO.astype(np.float32) / 255)
        assert np.ptp(images.to_array(colored)[..., :3], axis=2).max() == 0
    assert not images.from_array(gray.convert("RGBA")).gray
    np.testing.assert_array_equal(taken(clear)[..., 3] == 0, PHOTO[..., 0] == PHOTO[0, 0, 0])


def test_grey_and_black_and_white_are_grey(pil):
    gray = PHOTO[..., 0]
    np.testing.assert_array_equal(taken(pil.fromarray(gray)), gray)
    image = pil.fromarray(gray > 99)
    assert image.mode == "1"
    np.testing.assert_array_equal(taken(image), np.where(gray > 99, 255, 0))


def test_deep_grey_keeps_its_depth(pil):
    deep = PHOTO[..., 0].astype(np.uint16) * 257
    actual = taken(pil.fromarray(deep))
    assert actual.dtype == np.uint16
    np.testing.assert_array_equal(actual, deep)
    unit = (deep / 65535).astype(np.float32)
    np.testing.assert_array_equal(taken(pil.fromarray(unit)), unit)


def test_whole_numbers_of_32_bits_are_refused(pil):
    with pytest.raises(ImageError, match=r"^content: int32 values; expected uint8, uint16 or floating point"):
        taken(pil.fromarray(PHOTO[..., 0].astype(np.int32)))


def test_a_mode_that_pillow_does_not_convert_is_refused_by_name():
    np.testing.assert_array_equal(taken(Stand()), PHOTO)
    with pytest.raises(
        ImageError, match=r"^content: a Pillow image of mode 'LAB' that Pillow cannot convert to RGB"
    ) as caught:
        taken(Stand("LAB"))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_behind_an_image_is_refused(pil):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    file = io.BytesIO()
    pil.fromarray(noise).save(file, "PNG")
    data = file.getvalue()
    place = data.rindex(b"IDAT")
    damaged = [data[: len(data) // 2], data[:place] + b"\1\2\3\4" + data[place + 4 :]]
    for broken in damaged:
        with pytest.raises(
            ImageError, match=r"^content: Pillow cannot load this image \(.*\); expected a whole"
        ):
            taken(pil.open(io.BytesIO(broken)))
    image = pil.fromarray(PHOTO)
    image.close()
    with pytest.raises(ImageError, match=r"^content: Pillow cannot load this image"):
        taken(image)


@pytest.mark.parametrize("exif", [b"II*\0\x08\0\0\0\xff\xff", b"garbage", b"II*\0"])
def test_damaged_exif_says_nothing(pil, exif, caplog):
    file = io.BytesIO()
    pil.fromarray(PHOTO).save(file, "WEBP", exif=b"Exif\0\0" + exif)
    image = pil.open(file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert taken(image).shape == PHOTO.shape
    assert [str(warning.message) for warning in caught] == []
    assert caplog.records == []


def test_an_orientation_that_is_not_applied_is_reported(caplog):
    np.testing.assert_array_equal(taken(Stand(orientation=6)), PHOTO)
    (record,) = caplog.records
    assert "content: the EXIF orientation 6 of the Pillow image is not applied" in record.getMessage()
    assert "exif_transpose" in record.getMessage()
    caplog.clear()
    taken(Stand(orientation=1))
    assert caplog.records == []


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memory_map_is_an_array(tmp_path, mode):
    path = tmp_path / "a.npy"
    np.save(path, PHOTO)
    mapped = np.load(path, mmap_mode=mode)
    assert mapped.mode == mode
    np.testing.assert_array_equal(taken(mapped), PHOTO)


def test_an_array_with_a_mode_is_an_array():
    class Named(np.ndarray):
        mode = "CMYK"

        def convert(self, mode):
            raise AssertionError

        getbands = convert

    array = np.dstack([PHOTO, PHOTO[..., 0]]).view(Named)
    assert not pillow_images.is_pillow(array)
    np.testing.assert_array_equal(taken(array), np.asarray(array))


@pytest.mark.parametrize("value", [None, "photo.png", PHOTO.tolist(), 7])
def test_other_values_are_not_of_pillow(value):
    assert not pillow_images.is_pillow(value)
