"""What functions take: arrays, pictures, files, images of Pillow, options by name; what they refuse."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import (
    ImageError,
    ImageFileError,
    OptionError,
    Options,
    Style,
    StyleTransfer,
    images,
    transfer,
)
from tests.helpers.command import photo, save
from tests.helpers.small_networks import small_vgg

SMALL = {"size": 32, "scales": "single", "iterations": 3, "threads": 1, "device": "cpu"}
NETWORK = small_vgg()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("photo.png", photo())
    save("painting.png", photo()[::-1].copy())
    save("mask.png", np.eye(27, dtype=np.float32))
    return tmp_path


def painted(content, styles, **named):
    return transfer(content, styles, network=NETWORK, **(SMALL | named))


def test_files_are_read(folder):
    expected = painted(photo(), photo()[::-1].copy())
    for content, style in (("photo.png", "painting.png"), (Path("photo.png"), [Path("painting.png")])):
        np.testing.assert_array_equal(painted(content, style), expected)
    np.testing.assert_array_equal(
        painted("photo.png", Style("painting.png", mask="mask.png")),
        painted(photo(), Style(photo()[::-1].copy(), mask=images.read("mask.png"))),
    )
    job = StyleTransfer(NETWORK, options=Options(**SMALL))
    job.measure_style("painting.png").save("a.style.npz")
    np.testing.assert_array_equal(painted("photo.png", "a.style.npz"), painted("photo.png", "painting.png"))
    for name in ("keep", "face_mask", "content_map"):
        by_file, by_array = (
            painted("photo.png", "painting.png", **{name: mask})
            for mask in ("mask.png", images.read("mask.png"))
        )
        np.testing.assert_array_equal(by_file, by_array)


def test_images_of_pillow(folder):
    pillow = pytest.importorskip("PIL.Image")
    with pillow.open("photo.png") as content:
        np.testing.assert_array_equal(painted(content, "painting.png"), painted("photo.png", "painting.png"))


@pytest.mark.parametrize(
    ("content", "style", "error", "message"),
    [
        (
            None,
            photo(),
            ImageError,
            r"content image: None, which cv2\.imread returns for a file that it cannot",
        ),
        (photo(), None, ImageError, r"style image: None, which cv2\.imread returns"),
        ("nowhere.jpg", photo(), ImageFileError, r"nowhere\.jpg"),
        (photo(), ["nowhere.jpg"], ImageFileError, r"nowhere\.jpg"),
        (photo(), [], OptionError, "No style images: give at least one"),
    ],
)
def test_what_is_no_image_is_refused(folder, content, style, error, message):
    with pytest.raises(error, match=message):
        painted(content, style)


def test_options_by_name():
    result = painted(photo(), photo()[::-1].copy(), options=Options(size=16), size=24)
    assert max(result.shape) == 24
    with pytest.raises(OptionError, match=r"transfer has no option 'iteration'\. Did you mean 'iterations'"):
        painted(photo(), photo(), iteration=3)
    with pytest.raises(OptionError, match="size must be a whole number"):
        painted(photo(), photo(), size=3)


def test_a_transfer_is_cancelled():
    cancel = threading.Event()
    cancel.set()
    assert painted(photo(), photo(), cancel=cancel, iterations=10**6).shape == (27, 32, 3)


def test_lists_and_texts_of_options_as_toml_has_them():
    options = Options(scales=[64, 128], iterations=[1, 2, 3], memory="2GB", style_layers=["a", "b"])
    assert (options.scales, options.iterations, options.memory) == ((64, 128), (1, 2, 3), 2_000_000_000)
    assert options.style_layers == ("a", "b")
    assert Options(style_layers=["a"], style_layer_weights=[2]).style_layer_weights == (2.0,)
    assert hash(options) is not None
    for memory in ("2", "much", -1):
        with pytest.raises(OptionError, match="memory"):
            Options(memory=memory)


def test_options_in_the_place_of_the_network():
    with pytest.raises(
        OptionError, match=r"network must be a name, a path or a network: give options=Options\(…\)"
    ):
        StyleTransfer(Options())


def test_a_result_is_saved_and_shown(folder):
    job = StyleTransfer(NETWORK, options=Options(**SMALL))
    result = job.run("photo.png", "painting.png")
    result.save("out.png")
    np.testing.assert_array_equal(images.to_array(images.read("out.png")), result.image)
    for_notebooks = "_".join(["", "repr", "png", ""])  # the name that IPython asks for
    shown = images.decode(getattr(result, for_notebooks)())
    np.testing.assert_array_equal(images.to_array(shown), result.image)
    result.save("out.jpg", quality=50)
    small = Path("out.jpg").stat().st_size
    result.save("out.jpg", quality=95)
    assert Path("out.jpg").stat().st_size > small


def test_arrays_are_written(tmp_path):
    images.write(tmp_path / "a.png", photo())
    np.testing.assert_array_equal(images.to_array(images.read(tmp_path / "a.png")), photo())
