from __future__ import annotations

import io
import json
import logging
import pickle
import re
import sys

import numpy as np
import pytest

from lbfgs_style.cli.progress import seconds_left, show_progress, show_series
from lbfgs_style.pipeline.results import Iterate

# 4 iterations of 100 pixels, then 2 of 400: 400 + 800 = 1200 units of work.
PLAN = (((10, 10), 4), ((20, 20), 2))


def iterate(scale, iteration, *, seconds=10.0, plan=PLAN):
    size, iterations = plan[scale - 1]
    return Iterate(
        scale=scale,
        scales=len(plan),
        size=size,
        iteration=iteration,
        iterations=iterations,
        plan=plan,
        evaluations=iteration + 1,
        loss=12.3456789,
        seconds=seconds,
        _terms=(("content relu4_1", 0.125), ("style relu1_1", 0.25), ("tv", 0.5)),
        _picture=np.zeros((3, *size)),
    )


@pytest.fixture(autouse=True)
def term(monkeypatch):
    """Set TERM to a terminal that can draw, whatever runs the tests."""
    monkeypatch.setenv("TERM", "xterm")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("scale", "iteration", "share"),
    [(1, 1, 1 / 12), (1, 2, 1 / 6), (1, 4, 1 / 3), (2, 1, 2 / 3), (2, 2, 1)],
)
def test_work_is_pixels_times_iterations(scale, iteration, share):
    assert iterate(scale, iteration).progress == pytest.approx(share)


@pytest.mark.parametrize(
    ("scale", "iteration", "seconds", "left"),
    [
        (1, 2, 10, 50),  # a sixth took 10 s: five more
        (2, 1, 30, 15),
        (2, 2, 99, 0),
    ],
)
def test_the_time_left_follows_from_the_work(scale, iteration, seconds, left):
    assert seconds_left(iterate(scale, iteration, seconds=seconds)) == pytest.approx(left)


def test_work_only_grows_even_if_a_scale_ends_early():
    plan = (((30, 40), 5), ((61, 79), 3), ((120, 160), 4))
    run = [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (3, 3), (3, 4)]
    shares = [iterate(scale, n, plan=plan).progress for scale, n in run]
    assert shares == sorted(set(shares))
    assert 0 < shares[0] < shares[-1] == 1


def test_quiet_shows_nothing(capsys):
    with show_progress(quiet=True, verbose=True) as show:
        show(iterate(1, 1))
    assert capsys.readouterr() == ("", "")


def test_plain_lines_where_there_is_no_terminal(capsys):
    with show_progress(quiet=False, verbose=False) as show:
        show(iterate(2, 1, seconds=150))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "scale 2/2 20×20  iteration 1/2  loss 12.346  1:15 left\n"


def test_width_comes_before_height(capsys):
    with show_progress(quiet=False, verbose=False) as show:
        show(iterate(1, 1, plan=(((30, 40), 5),)))
    assert "40×30" in capsys.readouterr().err


def test_plain_lines_are_few_unless_asked_for(capsys):
    plan = (((10, 10), 100),)
    for verbose, expected in ((False, [1, 20, 40, 60, 80, 100]), (True, list(range(1, 101)))):
        with show_progress(quiet=False, verbose=verbose) as show:
            for n in range(1, 101):
                show(iterate(1, n, plan=plan))
        err = capsys.readouterr().err
        assert [int(n) for n in re.findall(r"iteration (\d+)/100", err)] == expected
        assert ("content relu4_1 0.125  style relu1_1 0.25  tv 0.5\n" in err) == verbose


@pytest.mark.parametrize(
    ("seconds", "clock"), [(2.2, "0:02"), (9, "0:09"), (59.7, "1:00"), (61, "1:01"), (3600, "60:00")]
)
def test_time_is_minutes_and_seconds(capsys, seconds, clock):
    plan = (((10, 10), 2),)  # half of the work: as long again
    with show_progress(quiet=False, verbose=False) as show:
        show(iterate(1, 1, plan=plan, seconds=seconds))
    assert capsys.readouterr().err.endswith(f"  {clock} left\n")


def in_a_terminal(monkeypatch):
    """Put a terminal of 80 columns in the place of stderr; no fixture, because pytest sets it anew after."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return terminal


def without_codes(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("verbose", [False, True])
def test_a_terminal_of_80_columns_shows_what_matters(monkeypatch, capsys, verbose):
    terminal = in_a_terminal(monkeypatch)
    with show_progress(quiet=False, verbose=verbose) as show:
        show(iterate(1, 1))
        show(iterate(2, 1, seconds=150))
    shown = terminal.getvalue()
    text = without_codes(shown)
    line = "scale 2/2 20×20  iteration 1/2  loss 12.346  1:15 left"
    # The bar keeps a width, and lines that stay carry every term to the last.
    assert re.search(rf"[━╸╺]{{10}}  67 % {line}", text)
    terms = "  content relu4_1 0.125  style relu1_1 0.25  tv 0.5"
    assert (line + terms + "\n" in text) == verbose
    assert ("tv 0.5" in text) == verbose
    assert shown.endswith("\x1b[2K")  # the bar is wiped at the end
    assert capsys.readouterr().out == ""


def test_what_the_library_logs_stands_above_the_bar_once(monkeypatch):
    terminal = in_a_terminal(monkeypatch)
    root_level = logging.getLogger().level
    with show_progress(quiet=False, verbose=True) as show:
        show(iterate(1, 1))
        for _ in range(3):
            logging.getLogger("lbfgs_style.objective.session").debug("running on the %s", "CPU")
        logging.getLogger("another.package").debug("chatter")
        assert logging.getLogger().level == root_level
    lines = [part for line in without_codes(terminal.getvalue()).splitlines() for part in line.split("\r")]
    assert lines.count("lbfgs-style: session: running on the CPU") == 1
    assert terminal.getvalue().count("running on") == 1
    assert "chatter" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("quiet", "verbose", "shown"),
    [
        (True, False, ["error"]),
        (False, False, ["warning", "error"]),
        (False, True, ["debug", "warning", "error"]),
    ],
)
def test_how_much_of_the_log_is_shown(capsys, quiet, verbose, shown):
    logger = logging.getLogger("lbfgs_style")
    before = logger.level, list(logger.handlers)
    with show_progress(quiet=quiet, verbose=verbose):
        for level in ("debug", "warning", "error"):
            getattr(logger, level)(level)
    lines = {
        "debug": "lbfgs-style: lbfgs_style: debug",
        "warning": "lbfgs-style: warning: warning",
        "error": "lbfgs-style: error: error",
    }
    assert capsys.readouterr().err.splitlines() == [lines[level] for level in shown]
    assert (logger.level, logger.handlers) == before


def test_the_terms_of_an_iterate_do_not_change():
    record = iterate(1, 1)
    record.terms["tv"] = 99.0
    record.terms.clear()
    assert json.loads(json.dumps(record.terms)) == {
        "content relu4_1": 0.125,
        "style relu1_1": 0.25,
        "tv": 0.5,
    }
    assert pickle.loads(pickle.dumps(record)).terms == record.terms


def test_the_time_left_is_shown_once_it_means_something(capsys):
    plan = (((10, 10), 100),)
    with show_progress(quiet=False, verbose=True) as show:
        for n in range(1, 13):
            show(iterate(1, n, plan=plan, seconds=0.1 * n))
        show(iterate(1, 13, plan=plan, seconds=2.5))
    lines = capsys.readouterr().err.splitlines()
    assert [" left" in line for line in lines] == [False] * 9 + [True] * 4
    with show_progress(quiet=False, verbose=False) as show:
        show(iterate(1, 1, plan=plan, seconds=2.0))
    assert " left" in capsys.readouterr().err


def test_a_series_has_one_bar(monkeypatch):
    terminal = in_a_terminal(monkeypatch)
    with show_series(quiet=False) as series:
        series.announce(1, 2, "relu1_1")
        series(iterate(1, 2))
        series.announce(2, 2, "relu2_1")
        series(iterate(2, 1))
    text = without_codes(terminal.getvalue())
    assert re.search(r"[━╸╺]{10}  83 % 2 of 2: relu2_1", text)  # a half, and two thirds of the other
    assert "lbfgs-style: 1 of 2" not in text  # no line is written into the bar
    assert "iteration" not in text


def test_a_series_in_lines(capsys):
    for quiet in (False, True):
        with show_series(quiet=quiet) as series:
            series.announce(1, 2, "relu1_1")
            series(iterate(1, 1))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "lbfgs-style: 1 of 2: relu1_1"
    assert len(lines) == 2
