"""Images of Pillow given to the library: converted by their mode, or refused by its name."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import images, pillow_images
from lbfgs_style.errors import ImageError

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)


class Stand:
    """What tells an image of Pillow: a mode, and methods of its own."""

    def __init__(self, mode="RGB", orientation=1, array=PHOTO):
        self.mode, self.orientation, self.array, self.info = mode, orientation, array, {}

    def convert(self, mode):
        raise ValueError(f"conversion from {self.mode} to {mode} not supported")

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
    got = taken(image)
    assert got.shape == (6, 7, 3)
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))
    assert np.abs(got.astype(int) - PHOTO).mean() < (40 if mode == "P" else 4)


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


def test_grey_and_black_and_white_are_grey(pil):
    gray = PHOTO[..., 0]
    np.testing.assert_array_equal(taken(pil.fromarray(gray)), gray)
    image = pil.fromarray(gray > 99)
    assert image.mode == "1"
    np.testing.assert_array_equal(taken(image), np.where(gray > 99, 255, 0))


def test_deep_grey_keeps_its_depth(pil):
    deep = PHOTO[..., 0].astype(np.uint16) * 257
    got = taken(pil.fromarray(deep))
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, deep)
    unit = (deep / 65535).astype(np.float32)
    np.testing.assert_array_equal(taken(pil.fromarray(unit)), unit)


def test_whole_numbers_of_32_bits_are_refused(pil):
    with pytest.raises(ImageError, match=r"^content: int32 values; expected uint8, uint16 or floating point"):
        taken(pil.fromarray(PHOTO[..., 0].astype(np.int32)))


def test_a_mode_that_pillow_does_not_convert_is_refused_by_name():
    np.testing.assert_array_equal(taken(Stand()), PHOTO)
    with pytest.raises(
        ImageError, match=r"^content: a Pillow image of mode 'LAB' that Pillow cannot make RGB of"
    ) as caught:
        taken(Stand("LAB"))
    assert "\n" not in str(caught.value)


def test_an_orientation_that_is_not_applied_is_said(caplog):
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
