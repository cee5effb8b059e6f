"""Feature networks of a few channels, with fixed random weights, for tests."""

from __future__ import annotations

import numpy as np

from lbfgs_style import networks
from lbfgs_style.networks import vgg

WIDTHS = (4, 5, 6, 7, 7)


def small_vgg(
    arch: str = "vgg16",
    pooling: str = "max",
    until: str | None = None,
    widths: tuple[int, ...] = WIDTHS,
) -> networks.FeatureNetwork:
    """Return VGG's layout with a few channels; features stay of order one."""
    rng = np.random.default_rng(7)
    weights, channels = {}, 3
    for name in vgg.convolution_names(arch):
        width = widths[int(name[4]) - 1]
        kernel = rng.normal(0, np.sqrt(2 / (9 * channels)), (width, channels, 3, 3)).astype(np.float32)
        weights[name] = (kernel, rng.uniform(0, 0.2, width).astype(np.float32))
        channels = width
    model = vgg.build(
        arch,
        weights,
        normalization=vgg.TORCHVISION,
        pooling=pooling,
        until=until,
        name="small",
        source="random",
        licence="none",
    )
    return networks.from_model(model)
