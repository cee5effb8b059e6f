"""Feature networks: find, load, check, pull and describe them. Public: `lbfgs_style.networks`.

catalog, download, metadata, model_checks, network, parse_limits, pooling, published_weights, pull,
size_checks, torch_pickle, vgg
"""

from ..graphs.builder import IR_VERSION, OPSET
from ..system.cache import cache_folder
from .catalog import KNOWN, KnownNetwork, find, known, search_path
from .metadata import describe, weights_sha256
from .network import FeatureNetwork, from_model, load, verify

__all__ = [
    "IR_VERSION",
    "KNOWN",
    "OPSET",
    "FeatureNetwork",
    "KnownNetwork",
    "cache_folder",
    "describe",
    "find",
    "from_model",
    "known",
    "load",
    "search_path",
    "verify",
    "weights_sha256",
]
