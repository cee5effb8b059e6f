"""Where a run starts, and that the same start gives the same picture."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import OptionError, Options, StyleTransfer, images
from lbfgs_style.pipeline import initial_image
from lbfgs_style.pipeline.initial_image import DETAIL, InitialImage
from tests.helpers.command import DATA, enter, one_error, paint, photo, save_network
from tests.helpers.small_networks import small_vgg

SIZE = (20, 30)


def flat(value, height=40, width=60):
    return np.full((height, width, 3), value, np.float32)


STYLE = flat(0.75)


def noise(seed):
    """As `Options.init` is documented to be: normal around 0.5, deviation 0.1."""
    return np.clip(np.random.default_rng(seed).normal(0.5, 0.1, (3, *SIZE)), 0, 1)


def begin(image=None, paintings=(STYLE,), **options):
    return InitialImage(Options(**options), flat(0.25), paintings, image).first(SIZE)


def test_every_start():
    assert (begin() == 0.25).all()
    assert (begin(init="style") == 0.75).all()
    np.testing.assert_array_equal(begin(init="noise", seed=3), noise(3))
    assert (begin(image=flat(0.5), init="noise") == 0.5).all()


@pytest.mark.parametrize(("options", "value"), [({}, 0.25), ({"init": "style"}, 0.75)])
def test_noise_is_blended_by_its_share(options, value):
    np.testing.assert_allclose(begin(init_noise=0.3, seed=2, **options), 0.7 * value + 0.3 * noise(2))
    np.testing.assert_allclose(begin(init_noise=1, seed=2, **options), noise(2))
    np.testing.assert_allclose(begin(image=flat(0.5), init_noise=0.3, seed=2), 0.35 + 0.3 * noise(2))


def test_the_middle_of_the_style_is_not_stretched():
    """A painting of 40×40 for an image of 20×30: rows 7 to 33 of 40 remain (40·20/30 = 26.7)."""
    rows = np.repeat(np.arange(40, dtype=np.float32)[:, None, None] / 39, 40, axis=1).repeat(3, axis=2)
    actual = begin(init="style", paintings=[rows])
    assert actual.shape == (3, *SIZE)
    heights = actual[0, :, 0] * 39
    assert heights[0] == pytest.approx(6 + 27 / 40 - 0.5, abs=0.1)
    assert heights[-1] == pytest.approx(33 - 27 / 40 - 0.5, abs=0.1)
    assert np.ptp(actual, axis=2).max() < 1e-6


@pytest.mark.parametrize(
    ("options", "initial", "source", "share"),
    [
        ({}, None, "photo", DETAIL),
        ({"init": "style"}, None, "painting", DETAIL),
        ({"init": "noise"}, "photo", "photo", DETAIL),
        ({"init_noise": 0.3}, None, "photo", 0.7 * DETAIL),
        ({"init_noise": 1}, None, "photo", 0),
        ({"init": "noise"}, None, "photo", 0),
    ],
)
def test_a_larger_scale_starts_with_detail_of_its_own(options, initial, source, share):
    """What was painted is grey, so that the detail stands out."""
    rng = np.random.default_rng(0)
    pictures = {name: rng.uniform(0.3, 0.7, (40, 60, 3)).astype(np.float32) for name in ("photo", "painting")}
    start = InitialImage(
        Options(**options), pictures["photo"], [pictures["painting"]], initial and pictures[initial]
    )
    actual = start.next(np.full((3, 20, 30), 0.5, np.float32), (40, 60))
    fine = pictures[source]
    coarse = images.resize(images.resize(fine, (20, 30)), (40, 60))
    np.testing.assert_allclose(actual, 0.5 + share * (fine - coarse).transpose(2, 0, 1), atol=1e-6)
    same = np.zeros((3, 40, 60))
    assert start.next(same, (40, 60)) is same


@pytest.mark.parametrize("names", [("coast.jpg", "painting.jpg"), ("painting.jpg", "coast.jpg")])
def test_detail_brings_the_second_scale_nearer_to_the_photo(monkeypatch, names):
    """With the photo's edges in it, the second scale starts at a smaller content distance."""
    photo, painting = (images.to_array(images.read(DATA / name)) for name in names)
    options = Options(size=128, scales=(64,), iterations=(10, 1))
    distances = []
    for share in (0.0, initial_image.DETAIL):
        monkeypatch.setattr(initial_image, "DETAIL", share)
        start = StyleTransfer(options=options).run(photo, painting).scales[-1].terms_start
        distances.append(sum(value for name, value in start.items() if name.startswith("content")))
    assert distances[1] < distances[0]


def test_statistics_are_no_start():
    with pytest.raises(OptionError, match="init 'style' needs a style image"):
        begin(init="style", paintings=[])


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        ({"init": "noise"}, 1),
        ({"init": "noise"}, 2),
        ({"init": "style", "init_noise": 0.2}, 1),
        ({"init_noise": 0.5}, 1),
    ],
    ids=str,
)
def test_the_same_seed_gives_the_same_picture(options, threads):
    """Bit for bit, each time with new sessions."""

    def run(seed):
        settings = Options(
            size=48, scales=(24,), iterations=4, seed=seed, device="cpu", threads=threads, **options
        )
        return StyleTransfer(small_vgg(), options=settings).run(photo() / 255, photo()[::-1]).image

    first = run(7)
    np.testing.assert_array_equal(run(7), first)
    assert (run(8) != first).mean() > 0.5


def test_the_command(tmp_path, monkeypatch, capfd):
    enter(tmp_path, monkeypatch)
    network = save_network(tmp_path)
    pictures = []
    for more in (("--init", "style"), ("--init", "style", "--init-noise", 0.5), ("--init-noise", 0.5)):
        assert paint(network, "--iterations", 1, "--quiet", *more) == 0
        pictures.append(images.read("out.png").rgb)
    for i in range(3):
        assert np.abs(pictures[i] - pictures[i - 1]).mean() > 0.01
    assert paint(network, "--init", "noise", "--init-noise", 0.5) == 2
    one_error(capfd, "init 'noise' is all noise")
