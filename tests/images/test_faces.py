"""Faces: the detector's boxes by OpenCV, the mask that marks them, and images in which they are held."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import NetworkError, OptionError, Options, StyleTransfer, images
from lbfgs_style.images.faces import find_faces, mark_faces
from lbfgs_style.networks import catalog
from lbfgs_style.outputs import recipes
from lbfgs_style.pipeline import inputs
from tests.helpers.command import enter, one_error, paint, run, save, save_network
from tests.helpers.face_detector import detector
from tests.helpers.small_networks import small_vgg

SIZE = (96, 128)
BOX = (40.0, 20.0, 32.0, 48.0)
PHOTO, PAINTING = np.random.default_rng(0).uniform(0, 1, (2, *SIZE, 3)).astype(np.float32)


def test_boxes_are_fractions_of_the_image(tmp_path):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(detector(SIZE, BOX))
    level = cv2.utils.logging.getLogLevel()
    [(left, top, width, height)] = find_faces(PHOTO, path)
    assert (left, top, width, height) == pytest.approx((40 / 128, 20 / 96, 32 / 128, 48 / 96), abs=1e-3)
    assert cv2.utils.logging.getLogLevel() == level
    path.write_bytes(detector(SIZE, BOX, score=0.4))
    assert find_faces(PHOTO, path) == []


def test_large_images_are_searched_at_640_pixels(tmp_path):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(detector((480, 640), (64.0, 48.0, 128.0, 240.0)))
    [box] = find_faces(np.zeros((1200, 1600, 3), np.float32), path)
    assert box == pytest.approx((0.1, 0.1, 0.2, 0.5), abs=1e-3)


@pytest.mark.parametrize("data", [b"", b"no network", detector((32, 32), (4, 4, 8, 8))[:-200]])
def test_a_damaged_detector_is_refused(tmp_path, data):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(data)
    with pytest.raises(NetworkError, match=r"yunet\.onnx: OpenCV cannot find faces with it: get it again"):
        find_faces(PHOTO, path)


def test_the_mask_is_white_on_the_face_and_black_away_from_it():
    mask = mark_faces([(0.25, 0.25, 0.25, 0.5), (0.8, 0.1, 0.1, 0.1)], (80, 120))
    assert mask.shape == (80, 120)
    assert (mask[20:60, 38:52] == 1).all()
    assert mask[12, 102] == 1  # the second face
    assert mask[75, 110] == mask[40, 5] == 0
    assert 0 < mask[40, 45 + 24] < 1  # 24 pixels from the centre: 1.14 radii
    assert mark_faces([], (3, 4)).max() == 0


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A cache with a detector in it that finds a face at `BOX`."""
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cache" / "yunet.onnx"
    path.parent.mkdir()
    path.write_bytes(detector(SIZE, BOX))
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    row = replace(catalog.FACE_DETECTOR, known_hash=digest)
    monkeypatch.setattr(inputs, "FACE_DETECTOR", row)
    return path


def painted(**given):
    options = Options(size=128, scales="single", iterations=20, threads=1, content_layers=("relu1_1",))
    options = replace(options, style_layers=("relu1_1", "relu2_1"))
    return StyleTransfer(small_vgg(), options=options).run(PHOTO, PAINTING[::-1], **given)


def test_a_face_is_held(found, caplog):
    caplog.set_level(logging.INFO)
    plain, held = (painted(face_mask=mask).image for mask in (None, "find"))
    assert "1 face found in the content image" in caplog.text
    face, rest = np.s_[28:60, 46:66], np.s_[:, 100:]
    changes = [np.abs(image - PHOTO) for image in (plain, held)]
    assert changes[1][face].mean() < 0.8 * changes[0][face].mean()
    assert changes[1][rest].mean() == pytest.approx(changes[0][rest].mean(), rel=0.3)
    mask = mark_faces(find_faces(PHOTO, found), SIZE)
    np.testing.assert_array_equal(painted(face_mask=mask).image, held)


def test_a_mask_of_faces_wins_over_a_content_map():
    """Black of the map frees everything but the face."""
    mask = np.zeros((24, 32), np.float32)
    mask[:, :16] = 1
    both, faces_alone = painted(content_map=np.zeros((5, 5)), face_mask=mask), painted(face_mask=mask)
    everywhere = painted(face_mask=np.ones((4, 4)))
    by_map = painted(content_map=np.ones((4, 4)))
    assert everywhere.history[:3] == pytest.approx(by_map.history[:3], rel=1e-5)
    assert both.scales[0].loss_start == pytest.approx(faces_alone.scales[0].loss_start)  # of the photo
    assert both.history[-1] < faces_alone.history[-1]


def test_no_face_is_said(found, caplog):
    found.write_bytes(detector(SIZE, BOX, score=0.1))
    digest = "sha256:" + hashlib.sha256(found.read_bytes()).hexdigest()
    inputs.FACE_DETECTOR = replace(inputs.FACE_DETECTOR, known_hash=digest)
    result = painted(face_mask="find")
    assert "no face found in the content image" in caplog.text
    np.testing.assert_array_equal(result.image, painted().image)


def test_wrong_masks_are_refused(found):
    with pytest.raises(OptionError, match="face_mask must be an array, a Picture, a file or 'find', got"):
        painted(face_mask="auto")
    found.write_bytes(found.read_bytes()[:-1])
    with pytest.raises(NetworkError, match=r"yunet\.onnx: not the published file: expected sha256:"):
        painted(face_mask="find")


def test_the_command_says_how_to_get_the_detector(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path / "cache"))
    enter(tmp_path, monkeypatch)
    network = save_network(tmp_path)
    capfd.readouterr()
    assert paint(network, "--face-mask", "find") == 2
    one_error(
        capfd, r"The face detector 'yunet' is not on this computer: get it with `lbfgs-style networks pull"
    )


def test_a_run_that_found_faces_is_repeated(tmp_path, monkeypatch, capfd, found):
    enter(tmp_path, monkeypatch)
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(found.parent))
    network = save_network(tmp_path)
    save("photo.png", PHOTO)
    save("face.png", np.pad(np.ones((9, 9), np.float32), 8))
    for mask, output in (("find", "found.png"), ("face.png", "marked.png")):
        assert paint(network, "--face-mask", mask, output=output) == 0
        capfd.readouterr()
        assert run("rerun", output) == 0
        assert "the same as" in capfd.readouterr().err
    assert recipes.read_recipe("found.png").inputs.face_mask == "find"
    assert recipes.read_recipe("marked.png").inputs.face_mask.path == "face.png"


def test_the_detector_is_listed_and_named(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path))
    assert run("networks", "list") == 0
    assert "yunet" in capfd.readouterr().out
    assert [row.name for row in catalog.KNOWN if row.arch == "yunet"] == []
    assert images.faces.find_faces is find_faces
    assert Path(catalog.FACE_DETECTOR.url).name == "face_detection_yunet_2023mar.onnx"
