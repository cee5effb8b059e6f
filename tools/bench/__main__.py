"""Side-by-side measurements; tools/README.md has their figures, each with the command that printed it.

    python -m tools.bench evaluate --size 512
    python -m tools.bench accuracy
    python -m tools.bench convolution
    python -m tools.bench convergence --photos a.jpg,b.jpg --paintings c.jpg
    python -m tools.bench variables --photos a.jpg,b.jpg --paintings c.jpg
    python -m tools.bench keras --photo a.jpg --painting c.jpg
    python -m tools.bench memory --sizes 256 512 1024
    python -m tools.bench large --sizes 1024 4096 --memory 2GB 3GB
    python -m tools.bench startup
    python -m tools.bench vectors --size 512
    python -m tools.bench video --clips a.mp4 b.mp4 --size 320
    python -m tools.bench flow
    python -m tools.bench interrupt --sizes 4096 8192 --memory 3GB 5GB

All but flow, large, interrupt, startup, vectors and video need the extra `bench`: PyTorch; matplotlib for
plots.
Run it on a quiet machine: all sides are timed in turn within one run; quote medians and ratios.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from lbfgs_style import Options, VideoOptions
from lbfgs_style.system.byte_sizes import parse_bytes
from tools.bench import memory

# What evaluates a network: PyTorch as it is or compiled, or one of our forms of convolutions.
PROGRAMS = ("PyTorch", "PyTorch, compiled", "native", "winograd", "direct")

# Measurement → its help.
MEASUREMENTS = {
    "evaluate": "seconds of one evaluation of loss and gradient, in PyTorch and here",
    "accuracy": "gradients against float64's, away from the kinks of the ReLUs",
    "convolution": "seconds of single 3×3 convolutions in both forms",
    "convergence": "loss against seconds: our defaults and PyTorch's optimisers",
    "keras": "what the steps of Keras' example are worth in evaluations",
    "variables": "losses after the same work for each kind of variables",
    "memory": "peak memory of evaluations",
    "startup": "seconds until the first iteration, and installed size",
    "large": "large pictures within a budget of memory",
    "vectors": "seconds of whole images: vectors of L-BFGS in NumPy, and on the device",
    "video": "flicker, drift and time of videos",
    "flow": "optical flow against the true one",
    "interrupt": "seconds from Ctrl-C to the end of the process",
}

# Measurement → the module that has it, where that has another name.
MODULES = {"accuracy": "evaluate", "convolution": "evaluate", "flow": "video"}


def machine() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def show(result: Mapping[str, object]) -> None:
    """Print a result as lines of text."""
    print(f"{result['title']}; {result['threads']} threads, {result['machine']}")
    units = {
        "seconds": ("9.4f", "s"),
        "counts": ("9.0f", ""),
        "ratios": ("9.2f", "×"),
        "losses": ("9.4f", ""),
        "differences": ("9.1e", ""),
        "errors": ("9.6f", ""),
        "MB": ("9.0f", "MB"),
        "GFLOP/s": ("9.0f", "GFLOP/s"),
        "GB/s": ("9.1f", "GB/s"),
    }
    for kind, (form, unit) in units.items():
        rows = result.get(kind, {})
        assert isinstance(rows, Mapping)
        for name, value in rows.items():
            print(f"  {name:46} {value:{form}} {unit}")


def size_in_bytes(text: str) -> int:
    """Parse an amount of memory such as 3GB."""
    return parse_bytes(text, "--memory")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers with commas between them."""
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    """Parse the command line and run one measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measurements = parser.add_subparsers(required=True)

    def measurement(command: str, **defaults: int) -> argparse.ArgumentParser:
        one = measurements.add_parser(command, help=MEASUREMENTS[command])
        for name, default in defaults.items():
            one.add_argument(f"--{name}", type=int, default=default)
        one.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        one.add_argument("--json", action="store_true", help="for programs")
        one.set_defaults(measurement=command)
        return one

    one = measurement("evaluate", size=512, rounds=5)
    one.add_argument("--networks", nargs="+", default=["vgg19", "compact"], help="vgg19 has random weights")
    one.add_argument(
        "--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="the first is the base"
    )
    one.add_argument("--instructions", help="instruction set of the native operators, such as avx2")
    measurement("accuracy", size=256)
    measurement("convolution", rounds=5)
    one = measurement("convergence", size=512, iterations=500, history=Options().history)
    one.add_argument("--photos", required=True, metavar="A,B,…")
    one.add_argument("--paintings", required=True, metavar="A,B,…")
    one.add_argument("--network", default="compact", help="a network, or random-vgg19")
    one.add_argument("--init", choices=("content", "noise"), default="content", help="where all sides start")
    one.add_argument("--all", action="store_true", help="Adam and gradient descent, too")
    one.add_argument("--in-pairs", action="store_true", help="the first photo with the first painting, …")
    one.add_argument("--ours", type=whole_numbers, metavar="A,B,…", help="iterations of our scales")
    one.add_argument("--as-vgg19", action="store_true", help="the seconds of VGG19-sized evaluations")
    one.add_argument("--plot", type=Path, help="picture to draw (needs matplotlib)")
    one = measurement("keras", size=256, ours=200)
    one.add_argument("--photo", required=True)
    one.add_argument("--painting", required=True)
    one = measurement("variables", size=256, iterations=120, history=Options().history)
    one.add_argument("--photos", required=True, metavar="A,B,…")
    one.add_argument("--paintings", required=True, metavar="A,B,…")
    one = measurement("memory")
    one.add_argument("--sizes", type=int, nargs="+", default=[512])
    one.add_argument("--sides", nargs="+", choices=memory.SIDES, default=memory.SIDES)
    one = measurement("startup", size=512, rounds=5)
    one.add_argument("--python", default=sys.executable, help="of the environment to time")
    one = measurement("vectors", size=512, rounds=3)
    one.add_argument("--network", default="compact")
    one.add_argument("--device", default="cpu")
    one = measurement("large", iterations=4)
    one.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096])
    one.add_argument("--memory", type=size_in_bytes, nargs="+", default=[2 * 10**9, 3 * 10**9])
    one.add_argument("--network", default="compact")
    one = measurement("video", size=320, frames=101, iterations=VideoOptions().frame_iterations)
    one.add_argument("--clips", type=Path, nargs="+", default=[], help="films to measure, too")
    one.add_argument("--synthetic", action=argparse.BooleanOptionalAction, default=True)
    one.add_argument("--painting", default="tests/data/painting.jpg")
    one.add_argument("--temporal", type=float, default=VideoOptions().temporal)
    one.add_argument("--plot", type=Path, help="picture of the drift to draw (needs matplotlib)")
    measurement("flow", size=320, frames=101)
    one = measurement("interrupt")
    one.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    one.add_argument("--memory", type=size_in_bytes, nargs="+", default=[2 * 10**9, 3 * 10**9])
    one.add_argument("--after", type=float, default=6.0, help="seconds until the signal while it prepares")
    one.add_argument("--network", default="compact")
    arguments = parser.parse_args()
    name = arguments.measurement
    # Imported late: most, but not all, need PyTorch.
    module = importlib.import_module(f"tools.bench.{MODULES.get(name, name)}")
    result = {"machine": machine(), "threads": arguments.threads, **getattr(module, name)(arguments)}
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
