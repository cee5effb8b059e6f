"""Options that several commands have, each written once: its names, its help, its limits."""

from __future__ import annotations

from typing import Annotated

import typer

Network = Annotated[
    str, typer.Option(help="compact, vgg19, vgg16, vgg19-caffe, vgg16-caffe, or an .onnx file.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 takes one for each physical core.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite/--no-overwrite", help="Replace an output that is there, or refuse to."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1,
        help="Largest height × width of a picture that is read; others are refused unpacked.",
        metavar="N",
    ),
]
