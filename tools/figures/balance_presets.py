"""Weights that balance the losses of each preset on a network as the defaults are balanced.

python -m tools.figures.balance_presets --pairs A:B,C:D

The relative losses of the defaults are 0.1 ‖F−P‖²/‖P‖² and the mean over layers of 3 ‖G−A‖²/‖A‖². A preset
has other factors in place of 1/‖P‖² and 1/‖A‖². Its content weight is left as it is; its style weight, those
of its layers and that of its total variation are set so that the ratio of each term to the content term is
that of the defaults, for the photo's P and the painting's A. The terms are those of the painting as initial
image. Prints geometric means over the pairs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from lbfgs_style import Options, StyleTransfer, images
from lbfgs_style.settings.presets import PRESETS, Preset


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--network", default="compact")
    arguments = parser.parse_args()
    pairs = [pair.split(":") for pair in arguments.pairs.split(",")]
    for row in PRESETS[1:]:
        balances = [balance(row, arguments.network, arguments.size, *pair) for pair in pairs]
        style, tv, *layers = np.exp(np.mean(np.log(np.maximum(balances, 1e-300)), axis=0))
        print(f"{row.name:13} style {style:8.2g}  tv {tv:8.2g}  layers {[f'{w:.2g}' for w in layers]}")


def balance(row: Preset, network: str, size: int, photo: str, painting: str) -> list[float]:
    """Return the style weight, the weight of the total variation, and the layers' weights for one pair.

    Both runs start from the painting, so that no term is 0; their terms differ by their factors alone.
    """
    options = replace(Options.preset(row.name), size=size, iterations=1, init="content", optimizer="lbfgs")
    layers = StyleTransfer(network).network.layers
    options = replace(
        options, content_layers=tuple(x if x in layers else layers[-1] for x in row.content_layers or ())
    )
    job = StyleTransfer(network, options=options)
    plain = StyleTransfer(network, options=replace(options, loss="default"))
    shown, painted = (images.read(path).rgb for path in (photo, painting))
    content = f"content {job.options.content_layers[0]}"
    styles = [f"style {layer}" for layer in row.style_layers or ()]
    start = np.ascontiguousarray(images.resize(painted, shown.shape[:2]))
    theirs, ours = (each.run(shown, painted, init=start).scales[0].terms_start for each in (job, plain))
    unit = row.content_weight * theirs[content] / (0.1 * ours[content])
    each = [unit * 3 / len(styles) * ours[name] / theirs[name] for name in styles]
    layer_weights = [weight / each[0] for weight in each]
    style = each[0] * (sum(layer_weights) if row.form.mean else 1)
    tv = unit * 1e-3 * ours["tv"] / theirs["tv"] if row.tv_weight else 0
    return [style, tv, *layer_weights]


if __name__ == "__main__":
    main()
