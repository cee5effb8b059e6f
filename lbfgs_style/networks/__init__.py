"""Feature networks: find, load, check, pull and describe them. Public as `lbfgs_style.networks`.

adapt              a published classification network as a feature network
catalog            the table of known networks, and where their files are looked up
computed_sizes     sizes that a network computes, as constants
download           download a file, resuming an interrupted download
lowering           newer operators written as older ones
metadata           metadata and fingerprint of a network
model_checks       operators, attributes and weights of an untrusted model
network            load a network from its file
parse_limits       parse an ONNX file within limits
pooling            replace the pooling of a network
published_weights  read published VGG weights
pull               download and convert a known network
size_checks        sizes of the tensors of an untrusted model
smoothing          a softmax over the channels of layers
squeezenet         build SqueezeNet 1.1
torch_pickle       read PyTorch's weight files
vgg                build VGG16 and VGG19
"""

from ..graphs.builder import IR_VERSION, OPSET
from ..system.cache import cache_folder
from .catalog import KNOWN, KnownNetwork, find, known, search_path
from .metadata import describe, weights_sha256
from .network import FeatureNetwork, from_bytes, from_model, load, read_model, verify

__all__ = [
    "IR_VERSION",
    "KNOWN",
    "OPSET",
    "FeatureNetwork",
    "KnownNetwork",
    "cache_folder",
    "describe",
    "find",
    "from_bytes",
    "from_model",
    "known",
    "load",
    "read_model",
    "search_path",
    "verify",
    "weights_sha256",
]
