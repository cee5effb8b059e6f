"""The HTTP API, asked over the network: what it paints, what it refuses, and what it tells nobody."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, images, recipes
from lbfgs_style.serve.api_description import document
from lbfgs_style.serve.guard import Guard
from lbfgs_style.serve.requests import Limits
from tests.helpers.command import photo, run
from tests.helpers.page_server import ENDLESS, PAIR, PHOTO, SMALL, form, running

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def client(network):
    with running(network, "--max-waiting", 2, "--max-bytes", 300_000, "--max-size", 256) as client:
        yield client


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def wait(client, job, *states):
    """Return the job's summary once it has one of some states."""
    for _ in range(400):
        summary = client.get(f"api/jobs/{job}").json
        if summary["state"] in states:
            return summary
        time.sleep(0.05)
    raise AssertionError(summary)


def test_a_job_is_painted_and_told_by_events(client, network):
    job = client.submit()
    events = client.events(job)
    assert events[-1][0] == "finished"
    last = events[-1][1]
    assert (last["width"], last["height"], last["progress"]) == (32, 27, 1.0)
    assert last["styles"] == ["painting.png"]
    image = client.get(f"api/jobs/{job}/image")
    assert image.headers["content-type"] == "image/png"
    options = Options(size=32, iterations=2, device="cpu", threads=1)
    direct = StyleTransfer(network, options=options).run(photo(), photo()[::-1]).image
    np.testing.assert_array_equal(decoded(image.data)[..., ::-1], direct)
    assert decoded(client.get(f"api/jobs/{job}/preview").data).shape == (27, 32, 3)
    np.testing.assert_allclose(
        decoded(client.get(f"api/jobs/{job}/content").data)[..., ::-1], photo(), atol=12
    )


def test_the_download_repeats_by_its_recipe(client, network, folder):
    Path("out.png").write_bytes(client.get(f"api/jobs/{wait_for_one(client)}/image").data)
    Path("photo.png").write_bytes(PHOTO)
    Path("painting.png").write_bytes(PAIR[1][2])
    assert recipes.read_recipe("out.png").options.size == 32
    assert run("rerun", "out.png", "-o", "again.png", "--network", network, "-q") == 0
    np.testing.assert_array_equal(cv2.imread("again.png"), cv2.imread("out.png"))


def wait_for_one(client):
    job = client.submit()
    wait(client, job, "finished")
    return job


def test_masks_weights_and_looks_are_taken(client):
    half = np.zeros((27, 32), np.uint8)
    half[:, :16] = 255
    files = [
        *PAIR,
        ("style", "photo.png", PHOTO),
        ("keep_mask", "m.png", images.encode(images.from_array(half))),
    ]
    answer = client.post_form(files, SMALL | {"look": "bold", "style_blend": [2, 1], "strength": 0.9})
    job = answer.json["id"]
    assert wait(client, job, "finished", "failed")["state"] == "finished"
    picture = decoded(client.get(f"api/jobs/{job}/image").data)[..., ::-1]
    np.testing.assert_array_equal(picture[:, :15], photo()[:, :15])
    assert abs(picture[:, 17:].astype(int) - photo()[:, 17:]).mean() > 2
    assert client.post_form(files, SMALL | {"style_blend": [2, 1, 1]}).status == 400


def test_painted_again_larger_it_continues_from_the_picture(client):
    first = wait_for_one(client)
    answer = client.ask("POST", f"api/jobs/{first}/again", json.dumps({"size": 64}))
    assert answer.status == 202
    second = wait(client, answer.json["id"], "finished", "failed")
    assert (second["state"], second["width"]) == ("finished", 64)
    data = client.get(f"api/jobs/{second['id']}/image").data
    Path_ = client.get(f"api/jobs/{first}/image")
    text = images.formats.registry.read_text(data)
    assert json.loads(text)["files"]["preview"] == f"lbfgs-style-{first}.png"
    assert Path_.headers["content-disposition"].endswith(f'filename="lbfgs-style-{first}.png"')


def test_a_running_job_stops_with_its_best_picture(client):
    job = client.submit(**ENDLESS)
    wait_for_preview(client, job)
    assert client.get(f"api/jobs/{job}/image").status == 409
    assert client.ask("DELETE", f"api/jobs/{job}").status == 200
    assert wait(client, job, "stopped")["width"] == 64
    assert decoded(client.get(f"api/jobs/{job}/image").data).shape == (54, 64, 3)
    assert client.ask("DELETE", f"api/jobs/{job}").json["state"] == "stopped"


def wait_for_preview(client, job):
    for _ in range(400):
        if client.get(f"api/jobs/{job}").json["preview"]:
            return
        time.sleep(0.05)
    raise AssertionError


def test_the_queue_has_an_end_and_waiting_jobs_can_be_taken_out(client):
    running_job = client.submit(**ENDLESS)
    wait(client, running_job, "running")
    waiting = [client.submit(), client.submit()]
    assert client.get(f"api/jobs/{waiting[1]}").json["waiting_before"] == 2
    full = client.post_form(PAIR, SMALL)
    assert (full.status, "retry-after" in full.headers) == (429, True)
    assert client.ask("DELETE", f"api/jobs/{waiting[0]}").json["state"] == "cancelled"
    assert client.events(waiting[0])[-1][0] == "cancelled"
    assert client.get(f"api/jobs/{waiting[0]}/image").status == 409
    client.ask("DELETE", f"api/jobs/{running_job}")
    assert wait(client, waiting[1], "finished")["state"] == "finished"


def test_an_unknown_job_is_not_found(client):
    for path in ("api/jobs/0123", "api/jobs/0123/image", "api/jobs/0123/events", "nothing", "api"):
        assert client.get(path).status == 404, path
    assert client.ask("PUT", "api/jobs").status == 405


REFUSED = [
    ([], None, "'content' is needed"),
    (PAIR[:1], None, "'style' is needed"),
    ([("content", "a.txt", b"hello"), PAIR[1]], None, "a.txt: damaged, cut short, or of a format"),
    ([("content", "a.png", b""), PAIR[1]], None, "a.png: the file is empty"),
    ([("content", "../../etc/passwd", b"hello"), PAIR[1]], None, "passwd: damaged, cut short"),
    ([*PAIR, ("content", "b.png", PHOTO)], None, "at most 1 files 'content'"),
    ([*PAIR, ("mask", "m.png", PHOTO)], None, "there is no file 'mask'"),
    (PAIR, "{", "options must be a JSON object"),
    (PAIR, "[1]", "options must be a JSON object"),
    (PAIR, {"sise": 3}, "Did you mean 'size'"),
    (PAIR, {"size": 4096}, "size must be at most 256"),
    (PAIR, {"size": "full"}, "size must be at most 256"),
    (PAIR, {"size": 15}, "whole number from 16"),
    (PAIR, {"strength": 2}, "strength must be"),
    (PAIR, {"strength": 0.5, "style_weight": 2}, "stands for both weights"),
    (PAIR, {"look": "blod"}, "Did you mean 'bold'"),
    (PAIR, {"threads": 64}, "threads is set where the server is started"),
    (PAIR, {"style_scale": -1}, "style_scale must be"),
    (PAIR, {"style_scale": "1"}, "style_scale must be"),
]


@pytest.mark.parametrize(("files", "options", "message"), REFUSED)
def test_what_is_wrong_is_said_in_one_line(client, files, options, message):
    answer = client.post_form(files, options)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_an_image_is_refused_by_its_declared_size_before_it_is_decoded(network):
    large = images.encode(images.from_array(np.zeros((60, 60, 3), np.uint8)))
    with running(network, "--max-pixels", 3000) as client:
        assert "60×60" in client.post_form([PAIR[0], ("style", "large.png", large)]).json["error"]


def test_a_name_of_a_proxy_is_known_when_it_is_given(network):
    with running(network, "--name", "Paint.Example") as client:
        path = "api/about"
        assert client.ask("GET", path, headers={"Host": "paint.example"}).status == 200
        assert client.ask("GET", path, headers={"Host": "192.0.2.7:80"}).status == 200
        assert client.ask("GET", path, headers={"Host": "other.example"}).status == 403
        origin = {"Host": "paint.example", "Origin": "https://paint.example"}
        assert client.ask("POST", "api/jobs", headers=origin).status == 400


def test_a_repeated_job_keeps_its_styles(client):
    job = wait_for_one(client)
    for changes in ({"look": "bold"}, {"style_scale": 2}, {"device": "cuda"}, {"size": 512}):
        assert client.ask("POST", f"api/jobs/{job}/again", json.dumps(changes)).status == 400


def test_a_damaged_image_fails_and_the_next_job_is_painted(client):
    answer = client.post_form([("content", "half.png", PHOTO[: len(PHOTO) // 2]), PAIR[1]], SMALL)
    events = client.events(answer.json["id"])
    assert events[-1][0] == "failed"
    assert events[-1][1]["error"].startswith("half.png: ")
    wait_for_one(client)


def test_nothing_is_answered_without_the_token(client):
    token = client.base.strip("/")
    for base in ("/", "/x/", f"/{token[:-1]}/", f"/{token}x/", f"/%00{token}/", "//"):
        for method in ("GET", "POST"):
            answer = client.ask(method, "api/about", base=base)
            assert (answer.status, b"network" in answer.data) == (403, False)
    bare = client.ask("GET", "", base=f"/{token}")
    assert (bare.status, bare.headers["location"]) == (308, f"/{token}/")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_of_other_sites_are_refused(client, headers):
    body, kind = form(PAIR, SMALL)
    answer = client.ask("POST", "api/jobs", body, {"Content-Type": kind} | headers)
    assert answer.status == 403


def test_the_page_itself_may_ask(client):
    body, kind = form(PAIR, SMALL)
    own = {"Origin": f"http://{client.host}", "Sec-Fetch-Site": "same-origin", "Content-Type": kind}
    assert client.ask("POST", "api/jobs", body, own).status == 202


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for path in ("", "docs", "api/about", "api/jobs/none", "page.js", "../x"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert not [name for name in headers if name.startswith("access-control")]


def test_a_body_is_cut_at_the_limit_whether_it_declares_its_length_or_not(client):
    body, kind = form([("content", "a.png", bytes(400_000)), PAIR[1]])
    assert client.ask("POST", "api/jobs", body, {"Content-Type": kind}).status == 413

    connection = http.client.HTTPConnection(client.host, timeout=30)
    connection.request(
        "POST",
        f"{client.base}api/jobs",
        (body[at : at + 50_000] for at in range(0, len(body), 50_000)),
        {"Content-Type": kind},
        encode_chunked=True,
    )
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense"),
        ("multipart/form-data", b"--x\r\n"),
        ("application/json", b"{}"),
        ("text/plain", b"\xff\xfe"),
    ],
)
def test_a_body_that_is_no_form_is_refused(client, kind, body):
    assert client.ask("POST", "api/jobs", body, {"Content-Type": kind}).status == 400


def test_no_answer_has_a_path_of_the_machine(client, network):
    job = wait_for_one(client)
    texts = [
        client.get(path).data for path in ("api/about", "api/jobs", f"api/jobs/{job}", "docs", "openapi.json")
    ]
    texts.append(client.get(f"api/jobs/{job}/image").data)
    for text in texts:
        assert str(Path(network).parent).encode() not in text
        assert str(Path.home()).encode() not in text


def test_the_description_names_every_route_and_option(client):
    described = client.get("openapi.json").json
    assert described == json.loads(json.dumps(document(Limits(max_bytes=300_000))))
    options = described["components"]["schemas"]["Options"]["properties"]
    assert options["size"]["default"] == 512
    assert options["pooling"]["enum"] == ["max", "average", "l2"]
    assert "threads" not in options
    page = client.get("docs").data.decode()
    for path in described["paths"]:
        assert path in page


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("").data.decode()
    assert "http" not in page.replace("http-equiv", "")
    for name in ("page.js", "page.css", "icon.svg"):
        assert name in page
        assert client.get(name).status == 200
    assert client.get("index.html").data.decode() == page


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--host", "0.0.0.0"), "give --token"),
        (("--token", "short"), "at least 16 letters"),
        (("--token", "a/b" * 9), "at least 16 letters"),
        (("--host", "192.0.2.1", "--token", "a" * 20, "--port", "1"), "cannot be listened on"),
        (("--network", "vgg91"), "Did you mean"),
    ],
)
def test_the_command_refuses_what_it_cannot_serve(capfd, options, says):
    assert run("serve", *options) == 2
    assert says in capfd.readouterr().err


def test_without_the_extra_the_command_names_it(monkeypatch, capfd):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert run("serve") == 2
    assert "pip install 'lbfgs-style[serve]'" in capfd.readouterr().err


def test_an_upload_that_stops_is_refused_after_a_while():
    """By the guard in front of the application, without a server."""
    messages = []

    async def receive():
        await asyncio.sleep(20)

    async def send(message):
        messages.append(message)

    async def app(scope, receive, send):
        await receive()

    async def ask():
        guard = Guard(app, "token", ["localhost"], 1000, body_seconds=0.05)
        headers = [(b"host", b"localhost"), (b"content-length", b"100")]
        scope = {"type": "http", "method": "POST", "path": "/token/api/jobs", "headers": headers}
        await guard(scope, receive, send)

    asyncio.run(ask())
    assert messages[0]["status"] == 408


def test_a_run_that_diverges_fails_and_says_why(client):
    job = client.submit(optimizer="sgd", learning_rate=1e38)
    assert "infinite or not a number" in wait(client, job, "failed")["error"]


def test_odd_texts_are_answered_shortly(client):
    answer = client.post_form(PAIR, '{"style_layers": ["\\ud800", "\\ud800"]}')
    assert (answer.status, "names a layer twice" in answer.json["error"]) == (400, True)
    assert len(client.post_form(PAIR, {"x" * 100_000: 1}).data) < 2000
    assert client.get("api/jobs/").status == 404  # a redirect would leave the token out


@pytest.mark.slow
def test_two_hundred_jobs_leave_the_memory_as_it_was(network):
    """After 50 jobs everything that is kept is there."""
    with running(network) as client:

        def paint(count):
            for _ in range(count):
                job = client.submit()
                assert client.events(job)[-1][0] == "finished"
            return client.resident_bytes()

        before = paint(60)
        assert paint(140) < before + 20e6
