from __future__ import annotations

import dataclasses
import json
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import onnx
import pytest

from lbfgs_style import (
    STOP,
    ImageError,
    NetworkError,
    NetworkFileError,
    OptionError,
    Options,
    Style,
    StyleTransfer,
    images,
    networks,
    transfer,
)
from lbfgs_style.objective import session_cache
from tests.helpers.small_networks import small_vgg

QUICK = Options(size=48, iterations=3, device="cpu", threads=1)
TOPS = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}


def photo(height=40, width=48, seed=1):
    """Soft colours, uint8 RGB."""
    y, x = np.mgrid[:height, :width] / (height + width)
    waves = [np.sin(9 * x + seed), np.cos(7 * y + seed), np.sin(5 * (x + y) - seed)]
    return np.rint(127.5 + 80 * np.stack(waves, axis=2)).astype(np.uint8)


def painting(side=44, seed=5):
    """Hard stripes with grain, uint8 RGB."""
    x = np.add.outer(np.arange(side), np.arange(side))
    stripes = np.where((x // 4 % 2)[..., None] == 0, [220, 60, 30], [30, 90, 210])
    return np.clip(stripes + np.random.default_rng(seed).normal(0, 25, stripes.shape), 0, 255).astype(
        np.uint8
    )


def difference(a, b):
    """The mean difference of two pictures of the same dtype, 1 for black and white."""
    assert a.dtype == b.dtype
    return np.abs(a.astype(np.float64) - b).mean() / TOPS[a.dtype.name]


@pytest.fixture(scope="module")
def network():
    return small_vgg()


@pytest.fixture(scope="module")
def network_file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "small.onnx"
    onnx.save(network.model, path)
    return path


@pytest.fixture(scope="module")
def job(network):
    """Keeps its sessions, as a caller with many pictures would.

    Direct convolutions: results of inputs that differ by rounding are compared, and the rounding errors of
    Winograd's form tell equal maxima of a plain area apart.
    """
    return StyleTransfer(network, options=dataclasses.replace(QUICK, convolution="direct"))


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_array_comes_back_as_the_same_kind(job, channels, dtype):
    count = channels[0] if channels else 1
    levels = np.concatenate([photo(), photo(seed=3)[..., :1]], axis=2)[..., :count].reshape(40, 48, *channels)
    exact = levels.astype(np.float64) / 255
    content = (exact * TOPS[dtype]).round(0 if TOPS[dtype] > 1 else 9).astype(dtype)
    before = content.copy()

    image = job.run(content, painting()).image

    assert image.shape == content.shape
    assert image.dtype == content.dtype
    np.testing.assert_array_equal(content, before)
    reference = job.run(exact, painting()).image
    assert reference.dtype == np.float64
    half_a_level = 0 if TOPS[dtype] == 1 else 0.5 / TOPS[dtype]
    np.testing.assert_allclose(image / TOPS[dtype], reference, rtol=0, atol=half_a_level + 1e-4)
    colours = slice(0, 3)
    assert difference(image[..., colours], content[..., colours]) > 0.005


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_alpha_is_kept_to_the_bit(job, dtype):
    alpha = np.arange(40 * 48).reshape(40, 48, 1) % 256 / 256  # exact in binary
    content = np.concatenate([photo() / 255, alpha], axis=2)
    content = (content * TOPS[dtype]).astype(dtype)
    image = job.run(content, painting()).image
    np.testing.assert_array_equal(image[..., 3], content[..., 3])


@pytest.mark.parametrize(
    ("content", "size", "expected"),
    [
        ((40, 48), 64, (53, 64)),  # 40 · 64/48 = 53.3
        ((48, 40), 64, (64, 53)),
        ((48, 40), 24, (24, 20)),
        ((40, 48), "full", (40, 48)),
        ((33, 21), "full", (33, 21)),
    ],
)
def test_the_longer_side_becomes_the_size(network, content, size, expected):
    options = Options(size=size, iterations=1, device="cpu", threads=1)
    rgba = np.dstack([photo(*content), np.full(content, 128, np.uint8)])
    result = StyleTransfer(network, options=options).run(rgba, painting())
    assert result.image.shape == (*expected, 4)
    assert (result.image[..., 3] == 128).all()
    assert result.scales[-1].size == expected


def test_transfer_does_what_a_run_does(network, job):
    image = transfer(photo(), painting(), network=network, options=QUICK)
    np.testing.assert_array_equal(image, job.run(photo(), painting()).image)


def test_the_bundled_network_works_at_once():
    image = transfer(photo(), painting(), options=Options(size=32, iterations=2, device="cpu", threads=1))
    assert image.shape == (27, 32, 3)


def test_a_network_is_taken_by_its_file(network_file, job):
    for network in (network_file, str(network_file)):
        image = transfer(photo(), painting(), network=network, options=QUICK)
        np.testing.assert_array_equal(image, job.run(photo(), painting()).image)


def test_equal_styles_are_one_style(job):
    one = job.run(photo(), painting()).image
    two = job.run(photo(), [painting(), Style(painting(), weight=3)]).image
    assert difference(one, two) < 1e-3


def test_weights_are_shares(job):
    red, blue = np.zeros((32, 32, 3)), np.zeros((32, 32, 3))
    red[::3, :, 0], blue[:, ::5, 2] = 1, 1
    only_red = job.run(photo(), red).image
    even = job.run(photo(), [red, blue]).image
    assert difference(even, only_red) > 0.005
    # Only the ratio counts, and a style with nearly all of the weight decides.
    assert difference(even, job.run(photo(), [Style(red, weight=7), Style(blue, weight=7)]).image) < 1e-3
    assert difference(only_red, job.run(photo(), [Style(red, weight=1e6), Style(blue)]).image) < 1e-3
    assert difference(only_red, job.run(photo(), [Style(red), Style(blue, weight=1e6)]).image) > 0.005


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "2", None])
def test_a_weight_is_a_number_above_0(weight):
    with pytest.raises(OptionError, match="weight must be a finite number larger than 0"):
        Style(painting(), weight=weight)


def test_a_weight_may_be_a_number_of_numpy():
    assert Style(painting(), weight=np.float32(2)).weight == 2


def test_no_style_is_refused(job):
    with pytest.raises(OptionError, match="at least one"):
        job.run(photo(), [])


BAD_PICTURES = [
    (np.zeros((32, 32, 2)), r"shape \(32, 32, 2\)"),
    (np.zeros((3, 32, 32)), "transpose"),
    (np.zeros((0, 32, 3)), "empty"),
    (np.full((32, 32, 3), 200.0), "divide by 255"),
    (np.full((32, 32, 3), np.nan), "NaN"),
    (np.zeros((32, 32, 3), bool), "bool"),
    (7, "images.read"),
]


@pytest.mark.parametrize(("picture", "says"), BAD_PICTURES, ids=[says for _, says in BAD_PICTURES])
@pytest.mark.parametrize("role", ["content", "style", "init"])
def test_invalid_pictures_are_refused_by_their_role(job, picture, says, role):
    inputs = {"content": photo(), "style": painting(), "init": None} | {role: picture}
    with pytest.raises(ImageError, match=f"{'initial' if role == 'init' else role} image.*{says}") as caught:
        job.run(inputs["content"], [inputs["style"]], init=inputs["init"])
    assert "\n" not in str(caught.value)


def test_pictures_too_small_for_the_network_are_refused(job, network):
    options = Options(size="full", iterations=1, device="cpu", threads=1)
    with pytest.raises(ImageError, match=r"content image is too small.*at least 16 pixels, got 40×15"):
        StyleTransfer(network, options=options).run(photo(15, 40), painting())
    with pytest.raises(ImageError, match=r"style image is too small.*at least 16 pixels, got 15×15"):
        job.run(photo(), painting(15))
    assert job.run(photo(), painting(16)).image.shape == (40, 48, 3)


@pytest.mark.parametrize("kind", ["content", "style"])
def test_an_unknown_layer_suggests_its_neighbour(network, kind):
    options = Options(**{f"{kind}_layers": ("relu1_1", "relu41")})
    with pytest.raises(NetworkError, match=rf"no layer 'relu41' for {kind}.*Did you mean 'relu4_1'\?"):
        StyleTransfer(network, options=options)


def test_unknown_networks_are_refused(tmp_path):
    with pytest.raises(NetworkError, match="Did you mean 'compact'"):
        StyleTransfer("compct")
    with pytest.raises(NetworkFileError, match="no network file"):
        StyleTransfer(tmp_path / "missing.onnx")


def test_layers_and_weights_of_the_options_are_used(network):
    options = Options(
        size=32,
        iterations=1,
        content_layers=("relu2_1", "relu2_2"),
        style_layers=("relu1_1", "relu3_1"),
        content_weight=0.5,
        style_weight=4,
        tv_weight=0.25,
        range_weight=0,
        device="cpu",
        threads=1,
    )
    seen = []
    StyleTransfer(network, options=options).run(photo(), painting(), on_iterate=seen.append)
    terms = seen[0].terms
    assert list(terms) == [
        "content relu2_1",
        "content relu2_2",
        "style relu1_1",
        "style relu3_1",
        "tv",
        "range",
    ]
    low, high, first, second, tv, _ = terms.values()
    assert min(low, high, first, second, tv) > 0
    assert seen[0].loss == pytest.approx(
        0.5 * (low + high) / 2 + 4 * (first + second) / 2 + 0.25 * tv, rel=1e-5
    )


def test_a_run_starts_from_an_initial_picture(network):
    job = StyleTransfer(network, options=Options(size=48, iterations=1, device="cpu", threads=1))
    start = painting(48)[:40] / 255
    image = job.run(photo() / 255, painting(), init=start).image
    assert difference(image, start) < 0.05
    assert difference(image, photo() / 255) > 0.15
    larger = np.full((80, 96, 3), 0.25)
    assert (
        difference(job.run(photo() / 255, painting(), init=larger).image, np.full((40, 48, 3), 0.25)) < 0.05
    )


def test_a_picture_read_from_a_file_may_be_the_start(job):
    start = images.from_array(painting(48))
    np.testing.assert_array_equal(
        job.run(photo(), painting(), init=start).image, job.run(photo(), painting(), init=painting(48)).image
    )
    alone = transfer(photo(), painting(), network=job.network, options=QUICK, init=start)
    np.testing.assert_array_equal(alone, job.run(photo(), painting(), init=start).image)


def test_a_run_starts_from_the_content_or_noise(network):
    painted = {}
    for init in ("content", "noise"):
        options = Options(size=48, iterations=1, init=init, device="cpu", threads=1)
        painted[init] = transfer(photo() / 255, painting(), network=network, options=options)
    assert difference(painted["content"], photo() / 255) < 0.05
    assert difference(painted["noise"], photo() / 255) > 0.1


def test_the_same_seed_gives_the_same_picture(network):
    def noise(seed):
        options = Options(size=32, iterations=2, init="noise", seed=seed, device="cpu", threads=1)
        return transfer(photo(), painting(), network=network, options=options)

    first = noise(4)
    np.testing.assert_array_equal(first, noise(4))
    assert difference(first, noise(5)) > 0.01


def test_scales_go_from_coarse_to_fine(network):
    options = Options(size=48, scales=(24, 36), iterations=(3, 2, 1), device="cpu", threads=1)
    seen = []
    result = StyleTransfer(network, options=options).run(photo(), painting(), on_iterate=seen.append)
    expected = (((20, 24), 3), ((30, 36), 2), ((40, 48), 1))
    assert tuple((scale.size, scale.iterations) for scale in result.scales) == expected
    assert {iterate.plan for iterate in seen} == {expected}
    assert [(i.scale, i.iteration, i.iterations) for i in seen] == [
        (1, 1, 3),
        (1, 2, 3),
        (1, 3, 3),
        (2, 1, 2),
        (2, 2, 2),
        (3, 1, 1),
    ]
    assert [i.size for i in seen] == [(20, 24)] * 3 + [(30, 36)] * 2 + [(40, 48)]
    assert {i.scales for i in seen} == {3}
    assert result.history == tuple(i.loss for i in seen)
    assert result.evaluations == sum(scale.evaluations for scale in result.scales)
    assert [i.seconds for i in seen] == sorted(i.seconds for i in seen)


def test_the_result_takes_on_the_style(network):
    options = Options(size=48, iterations=40, content_weight=0.01, device="cpu", threads=1)
    result = StyleTransfer(network, options=options).run(photo() / 255, painting())
    (scale,) = result.scales
    assert scale.loss_end < 0.5 * scale.loss_start
    assert scale.loss_end == result.history[-1] == min(result.history)
    style = {name for name in scale.terms_start if name.startswith("style")}
    assert len(style) == 5
    assert sum(scale.terms_end[name] for name in style) < 0.5 * sum(scale.terms_start[name] for name in style)
    assert scale.terms_start["content relu4_2"] < 1e-9 < scale.terms_end["content relu4_2"]
    assert result.image.min() >= 0
    assert result.image.max() <= 1


def return_stop():
    return STOP


def raise_stop():
    raise StopIteration


@pytest.mark.parametrize("stops", [return_stop, raise_stop])
def test_a_callback_may_stop_the_run(network, stops):
    options = Options(size=48, scales=(32,), iterations=5, device="cpu", threads=1)
    seen = []

    def stop_at_2(iterate):
        seen.append(iterate)
        return stops() if iterate.iteration == 2 else None

    result = StyleTransfer(network, options=options).run(photo() / 255, painting(), on_iterate=stop_at_2)
    assert result.stop_reason == "callback"
    assert len(result.history) == len(seen) == 2
    assert len(result.scales) == 1
    assert result.scales[0].iterations == 2
    assert result.image.shape == (40, 48, 3)  # all the same
    assert difference(result.image, photo() / 255) > 0.003


@pytest.mark.parametrize("value", [None, True, 1, "stop", np.ones(2)])
def test_other_values_of_a_callback_stop_nothing(job, value):
    """As that of tqdm's `update`, which is True."""
    result = job.run(photo(), painting(), on_iterate=lambda iterate: value)
    assert result.stop_reason == "iterations"
    assert len(result.history) == 3


def test_exceptions_of_a_callback_propagate(job):
    class Mine(Exception):
        pass

    def fail(iterate):
        raise Mine

    with pytest.raises(Mine):
        job.run(photo(), painting(), on_iterate=fail)


def test_records_do_not_change(job):
    pictures, records = [], []

    def look(iterate):
        records.append(iterate)
        pictures.append(iterate.image().copy())
        iterate.image()[:] = 0.5  # a copy of its own each time

    result = job.run(photo() / 255, painting(), on_iterate=look)
    with pytest.raises(FrozenInstanceError):
        records[0].loss = 0.0
    with pytest.raises(FrozenInstanceError):
        result.seconds = 0.0
    with pytest.raises(FrozenInstanceError):
        result.scales[0].loss_end = 0.0
    for record, picture in zip(records, pictures, strict=True):
        assert record.image().dtype == np.float32
        assert record.image().shape == (40, 48, 3)
        np.testing.assert_array_equal(record.image(), picture)
    assert difference(pictures[0], pictures[-1]) > 0
    np.testing.assert_array_equal(result.image, pictures[-1])


def test_a_report_holds_everything_that_json_can(network):
    options = Options(size=48, scales=(32,), iterations=(2, 1), device="cpu", threads=1)
    result = StyleTransfer(network, options=options).run(photo(), painting())
    report = json.loads(json.dumps(result.report(), allow_nan=False))
    assert report["program"].startswith("lbfgs-style ")
    assert Options(**report["options"] | {"scales": (32,), "iterations": (2, 1)}) == options
    assert report["size"] == [40, 48]
    assert report["network"] == {
        "name": "small",
        "sha256": network.weights_sha256,
        "content_layers": ["relu4_2"],
        "style_layers": ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"],
    }
    assert report["provider"] == "CPUExecutionProvider"
    assert {"numpy", "scipy", "onnx"} < set(report["versions"])
    assert {"opencv-python", "opencv-python-headless"} & set(report["versions"])
    assert report["stop_reason"] == "iterations"
    assert report["stop_explanation"] == "all iterations are done"
    assert report["evaluations"] == sum(scale["evaluations"] for scale in report["scales"])
    assert report["seconds"] >= sum(scale["seconds"] for scale in report["scales"]) - 0.01
    assert report["history"] == list(result.history)
    assert [scale["size"] for scale in report["scales"]] == [[27, 32], [40, 48]]
    assert [scale["iterations"] for scale in report["scales"]] == [2, 1]
    for scale in report["scales"]:
        assert set(scale) == {
            "size",
            "iterations",
            "evaluations",
            "seconds",
            "loss_start",
            "loss_end",
            "terms_start",
            "terms_end",
            "stop_reason",
        }
        assert set(scale["terms_start"]) == set(scale["terms_end"])
        assert scale["loss_end"] < scale["loss_start"]


def test_a_report_has_the_actual_fingerprint_of_the_network(network):
    claimed = dataclasses.replace(network, weights_sha256="0" * 64)
    job = StyleTransfer(claimed, options=Options(size=32, iterations=1, device="cpu", threads=1))
    report = job.run(photo(), [painting(), Style(painting(), weight=np.float32(2))], init=photo()).report()
    assert report["network"]["sha256"] == networks.weights_sha256(network.model) != claimed.weights_sha256
    assert report["options"]["init"] == "picture"
    assert report["style_weights"] == [1, 2]
    json.dumps(report)
    report = job.run(photo(), painting()).report()
    assert report["options"]["init"] == "content"
    assert report["style_weights"] == [1]


def test_another_thread_may_cancel(network):
    options = Options(size=48, scales=(32,), iterations=50, device="cpu", threads=1)
    cancel, seen = threading.Event(), []

    def cancel_at_3(iterate):
        seen.append(iterate.image())
        if iterate.iteration == 3:
            thread = threading.Thread(target=cancel.set)
            thread.start()
            thread.join()

    job = StyleTransfer(network, options=options)
    small = photo(27, 32) / 255
    result = job.run(photo() / 255, painting(), on_iterate=cancel_at_3, cancel=cancel)
    assert result.stop_reason == "cancelled"
    assert len(result.history) == len(seen) == 3
    assert result.image.shape == (40, 48, 3)
    json.dumps(result.report())

    # Without a size to go back to, the picture is that of the last iteration to the bit.
    cancel.clear()
    seen.clear()
    options = Options(size="full", iterations=50, device="cpu", threads=1)
    result = StyleTransfer(network, options=options).run(
        small, painting(), on_iterate=cancel_at_3, cancel=cancel
    )
    np.testing.assert_array_equal(result.image, seen[2])


def test_a_run_cancelled_before_it_starts_gives_the_start(job):
    cancel = threading.Event()
    cancel.set()
    result = job.run(photo(), painting(), cancel=cancel)
    assert result.stop_reason == "cancelled"
    assert result.history == result.scales == ()
    np.testing.assert_array_equal(result.image, photo())
    json.dumps(result.report())


def test_a_job_may_be_used_again(network, monkeypatch):
    made = []

    class Counted(session_cache.Session):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(session_cache, "Session", Counted)
    job = StyleTransfer(network, options=QUICK)
    first = job.run(photo(), painting()).image
    sessions = len(made)
    second = job.run(photo(seed=2), painting(seed=6)).image
    assert len(made) == sessions  # the sizes are the same
    np.testing.assert_array_equal(first, transfer(photo(), painting(), network=network, options=QUICK))
    np.testing.assert_array_equal(
        second, transfer(photo(seed=2), painting(seed=6), network=network, options=QUICK)
    )
    np.testing.assert_array_equal(job.run(photo(), painting()).image, first)
    assert difference(first, second) > 0.01


def test_threads_do_not_disturb_each_other(network):
    job = StyleTransfer(network, options=Options(size=40, iterations=6, device="cpu", threads=1))
    photos = [photo(seed=seed) for seed in range(4)]
    paintings = [painting(seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(job.run, photos, paintings))
    for result, content, style in zip(together, photos, paintings, strict=True):
        alone = job.run(content, style)
        np.testing.assert_array_equal(result.image, alone.image)
        assert result.history == alone.history


def paint(network_file, seed):
    """Run in another process: must be found by its name."""
    return transfer(photo(seed=seed), painting(), network=network_file, options=QUICK)


def test_processes_may_share_the_work(network_file, job):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        painted = list(pool.map(paint, [network_file] * 2, [1, 2]))
    for seed, image in zip((1, 2), painted, strict=True):
        np.testing.assert_array_equal(image, job.run(photo(seed=seed), painting()).image)


def test_other_types_of_options_are_refused():
    with pytest.raises(OptionError, match=r"options must be lbfgs_style\.Options.*got dict"):
        StyleTransfer(small_vgg(), options={})


def test_a_draft_takes_fewer_evaluations(network) -> None:
    photo, painting = np.random.default_rng(5).uniform(0, 1, (2, 200, 360, 3))
    settings = {"size": 360, "device": "cpu", "threads": 1}
    plans = [
        StyleTransfer(network, options=Options(fast=fast, **settings)).plan(photo, painting)
        for fast in (False, True)
    ]
    assert [[scale.iterations for scale in plan] for plan in plans] == [[80, 40, 40], [36, 11]]
    options = Options(fast=True, init="noise", **settings)
    with pytest.raises(OptionError, match="fast paints a draft from the content image"):
        StyleTransfer(network, options=options).run(photo, painting)
