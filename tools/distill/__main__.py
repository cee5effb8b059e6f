"""Train the bundled network `compact` to see style as a teacher does, and measure how well it does.

    python -m tools.distill train --images photos --images paintings --teacher t.npz --checkpoint c.pt
    python -m tools.distill export --checkpoint c.pt --output models/compact.onnx
    python -m tools.distill evaluate --photos a.jpg,b.jpg --paintings c.jpg --teacher t.npz

`train` fits features over crops of photos and paintings; it resumes from the checkpoint if there is one. A
teacher is an .npz file (see `tools.distill.model.BranchTeacher`) or ``vgg19`` for torchvision's VGG19.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def weighted_folder(text: str) -> tuple[Path, float]:
    """Parse ``FOLDER`` or ``FOLDER:WEIGHT``."""
    folder, _, weight = text.rpartition(":")
    return (Path(folder), float(weight)) if folder else (Path(text), 1.0)


def train(arguments: argparse.Namespace) -> None:
    """Train, or resume from the checkpoint."""
    from tools.distill.train import Settings, train

    settings = Settings(
        images=tuple(arguments.images),
        teacher=arguments.teacher,
        checkpoint=arguments.checkpoint,
        minutes=arguments.minutes,
        pooling=arguments.pooling,
        start=arguments.start,
        deepest_share=arguments.deepest_share,
        batch=arguments.batch,
        crop=arguments.crop,
        rate=arguments.rate,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    train(settings)


def export(arguments: argparse.Namespace) -> None:
    """Write the network of a checkpoint as a feature network."""
    from tools.distill.export import export

    export(arguments.checkpoint, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB")


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the table of the model card and, if asked, write its contact sheet."""
    from tools.distill.evaluate import evaluate

    evaluate(
        arguments.photos,
        arguments.paintings,
        teacher=arguments.teacher,
        network=arguments.network,
        pooling=arguments.pooling,
        size=arguments.size,
        iterations=arguments.iterations,
        sheet=arguments.sheet,
        results_only=arguments.results_only,
    )


def paths(text: str) -> list[Path]:
    """Parse a list of paths with commas between them."""
    return [Path(part) for part in text.split(",")]


def main() -> None:
    """Parse the command line and run one step."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(required=True)
    step = steps.add_parser("train", help=train.__doc__)
    step.add_argument(
        "--images", type=weighted_folder, action="append", required=True, metavar="FOLDER[:WEIGHT]"
    )
    step.add_argument("--teacher", required=True, help="an .npz file, or vgg19")
    step.add_argument("--checkpoint", type=Path, required=True)
    step.add_argument(
        "--minutes", type=float, default=120, help="training time in all, resumed runs included"
    )
    step.add_argument("--pooling", choices=["average", "max"], default="average")
    step.add_argument("--start", type=Path, help="a feature network of `export`, whose weights are the first")
    step.add_argument("--deepest-share", type=float, default=1.0, help="weight of relu5_1 in the loss")
    step.add_argument("--batch", type=int, default=4)
    step.add_argument("--crop", type=int, default=144)
    step.add_argument("--rate", type=float, default=0.008, help="learning rate of the convolutions")
    step.add_argument("--seed", type=int, default=0)
    step.add_argument("--threads", type=int, default=0)
    step.set_defaults(run=train)
    step = steps.add_parser("export", help=export.__doc__)
    step.add_argument("--checkpoint", type=Path, required=True)
    step.add_argument("--output", type=Path, default=Path("models/compact.onnx"))
    step.set_defaults(run=export)
    step = steps.add_parser("evaluate", help=evaluate.__doc__)
    step.add_argument("--photos", type=paths, required=True, metavar="A,B,…")
    step.add_argument("--paintings", type=paths, required=True, metavar="A,B,…")
    step.add_argument("--teacher", type=Path, required=True, help="an .npz file")
    step.add_argument("--network", default="compact")
    step.add_argument("--pooling", choices=["average", "max"], default="max", help="the network's own")
    step.add_argument("--size", type=int, default=256)
    step.add_argument("--iterations", type=int, default=150)
    step.add_argument("--sheet", type=Path, help="contact sheet to write (.jpg)")
    step.add_argument("--results-only", action="store_true", help="leave photos and paintings off the sheet")
    step.set_defaults(run=evaluate)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
