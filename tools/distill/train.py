"""The training loop: pictures, loss, optimiser, checkpoints (PyTorch)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tools.distill.model import STYLE_LAYERS, Goals, Student, gram, load_student, load_teacher

log = logging.getLogger("distill")

# Extensions of the files that are read.
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

# Steps from one line of the log to the next.
LOG_EVERY = 100

# Longer side in pixels, at most, of the pictures, which are all kept in memory.
LONGEST_SIDE = 640


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of `train`."""

    images: tuple[tuple[Path, float], ...]  # folders and how often a crop comes from each
    teacher: str
    checkpoint: Path
    minutes: float
    pooling: str = "average"  # of student and teacher
    start: Path | None = None  # a feature network to begin with
    deepest_share: float = 1.0  # weight of relu5_1, which is no style layer by default
    steps: int = 10**9
    batch: int = 4
    crop: int = 144
    rate: float = 0.008  # of Muon, for the convolutions
    bias_rate: float = 0.2  # of Adam, as a share of `rate`
    gram_weight: float = 1.0
    hint_weight: float = 0.5
    seed: int = 0
    threads: int = 0


class Crops:
    """Random augmented crops of the pictures in weighted folders."""

    def __init__(self, folders: Sequence[tuple[Path, float]], crop: int, rng: np.random.Generator) -> None:
        self.pictures = [load_folder(folder) for folder, _ in folders]
        weights = np.array([weight for _, weight in folders])
        self.shares, self.crop, self.rng = weights / weights.sum(), crop, rng

    def one(self) -> np.ndarray:
        """Return one crop [crop,crop,3], float32 RGB in [0,1]: any scale, flipped, colours jittered."""
        rng = self.rng
        folder = self.pictures[rng.choice(len(self.pictures), p=self.shares)]
        picture = folder[rng.integers(len(folder))]
        shortest = min(picture.shape[:2])
        side = round(math.exp(rng.uniform(math.log(min(self.crop, shortest)), math.log(shortest))))
        top, left = (rng.integers(length - side + 1) for length in picture.shape[:2])
        piece = picture[top : top + side, left : left + side, ::-1]  # OpenCV's BGR
        piece = cv2.resize(np.ascontiguousarray(piece), (self.crop, self.crop), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        piece = piece.astype(np.float32) / 255
        if rng.random() < 0.5:
            gain, lift = rng.uniform(0.75, 1.25, 3), rng.uniform(-0.1, 0.1, 3)
            piece = piece * gain.astype(np.float32) + lift.astype(np.float32)
        return np.clip(piece, 0, 1)

    def batch(self, count: int) -> Tensor:
        """Return `count` images [N,3,crop,crop]: crops, some blended with another, some noisy.

        Blends and noise look like the pictures that an optimisation passes through.
        """
        images = []
        for _ in range(count):
            image = self.one()
            if self.rng.random() < 0.25:
                image = image + np.float32(self.rng.uniform(0, 0.5)) * (self.one() - image)
            if self.rng.random() < 0.4:
                level = 10 ** self.rng.uniform(-2.5, -0.8)
                image = image + self.rng.normal(0, level, image.shape).astype(np.float32)
            images.append(np.clip(image, 0, 1))
        stack = np.stack(images).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(stack)).to(memory_format=torch.channels_last)


def load_folder(folder: Path) -> list[np.ndarray]:
    """Return the pictures below `folder`, uint8 BGR, at most `LONGEST_SIDE` long."""
    pictures = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None or min(picture.shape[:2]) < 32:
            continue
        factor = LONGEST_SIDE / max(picture.shape[:2])
        if factor < 1:
            picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    if not pictures:
        raise SystemExit(f"no pictures in {folder}: expected files ending in {', '.join(sorted(SUFFIXES))}")
    return pictures


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates, for matrices (Jordan et al., "Muon", 2024).

    A convolution's kernel is taken as the matrix [outputs, inputs·height·width].
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                velocity = state.setdefault("velocity", torch.zeros_like(parameter))
                velocity.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(velocity, group["momentum"])
                matrix = orthogonalized(update.flatten(1))
                scale = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
                parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return about U Vᵀ of the singular value decomposition of `matrix`, by a Newton–Schulz iteration.

    Each step is X ← p(X Xᵀ) X. All p(X Xᵀ) commute, so the products of small matrices are computed first.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    square, factor = x @ x.T, torch.eye(x.shape[0])
    for _ in range(steps):
        p = 3.4445 * torch.eye(x.shape[0]) + square @ (2.0315 * square - 4.7750 * torch.eye(x.shape[0]))
        factor, square = p @ factor, p @ square @ p
    return (factor @ x) if matrix.shape[0] <= matrix.shape[1] else (factor @ x).T


def losses(outputs: Sequence[Tensor], targets: Sequence[Tensor], projection: Goals) -> tuple[Tensor, Tensor]:
    """Return the features' error and the Gram matrices' error [5] of each layer.

    Features: Σ_k e_k^-½ (ŷ_k − y_k)² / Σ_k e_k^½, which is 1 for ŷ = 0. The weights e_k^-½ lie between the
    plain error (only the first direction counts) and the whitened one (noise counts as much as it).
    Gram: ‖Ĝ − G‖² / ½(‖Ĝ‖² + ‖G‖²) of each crop: near the target the relative style loss itself, but bounded.
    """
    features, grams = [], []
    for index, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        energy = projection.energy(index).clamp_min(1e-7)
        error = (output - target).square().mean((0, 2, 3))
        features.append((error * energy.rsqrt()).sum() / energy.sqrt().sum())
        ours, theirs = gram(output), gram(target)
        mean_square = (ours.square() + theirs.square()).sum((1, 2)) / 2
        ratio = (ours - theirs).square().sum((1, 2)) / (mean_square + 1e-3)
        grams.append(ratio.mean())
    return torch.stack(features), torch.stack(grams)


def hint_loss(trunk: Sequence[Tensor], goals: Sequence[Tensor]) -> Tensor:
    """Return the squared error of the trunk's features against the teacher's, scaled to unit energy.

    Mean over channels and sum over layers of E(ŷ − y)² with E y² = 1. The hints fix which channel of the
    student is to become which one of the teacher; without them, training gets stuck in matching the channels.
    0 without hints, or where they have another width.
    """
    errors = [torch.zeros(())]
    for features, goal in zip(trunk, goals, strict=False):
        if features.shape == goal.shape:
            errors.append((features - goal).square().mean())
    return torch.stack(errors).sum()


def measure_goals(teacher: nn.Module, crops: Crops, batches: int = 40) -> Goals:
    """Measure the bases and scales of `Goals` over random crops."""
    grams, squares = [], []
    with torch.no_grad():
        for _ in range(batches):
            features, trunk = teacher(crops.batch(8))
            grams.append([gram(f).mean(0) for f in features])
            squares.append([f.square().mean((0, 2, 3)) for f in trunk])

    def means(rows: list[list[Tensor]]) -> list[Tensor]:
        return [torch.stack(layer).mean(0) for layer in zip(*rows, strict=True)]

    return Goals(means(grams), means(squares))


def fit_heads(student: Student, teacher: nn.Module, goals: Goals, crops: Crops, batches: int = 20) -> None:
    """Change the last layer of each head so that its outputs predict `goals` best, in least squares.

    A student that begins with the weights of another one has heads for the coordinates of that one.
    """
    products: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for _ in range(batches):
            images = crops.batch(8)
            pairs = zip(student(images)[0], goals(teacher(images)[0]), strict=True)
            for index, (output, goal) in enumerate(pairs):
                flat = output.transpose(0, 1).flatten(1).double()
                flat = torch.cat([flat, torch.ones_like(flat[:1])])
                new = (flat @ flat.T, flat @ goal.transpose(0, 1).flatten(1).double().T)
                if index == len(products):
                    products.append(new)
                else:
                    for total, part in zip(products[index], new, strict=True):
                        total.add_(part)
        for head, (own, cross) in zip(student.heads, products, strict=True):
            last = head[1]
            ridge = 1e-6 * own.diagonal().mean() * torch.eye(len(own), dtype=own.dtype)
            matrix = torch.linalg.solve(own + ridge, cross).T.float()  # [K, K + 1]
            last.bias.copy_(matrix[:, :-1] @ last.bias + matrix[:, -1])
            last.weight.copy_(torch.einsum("kj,jihw->kihw", matrix[:, :-1], last.weight))


def save(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint through a temporary file, so that a killed process leaves the last one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


class Running:
    """Means of the losses since the last line of the log."""

    def __init__(self) -> None:
        self.sums, self.count = np.zeros(2 * len(STYLE_LAYERS) + 1), 0

    def add(self, features: Tensor, grams: Tensor, hint: Tensor) -> None:
        """Count one step."""
        self.sums += [*features.tolist(), *grams.tolist(), float(hint.detach())]
        self.count += 1

    def report(self, step: int, seconds: float) -> None:
        """Log the means and reset them."""
        *each, hint = self.sums / self.count
        pairs = zip(STYLE_LAYERS, each[: len(STYLE_LAYERS)], each[len(STYLE_LAYERS) :], strict=True)
        table = "  ".join(f"{layer} {features:.4f}/{grams:.4f}" for layer, features, grams in pairs)
        log.info("%6d  %5.1f min  %s  hints %.3f", step, seconds / 60, table, hint)
        self.sums, self.count = np.zeros_like(self.sums), 0


def train(settings: Settings) -> None:
    """Train a student, or resume from the checkpoint, until `minutes` of training are spent."""
    torch.manual_seed(settings.seed)
    torch.set_flush_denormal(True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    resumed = torch.load(settings.checkpoint, weights_only=True) if settings.checkpoint.exists() else None
    rng = np.random.default_rng([settings.seed, resumed["step"] if resumed else 0])
    crops = Crops(settings.images, settings.crop, rng)
    teacher = load_teacher(settings.teacher, settings.pooling).to(memory_format=torch.channels_last)
    begun = settings.start is not None
    student = load_student(settings.start, settings.pooling) if begun else Student(settings.pooling)
    student = student.to(memory_format=torch.channels_last)
    # Resumed, one batch gives the shapes and the checkpoint the values.
    projection = measure_goals(teacher, crops, batches=1 if resumed else 40)
    if begun and not resumed:
        fit_heads(student, teacher, projection, crops)
    shares = torch.tensor([1.0] * (len(STYLE_LAYERS) - 1) + [settings.deepest_share])
    kernels, biases = student.parameters_by_kind()
    rates = (settings.rate, settings.rate * settings.bias_rate)
    optimizers = [Muon(kernels, rates[0]), torch.optim.Adam(biases, rates[1], betas=(0.9, 0.98))]
    average = torch.optim.swa_utils.AveragedModel(
        student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    step, spent = 0, 0.0
    if resumed:
        student.load_state_dict(resumed["student"])
        average.module.load_state_dict(resumed["average"])
        projection.load_state_dict(resumed["projection"])
        for optimizer, state in zip(optimizers, resumed["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent = resumed["step"], resumed["seconds"]
        average.n_averaged.fill_(step)  # at 0 it would restart from the student

    def checkpoint() -> None:
        state = {
            "student": student.state_dict(),
            "average": average.module.state_dict(),
            "projection": projection.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
            "seconds": spent,
            "teacher": Path(settings.teacher).name,
            "pooling": settings.pooling,
        }
        save(settings.checkpoint, state)

    start, saved, running = time.monotonic() - spent, time.monotonic(), Running()
    while (spent := time.monotonic() - start) < settings.minutes * 60 and step < settings.steps:
        share = spent / (settings.minutes * 60)
        # Muon's steps have one length whatever the gradient's, so the rate sets the noise that remains.
        factor = min(1.0, (step + 1) / 200) * (1 - share) ** 2
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
        images = crops.batch(settings.batch)
        with torch.no_grad():
            features, trunk = teacher(images)
            goals, hints = projection(features), projection.scaled(trunk)
        outputs, trunk = student(images)
        features, grams = losses(outputs, goals, projection)
        hint = hint_loss(trunk, hints)
        loss = (shares * (features + settings.gram_weight * grams)).sum() + settings.hint_weight * hint
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update_parameters(student)
        step += 1
        running.add(features, grams, hint)
        if step % LOG_EVERY == 0:
            running.report(step, spent)
        if time.monotonic() - saved > 120:
            checkpoint()
            saved = time.monotonic()
    checkpoint()
