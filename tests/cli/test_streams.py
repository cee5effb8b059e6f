"""Messages of a run: hints after mistakes, and one line for each change on the user's behalf."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import numpy as np
import pytest

from lbfgs_style import ImageError, OptionError, Options, StyleTransfer, images, transfer
from lbfgs_style.errors import nearest
from lbfgs_style.pipeline.checkpoints import checkpoint
from lbfgs_style.system.byte_sizes import format_bytes
from tests.helpers.command import one_error, paint, photo, run, save
from tests.helpers.small_networks import small_vgg

QUICK = Options(size=32, iterations=1, device="cpu", threads=1)


# Hints


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "https://example.org/a.jpg",
            r"^lbfgs-style: https://example\.org/a\.jpg: a web address; expected a file: download",
        ),
        ("*.png", r"\*\.png: no such file: a pattern that the shell has not expanded, which 2 files match;"),
        ("no/*.png", r"the folder no does not exist"),
        ("photo.pn?", r"which one file matches;"),
        ("../*/phot?.png", r"which (one file matches|\d+ files match);"),
        ("Photo[1].png", r"Photo\[1\]\.png: no such file\. Did you mean 'photo\.png'\?"),
        ("PHOTO.PNG", r"PHOTO\.PNG: no such file\. Did you mean 'photo\.png'\?"),
    ],
)
def test_inputs_that_are_no_files(folder, network, capfd, content, says):
    assert paint(network, content=content) == 2
    one_error(capfd, says)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("--device", "gpu"), "Did you mean 'cuda'"),
        (("--device", "GPU"), "Did you mean 'cuda'"),
        (("--optimizer", "LBFGS"), "Did you mean 'lbfgs'"),
        (("--network", "VGG19"), "Did you mean 'vgg19'"),
        (("--preset", "Gatys"), "Did you mean 'gatys'"),
        (("--style-statistic", "Wasserstein"), "Did you mean 'wasserstein'"),
        (("--memory", "2"), r"--memory must be an amount with a unit .* at least 1\.0 MB, got '2'"),
        (("--init", "Noise"), "Did you mean 'noise'"),
        (("--init", "https://a.org/b.png"), "which is a web address; expected a file: download it first"),
        (("--network", "https://a.org/b.onnx"), "a web address; expected a file: download it first"),
        (("--options", "https://a.org/b.toml"), "a web address; expected a file: download it first"),
        (("--painting-mask", "https://a.org/b.png"), "https://a.org/b.png: a web address"),
    ],
)
def test_choices_in_other_words(folder, network, capfd, typed, says):
    assert paint(network, *typed) == 2
    one_error(capfd, says)


def test_amounts_are_spelled_with_their_unit():
    assert (format_bytes(2), format_bytes(999), format_bytes(1000)) == ("2 bytes", "999 bytes", "1.0 kB")
    with pytest.raises(
        OptionError,
        match=r"memory must be a whole number from 1000000 to \d+ \(bytes\), or a text such as '2GB', got",
    ):
        Options(memory=2)


def test_addresses_of_other_files(folder, network, capfd):
    for arguments in (
        ("transfer", "photo.png", "https://a.org/b.npz", "-o", "out.png"),
        ("rerun", "https://a.org/b.png"),
    ):
        assert run(*arguments) == 2
        one_error(capfd, "a web address; expected a file: download it first")
    assert paint(network, content="file:///tmp/a.png") == 2
    one_error(capfd, "an address of a file; expected its path: leave out file://")
    assert paint(network, output="https://a.org/b.png") == 2
    one_error(capfd, "is an address; expected the name of a file")


def test_the_nearest_is_spelled_as_the_choice_is():
    assert nearest("RELU4_1", ["relu4_1", "relu5_1"]) == "relu4_1"
    assert nearest("block1_conv1", ["Block1_Conv1"]) == "Block1_Conv1"
    assert nearest("xyz", ["relu4_1"]) is None


@pytest.mark.parametrize(
    ("top", "remedy"),
    [(1.00001, "np.clip"), (1.9, "np.clip"), (2.5, "divide by 255"), (255.0, "divide by 255")],
)
def test_values_just_above_one_are_clipped_not_divided(top, remedy):
    array = np.full((8, 8, 3), 0.5, np.float32)
    array[0, 0] = top
    with pytest.raises(ImageError, match=remedy.replace(".", r"\.")) as caught:
        images.from_array(array)
    assert f"{top:g}" in str(caught.value)


# Changes on the user's behalf


def test_an_enlarged_photo_is_reported(caplog):
    job = StyleTransfer(small_vgg(), options=replace(QUICK, size=64))
    job.run(photo(), photo())
    message = (
        "the content image of 32×27 pixels is enlarged to 64×54: --size full (size='full') keeps its size"
    )
    assert [record.message for record in caplog.records] == [message]
    caplog.clear()
    job.plan(photo(), photo())
    assert [record.message for record in caplog.records] == [message]
    for size in (32, 20, "full"):
        caplog.clear()
        StyleTransfer(small_vgg(), options=replace(QUICK, size=size)).run(photo(), photo())
        assert caplog.records == []


def test_which_picture_is_the_photo_is_reported(folder, network, capfd):
    save("b.png", photo())
    assert paint(network, content="photo.png", styles=("b.png", "painting.png")) == 0
    lines = capfd.readouterr().err.splitlines()
    assert (
        "lbfgs-style: warning: the content image is photo.png; the style images are b.png, painting.png"
        in lines
    )
    assert paint(network, "--quiet", styles=("b.png", "painting.png")) == 0
    assert paint(network, styles=("painting.png",)) == 0
    assert "the content image is" not in capfd.readouterr().err


GRAY = photo()[..., 0]


def test_a_grey_photo_is_reported(caplog):
    result = StyleTransfer(small_vgg(), options=QUICK).run(GRAY, photo())
    assert result.image.shape == GRAY.shape
    (record,) = caplog.records
    assert record.message.startswith(
        "the content image is grey, and so is the result: --no-keep-gray (keep_gray=False)"
    )
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("content", [GRAY, GRAY[..., None]], ids=["H×W", "H×W×1"])
def test_a_grey_photo_in_colour(caplog, content):
    options = replace(QUICK, keep_gray=False)
    painted = transfer(content, photo(), network=small_vgg(), options=options)
    assert painted.shape == (*GRAY.shape, 3)
    assert (painted[..., 0] != painted[..., 2]).any()
    assert caplog.records == []


def test_kept_colours_of_a_grey_photo_are_grey_without_a_message(caplog):
    StyleTransfer(small_vgg(), options=replace(QUICK, preserve_color="luminance")).run(GRAY, photo())
    assert caplog.records == []


def test_the_command_paints_a_grey_photo_in_colour(folder, network, capfd):
    save("gray.png", GRAY)
    assert paint(network, content="gray.png") == 0
    assert "--no-keep-gray" in capfd.readouterr().err
    assert images.read("out.png").gray
    assert paint(network, "--no-keep-gray", "--quiet", content="gray.png") == 0
    painted = images.read("out.png")
    assert not painted.gray
    assert run("rerun", "out.png", "-o", "again.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, painted.rgb)
    with pytest.raises(OptionError, match="keep_gray must be True or False"):
        Options(keep_gray="no")


def test_a_checkpoint_older_than_an_option_is_resumed():
    """It names no `keep_gray`, whose default does what was done before."""
    saved, now = {"options": asdict(Options())}, {"options": asdict(Options())}
    del saved["options"]["keep_gray"]
    assert checkpoint.differences(saved, now) == []
    now["options"]["keep_gray"] = False
    assert checkpoint.differences(saved, now) == ["keep_gray was True, now False"]
