"""What the decoders behind OpenCV write on stderr, past every setting: caught, and told where it matters.

Only for the command: stderr belongs to the whole process, and so to the program, not to the library.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_OURS = ("lbfgs-style: ", "lbfgs_style")  # what we say, and what the library logs
_STDERR = 2
_MOST = 1 << 16


@contextmanager
def heard(name: str) -> Generator[None]:
    """Keep stderr for our own lines while pictures are read.

    libjpeg reads on where a JPEG is damaged in its middle, and says so there alone: that becomes a warning.

    Parameters
    ----------
    name : str
        What the warning calls the picture.
    """
    try:
        stderr = os.dup(_STDERR)
    except OSError:  # there is none
        yield
        return
    try:
        caught = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    except OSError:  # there is no place to keep what comes
        os.close(stderr)
        yield
        return
    well = False
    try:
        os.dup2(caught.fileno(), _STDERR)
        yield
        well = True
    finally:
        os.dup2(stderr, _STDERR)
        os.close(stderr)
        with caught:
            caught.seek(0)
            lines = caught.read(_MOST).decode(errors="replace").splitlines()
        _tell(name, [line for line in lines if line.strip()], well=well)


def _tell(name: str, lines: list[str], *, well: bool) -> None:
    told = False
    for line in lines:
        if line.startswith(_OURS):
            sys.stderr.write(line + "\n")
        elif well and not told and not line.startswith(("libpng", "[")):
            log.warning("%s: may be damaged in its middle, and is read as far as it goes (%s)", name, line)
            told = True
        else:
            log.debug("%s: %s", name, line)
