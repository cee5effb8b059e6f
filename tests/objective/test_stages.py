"""Stages of a network: cut where all later nodes depend on one pooling, computed around a block only."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest

from lbfgs_style import networks
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.network_graph import feature_shapes
from lbfgs_style.graphs.receptive_fields import Field
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.tiling import stages
from lbfgs_style.objective.tiling.tile_plan import Span
from tests.helpers.small_networks import small_vgg

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


def built(make) -> networks.FeatureNetwork:
    """A network of the nodes that `make` adds to a picture."""
    b = GraphBuilder()
    for tensor, name in make(b, b.input("image", [1, 3, "height", "width"])):
        b.output(tensor, name)
    model = b.model()
    kinds = {"content_layers": "a", "style_layers": "a,b", "name": "own"}
    for key, value in kinds.items():
        model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    return networks.from_model(model)


def convolved(b: GraphBuilder, x: str, inputs: int, outputs: int = 16) -> str:
    rng = np.random.default_rng(inputs + outputs)
    kernel = b.constant(rng.normal(0, 0.2, (outputs, inputs, 3, 3)))
    return b.op("Relu", b.op("Conv", x, kernel, attributes={"pads": [1, 1, 1, 1]}))


def pooled(b: GraphBuilder, x: str, op: str = "MaxPool") -> str:
    return b.op(op, x, attributes={"kernel_shape": [2, 2], "strides": [2, 2]})


def test_the_stages_of_vgg_by_hand() -> None:
    """VGG16 to relu3_1: two convolutions and a pooling see 5 positions more, the last convolution 2."""
    parts = stages.split_network(small_vgg().model, LAYERS)
    assert [part.layers for part in parts] == [{layer} for layer in LAYERS]
    assert [part.field for part in parts] == [Field(), Field(2, -2, 3), Field(4, -6, 9)]
    assert [part.step for part in parts] == [2, 2, 1]
    assert [part.halo for part in parts] == [6, 6, 2]  # 5, 5 and 2 positions, rounded up to the step


def test_a_skip_around_a_pooling_prevents_a_cut() -> None:
    """A tensor from before a pooling that is read behind it: there is no cut."""

    def around(b: GraphBuilder, x: str):
        first = convolved(b, x, 3)
        low = convolved(b, pooled(b, first), 16)
        beside = b.op("AveragePool", first, attributes={"kernel_shape": [2, 2], "strides": [2, 2]})
        yield first, "a"
        yield b.op("Add", low, beside), "b"

    (only,) = stages.split_network(built(around).model, ("a", "b"))
    assert only.source == "image"
    assert only.step == 2


def test_a_block_in_the_stages_by_hand() -> None:
    """Pixels 40 … 47 of 100: the first pooling sees them from 2i−2 ≤ 47 and 2i+3 ≥ 40 on, i = 19 … 24."""
    model = small_vgg().model
    parts = stages.split_network(model, LAYERS)
    shapes = feature_shapes(model, (100, 100), [part.source for part in parts[1:]])
    located = stages.locate_block(parts, (Span(40, 48), Span(0, 8)), (100, 100), shapes)
    rows = [((e.changed.start, e.changed.stop), (e.window.start, e.window.stop)) for e in located.rows]
    assert rows == [((40, 48), (34, 54)), ((19, 25), (12, 32)), ((8, 14), (6, 16))]
    join = located.form.joins[0][0]  # the pooling begins at 17: two are cut off, and zeros from 12 to 19
    assert (join.start, join.length, join.before, join.after) == (2, 6, 7, 7)
    assert located.columns[0].window == Span(0, 14)
    assert located.pixels("relu2_1") == (Span(24, 64), Span(0, 24))


def small_pools(b: GraphBuilder, x: str):
    """Two poolings without anything between them, and a layer that is a pooling's own output."""
    first = convolved(b, x, 3)
    pool = pooled(b, pooled(b, first), "AveragePool")
    yield pool, "a"
    yield convolved(b, pool, 16), "b"


@pytest.mark.parametrize(
    ("network", "size"),
    [("small", (70, 90)), ("small", (47, 131)), ("average", (47, 131)), ("pools", (70, 90))],
)
def test_every_block_gives_the_numbers_of_the_whole(network: str, size: tuple[int, int]) -> None:
    """At all borders and corners of the picture, with ends that fill no pooling, in both cuts."""
    if network == "pools":
        chosen, terms = built(small_pools), LossTerms(("a",), ("a", "b"))
    else:
        chosen = small_vgg(pooling="average" if network == "average" else "max")
        terms = LossTerms(("relu2_2",), LAYERS)
    rng = np.random.default_rng(3)
    photo, painting, x = rng.uniform(0, 1, (3, 3, *size)).astype(np.float32)
    engine = Engine(chosen, device="cpu", threads=1, keep_sessions=False)
    targets = engine.statistics(photo, LossTerms(terms.content_layers, ()), what="photo")
    targets |= engine.statistics(painting, LossTerms((), terms.style_layers), what="painting")
    weights = np.linspace(0.5, 2, len(terms.names)).astype(np.float32)
    whole = engine.objective(size, terms, targets, weights)
    blocks = engine.blocks(x.copy(), terms, targets, weights, 2500)
    cuts = engine.plan_cuts(size, terms, 2500)
    assert min(map(len, cuts)) > 1
    for tile in itertools.chain(*cuts):
        block = blocks.free(tile)
        place = np.index_exp[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
        picture = blocks.image.copy()
        picture[place] = moved = rng.uniform(0, 1, block.image.shape).astype(np.float32)
        block.evaluate(moved)
        expected = whole(picture)
        loss, values = block.value()
        assert loss == pytest.approx(expected.loss, rel=1e-5)
        np.testing.assert_allclose(values, expected.terms, rtol=1e-4, atol=1e-7)
        block.commit(moved)
        # From the sums as they are now, its way down is the picture's.
        blocks.begin_sweep()
        loss, _, gradient = blocks.free(tile).evaluate(moved)
        assert loss * size[0] * size[1] / moved[0].size == pytest.approx(expected.loss, rel=1e-5)
        difference = np.linalg.norm(gradient - expected.gradient[place])
        assert difference <= 2e-5 * np.linalg.norm(expected.gradient[place])


def test_masks_and_content_are_cut_for_each_stage() -> None:
    """A mask of each layer has the size of the layer's features in its own window."""
    model = small_vgg().model
    parts = stages.split_network(model, LAYERS)
    shapes = feature_shapes(model, (100, 100), [part.source for part in parts[1:]])
    located = stages.locate_block(parts, (Span(48, 64), Span(48, 64)), (100, 100), shapes)
    b = stages.with_stages(model, LAYERS, parts, located.form, shapes)
    for layer, stride in zip(LAYERS, (1, 2, 4), strict=True):
        rows, columns = located.pixels(layer)
        assert b.shape(layer)[2:] == (rows.length // stride, columns.length // stride)


def test_the_network_stays_as_it_is() -> None:
    model = small_vgg().model
    before = model.SerializeToString()
    parts = stages.split_network(model, LAYERS)
    shapes = feature_shapes(model, (100, 100), [part.source for part in parts[1:]])
    located = stages.locate_block(parts, (Span(48, 64), Span(48, 64)), (100, 100), shapes)
    stages.with_stages(model, LAYERS, parts, located.form, shapes)
    assert model.SerializeToString() == before
