"""The command ``lbfgs-style``: its subcommands, and the exit code of each error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..errors import StyleError
from ..native.library import describe
from ..version import __version__
from . import batch, inspection, looks, measure_style, networks, presets, rerun, serve, transfer, video
from .signals import INTERRUPTED
from .streams import finish_output, prepare, print_message

MISUSED = 2

app = typer.Typer(
    help="Paint an image in the style of another: neural style transfer without a deep-learning framework.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=transfer.EPILOG)(transfer.transfer)
app.command()(batch.batch)
app.command(epilog=video.EPILOG)(video.video)
app.command()(rerun.rerun)
app.command()(serve.serve)
app.command()(measure_style.style)
app.command()(inspection.grid)
app.command()(looks.looks)
app.command()(inspection.reconstruct)
app.command("presets")(presets.show_presets)
app.add_typer(networks.app, name="networks")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lbfgs-style {__version__} ({describe()})")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options before the subcommand."""


def main() -> None:
    """Run the command; a user error becomes one line on stderr and exit code 2."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # its warnings would repeat our messages
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # and those of FFmpeg, which decodes films
    prepare()
    code = exit_code(lambda: app(standalone_mode=False))
    unwritten = finish_output()
    if unwritten is not None and code == 0:
        print_message(f"standard output: cannot be written: {unwritten.strerror}")
        code = MISUSED
    if code == INTERRUPTED:
        # Threads may still run in C on cancelled work: Python's normal exit would wait for them or crash.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _help_of(error: Any) -> str:
    """Return the command that shows the help for a usage error."""
    names: list[str] = []
    context = getattr(error, "ctx", None)
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(["lbfgs-style", *names, "--help"])


def exit_code(run: Callable[[], object]) -> int:
    """Run a command and return its exit code; print a user error as one line."""
    # Typer's base class of usage errors has no public name since Typer bundles click.
    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        code = run()
    except StyleError as error:
        print_message(str(error))
        return MISUSED
    except usage_error as error:
        message = error.format_message()
        if message:  # empty where the help was shown because arguments are missing
            print_message(f"{message} (see {_help_of(error)})")
        return MISUSED
    except OSError as error:  # a full disk, a name that is too long
        print_message(f"{error.filename or 'cannot read or write'}: {error.strerror or error}")
        return MISUSED
    except MemoryError:
        print_message(
            "not enough memory for images of this size: choose a smaller --size, or a budget with --memory"
        )
        return MISUSED
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else 0
