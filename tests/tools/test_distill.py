"""The tools that train the bundled network, on tiny pictures and random weights."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lbfgs_style import images, networks

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tools.distill import export, train  # noqa: E402 (needs torch)
from tools.distill.model import (  # noqa: E402
    COORDINATES,
    DEFAULT_STYLE_LAYERS,
    LAYOUT,
    STYLE_LAYERS,
    Goals,
    Student,
    gram,
    load_teacher,
)

WIDTHS = {"conv1": 4, "conv2": 5, "conv3": 6, "conv4": 7, "conv5": 7}


@pytest.fixture
def teacher_file(tmp_path: Path) -> Path:
    """Write a narrow random teacher in the format of the real one."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"conv0.weight": np.eye(3)[:, :, None, None], "conv0.bias": np.zeros(3)}
    before = 3
    for block, count in enumerate(LAYOUT, start=1):
        width = WIDTHS[f"conv{block}"]
        for index in range(1, count + 1):
            scale = np.sqrt(2 / (9 * before))
            arrays[f"conv{block}{index}.weight"] = rng.normal(0, scale, (width, before, 3, 3))
            arrays[f"conv{block}{index}.bias"] = rng.uniform(0, 0.1, width)
            before = width
        arrays[f"conv{block}1_aux.weight"] = rng.normal(0, 0.5, (8, width, 1, 1))
        arrays[f"conv{block}1_aux.bias"] = rng.uniform(0, 0.1, 8)
    path = tmp_path / "teacher.npz"
    np.savez(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    return path


def run_onnx(model: object, image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(list(STYLE_LAYERS), {"image": image})


def assert_close(actual: list[np.ndarray], expected: list) -> None:
    for a, b in zip(actual, expected, strict=True):
        reference = b.detach().numpy()
        assert np.linalg.norm(a - reference) <= 1e-4 * np.linalg.norm(reference)


def test_exported_student_computes_what_was_trained() -> None:
    torch.manual_seed(1)
    student = Student()
    for head in student.heads:
        torch.nn.init.normal_(head[1].weight)
    image = np.random.default_rng(2).uniform(0, 1, (1, 3, 37, 50)).astype(np.float32)
    model = export.student_model(student.state_dict())
    assert_close(run_onnx(model, image), student(torch.from_numpy(image))[0])
    network = networks.from_model(model)
    networks.verify(network)
    assert network.style_layers == DEFAULT_STYLE_LAYERS == STYLE_LAYERS[:4]
    assert {"relu1_2", "relu4_2"} < set(network.layers)


def test_exported_teacher_computes_what_torch_does(teacher_file: Path) -> None:
    image = np.random.default_rng(2).uniform(0, 1, (1, 3, 37, 50)).astype(np.float32)
    teacher = load_teacher(str(teacher_file))
    model = export.teacher_model(teacher_file)
    assert_close(run_onnx(model, image), teacher(torch.from_numpy(image))[0])


def test_projection_keeps_gram_distances() -> None:
    """All directions kept, so that the distances are those of the features, but for the factor trace²."""
    torch.manual_seed(0)
    features = [torch.randn(1, count, 9, 9) for count in COORDINATES]
    others = [torch.randn(1, count, 9, 9) for count in COORDINATES]
    grams = [gram(f)[0] for f in features]
    projection = Goals(grams)
    for g, f, other, z, w in zip(
        grams, features, others, projection(features), projection(others), strict=True
    ):
        exact = (gram(f) - gram(other)).square().sum() / g.trace() ** 2
        ours = (gram(z) - gram(w)).square().sum()
        assert float(ours) == pytest.approx(float(exact), rel=1e-3)
        assert float(gram(z)[0].trace()) == pytest.approx(1, rel=1e-4)


def test_orthogonalized_evens_out_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((6, 40), (40, 6)):
        values = torch.linalg.svdvals(train.orthogonalized(torch.randn(shape)))
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.3


def test_training_learns_and_resumes_from_its_checkpoint(
    tmp_path: Path, teacher_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        coarse = rng.uniform(0, 1, (6, 6, 3)).astype(np.float32)
        images.write(folder / f"{index}.png", images.from_array(images.resize(coarse, (48, 48))))
    monkeypatch.setattr("tools.distill.model.COORDINATES", (4, 4, 4, 4, 4))
    monkeypatch.setattr(train, "LOG_EVERY", 10)
    checkpoint = tmp_path / "c.pt"
    settings = train.Settings(
        images=((folder, 1.0),),
        teacher=str(teacher_file),
        checkpoint=checkpoint,
        minutes=60,
        steps=30,
        batch=2,
        crop=32,
        hint_weight=0,
        threads=1,  # tiny tensors: more threads only wait for each other
    )
    with caplog.at_level(logging.INFO):
        train.train(settings)
    assert torch.load(checkpoint, weights_only=True)["step"] == 30
    with caplog.at_level(logging.INFO):
        train.train(dataclasses.replace(settings, steps=50))
    assert torch.load(checkpoint, weights_only=True)["step"] == 50
    average = torch.load(checkpoint, weights_only=True)["average"]["blocks.0.0.weight"]
    train.train(dataclasses.replace(settings, steps=51))
    later = torch.load(checkpoint, weights_only=True)
    # One step moves an average over hundreds of steps by next to nothing of its distance from the student.
    moved = (later["average"]["blocks.0.0.weight"] - average).norm()
    assert moved < 0.1 * (later["student"]["blocks.0.0.weight"] - average).norm()
    errors = [float(re.search(r"relu3_1 ([0-9.]+)/", m).group(1)) for m in caplog.messages if "relu3_1" in m]
    assert len(errors) == 5
    assert errors[-1] < errors[0]
