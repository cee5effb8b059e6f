"""The HTML report of a run: it is complete in itself, and its curves are those of the run."""

from __future__ import annotations

import base64
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, html_report, images
from lbfgs_style.outputs import loss_curves
from tests.helpers.command import paint, photo
from tests.helpers.small_networks import small_vgg

VOID = {"meta", "img", "line", "path"}


class Checked(HTMLParser):
    """Collects text and attributes; every tag must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID - {"path"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run_of_two_scales():
    options = Options(size=32, scales=(24,), iterations=(4, 3), tv_weight=0.5, device="cpu", threads=1)
    return StyleTransfer(small_vgg(), options=options).run(photo(), photo()[::-1])


def test_terms_of_the_history_add_up(run_of_two_scales):
    """L = Σ weight · term at every iteration; five style layers share a weight of 3."""
    result = run_of_two_scales
    weights = {"content relu4_2": 0.1, "tv": 0.5, "range": 10.0}
    weights |= {f"style relu{n}_1": 3 / 5 for n in range(1, 6)}
    assert set(result.term_history) == set(weights)
    assert {len(curve) for curve in result.term_history.values()} == {len(result.history)} == {7}
    total = sum(weights[name] * np.array(curve) for name, curve in result.term_history.items())
    np.testing.assert_allclose(total, result.history, rtol=1e-5)
    assert result.report()["term_history"]["tv"] == list(result.term_history["tv"])


def test_the_page_is_complete_in_itself(run_of_two_scales):
    text = html_report.page(
        run_of_two_scales, [("a <photo>", photo().astype(np.float32) / 255)], title="x & y"
    )
    page = Checked(text)
    markup = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", markup)
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 2
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"), validate=True)
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (27, 32, 3)
    assert "a <photo>" in page.text
    assert "x & y" in page.text
    assert "32×27 pixels, network small" in page.text


def test_the_curves_are_those_of_the_history(run_of_two_scales):
    """On a logarithmic axis: equal ratios are equal heights."""
    result = run_of_two_scales
    page = Checked(html_report.page(result, []))
    paths = page.all("path")
    assert len(paths) == 1 + len(result.term_history)
    drawn = [tuple(map(float, point.split())) for point in re.findall(r"[\d.]+ [\d.]+", paths[0]["d"])]
    assert len(drawn) == 7
    heights, logs = np.array([y for _, y in drawn]), np.log10(result.history)
    slope = (heights[3] - heights[0]) / (logs[3] - logs[0])
    assert slope < 0  # upwards on the page
    np.testing.assert_allclose(heights, heights[0] + slope * (logs - logs[0]), atol=0.2)
    steps = np.diff([x for x, _ in drawn])
    np.testing.assert_allclose(steps, steps[0], atol=0.11)


def test_points_below_the_chart_are_left_out():
    axes = loss_curves.Axes(count=4, bottom=-2, top=0)
    assert loss_curves.svg_path(axes, [1, 1e-3, 0.1, 0.0]).count("M") == 2
    assert math.isclose(axes.y(0.1), (axes.y(1) + axes.y(0.01)) / 2)


def test_labels_do_not_cover_each_other():
    ends = [(300.0, "a", 1.0), (299.0, "b", 1.0), (298.0, "c", 1.0), (20.0, "d", 1.0)]
    placed = sorted(y for y, _, _ in loss_curves.spread_apart(ends))
    assert placed[0] == 20
    assert min(np.diff(placed)) >= 14
    assert placed[-1] <= 300


def test_the_command_chooses_by_extension(folder, network):
    assert paint(network, "--report", "run.html", "--content-weight", 0.7) == 0
    page = Checked(Path("run.html").read_text("utf-8"))
    assert [image["alt"] for image in page.all("img")] == [
        "content: photo.png",
        "style: painting.png",
        "result",
    ]
    assert "photo in the style of painting" in page.text
    assert re.search(r"content_weight\s+0\.7", page.text)
    assert paint(network, "--report", "run.json") == 0
    assert json.loads(Path("run.json").read_text())["program"].startswith("lbfgs-style")


def test_a_style_without_a_picture_and_a_start(folder, network):
    job = StyleTransfer(network, options=Options(device="cpu", threads=1))
    job.measure_style(images.read("painting.png")).save("stripes.npz")
    assert paint(network, "--init", "painting.png", "--report", "run.html", styles=("stripes.npz",)) == 0
    page = Checked(Path("run.html").read_text("utf-8"))
    assert [image["alt"] for image in page.all("img")] == [
        "content: photo.png",
        "init: painting.png",
        "result",
    ]
