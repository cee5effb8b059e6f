from __future__ import annotations

import importlib
import sys
import types
import urllib.error

import numpy as np
import onnx
import pytest

from lbfgs_style import networks
from lbfgs_style.networks import vgg

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from tools.export import torchvision_vgg  # noqa: E402 (needs torch)
from tools.export.vgg import main  # noqa: E402

pytestmark = pytest.mark.torch

# Where torchvision's `features` have their ReLUs, read off its printed modules.
RELUS = {
    "vgg16": {
        "relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu2_2": 8, "relu3_1": 11, "relu3_2": 13, "relu3_3": 15,
        "relu4_1": 18, "relu4_2": 20, "relu4_3": 22, "relu5_1": 25, "relu5_2": 27, "relu5_3": 29,
    },
    "vgg19": {
        "relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu2_2": 8,
        "relu3_1": 11, "relu3_2": 13, "relu3_3": 15, "relu3_4": 17,
        "relu4_1": 20, "relu4_2": 22, "relu4_3": 24, "relu4_4": 26,
        "relu5_1": 29, "relu5_2": 31, "relu5_3": 33, "relu5_4": 35,
    },
}  # fmt: skip
CASES = [(arch, pooling) for arch in RELUS for pooling in ("max", "average")]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLERANCE = 1e-4
# Relative to a layer's size. Rounding differs between libraries by about 1e-6; where an activation or the
# lead of a maximum is smaller than that, they may rightly take different sides and their gradients differ.
SAFE_MARGIN = 5e-6


@pytest.fixture
def export(tmp_path):
    """Run the tool and return its exit code and the two files."""

    def run(*arguments, weights="random"):
        path = tmp_path / "net.onnx"
        code = main(["--weights", str(weights), "--output", str(path), *arguments])
        return code, path, tmp_path / "net_gradient.onnx"

    return run


def evaluate(path, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def modules_of(vgg, pooling):
    average = torch.nn.AvgPool2d(2, 2)
    is_pool = torch.nn.MaxPool2d
    return [average if pooling == "average" and isinstance(m, is_pool) else m for m in vgg.features]


def forward(modules, image):
    """Return the input and the output of every module, on a copy: torchvision's ReLUs work in place."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    inputs, outputs, x = [], [], (image - mean) / std
    for module in modules:
        inputs.append(x)
        x = module(x.clone())
        outputs.append(x)
    return inputs, outputs


def margin(modules, image):
    """Return how far the nearest activation or maximum is from its kink, relative to its layer."""
    smallest = np.inf
    with torch.no_grad():
        for module, x in zip(modules, forward(modules, image)[0], strict=True):
            if isinstance(module, torch.nn.ReLU):
                nearest = x.abs().min()
            elif isinstance(module, torch.nn.MaxPool2d):
                height, width = (length // 2 * 2 for length in x.shape[2:])
                corners = [x[..., i:height:2, j:width:2].numpy() for i in (0, 1) for j in (0, 1)]
                _, _, second, first = np.sort(corners, axis=0)
                # Where all are 0 the ReLU below stops the gradient, whichever is picked.
                nearest = (first - second)[first > 0].min()
            else:
                continue
            smallest = min(smallest, float(nearest / x.square().mean().sqrt()))
    return smallest


def smooth_picture(modules, shape):
    """Return a random picture at which rounding cannot change a gradient."""
    for seed in range(200):
        image = random_picture(shape, seed)
        if margin(modules, torch.from_numpy(image)) > SAFE_MARGIN:
            return image
    raise AssertionError("every picture sits at a kink")


def random_picture(shape, seed=0):
    return np.random.default_rng(seed).random((1, 3, *shape), dtype=np.float32)


def difference(actual, expected):
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def assert_features_agree(network, modules, relus, image):
    outputs_by_name = evaluate(network, {"image": image})
    assert list(outputs_by_name) == list(relus)
    with torch.no_grad():
        outputs = forward(modules, torch.from_numpy(image))[1]
    for layer, index in relus.items():
        assert difference(outputs_by_name[layer], outputs[index].numpy()) < TOLERANCE, layer


def assert_gradient_agrees(gradient, modules, relus, layers, image):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(image).requires_grad_()
    outputs = forward(modules, x)[1]
    features = {layer: outputs[relus[layer]] for layer in layers}
    # Scaled to contributions of equal norm, so that every layer counts in the sum.
    cotangents = {layer: rng.standard_normal(f.shape, dtype=np.float32) for layer, f in features.items()}
    shares = [torch.autograd.grad((features[n] * torch.from_numpy(d)).sum(), x, retain_graph=True)[0]
              for n, d in cotangents.items()]  # fmt: skip
    scales = [1 / float(share.norm()) for share in shares]
    expected = sum(scale * share for scale, share in zip(scales, shares, strict=True)).numpy()
    feeds = {
        f"d_{layer}": np.float32(scale) * d
        for scale, (layer, d) in zip(scales, cotangents.items(), strict=True)
    }
    outputs_by_name = evaluate(gradient, {"image": image} | feeds)
    assert list(outputs_by_name) == ["d_image"]
    assert difference(outputs_by_name["d_image"], expected) < TOLERANCE


def up_to(arch, last):
    names = list(RELUS[arch])
    return {name: RELUS[arch][name] for name in names[: names.index(last) + 1]}


@pytest.mark.parametrize(("arch", "pooling"), CASES)
def test_features_and_gradient_are_those_of_torchvision(export, arch, pooling):
    code, network, gradient = export("--arch", arch, "--pooling", pooling, "--until", "relu4_1")
    assert code == 0
    relus = up_to(arch, "relu4_1")
    modules = modules_of(torchvision_vgg.load_vgg(arch, "random"), pooling)[: relus["relu4_1"] + 1]
    assert_features_agree(network, modules, relus, random_picture((45, 67)))
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
    assert_gradient_agrees(gradient, modules, relus, layers, smooth_picture(modules, (17, 19)))


def test_the_whole_vgg19_with_chosen_cotangents(export):
    layers = ["relu1_2", "relu3_4", "relu5_4"]
    code, network, gradient = export("--layers", "relu5_4", "relu1_2", "relu3_4")
    assert code == 0
    modules = modules_of(torchvision_vgg.load_vgg("vgg19", "random"), "max")[:36]
    assert_features_agree(network, modules, RELUS["vgg19"], random_picture((48, 80)))
    assert_gradient_agrees(gradient, modules, RELUS["vgg19"], layers, smooth_picture(modules, (17, 19)))


def test_the_files_describe_themselves(export, capsys):
    code, path, gradient = export("--until", "relu3_1")
    assert code == 0
    network = networks.load(path)
    networks.verify(network)
    assert network.name == "net"
    assert network.source == "fixed random numbers"
    assert network.layers == ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")
    assert network.style_layers == ("relu1_1", "relu2_1", "relu3_1")
    assert network.content_layers == ("relu3_1",)
    model = onnx.load(gradient)
    assert [value.name for value in model.graph.input] == ["image", "d_relu1_1", "d_relu2_1", "d_relu3_1"]
    assert "fixed random numbers" in model.doc_string
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: {path.stat().st_size / 1e6:.1f} MB, relu1_1 relu1_2")
    assert second.startswith(f"{gradient}: ")
    assert "features" in third
    assert "gradient" in third


def test_random_activations_keep_their_size():
    with torch.no_grad():
        vgg = torchvision_vgg.load_vgg("vgg19", "random")
        outputs = forward(vgg.features, torch.from_numpy(random_picture((64, 64))))[1]
    sizes = [float(outputs[index].square().mean().sqrt()) for index in RELUS["vgg19"].values()]
    assert min(sizes) > 0.3
    assert max(sizes) < 10


# --- weights ---------------------------------------------------------------------------------------------


def foreign_state():
    """Return a state dict that is neither the random nor any published one, with a piece of a classifier."""
    state = torchvision_vgg.load_vgg("vgg16", "random").state_dict()
    return {name: tensor.flip(0) for name, tensor in state.items()} | {"classifier.6.bias": torch.zeros(1000)}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_round_trips(export, tmp_path, zipped):
    state = foreign_state()
    file = tmp_path / "mine.pth"
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    code, path, _ = export("--arch", "vgg16", "--until", "relu2_1", weights=file)
    assert code == 0
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name, index in (("conv1_1", 0), ("conv1_2", 2), ("conv2_1", 5)):
        for kind in ("weight", "bias"):
            np.testing.assert_array_equal(arrays[f"{name}.{kind}"], state[f"features.{index}.{kind}"].numpy())
    assert networks.load(path).source == "mine.pth"


def test_imagenet_asks_torchvision_and_names_its_licence(export, monkeypatch):
    requests = []

    def fake(url, **options):
        requests.append((url, options["check_hash"]))
        return foreign_state()

    torchvision_vgg.import_models()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fake)
    code, path, _ = export("--arch", "vgg16", "--until", "relu1_1", weights="imagenet")
    assert code == 0
    assert requests == [("https://download.pytorch.org/models/vgg16-397923af.pth", True)]
    assert networks.load(path).source == requests[0][0]
    assert networks.load(path).licence.startswith("BSD-3-Clause")


def one_line_of_error(capsys):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("export: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (urllib.error.URLError("no route\nto host"), "Cannot download https://"),
        (RuntimeError('invalid hash value (expected "397923af", got "0")'), "is damaged"),
    ],
)
def test_a_failed_download_is_one_line(export, monkeypatch, capsys, failure, said):
    def fail(url, **options):
        raise failure

    torchvision_vgg.import_models()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    assert export("--arch", "vgg16", weights="imagenet")[0] == 2
    assert said in one_line_of_error(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--until", "relu6_1"], "vgg19 has no layer 'relu6_1'"),
        (["--until", "relu3_4", "--arch", "vgg16"], "vgg16 has no layer 'relu3_4'"),
        (["--arch", "vgg18"], "Did you mean 'vgg1"),
        (["--pooling", "mean"], "expected one of max, average"),
        (["--until", "relu3_1", "--layers", "relu4_1"], "has no layer 'relu4_1'"),
        (["--output", "net.pb"], "must end in .onnx"),
        (["--output", "no_such_folder/net.onnx"], "'no_such_folder'"),
        (["--weights", "no_such_file.pth"], "Cannot read the weights 'no_such_file.pth'"),
    ],
)
def test_a_wrong_argument_is_one_line(export, capsys, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert export(*arguments)[0] == 2
    assert said in one_line_of_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "contents", [b"", b"junk", b"PK\x03\x04junk", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00hi\x85R."]
)
def test_junk_weights_are_one_line(export, capsys, tmp_path, contents):
    file = tmp_path / "junk.pth"
    file.write_bytes(contents)
    assert export(weights=file)[0] == 2
    assert "is not a PyTorch state dict" in one_line_of_error(capsys)
    assert list(tmp_path.iterdir()) == [file]


def test_weights_of_another_network_are_one_line(export, capsys, tmp_path):
    file = tmp_path / "vgg16.pth"
    torch.save(foreign_state(), file)
    assert export("--arch", "vgg19", weights=file)[0] == 2
    assert "expected 'features.16.weight' of shape [256, 256, 3, 3]" in one_line_of_error(capsys)
    torch.save(torch.zeros(3), file)
    assert export("--arch", "vgg19", weights=file)[0] == 2
    assert "expected 'features.0.weight'" in one_line_of_error(capsys)


def test_graphs_that_disagree_with_torch_are_not_written(export, monkeypatch, capsys):
    code, path, gradient = export("--until", "relu2_1")
    capsys.readouterr()
    before = path.read_bytes(), gradient.read_bytes()
    shifted = vgg.Normalization("wrong", "BGR", 1.0, MEAN, STD)
    monkeypatch.setattr(vgg, "TORCHVISION", shifted)
    assert (code, export("--until", "relu2_1")[0]) == (0, 2)
    assert "differ from PyTorch" in one_line_of_error(capsys)
    assert (path.read_bytes(), gradient.read_bytes()) == before
    assert sorted(path.parent.iterdir()) == [path, gradient]


# --- torchvision without its compiled operators ----------------------------------------------------------


def test_other_failures_of_torchvision_are_not_masked(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::roi_align does not exist")

    broken = types.ModuleType("torchvision")
    broken.__getattr__ = fail
    monkeypatch.setitem(sys.modules, "torchvision", broken)
    with pytest.raises(RuntimeError, match="roi_align"):
        torchvision_vgg.import_models()


@pytest.mark.parametrize("missing", ["torch", "torchvision"])
def test_a_missing_framework_is_one_line(export, monkeypatch, capsys, missing):
    monkeypatch.delitem(sys.modules, "tools.export.torchvision_vgg", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    assert export()[0] == 2
    assert f"needs {missing}, which is not installed" in one_line_of_error(capsys)
