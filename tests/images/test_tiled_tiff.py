"""Tiled BigTIFF: written band by band, read by every reader, with profile, EXIF and recipe."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from lbfgs_style import ImageFileError, OptionError, images
from lbfgs_style.images import Metadata, exif, files
from lbfgs_style.images.formats.registry import read_text
from lbfgs_style.images.formats.tiff_tiles import TILE
from tests.helpers import profiles
from tests.helpers.camera import camera

HEIGHT, WIDTH = TILE + 40, 2 * TILE + 7


def picture(dtype, channels=3):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return images.from_array(values), values


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_kind_of_image_comes_back(tmp_path, dtype, channels):
    written, values = picture(dtype, channels)
    if channels == 4:  # OpenCV multiplies colours of 8 bits by alpha
        values[..., 3] = np.iinfo(dtype).max
        written = images.from_array(values)
    images.write(tmp_path / "a.tif", written, tiled=True)
    assert (tmp_path / "a.tif").read_bytes().startswith(b"II+\0")
    np.testing.assert_array_equal(images.to_array(images.read(tmp_path / "a.tif")), values)
    by_opencv = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(
        by_opencv, values if channels == 1 else values[..., [2, 1, 0, 3][:channels]]
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pillow_reads_the_tiles(channels):
    written, values = picture(np.uint8, channels)
    with Image.open(io.BytesIO(images.encode(written, "tif", tiled=True))) as image:
        assert image.tag_v2[322] == image.tag_v2[323] == TILE
        np.testing.assert_array_equal(np.asarray(image), values)


def test_tifffile_reads_the_tiles(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    written, _ = picture(np.uint8)
    images.write(tmp_path / "a.tif", written, tiled=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled


def test_profile_exif_xmp_and_recipe_are_kept(tmp_path):
    written, _ = picture(np.uint16)
    metadata = Metadata(camera(), profiles.rgb(), b"<x:xmpmeta/>")
    written = replace(written, metadata=metadata)
    for name, tiled in (("whole.tif", False), ("tiles.tif", True)):
        images.write(tmp_path / name, written, tiled=tiled, recipe='{"a": "ü"}')
    whole, tiles = (images.read(tmp_path / name) for name in ("whole.tif", "tiles.tif"))
    np.testing.assert_array_equal(tiles.rgb, whole.rgb)
    assert tiles.metadata == whole.metadata
    assert tiles.metadata.icc == profiles.rgb()
    assert exif.entry(tiles.metadata.exif, 271) == exif.entry(whole.metadata.exif, 271) is not None
    for name in ("whole.tif", "tiles.tif"):
        assert read_text((tmp_path / name).read_bytes()) == '{"a": "ü"}'
        with Image.open(tmp_path / name) as image:  # the directory of the camera is found
            assert image.getexif().get_ifd(34665)


def test_other_programs_read_a_recipe_without_a_word(tmp_path):
    for name, tiled in (("whole.tif", False), ("tiles.tif", True)):
        images.write(tmp_path / name, picture(np.uint8)[0], tiled=tiled, recipe="{}")
        code = f"import cv2; assert cv2.imread({str(tmp_path / name)!r}).shape == {(HEIGHT, WIDTH, 3)}"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stderr == ""  # where libtiff does not know a tag, OpenCV warns
        with Image.open(tmp_path / name) as image:  # warnings are errors
            image.load()


def test_a_text_of_another_program_is_no_recipe():
    plain = images.encode(picture(np.uint8)[0], "tif")
    assert read_text(plain) is None
    assert read_text(exif.add(plain, b"", {50740: b"theirs\0"})) is None


def test_large_images_are_tiled_without_being_asked(tmp_path, monkeypatch):
    written, values = picture(np.uint8)
    monkeypatch.setattr(files, "TILED_PIXELS", HEIGHT * WIDTH)
    assert images.encode(written, "tif").startswith(b"II*\0")
    monkeypatch.setattr(files, "TILED_PIXELS", HEIGHT * WIDTH - 1)
    assert images.encode(written, "tif").startswith(b"II+\0")
    images.write(tmp_path / "a.png", written)
    np.testing.assert_array_equal(images.to_array(images.read(tmp_path / "a.png")), values)


def test_the_image_is_not_held_twice(tmp_path):
    written = images.from_array(np.zeros((2048, 1024, 3), np.uint8))
    tracemalloc.start()
    try:
        images.write(tmp_path / "a.tif", written, tiled=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * TILE * 1024 * 3 * 4  # two bands in floating point


def test_only_tiff_has_tiles(tmp_path):
    written, _ = picture(np.uint8)
    with pytest.raises(OptionError, match=r"a\.png: .* in tiles as TIFF alone, got \.png: name a \.tif file"):
        images.write(tmp_path / "a.png", written, tiled=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    written, _ = picture(np.uint8)
    images.write(tmp_path / "a.tif", written, tiled=True)
    before = (tmp_path / "a.tif").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exif, "packed", full)
    with pytest.raises(ImageFileError, match=r"a\.tif: cannot be written: No space left on device"):
        images.write(tmp_path / "a.tif", written, tiled=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == before
