"""Networks of torchvision with random weights, from both of PyTorch's exporters: gradients and a picture."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer
from lbfgs_style.errors import GraphError
from lbfgs_style.networks.network import from_model
from lbfgs_style.objective.losses.terms import LossTerms
from tests.helpers.own_networks import Problem, far
from tests.helpers.torch_networks import exported, gradient_error

torch = pytest.importorskip("torch")
try:
    from tools.export.torchvision_vgg import import_models

    models = import_models()
except ImportError:
    pytest.skip("torchvision is not installed", allow_module_level=True)
pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LAYERS = {
    "alexnet": ["features.1", "features.4", "features.7"],
    "vgg11_bn": ["features.2", "features.6", "features.10"],
    "squeezenet1_1": ["features.1", "features.3", "features.6"],
    "resnet18": ["relu", "layer1", "layer2", "layer3"],
    "resnet50": ["relu", "layer1", "layer2"],
    "googlenet": ["conv1", "inception3a", "inception4a"],
    "inception_v3": ["Conv2d_2b_3x3", "Mixed_5b", "Mixed_6a"],
    "densenet121": ["features.relu0", "features.denseblock1", "features.denseblock2"],
    "mobilenet_v2": ["features.1", "features.3", "features.6"],
    "mobilenet_v3_small": ["features.1", "features.3", "features.6"],
    "efficientnet_b0": ["features.1", "features.3", "features.4"],
    "convnext_tiny": ["features.0", "features.1", "features.3"],
    "regnet_y_400mf": ["stem", "trunk_output.block1", "trunk_output.block2"],
    "shufflenet_v2_x0_5": ["conv1", "stage2", "stage3"],
}
SIDE = 128

# Networks whose layers have the size of the image divided by their stride. The first convolutions of the
# others round up, or have no padding, or they move channels to the last axis.
IN_TILES = {"vgg11_bn"}


def features(name: str):
    """Return a module that computes the layers of a network, with statistics unlike the initial ones."""
    from torchvision.models.feature_extraction import create_feature_extractor

    torch.manual_seed(0)
    more = (
        {"init_weights": False, "aux_logits": name == "inception_v3"}
        if "cept" in name or "goog" in name
        else {}
    )
    network = getattr(models, name)(weights=None, **more).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    extractor = create_feature_extractor(network, LAYERS[name])

    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.extractor = extractor

        def forward(self, image):
            return tuple(self.extractor(image)[layer] for layer in LAYERS[name])

    return Layers().eval()


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_the_gradient_is_autograds_and_a_picture_is_painted(name: str, dynamo: bool) -> None:
    """Rounding may cross a kink of a ReLU or a maximum: then another image tells."""
    module = features(name)
    outputs = [f"layer{i}" for i in range(len(LAYERS[name]))]
    network = from_model(exported(module, outputs, SIDE, dynamo=dynamo))
    assert min(gradient_error(network, module, outputs, SIDE, seed) for seed in range(3)) < 1e-4
    photo = np.random.default_rng(1).random((SIDE, SIDE, 3)).astype(np.float32)
    layers = {"content_layers": (outputs[-1],), "style_layers": tuple(outputs)}
    options = Options(size=SIDE, scales="single", iterations=3, pooling=None, **layers)
    result = StyleTransfer(network, options=options).run(photo, photo[::-1])
    assert np.isfinite(result.image).all()
    assert result.history[-1] < result.history[0]
    problem = Problem(network, (SIDE, SIDE), LossTerms((outputs[-1],), tuple(outputs)))
    if name in IN_TILES:
        (loss, gradient), (value, slope) = problem.evaluate(), problem.evaluate(SIDE**2 // 2)
        assert value == pytest.approx(loss, rel=1e-4)
        assert far(slope, gradient) < 1e-3
    else:
        with pytest.raises(GraphError, match=r"cannot be worked on in parts of an image: the \w+ node '.+'"):
            problem.evaluate(SIDE**2 // 2)
