"""Contact sheets: every picture is in its row and column, and text only where labels are."""

from __future__ import annotations

import numpy as np

from lbfgs_style.outputs.contact_sheet import Legend, jpeg, sheet, wrapped


def flat(color, height=20, width=30):
    return np.full((height, width, 3), color, np.float32)


RED, GREEN, BLUE = [1, 0, 0], [0, 1, 0], [0, 0, 1]


def box(canvas, color):
    """Top, bottom, left and right of the pixels of one colour, ends included."""
    y, x = np.nonzero((canvas == np.array(color) * 255).all(axis=2))
    return y.min(), y.max(), x.min(), x.max()


def ink(canvas):
    """Grey pixels: letters."""
    spread = canvas.max(axis=2).astype(int) - canvas.min(axis=2)
    return (spread == 0) & (canvas[..., 0] < 200)


def test_pictures_lie_in_rows_and_columns():
    """Of 40 pixels in height; gaps of 8, margins of 20."""
    canvas = sheet([[flat(RED), flat(GREEN)], [flat(BLUE)]], height=40)
    assert canvas.dtype == np.uint8
    assert box(canvas, RED) == (20, 59, 20, 79)
    assert box(canvas, GREEN) == (20, 59, 88, 147)
    assert box(canvas, BLUE) == (68, 107, 20, 79)
    assert not ink(canvas).any()


def test_a_narrow_picture_stands_in_the_middle_of_its_column():
    canvas = sheet([[flat(RED)], [flat(GREEN, width=10)]], height=40)
    assert box(canvas, GREEN)[2:] == (40, 59)


def test_labels_stand_beside_their_pictures():
    pictures = [[flat(RED), flat(GREEN)], [flat(BLUE), flat(RED)]]
    plain = sheet(pictures, height=60)
    columns = sheet(pictures, columns=["left", ""], height=60)
    assert columns.shape[0] == plain.shape[0] + 20
    top, _, left, _ = box(columns, GREEN)
    assert ink(columns[:top, :left]).any()
    assert not ink(columns[:top, left:]).any()
    sides = sheet(pictures, sides=["", "below"], height=60)
    top, _, left, _ = box(sides, BLUE)
    assert ink(sides[top:, :left]).any()
    assert not ink(sides[:top]).any()
    captions = sheet(pictures, captions=[["", "one"], ["", ""]], height=60)
    top, _, left, _ = box(captions, GREEN)
    assert ink(captions[:top, left:]).any()
    assert not ink(captions[:, :left]).any()
    assert not ink(captions[top:]).any()


def test_the_legend_stands_above_with_its_pictures():
    pictures = [[flat(RED, 20, 200)]]
    plain = sheet(pictures, height=60)
    canvas = sheet(pictures, legend=Legend("Title", ["a line"], [(flat(BLUE), "input")]), height=60)
    added = canvas.shape[0] - plain.shape[0]
    np.testing.assert_array_equal(canvas[added:], plain)
    top, bottom, *_ = box(canvas[:added], BLUE)
    assert bottom - top + 1 == 96
    assert ink(canvas[:top]).any()
    assert ink(canvas[bottom + 1 : added]).any()


def test_a_legend_wider_than_the_pictures():
    """The sheet grows with its title and its small pictures; the lines go below them, where there is room."""
    title, inputs = "A title that is wider than one picture", [(flat(BLUE, 10, 40), "input")]
    canvas = sheet([[flat(RED, 40, 40)]], legend=Legend(title, ["a line of words"], inputs), height=40)
    _, bottom, left, right = box(canvas, BLUE)
    assert right - left + 1 == 4 * 96
    assert canvas.shape[1] == 20 + 4 * 96 + 20
    above, *_ = box(canvas, RED)
    assert ink(canvas[bottom + 20 : above]).any()
    assert not ink(canvas[:, right + 1 :]).any()
    titled = sheet([[flat(RED, 40, 40)]], legend=Legend(title), height=40)
    assert ink(titled).any()
    assert not ink(titled[:, -20:]).any()


def test_long_labels_are_broken():
    assert wrapped("relu1_1,relu2_1,relu3_1", 10) == ["relu1_1,", "relu2_1,", "relu3_1"]
    assert wrapped("relu1_1,relu2_1", 1000) == ["relu1_1, relu2_1"]
    assert wrapped("a\nb", 1000) == ["a", "b"]


def test_a_small_jpeg():
    data = jpeg(flat(RED, 100, 200), longest=50)
    assert data.startswith(b"\xff\xd8\xff")
    import cv2

    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr.shape == (25, 50, 3)
    assert abs(bgr.mean(axis=(0, 1)) - [0, 0, 255]).max() < 5
