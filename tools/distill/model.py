"""The student network and the teachers it learns from (PyTorch).

The student has VGG19's layout at a quarter of its width: thirteen 3×3 convolutions with zero padding, ReLUs,
2×2 pooling of averages or maxima as the teacher's (one that pools averages cannot follow a teacher that pools
maxima), and at relu1_1 … relu5_1 a head (1×1 convolution, ReLU, 1×1 convolution) that predicts the leading
principal coordinates of the teacher's features. Principal coordinates keep the Gram loss: for an orthonormal
U that holds the energy of F, the Gram matrix of UᵀF has the same Frobenius distances as that of F.

A teacher is an `nn.Module` that maps RGB images [N,3,H,W] in [0,1] to a list of five feature maps, one for
each of relu1_1 … relu5_1, and a list of hints: the features of its trunk where they are as wide as the
student's, else none (Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
# Those that a style is compared at by default: relu5_1 asks for figures of the painting.
DEFAULT_STYLE_LAYERS = STYLE_LAYERS[:4]
LAYOUT = (2, 2, 4, 4, 1)
WIDTHS = (16, 32, 64, 128, 128)
HIDDEN = (32, 64, 128, 256, 512)
COORDINATES = (16, 32, 64, 96, 128)

# The statistics of ImageNet's training images, as every VGG uses them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


POOLINGS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "average": nn.functional.avg_pool2d,
    "max": nn.functional.max_pool2d,
}


def normalization() -> nn.Conv2d:
    """Return the 1×1 convolution x ↦ (x − mean) / std, not trained."""
    layer = nn.Conv2d(3, 3, 1).requires_grad_(False)
    layer.weight.copy_(torch.diag(1 / torch.tensor(STD))[:, :, None, None])
    layer.bias.copy_(-torch.tensor(MEAN) / torch.tensor(STD))
    return layer


class Student(nn.Module):
    """VGG19's layout at a quarter of its width, with heads at the first layer of each block."""

    def __init__(self, pooling: str = "average") -> None:
        super().__init__()
        self.pool = POOLINGS[pooling]
        self.preprocess = normalization()
        self.blocks = nn.ModuleList()
        self.heads = nn.ModuleList()
        before = 3
        for count, width, hidden, coordinates in zip(LAYOUT, WIDTHS, HIDDEN, COORDINATES, strict=True):
            inputs = [before] + [width] * (count - 1)
            self.blocks.append(nn.ModuleList(nn.Conv2d(i, width, 3, padding=1) for i in inputs))
            self.heads.append(nn.ModuleList([nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, coordinates, 1)]))
            before = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.preprocess:
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        for head in self.heads:
            nn.init.zeros_(head[1].weight)  # the first predictions are 0, an error of 1 in every layer

    def parameters_by_kind(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return what is trained: the convolutions' kernels, and their biases."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return [p for p in trained if p.dim() > 1], [p for p in trained if p.dim() == 1]

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map RGB images [N,3,H,W] in [0,1] to the heads' coordinates and the trunk's features."""
        x, outputs, trunk = self.preprocess(image), [], []
        for index, (block, head) in enumerate(zip(self.blocks, self.heads, strict=True)):
            if index:
                x = self.pool(x, 2)
            for position, convolution in enumerate(block):
                x = torch.relu(convolution(x))
                trunk.append(x)
                if position == 0:
                    outputs.append(head[1](torch.relu(head[0](x))))
        return outputs, trunk


class BranchTeacher(nn.Module):
    """A narrow VGG19 with 1×1 branches onto VGG19's own features, from one .npz file.

    Reflection padding before each 3×3 convolution, 2×2 pooling ("Collaborative Distillation for
    Ultra-Resolution Universal Style Transfer", Wang et al., CVPR 2020, with maxima; averages in their place
    follow Gatys et al.).
    """

    def __init__(self, path: Path, pooling: str = "average") -> None:
        super().__init__()
        self.pool = POOLINGS[pooling]
        arrays = np.load(path)
        self.convolutions = nn.ModuleDict()
        for name in sorted({key.rsplit(".", 1)[0] for key in arrays.files}):
            weight, bias = (torch.from_numpy(arrays[f"{name}.{part}"]) for part in ("weight", "bias"))
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2]).requires_grad_(False)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
            self.convolutions[name] = layer

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map RGB images [N,3,H,W] in [0,1] to the features of the five branches, and of the trunk."""
        x, outputs, trunk = self.convolutions["conv0"](image), [], []
        for block, count in enumerate(LAYOUT, start=1):
            if block > 1:
                x = self.pool(x, 2)
            for index in range(1, count + 1):
                padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
                x = torch.relu(self.convolutions[f"conv{block}{index}"](padded))
                trunk.append(x)
                if index == 1:
                    outputs.append(torch.relu(self.convolutions[f"conv{block}1_aux"](x)))
        return outputs, trunk


class TorchvisionTeacher(nn.Module):
    """torchvision's VGG19 (weights downloaded by torchvision on first use)."""

    def __init__(self, pooling: str = "average") -> None:
        super().__init__()
        from tools.export.torchvision_vgg import load_vgg

        self.pool = POOLINGS[pooling]
        self.preprocess = normalization()
        self.layers = load_vgg("vgg19", "imagenet").features[:30].requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map RGB images [N,3,H,W] in [0,1] to relu1_1 … relu5_1; its trunk is too wide for hints."""
        x, outputs, fresh = self.preprocess(image), [], True
        for layer in self.layers:
            is_pooling = isinstance(layer, nn.MaxPool2d)
            x = self.pool(x, 2) if is_pooling else layer(x)
            if is_pooling:
                fresh = True
            elif isinstance(layer, nn.ReLU) and fresh:
                outputs.append(x.clone())  # torchvision's ReLUs work in place
                fresh = False
        return outputs, []


def load_teacher(name: str, pooling: str = "average") -> nn.Module:
    """Return the teacher `name`: ``vgg19`` for torchvision's, else the path of an .npz file."""
    if name == "vgg19":
        return TorchvisionTeacher(pooling).eval()
    return BranchTeacher(Path(name), pooling).eval()


def load_student(path: Path, pooling: str = "average") -> Student:
    """Return a student with the weights of a feature network that `tools.distill.export` wrote."""
    arrays = {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    student = Student(pooling)
    state = student.state_dict()
    for key in state:
        module, part = key.rsplit(".", 1)
        state[key] = torch.from_numpy(arrays[f"{exported_name(module)}.{part}"].copy())
    student.load_state_dict(state)
    return student


def exported_name(module: str) -> str:
    """Return the name that a convolution of the student has in a feature network.

    ``blocks.0.1`` is ``conv1_2``, ``heads.0.0`` ``hidden1_1`` and ``heads.0.1`` ``relu1_1``.
    """
    kind, *numbers = module.split(".")
    if kind == "preprocess":
        return kind
    block, position = map(int, numbers)
    if kind == "blocks":
        return f"conv{block + 1}_{position + 1}"
    return f"{('hidden', 'relu')[position]}{block + 1}_1"


def gram(features: Tensor) -> Tensor:
    """Return F Fᵀ / M for feature maps [N,C,H,W]: [N,C,C]."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class Goals(nn.Module):
    """What the student is to predict of the teacher's features.

    Heads: principal coordinates, uncentred as Gram matrices are. ``U`` [C,K] holds the leading eigenvectors
    of E[F Fᵀ / M], ``energy`` [K] their shares of the trace. The coordinates are divided by √trace, so that
    their mean squared norm is 1 in every layer.

    Trunk: the features with each channel divided by its root mean square, which ReLU layers can absorb.
    """

    def __init__(self, grams: Sequence[Tensor], trunk_squares: Sequence[Tensor] = ()) -> None:
        super().__init__()
        for index, squares in enumerate(trunk_squares):
            # Otherwise channels that hardly ever fire would be amplified without limit.
            least = 1e-3 * squares.mean()
            self.register_buffer(f"scale{index}", squares.clamp_min(least).rsqrt())
        for index, (matrix, count) in enumerate(zip(grams, COORDINATES, strict=True)):
            values, vectors = torch.linalg.eigh(matrix.double())
            trace = values.sum()
            self.register_buffer(f"basis{index}", (vectors[:, -count:].flip(1) / trace.sqrt()).float())
            self.register_buffer(f"energy{index}", (values[-count:].flip(0).clamp_min(0) / trace).float())

    def basis(self, index: int) -> Tensor:
        """Return U / √trace [C,K] of layer `index`."""
        return self.get_buffer(f"basis{index}")

    def energy(self, index: int) -> Tensor:
        """Return the shares of energy [K] of layer `index`, largest first."""
        return self.get_buffer(f"energy{index}")

    def scaled(self, trunk: Sequence[Tensor]) -> list[Tensor]:
        """Scale the trunk's feature maps [N,C,H,W] to unit energy in each channel."""
        return [f * self.get_buffer(f"scale{i}")[:, None, None] for i, f in enumerate(trunk)]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Project the five feature maps [N,C,H,W] to coordinates [N,K,H,W]."""
        return [torch.einsum("nchw,ck->nkhw", f, self.basis(i)) for i, f in enumerate(features)]
