"""The page in Chromium, as a user has it: upload, preview, stop, slider, mask, phone, keyboard, two tabs."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from tests.helpers.command import photo
from tests.helpers.page_server import running

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def client(network):
    with running(network) as client:
        yield client


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    images.write(folder / "photo.png", photo(180, 240))
    images.write(folder / "painting.png", photo(200, 200)[::-1])
    return folder


@pytest.fixture
def open_page(client, browser):
    """Return a function that opens the page; at the end no page may have had an error."""
    opened = []

    def open_page(width=1280, height=900, refused=False):
        page = browser.new_page(viewport={"width": width, "height": height})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        if not refused:  # Chromium logs an answer of 400, which is not an error of the page
            page.on("console", lambda message: errors.append(message.text))
        page.goto(client.address)
        page.wait_for_selector("#look option:nth-child(2)", state="attached")
        opened.append((page, errors))
        return page

    yield open_page
    for page, errors in opened:
        page.close()
        assert errors == []


def choose(page, files, size="256"):
    page.set_input_files("#photo", files / "photo.png")
    page.set_input_files("#paintings", files / "painting.png")
    page.select_option("#size", size)
    page.check("#fast")


def finished(page):
    page.wait_for_selector("#download:not([hidden])", timeout=60_000)


def clip(page):
    return page.locator("#before").evaluate("image => getComputedStyle(image).clipPath")


@contextmanager
def no_sideways_scrolling(page, width):
    yield
    assert page.locator("html").evaluate("html => html.scrollWidth") <= width


def test_a_picture_comes_to_life_and_can_be_compared_and_kept(open_page, files):
    page = open_page()
    assert page.locator("#paint").is_disabled()
    choose(page, files)
    page.click("#paint")
    page.wait_for_selector("#compare:not([hidden])")
    finished(page)
    assert "256 × 192 px" in page.inner_text("#status")
    picture = page.locator("#picture")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 256
    page.focus("#slider")
    before = clip(page)
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert clip(page) != before
    with page.expect_download() as download:
        page.click("#download")
    assert cv2.imread(str(download.value.path())).shape == (192, 256, 3)
    page.click("#larger")
    page.wait_for_selector("#halt:not([hidden])")
    page.wait_for_selector("#halt", state="hidden", timeout=60_000)
    assert "512 × 384 px" in page.inner_text("#status")


def test_stop_keeps_the_best_picture(open_page, files):
    page = open_page()
    choose(page, files, "1024")
    page.click("#paint")
    page.wait_for_selector("#compare:not([hidden])")
    page.click("#halt")
    page.wait_for_selector("#halt", state="hidden", timeout=10_000)
    assert page.inner_text("#status").startswith("Stopped")
    assert page.locator("#download").is_visible()
    assert not page.locator("#larger").is_visible()


def test_a_mask_is_painted_with_the_mouse(open_page, files, client):
    page = open_page()
    choose(page, files)
    page.click("#mask summary")
    page.fill("#brush", "80")
    box = page.locator("#canvas").bounding_box()
    left, middle = box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2
    page.mouse.move(left, middle)
    page.mouse.down()
    page.mouse.move(left, middle + 20, steps=4)
    page.mouse.up()
    page.click("#paint")
    finished(page)
    job = client.get("api/jobs").json["jobs"][-1]["id"]
    data = np.frombuffer(client.get(f"api/jobs/{job}/image").data, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    content = cv2.resize(photo(180, 240), (256, 192), interpolation=cv2.INTER_CUBIC).astype(int)
    difference = abs(picture - content).mean(axis=2)
    assert difference[90:105, 45:58].max() <= 3
    assert difference[:, 160:].mean() > 3


def test_it_fits_a_phone(open_page, files):
    page = open_page(390, 844)
    with no_sideways_scrolling(page, 390):
        page.click("#mask summary")
        choose(page, files)
        page.click("#paint")
        finished(page)
    assert page.locator("#picture").bounding_box()["width"] > 330


def test_it_can_be_used_by_the_keyboard(open_page, files):
    page = open_page()
    choose(page, files)
    reached = []
    page.focus("header a")
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.locator(":focus").evaluate("element => element.id || element.tagName"))
        if reached[-1] == "paint":
            break
    for name in ("photo", "paintings", "strength", "look", "size", "colours", "fast", "SUMMARY", "paint"):
        assert name in reached
    page.keyboard.press("Enter")
    finished(page)


def test_two_tabs_see_the_same_jobs(open_page, files):
    first = open_page()
    choose(first, files)
    first.click("#paint")
    finished(first)
    second = open_page()
    second.wait_for_selector("#history button img")
    count = second.locator("#history button").count()
    second.locator("#history button").first.click()
    finished(second)
    assert second.inner_text("#status") == first.inner_text("#status")
    assert first.locator("#history button").count() == count


def test_what_the_server_refuses_is_said_on_the_page(open_page, files, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    page = open_page(refused=True)
    choose(page, files)
    page.set_input_files("#photo", tmp_path / "text.png")
    page.click("#paint")
    page.wait_for_selector("#message:not(:empty)")
    assert "text.png" in page.inner_text("#message")
    assert page.locator("#paint").is_enabled()


def test_a_photo_that_the_browser_cannot_show_takes_no_mask_of_the_one_before(open_page, files, client):
    page = open_page()
    choose(page, files)
    page.click("#mask summary")
    page.locator("#canvas").click()
    images.write(files / "photo.tif", images.read(files / "photo.png"))
    page.set_input_files("#photo", files / "photo.tif")
    page.wait_for_selector("#message:not(:empty)")
    page.click("#paint")
    finished(page)
    job = client.get("api/jobs").json["jobs"][-1]["id"]
    assert b"mask.png" not in client.get(f"api/jobs/{job}/image").data


def test_a_server_that_ends_stops_its_job_on_the_page(browser, network, files):
    with running(network) as client:
        page = browser.new_page()
        page.goto(client.address)
        choose(page, files, "1024")
        page.click("#paint")
        page.wait_for_selector("#compare:not([hidden])")
    playwright.expect(page.locator("#status")).to_contain_text("Stopped", timeout=10_000)
    page.close()
