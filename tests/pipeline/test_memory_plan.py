"""The method that is chosen for each budget of memory, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style import OptionError, Options, StyleTransfer, networks
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.memory_costs import Costs
from lbfgs_style.objective.tiling.tile_plan import Tile
from lbfgs_style.optimization.gradient_subspace import optimizer_bytes
from lbfgs_style.pipeline.plan import memory, run_plan
from lbfgs_style.pipeline.plan.memory import blocks_bytes, choose_method
from lbfgs_style.pipeline.plan.scales import Scale
from lbfgs_style.system import memory as system_memory
from lbfgs_style.system.byte_sizes import format_bytes, parse_bytes

COSTS = Costs(weights=10**7, per_pixel=500.0, targets=8.0, sources=10**7, halo=160)
HELD = memory.PROCESS + 5 * 10**7 + 10**7


def whole(pixels: int, history: int) -> int:
    return HELD + int(44 * pixels) + int(650 * pixels) + optimizer_bytes(3 * pixels, history)


def test_images_that_fit_are_evaluated_whole():
    method = choose_method((1000, 1000), 100, 100, COSTS, whole(10**6, 100))
    assert (method.kind, method.window_pixels, method.history) == ("whole", None, 100)
    assert method.bytes == whole(10**6, 100)


def test_then_the_history_is_shortened():
    """Four bytes a number, half as many directions as gradients, and as much as 20 vectors more."""
    assert optimizer_bytes(3, 10) == 3 * 4 * 30
    assert choose_method((1000, 1000), 40, 100, COSTS, whole(10**6, 39)).history == 26
    assert choose_method((1000, 1000), 40, 3, COSTS, whole(10**6, 3)).history == 3  # never longer than wanted


def test_first_order_methods_need_no_gradients():
    method = choose_method((1000, 1000), 500, 0, COSTS, whole(10**6, 0))
    assert (method.kind, method.history, method.bytes) == ("whole", 0, whole(10**6, 0))


def test_gradients_are_no_more_than_iterations():
    method = choose_method((1000, 1000), 4, 10, COSTS, whole(10**6, 4))
    assert (method.kind, method.history, method.bytes) == ("whole", 4, whole(10**6, 4))


def test_then_images_are_evaluated_in_tiles():
    size, pixels = (1500, 1500), 1500**2
    method = choose_method(size, 40, 100, COSTS, whole(pixels, 20) - 1)
    assert method.kind == "tiles"
    assert method.history == 20
    assert 4.5 * 480**2 <= (method.window_pixels or 0) < pixels
    assert method.bytes <= whole(pixels, 20) - 1


def test_then_images_are_optimised_block_by_block():
    method = choose_method((4096, 4096), 40, 10, COSTS, 3 * 10**9)
    assert method.kind == "blocks"
    assert 480**2 <= (method.window_pixels or 0) <= 4 * 10**6
    assert method.bytes <= 3 * 10**9
    smaller = choose_method((4096, 4096), 40, 10, COSTS, 2 * 10**9)
    assert (smaller.window_pixels or 0) < (method.window_pixels or 0)


def of_blocks(inner: int, computed: int, each: int) -> float:
    """Bytes: `each` per pixel of the block, 1.7 · 500 per computed pixel, 24 per pixel of the picture."""
    return HELD + 24 * 4096**2 + 850 * computed + each * inner


def test_the_memory_of_blocks_counts_their_halos():
    """Four sweeps of 10: 12 · (10 + 20) bytes a pixel of the block; three quarters of a halo around it."""
    square = choose_method((4096, 4096), 40, 10, COSTS, 3 * 10**9)
    side = int((square.window_pixels or 0) ** 0.5 - 320)
    assert square.bytes == pytest.approx(of_blocks(side**2, (side + 240) ** 2, 360), rel=1e-6)
    # As high or as wide as the picture: no halo there.
    for size in ((1024, 16384), (16384, 1024)):
        long = choose_method(size, 40, 10, COSTS, 3 * 10**9)
        side = int((long.window_pixels or 0) / 1024 - 320)
        assert long.bytes == pytest.approx(of_blocks(1024 * side, 1024 * (side + 240), 360), rel=1e-6)


def test_enlarging_takes_more_than_small_blocks():
    """Without a window 25 bytes a pixel, and 8 of targets."""
    with pytest.raises(OptionError):
        choose_method((8192, 8192), 40, 10, COSTS, HELD + 33 * 8192**2 - 1)
    method = choose_method((8192, 8192), 40, 10, COSTS, HELD + 33 * 8192**2)
    assert (method.kind, method.bytes) == ("blocks", HELD + 33 * 8192**2)


def test_blocks_have_the_history_of_a_sweep():
    """One of one iteration, two of five, four of 50: 20 gradients at most, and then 10 directions.

    12 · (m + 20) bytes a pixel.
    """
    for iterations, history, kept in ((1, 1, 1), (10, 5, 5), (200, 20, 30)):
        method = choose_method((4096, 4096), iterations, 100, COSTS, 3 * 10**9)
        assert method.history == history
        side, vectors = int((method.window_pixels or 0) ** 0.5 - 320), 12 * (kept + 20)
        assert method.bytes == pytest.approx(of_blocks(side**2, (side + 240) ** 2, vectors), rel=1e-6)


def test_a_budget_that_is_too_small_is_refused_with_the_memory_needed():
    with pytest.raises(OptionError, match=r"4096×2048 .* 400 MB .* at least ([\d.]+) MB; .*--memory") as e:
        choose_method((2048, 4096), 40, 10, COSTS, 4 * 10**8)
    least = int(float(str(e.value).split("at least ")[1].split(" ")[0]) * 1e6)
    assert choose_method((2048, 4096), 40, 10, COSTS, int(least * 1.01)).kind == "blocks"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2GB", 2 * 10**9),
        ("2g", 2 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("800M", 800 * 10**6),
        ("512MiB", 2**29),
        ("1000000", 10**6),
        ("6400kB", 6400000),
    ],
)
def test_memory_sizes_are_parsed(text, count):
    assert parse_bytes(text, "--memory") == count


@pytest.mark.parametrize(
    "text", ["", "GB", "two GB", "2TB", "nan", "1e999GB", "2", "2B", "999999", "64kB", "-2"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(OptionError, match="--memory must be an amount"):
        parse_bytes(text, "--memory")


@pytest.mark.parametrize(
    ("count", "text"), [(2.34e9, "2.3 GB"), (23.4e9, "23 GB"), (488e6, "488 MB"), (64e3, "64 kB")]
)
def test_memory_sizes_are_formatted(count, text):
    assert format_bytes(count) == text


def test_a_machine_has_memory_left():
    left = system_memory.available_memory()
    assert left is None or left > 10**7


def test_memory_left_is_what_linux_calls_available(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:    42 kB\n")
    assert system_memory.bytes_from_meminfo(str(tmp_path / "meminfo")) == 42 * 1024
    assert system_memory.bytes_from_meminfo(str(tmp_path / "none")) is None


def largest(cuts: list[tuple[Tile, ...]], size: tuple[int, int], history: int, costs: Costs) -> int:
    """The memory of the block that takes most."""
    shapes = [(tile.rows.length, tile.columns.length) for tiles in cuts for tile in tiles]
    return max(blocks_bytes(size, shape, 40, history, costs) for shape in shapes)


def compact_engine() -> Engine:
    return Engine(networks.load("compact"), device="cpu", threads=0, keep_sessions=False)


def test_the_plan_describes_the_actual_blocks():
    """The memory of the largest block that there is, not of the largest that would fit."""
    size = (2048, 2048)
    photo = np.full((256, 256, 3), 0.5, np.float32)
    options = Options(size=2048, scales="single", iterations=40, memory=97 * 10**7, device="cpu")
    options = replace(options, style_statistic="gram", pooling=None)
    (plan,) = StyleTransfer("compact", options=options).plan(photo, photo)
    engine, most = compact_engine(), plan.method.window_pixels
    assert most is not None
    terms = LossTerms(engine.network.content_layers, engine.network.style_layers)
    cuts = engine.plan_cuts(size, terms, most)
    assert plan.method.kind == "blocks"
    costs = engine.estimate_costs(terms, 2 * photo.nbytes)
    assert plan.method.bytes == pytest.approx(largest(cuts, size, plan.method.history, costs), rel=1e-6)
    assert plan.method.bytes < 0.97 * choose_method(size, 40, 10, costs, 97 * 10**7).bytes


@pytest.mark.parametrize("size", [(900, 4000), (4000, 900), (1024, 1024), (700, 6000)])
@pytest.mark.parametrize("most", [6 * 10**8, 7 * 10**8, 778 * 10**6, 9 * 10**8])
def test_no_cut_takes_more_than_the_budget(size, most):
    """Long pictures are cut into blocks larger than a square window would have."""
    engine = compact_engine()
    terms = LossTerms(("relu4_2",), tuple(f"relu{block}_1" for block in range(1, 6)))
    way = choose_method(size, 40, 10, COSTS, most)
    if way.kind != "blocks":
        assert way.bytes <= most
        return
    plan = run_plan.with_actual_blocks(way, Scale(size, 40), engine, terms, COSTS, most)
    assert plan.window_pixels is not None
    cuts = engine.plan_cuts(size, terms, plan.window_pixels)
    assert plan.bytes == largest(cuts, size, plan.history, COSTS) <= most


def test_masks_take_their_part_of_memory():
    """Of each layer's features, and of the picture for what is kept."""
    engine = compact_engine()
    plain = LossTerms(("relu4_2",), ("relu1_1", "relu3_1"))
    without, masked = (engine.estimate_costs(replace(plain, regions=count), 0).targets for count in (0, 2))
    assert masked - without == pytest.approx(4 * (2 * (1 + 1 / 16) + 1))
