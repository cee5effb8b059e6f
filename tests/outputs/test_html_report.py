"""The HTML report of a run: it is complete in itself, and its curves are those of the run."""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, html_report, images, recipes
from lbfgs_style.outputs import loss_curves
from lbfgs_style.outputs.command_text import command_text
from tests.helpers.command import paint, photo, run
from tests.helpers.small_networks import small_vgg

VOID = {"meta", "img", "line", "path", "input"}


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
    assert not re.search(r"https?:|src=\"[^d]|url\(|@import|<script |<link|fetch", markup)
    sources = [image["src"] for image in page.all("img") if image["alt"] != "32 px"]
    assert [image["alt"] for image in page.all("img")] == ["result", "a <photo>", "a <photo>", "32 px"]
    assert len(sources) == 3
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


def test_the_command_chooses_by_extension(folder, network):
    assert paint(network, "--report", "run.html", "--content-weight", 0.7) == 0
    page = Checked(Path("run.html").read_text("utf-8"))
    assert [image["alt"] for image in page.all("img")] == [
        "result",
        "content: photo.png",
        "content: photo.png",
        "style: painting.png",
        "32 px",
    ]
    assert "photo in the style of painting" in page.text
    assert re.search(r"--content-weight\s+0\.7", page.text)
    assert paint(network, "--report", "run.json") == 0
    assert json.loads(Path("run.json").read_text())["program"].startswith("lbfgs-style")


def test_a_style_without_a_picture_and_a_start(folder, network):
    job = StyleTransfer(network, options=Options(device="cpu", threads=1))
    job.measure_style(images.read("painting.png")).save("stripes.npz")
    assert paint(network, "--init", "painting.png", "--report", "run.html", styles=("stripes.npz",)) == 0
    page = Checked(Path("run.html").read_text("utf-8"))
    assert [image["alt"] for image in page.all("img")] == [
        "result",
        "content: photo.png",
        "content: photo.png",
        "init: painting.png",
        "32 px",
    ]


def test_the_page_shows_the_image_of_each_scale(folder, network):
    options = ("--size", 96, "--scales", "32,64", "--iterations", "3,2,2", "--frames", "f", "--save-every", 1)
    assert paint(network, *options, "--report", "run.html") == 0
    page = Checked(Path("run.html").read_text("utf-8"))
    shown = {image["alt"]: image["src"] for image in page.all("img") if image["alt"].endswith(" px")}
    assert list(shown) == ["32 px", "64 px", "96 px"]
    for alt, frame in (("32 px", "frame-000003.png"), ("64 px", "frame-000005.png")):
        data = base64.b64decode(shown[alt].partition(",")[2])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(image, cv2.imread(f"f/{frame}"), atol=40)  # JPEG of small images
        assert abs(image.astype(float) - cv2.imread(f"f/{frame}")).mean() < 5


def test_the_command_in_the_page_makes_the_same_image(folder, network):
    """Also where options, weights, scales and masks are not the default."""
    cv2.imwrite("left half.png", np.repeat(np.uint8([[255, 0]]), 16, axis=1))
    typed = (
        *("--style-blend", "2,1", "--style-scale", "0.5,1", "--style-mask", "left half.png"),
        *("--style-mask", "rest", "--strength", 0.7, "--no-keep-gray", "--preserve-color", "luminance"),
        *("--style-layers", "relu1_1:2,relu2_1", "--scales", "16", "--iterations", "2,1", "--memory", "3GB"),
    )
    assert paint(network, *typed, "--report", "run.html", styles=("painting.png", "photo.png")) == 0
    before = Path("out.png").read_bytes()
    page = Checked(Path("run.html").read_text("utf-8"))
    words = shlex.split(re.search(r"lbfgs-style transfer .*?(?= Copy)", page.text, re.DOTALL)[0])
    Path("out.png").unlink()
    assert run(*words[1:], "-q") == 0
    assert Path("out.png").read_bytes() == before


def test_no_command_is_shown_that_would_not_repeat_the_run():
    inputs = recipes.RunInputs(
        content=recipes.Source("a.png", ""),
        styles=(recipes.StyleInput(recipes.Source("b.png", "")),),
        network="compact",
    )
    assert command_text(Options(), inputs, "o.png") == "lbfgs-style transfer a.png b.png -o o.png"
    assert command_text(Options(history=5), inputs, "o.png") is None  # only files of options have it
    assert command_text(Options(), replace(inputs, preview=inputs.content), "o.png") is None
    assert command_text(Options(), replace(inputs, content=recipes.Source("-x.png", "")), "o.png") is None
    named = command_text(replace(Options.preset("keras"), size=300), inputs, "my picture.png")
    assert named == "lbfgs-style transfer a.png b.png -o 'my picture.png' --preset keras --size 300"
