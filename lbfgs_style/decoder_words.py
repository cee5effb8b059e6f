"""What the decoders behind OpenCV write on stderr, past every setting: caught, and told where it matters.

Only for the command: stderr belongs to the whole process, and so to the program, not to the library.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_OURS = ("lbfgs-style: ", "lbfgs_style")  # what we say, and what the library logs
# How OpenCV's log begins: level and time, thread, place in its source, function.
_OPENCV = re.compile(r"^\[ *(ERROR|WARN)\S*\] \S+ \S+ \S+ ")
_STDERR = 2
_MOST = 1 << 16


@contextmanager
def heard(name: str) -> Generator[None]:
    """Keep stderr for our own lines while pictures are read.

    libjpeg reads on where a JPEG is damaged in its middle, and says so there alone: that becomes a warning.
    So does every error that OpenCV logs while it reads a picture all the same, whatever the format; its log
    is made to speak for that time.

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
    import cv2

    opencv, well = cv2.utils.logging, False
    level = opencv.setLogLevel(opencv.LOG_LEVEL_WARNING)
    try:
        os.dup2(caught.fileno(), _STDERR)
        yield
        well = True
    finally:
        opencv.setLogLevel(level)
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
        elif well and not told and _is_damage(line):
            words = _OPENCV.sub("", line)
            log.warning("%s: may be damaged in its middle, and is read as far as it goes (%s)", name, words)
            told = True
        else:
            log.debug("%s: %s", name, line)


def _is_damage(line: str) -> bool:
    """Tell whether a line is about damage: OpenCV's errors, and what libjpeg says, inside a TIFF too."""
    if line.startswith("["):
        return line.startswith("[ERROR") or " JPEGLib: Corrupt" in line
    return not line.startswith("libpng")
