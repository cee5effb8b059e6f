"""Presets: each source's losses, written down as the source writes them, against ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style import NetworkError, Options, StyleTransfer, images
from lbfgs_style.cli.parsing import layers
from lbfgs_style.graphs.network_graph import with_network
from lbfgs_style.objective.losses.terms import LossTerms, StylePart, features_name
from lbfgs_style.objective.whole_graphs import objective_graph
from lbfgs_style.settings.loss_forms import Factor
from lbfgs_style.settings.preset_hints import advice, on_compact
from lbfgs_style.settings.presets import PRESETS, preset
from tests.helpers.command import DATA
from tests.helpers.small_networks import small_vgg

Features = Mapping[str, np.ndarray]
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SIZE = (21, 18)


def features(image: np.ndarray, pooling: str = "max") -> Features:
    """Features [C,h,w] of a picture [3,H,W] in float64, of every layer that a preset names."""
    layers = [*STYLE, "relu4_2", "relu5_2"]
    b = with_network(small_vgg(pooling=pooling).model, image.shape[1:], layers, np.float64)
    for layer in layers:
        b.output(layer)
    values = ReferenceEvaluator(b.model()).run(layers, {"image": image[None].astype(np.float64)})
    return {layer: array[0] for layer, array in zip(layers, values, strict=True)}


def gram(f: np.ndarray) -> np.ndarray:
    flat = f.reshape(len(f), -1)
    return flat @ flat.T


# What each source computes, of features of the picture, the photo and the painting, and of the picture
# [3,H,W]: content, style and total variation with their weights. They are compared one by one, as they may
# differ by orders of magnitude.
Losses = tuple[float, float, float]


def gatys(f: Features, p: Features, a: Features, x: np.ndarray) -> Losses:
    """Eqs. 1, 4, 5 and 7 of the paper; N channels, M positions."""
    content = 0.5 * ((f["relu4_2"] - p["relu4_2"]) ** 2).sum()
    style = 0.0
    for layer in STYLE:
        n, m = f[layer].shape[0], f[layer][0].size
        style += 1 / 5 * ((gram(f[layer]) - gram(a[layer])) ** 2).sum() / (4 * n**2 * m**2)
    return content, 1e3 * style, 0.0


def keras(f: Features, p: Features, a: Features, x: np.ndarray) -> Losses:
    """The functions content_loss, style_loss and total_variation_loss of the example; pixels of 0 to 255."""
    rows, columns = x.shape[1:]
    x = 255 * x
    content, style = 2.5e-8 * ((f["relu5_2"] - p["relu5_2"]) ** 2).sum(), 0.0
    for layer in STYLE:
        squares = ((gram(f[layer]) - gram(a[layer])) ** 2).sum()
        style += 1e-6 / 5 * squares / (4.0 * 3**2 * (rows * columns) ** 2)
    down = (x[:, : rows - 1, : columns - 1] - x[:, 1:, : columns - 1]) ** 2
    right = (x[:, : rows - 1, : columns - 1] - x[:, : rows - 1, 1:]) ** 2
    return content, style, 1e-6 * ((down + right) ** 1.25).sum()


def absolute_differences(x: np.ndarray) -> float:
    return np.abs(np.diff(x, axis=1)).sum() + np.abs(np.diff(x, axis=2)).sum()


def tensorflow(f: Features, p: Features, a: Features, x: np.ndarray) -> Losses:
    """gram_matrix, style_content_loss and tf.image.total_variation of the tutorial."""
    style = [
        np.mean((gram(f[layer]) / f[layer][0].size - gram(a[layer]) / a[layer][0].size) ** 2)
        for layer in STYLE
    ]
    content = np.mean((f["relu5_2"] - p["relu5_2"]) ** 2)
    return 1e4 * content, 1e-2 * sum(style) / 5, 30 * absolute_differences(x)


def mean_squares(layer: str, content: float, style: float, tv: float = 0) -> Callable[..., Losses]:
    """Mean squares of features and of Gram matrices that are divided by their features' size."""

    def loss(f: Features, p: Features, a: Features, x: np.ndarray) -> Losses:
        styles = [np.mean((gram(f[s]) / f[s].size - gram(a[s]) / a[s].size) ** 2) for s in STYLE]
        return (
            content * np.mean((f[layer] - p[layer]) ** 2),
            style * sum(styles),
            tv * absolute_differences(x),
        )

    return loss


def neural_style(f: Features, p: Features, a: Features, x: np.ndarray) -> Losses:
    """The modules ContentLoss, StyleLoss and TVLoss; what TVLoss differentiates is half the squares."""
    content, style, _ = mean_squares("relu4_2", 5, 100)(f, p, a, x)
    x = 255 * x
    steps = (x[:, :-1, :-1] - x[:, 1:, :-1]) ** 2 + (x[:, :-1, :-1] - x[:, :-1, 1:]) ** 2
    return content, style, 1e-3 * steps.sum() / 2


SOURCES = {
    "gatys": gatys,
    "keras": keras,
    "tensorflow": tensorflow,
    "mean-squares": mean_squares("relu4_2", 1, 1e4, 1e-4),
    "gluon": mean_squares("relu5_1", 1, 1e4),
    "neural-style": neural_style,
}


def pictures() -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 1, (3, *SIZE, 3)).astype(np.float32)


def test_every_preset_has_its_source() -> None:
    assert [row.name for row in PRESETS] == ["default", *SOURCES]


@pytest.mark.parametrize("name", SOURCES)
def test_a_run_starts_with_the_loss_of_the_source(name: str) -> None:
    """From a picture of its own, so that no term is 0; both pictures have the size of the result."""
    photo, painting, start = pictures()
    options = replace(Options.preset(name), size="full", iterations=1, device="cpu", threads=1)
    result = StyleTransfer(small_vgg(), options=options).run(photo, painting, init=start)
    assert [scale.size for scale in result.scales] == [SIZE]
    pooling = "average" if name == "gatys" else "max"
    f, p, a = (features(i.transpose(2, 0, 1), pooling) for i in (start, photo, painting))
    expected = SOURCES[name](f, p, a, start.transpose(2, 0, 1).astype(np.float64))
    assert result.scales[0].loss_start == pytest.approx(sum(expected), rel=2e-5)
    terms, share = result.scales[0].terms_start, 1 / 5 if preset(name).form.mean else 1
    actual = (
        options.content_weight * terms[f"content {options.content_layers[0]}"],
        options.style_weight * share * sum(terms[f"style {layer}"] for layer in STYLE),
        options.tv_weight * terms["tv"],
    )
    assert actual == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("name", SOURCES)
def test_the_gradient_is_that_of_the_source(name: str) -> None:
    """In float64, against central differences of the source's own formula."""
    row = preset(name)
    pooling = row.pooling or "max"
    start, photo, painting = (i.transpose(2, 0, 1).astype(np.float64) for i in pictures())
    p, a = features(photo, pooling), features(painting, pooling)
    terms = LossTerms(row.content_layers, row.style_layers, form=row.form, tv_power=row.tv_power)
    model = objective_graph(small_vgg(pooling=pooling).model, SIZE, terms, dtype=np.float64)
    share = 1 / 5 if row.form.mean else 1
    weights = [row.content_weight, *[row.style_weight * share] * 5, row.tv_weight, 0]
    feeds = {"image": start[None]}
    feeds |= {features_name(layer): p[layer][None] for layer in terms.content_layers}
    feeds |= {StylePart(layer).gram: gram(a[layer]) / a[layer][0].size for layer in STYLE}
    evaluator = ReferenceEvaluator(model)
    expected = SOURCES[name](features(start, pooling), p, a, start)
    direction = np.random.default_rng(1).normal(size=start.shape)
    ends = [
        SOURCES[name](features(x, pooling), p, a, x)
        for x in (start + 1e-6 * direction, start - 1e-6 * direction)
    ]
    slopes = np.subtract(*ends) / 2e-6
    for index, kind in enumerate(("content", "style", "tv")):
        only = [w if term.startswith(kind) else 0 for w, term in zip(weights, terms.names, strict=True)]
        with np.errstate(over="ignore"):
            loss, gradient = evaluator.run(["loss", "d_image"], feeds | {"weights": np.array(only)})
        assert float(loss) == pytest.approx(expected[index], rel=1e-9)
        assert np.vdot(gradient, direction) == pytest.approx(slopes[index], rel=1e-5, abs=1e-30)


def test_factors_by_hand() -> None:
    assert Factor(0.5, channels=-1, positions=2, pixels=-1).at(4, 3, 10) == pytest.approx(0.5 / 4 * 9 / 10)


def test_options_of_a_preset() -> None:
    """The numbers of Keras' example: SGD 100 for pixels of 0 to 255, 4,000 iterations at one size."""
    options = Options.preset("keras")
    assert (options.optimizer, options.iterations, options.scales) == ("sgd", 4000, "single")
    assert options.learning_rate == pytest.approx(100 / 65025)
    assert (options.content_weight, options.style_weight, options.tv_weight) == (2.5e-8, 1e-6, 1e-6)
    assert replace(options, size=400).size == 400


def test_a_layer_that_the_network_lacks_is_named() -> None:
    network = small_vgg(until="relu5_1")
    with pytest.raises(
        NetworkError, match=r"no layer 'relu5_2'.*preset 'keras' uses it: add --content-layers relu5_1 "
    ):
        StyleTransfer(network, options=Options.preset("keras"))
    # The advice is accepted; a layer that the user chose is not called the preset's.
    options = replace(Options.preset("keras"), content_layers=("relu5_1",))
    StyleTransfer(network, options=options)
    with pytest.raises(NetworkError, match=r"no layer 'relu5_3'.*Did you mean 'relu5_1'\?$"):
        StyleTransfer(network, options=replace(options, content_layers=("relu5_3",)))


@pytest.mark.parametrize("name", SOURCES)
def test_the_hints_for_presets_suit_compact(name: str) -> None:
    """The options parse, `compact` has the layers, and no layer of the style outweighs the others."""
    words = on_compact(name).split()
    advice = dict(zip(words[::2], words[1::2], strict=True))
    names, weights = layers("--style-layers", advice["--style-layers"])
    content = advice.get("--content-layers")
    options = replace(
        Options.preset(name),
        size=96,
        iterations=1,
        optimizer="lbfgs",
        init="content",
        style_weight=float(advice["--style-weight"]),
        tv_weight=float(advice.get("--tv-weight", 0)),
        style_layers=names,
        style_layer_weights=weights,
        content_layers=Options.preset(name).content_layers if content is None else (content,),
        threads=1,
    )
    photo, painting = (images.read(DATA / f"{picture}.jpg") for picture in ("coast", "painting"))
    scale = StyleTransfer("compact", options=options).run(photo, painting).scales[0]
    each = [w * scale.terms_start[f"style {layer}"] for layer, w in zip(names, weights, strict=True)]
    assert max(each) < 60 * min(each)
    rows = Options.preset(name).style_layers
    assert max(plain := [scale.terms_start[f"style {layer}"] for layer in rows]) > 8 * min(plain)


def test_style_layers_that_the_network_lacks_are_replaced_by_those_it_has() -> None:
    """relu5_1 is most like relu4_1, which is there already; nothing is like an own network's names."""
    network = small_vgg(until="relu4_2")
    with pytest.raises(
        NetworkError, match=r"--style-layers relu1_1,relu2_1,relu3_1,relu4_1 \(style_layers\)"
    ):
        StyleTransfer(network, options=Options.preset("gatys"))
    assert "add --content-layers LAYER (content_layers)" in advice("keras", "content", ("relu5_2",), ("x",))


@pytest.mark.parametrize("name", SOURCES)
def test_every_preset_lowers_its_loss(name: str) -> None:
    photo, painting, _ = pictures()
    options = replace(Options.preset(name), size=32, iterations=4, device="cpu", threads=1)
    scale = StyleTransfer(small_vgg(), options=options).run(photo, painting).scales[-1]
    assert (scale.iterations, scale.size) == (4, (32, 27))
    assert scale.loss_end < scale.loss_start
