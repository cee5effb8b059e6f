"""Check the gradient of a network that was not seen before, against central differences."""

from __future__ import annotations

import numpy as np

from ..errors import NetworkError
from ..graphs.autodiff import gradients
from ..graphs.network_graph import IMAGE, with_network
from ..networks.network import FeatureNetwork
from .session import Session

# Random directions along which it is compared, and how far from each other the values may be.
_DIRECTIONS = 3
_TOLERANCE = 0.05

# Lengths of the steps in each pixel; the best counts. Long ones cross kinks of activations and maxima, and
# float32 rounds the differences of short ones.
_STEPS = (3e-3, 1e-3, 3e-4)


def check_gradient(network: FeatureNetwork, side: int = 64) -> float:
    """Return the largest relative difference along three random directions of an image.

    The image has `side` pixels in height and width, or the size of a network that takes no other.

    Raises
    ------
    GraphError
        An operator cannot be differentiated.
    NetworkError
        The gradient is wrong along most of them.
    """
    layers = list(network.layers)
    size = network.size or (side, side)
    graph = with_network(network.model, size, layers)
    rng = np.random.default_rng(0)
    factors = {name: rng.normal(size=graph.shape(name)) for name in layers}
    parts = [
        graph.reduce("ReduceMean", graph.op("Mul", name, graph.constant(c))) for name, c in factors.items()
    ]
    loss = graph.total(parts)
    graph.output(graph.op("Identity", loss), "check_loss")
    graph.output(gradients(graph, {loss: graph.constant(1.0)}, [IMAGE])[IMAGE], "check_gradient")
    session = Session(graph.model(), device="cpu", threads=0)

    def run(image: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = session.run(["check_loss", "check_gradient"], {IMAGE: image.astype(np.float32)})
        return float(value), gradient

    image = rng.random((1, 3, *size))
    gradient = run(image)[1].astype(np.float64)
    errors: list[float] = []
    for _ in range(_DIRECTIONS):
        # Roughly along the gradient: across it the differences would drown in rounding.
        step = gradient / np.abs(gradient).max() * (1 + 0.3 * rng.normal(size=image.shape))
        expected = float((gradient * step).sum())
        differences = [(run(image + h * step)[0] - run(image - h * step)[0]) / (2 * h) for h in _STEPS]
        errors.append(min(abs(difference - expected) for difference in differences) / abs(expected))
    if sorted(errors)[1] > _TOLERANCE:
        raise NetworkError(
            f"The gradient of the network {network.name!r} differs from central differences by "
            f"{max(errors):.0%}: this is a defect of lbfgs-style; please report the network."
        )
    return max(errors)
