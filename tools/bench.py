"""Side-by-side measurements; every figure in the README names the command of this file that printed it.

    python tools/bench.py evaluate --size 512
    python tools/bench.py accuracy
    python tools/bench.py convolution
    python tools/bench.py convergence --photos a.jpg,b.jpg --paintings c.jpg
    python tools/bench.py variables --photos a.jpg,b.jpg --paintings c.jpg
    python tools/bench.py keras --photo a.jpg --painting c.jpg
    python tools/bench.py memory --sizes 256 512 1024
    python tools/bench.py large --sizes 1024 4096 --memory 2GB 3GB
    python tools/bench.py startup
    python tools/bench.py interrupt --sizes 4096 8192 --memory 3GB 5GB

Needs the extra `bench` (PyTorch for the other side, matplotlib for the plot). Run it on a quiet machine: all
sides are timed in turn within one run, and medians and ratios are what to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lbfgs_style import Options
from lbfgs_style.system.byte_sizes import parse_bytes


def machine() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  # not a file of ours
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def show(result: Mapping[str, object]) -> None:
    """Print a result for people."""
    print(f"{result['title']}; {result['threads']} threads, {result['machine']}")
    units = {
        "seconds": ("9.4f", "s"),
        "counts": ("9.0f", ""),
        "ratios": ("9.2f", "×"),
        "losses": ("9.4f", ""),
        "differences": ("9.1e", ""),
        "MB": ("9.0f", "MB"),
        "GFLOP/s": ("9.0f", "GFLOP/s"),
    }
    for kind, (form, unit) in units.items():
        rows = result.get(kind, {})
        assert isinstance(rows, Mapping)
        for name, value in rows.items():
            print(f"  {name:46} {value:{form}} {unit}")


def size_in_bytes(text: str) -> int:
    """Read an amount of memory such as 3GB."""
    return parse_bytes(text, "--memory")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers between commas."""
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    """Parse the command line and run one measurement."""
    from bench_convergence import convergence
    from bench_evaluate import accuracy, convolution, evaluate
    from bench_interrupt import interrupt
    from bench_keras import keras
    from bench_large import large
    from bench_memory import SIDES, memory
    from bench_startup import startup
    from bench_variables import variables

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measurements = parser.add_subparsers(required=True)

    def measurement(
        run: Callable[[argparse.Namespace], dict[str, object]], **defaults: int
    ) -> argparse.ArgumentParser:
        one = measurements.add_parser(run.__name__, help=run.__doc__)
        for name, default in defaults.items():
            one.add_argument(f"--{name}", type=int, default=default)
        one.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        one.add_argument("--json", action="store_true", help="for programs")
        one.set_defaults(run=run)
        return one

    measurement(evaluate, size=512, rounds=5)
    measurement(accuracy, size=256)
    measurement(convolution, rounds=5)
    one = measurement(convergence, size=512, iterations=500, history=Options().history)
    one.add_argument("--photos", required=True, metavar="A,B,…")
    one.add_argument("--paintings", required=True, metavar="A,B,…")
    one.add_argument("--network", default="compact", help="a network, or random-vgg19")
    one.add_argument("--init", choices=("content", "noise"), default="content", help="where all sides start")
    one.add_argument("--all", action="store_true", help="Adam and gradient descent, too")
    one.add_argument("--in-pairs", action="store_true", help="the first photo with the first painting, …")
    one.add_argument("--ours", type=whole_numbers, metavar="A,B,…", help="iterations of our scales")
    one.add_argument("--as-vgg19", action="store_true", help="the seconds of VGG19-sized evaluations")
    one.add_argument("--plot", type=Path, help="picture to draw (needs matplotlib)")
    one = measurement(keras, size=256, ours=200)
    one.add_argument("--photo", required=True)
    one.add_argument("--painting", required=True)
    one = measurement(variables, size=256, iterations=120, history=Options().history)
    one.add_argument("--photos", required=True, metavar="A,B,…")
    one.add_argument("--paintings", required=True, metavar="A,B,…")
    one = measurement(memory)
    one.add_argument("--sizes", type=int, nargs="+", default=[512])
    one.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    one = measurement(startup, size=512, rounds=5)
    one.add_argument("--python", default=sys.executable, help="of the environment to time")
    one = measurement(large, iterations=4)
    one.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096])
    one.add_argument("--memory", type=size_in_bytes, nargs="+", default=[2 * 10**9, 3 * 10**9])
    one.add_argument("--network", default="compact")
    one = measurement(interrupt)
    one.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    one.add_argument("--memory", type=size_in_bytes, nargs="+", default=[2 * 10**9, 3 * 10**9])
    one.add_argument("--after", type=float, default=6.0, help="seconds until the signal while it prepares")
    one.add_argument("--network", default="compact")
    arguments = parser.parse_args()
    result = {"machine": machine(), "threads": arguments.threads, **arguments.run(arguments)}
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
