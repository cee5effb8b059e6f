"""The plan of the scales, by hand."""

from __future__ import annotations

import pytest

from lbfgs_style import OptionError
from lbfgs_style.pipeline.plan.scales import DRAFT, FROM_NOISE, Scale, plan


def test_plan_of_the_default_size() -> None:
    expected = (Scale((128, 128), 80), Scale((256, 256), 40), Scale((512, 512), 40))
    assert plan((512, 512), "auto", None, 16) == expected
    assert plan((512, 512), "auto", None, 16) == expected  # pure


def test_plan_keeps_the_shape() -> None:
    assert [s.size for s in plan((384, 512), "auto", 9, 16)] == [(96, 128), (192, 256), (384, 512)]
    assert [s.size for s in plan((1024, 256), "auto", 9, 16)] == [
        (128, 32),
        (256, 64),
        (512, 128),
        (1024, 256),
    ]


def test_plan_gives_coarse_scales_more_iterations() -> None:
    assert [s.iterations for s in plan((2048, 2048), "auto", None, 16)] == [150, 150, 80, 40, 40]


@pytest.mark.parametrize(
    ("longest", "scales", "iterations"),
    [
        (2048, "auto", [300, 200, 200, 60]),
        (512, "auto", [300, 60]),
        (256, "auto", [300]),
        (512, (), [300]),
        (512, (64, 128), [300, 200, 60]),
    ],
)
def test_a_run_from_noise_has_iterations_of_its_own(longest, scales, iterations):
    planned = plan((longest, longest), scales, None, 16, FROM_NOISE)
    assert [s.iterations for s in planned] == iterations
    assert [s.iterations for s in plan((512, 512), (256,), (3, 4), 16, FROM_NOISE)] == [3, 4]


@pytest.mark.parametrize(
    ("longest", "scales", "iterations"),
    [(2048, "auto", [36, 36, 36, 11]), (512, "auto", [36, 11]), (256, "auto", [36]), (512, (100,), [36, 11])],
)
def test_a_draft_has_fewer_scales_and_iterations(longest, scales, iterations):
    planned = plan((longest, longest), scales, None, 16, DRAFT)
    assert [s.iterations for s in planned] == iterations


@pytest.mark.parametrize(
    ("longest", "sides"),
    [(128, [128]), (178, [178]), (180, [90, 180]), (360, [90, 180, 360]), (500, [125, 250, 500])],
)
def test_auto_halves_down_to_about_128(longest: int, sides: list[int]) -> None:
    """The coarsest is the first one of at least 0.7 · 128 = 89.6."""
    assert [s.longest for s in plan((longest, longest), "auto", 1, 16)] == sides


def test_explicit_scales_end_with_the_result() -> None:
    assert plan((300, 400), (100, 200), (7, 8, 9), 16) == (
        Scale((75, 100), 7),
        Scale((150, 200), 8),
        Scale((300, 400), 9),
    )


def test_scales_that_are_not_smaller_are_left_out() -> None:
    assert [s.size for s in plan((60, 80), (40, 80, 160), 3, 16)] == [(30, 40), (60, 80)]


def test_scales_too_small_for_the_network_are_left_out() -> None:
    """Halves of 64×512: 32×256 and 16×128."""
    assert [s.size for s in plan((64, 512), "auto", 1, 16)] == [(16, 128), (32, 256), (64, 512)]
    assert [s.size for s in plan((64, 512), "auto", 1, 17)] == [(32, 256), (64, 512)]
    assert [s.size for s in plan((64, 512), "auto", 1, 65)] == [(64, 512)]


@pytest.mark.parametrize("counts", [(5,), (5, 4, 3, 2), ()])
def test_iterations_must_be_one_for_each_scale(counts: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match=f"each of the 3 scales, got {len(counts)} number"):
        plan((512, 512), "auto", counts, 16)
