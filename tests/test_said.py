"""What a run says: hints that lead to what was meant, and a line for each change on the user's behalf."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import numpy as np
import pytest
from command import one_error, paint, photo, run, save
from small_networks import small_vgg

from lbfgs_style import ImageError, OptionError, Options, StyleTransfer, identity, images, transfer
from lbfgs_style.budget import parsed, spelled
from lbfgs_style.errors import nearest

QUICK = Options(size=32, iterations=1, device="cpu", threads=1)


# Hints


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "https://example.org/a.jpg",
            r"^lbfgs-style: https://example\.org/a\.jpg: a web address; .*download",
        ),
        ("*.png", r"\*\.png: no such file: the shell has not expanded this pattern, which 2 files match;"),
        ("no/*.png", r"the folder no does not exist"),
        ("[ab].png", r"pattern, which 0 files match; .*leave out quotes"),
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
        (("--memory", "2"), "--memory must be an amount with a unit such as 2GB or 800MB, got '2': 2 bytes"),
        (("--memory", "2000B"), r"does not fit into 2\.0 kB|0 kB"),
    ],
)
def test_choices_in_other_words(folder, network, capfd, typed, says):
    assert paint(network, *typed) == 2
    one_error(capfd, says)


def test_amounts_without_a_unit():
    assert parsed("2000000", "--memory") == 2_000_000
    with pytest.raises(OptionError, match="with a unit"):
        parsed("999999", "--memory")
    assert (spelled(2), spelled(999), spelled(1000)) == ("2 bytes", "999 bytes", "1.0 kB")


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


def test_an_enlarged_photo_is_said(caplog):
    job = StyleTransfer(small_vgg(), options=replace(QUICK, size=64))
    job.run(photo(), photo())
    said = "the content picture of 32×27 pixels is enlarged to 64×54: size 'full' (--size full) keeps its own"
    assert [record.message for record in caplog.records] == [said]
    caplog.clear()
    job.plan(photo(), photo())
    assert [record.message for record in caplog.records] == [said]
    for size in (32, 20, "full"):
        caplog.clear()
        StyleTransfer(small_vgg(), options=replace(QUICK, size=size)).run(photo(), photo())
        assert caplog.records == []


def test_which_picture_is_the_photo_is_said(folder, network, capfd):
    save("b.png", photo())
    assert paint(network, content="photo.png", styles=("b.png", "painting.png")) == 0
    err = capfd.readouterr().err
    assert err.splitlines()[0] == "lbfgs-style: the photo is photo.png; the paintings are b.png, painting.png"
    assert paint(network, "--quiet", styles=("b.png", "painting.png")) == 0
    assert paint(network, styles=("painting.png",)) == 0
    assert "the photo is" not in capfd.readouterr().err


GRAY = photo()[..., 0]


def test_a_grey_photo_is_said(caplog):
    result = StyleTransfer(small_vgg(), options=QUICK).run(GRAY, photo())
    assert result.image.shape == GRAY.shape
    (record,) = caplog.records
    assert record.message.startswith(
        "the content picture is grey, and so is the result: keep_gray=False (--no-keep-gray)"
    )
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("content", [GRAY, GRAY[..., None]], ids=["H×W", "H×W×1"])
def test_a_grey_photo_in_colour(caplog, content):
    options = replace(QUICK, keep_gray=False)
    painted = transfer(content, photo(), network=small_vgg(), options=options)
    assert painted.shape == (*GRAY.shape, 3)
    assert (painted[..., 0] != painted[..., 2]).any()
    assert caplog.records == []


def test_kept_colours_of_a_grey_photo_are_grey_unsaid(caplog):
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


def test_a_checkpoint_of_before_an_option_fits():
    """It names no `keep_gray`, whose default does what was done before."""
    saved, now = {"options": asdict(Options())}, {"options": asdict(Options())}
    del saved["options"]["keep_gray"]
    assert identity.differences(saved, now) == []
    now["options"]["keep_gray"] = False
    assert identity.differences(saved, now) == ["keep_gray was True, now False"]
