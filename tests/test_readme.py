"""What can be tested of the READMEs: Python runs, commands parse, links have targets."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer

import lbfgs_style
from lbfgs_style import images, networks
from lbfgs_style.cli import app
from tools.figures import options_table

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / name / "README.md" for name in ("lbfgs_style", "models", "tools", "tests")),
]
README = PAGES[0].read_text("utf-8")
TEXTS = "\n".join(page.read_text("utf-8") for page in PAGES[:2])  # the pages for users


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS, re.DOTALL | re.MULTILINE)


def python(word: str) -> str:
    """Return the one Python block that contains a word."""
    (block,) = [block for block in blocks("python") if word in block]
    return block


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[lbfgs_style.Options]:
    """Limit every run to 2 iterations at 48 pixels, and record the options of the README."""
    recorded: list[lbfgs_style.Options] = []
    run = lbfgs_style.StyleTransfer.run

    def small(self, *args, **kwargs):
        recorded.append(self.options)
        self.options = replace(self.options, size=48, iterations=2)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(lbfgs_style.StyleTransfer, "run", small)
    return recorded


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the README's pictures."""
    data = tmp_path / "tests" / "data"
    data.mkdir(parents=True)
    for name in ("coast.jpg", "painting.jpg"):
        shutil.copy(ROOT / "tests" / "data" / name, data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_runs(quick, folder):
    """As printed, but for the size: the shape in its last assertion is scaled along."""
    source = python("import numpy")
    shape = re.search(r"== \((\d+), (\d+), 3\)", source)
    assert shape is not None
    source = source.replace(shape.group(), "== (36, 48, 3)")
    exec(compile(source, "README.md", "exec"), {})
    assert images.read("out.png").rgb.shape == (36, 48, 3)
    (options,) = quick
    photo = images.read("tests/data/coast.jpg").rgb
    assert tuple(map(int, shape.groups())) == images.fit(photo.shape[:2], options.size)


def test_the_example_of_the_class_runs(quick):
    rng = np.random.default_rng(0)
    names = {
        name: rng.integers(0, 256, (36, 48, 3)).astype(np.uint8) for name in ("photo", "starry", "scream")
    }
    names["bar"] = SimpleNamespace(update=lambda count: True)  # as tqdm's, whose value is ignored
    masks = ("sky", "face", "faces", "figure")
    names |= {name: rng.integers(0, 256, (9, 12)).astype(np.uint8) for name in masks}
    exec(compile(python("from lbfgs_style import Options, Style,"), "README.md", "exec"), names)
    assert names["result"].image.shape == (36, 48, 3)
    assert [options.size for options in quick] == [512, 48]  # the second run has the first one's job


def test_the_example_for_opencv_runs(quick, tmp_path, monkeypatch):
    """Its first half: scikit-image is not installed."""
    cv2 = pytest.importorskip("cv2")
    for name in ("photo.jpg", "painting.jpg"):
        shutil.copy(ROOT / "tests" / "data" / "coast.jpg", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    source = python("cv2.imread").split("\n\n")[0]
    exec(compile(source, "README.md", "exec"), {"cv2": cv2, "transfer": lbfgs_style.transfer})
    assert (tmp_path / "out.png").is_file()
    assert len(quick) == 1


def commands() -> list[list[str]]:
    """Return the arguments of every ``lbfgs-style`` in a block of shell lines."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    parts = [part for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [line[1:] for line in words if line and Path(line[0]).name == "lbfgs-style"]


def test_there_are_commands():
    assert len(commands()) >= 7


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_the_commands_parse(arguments):
    """Names and values of the options are those of the command; nothing is run."""
    command, rest = typer.main.get_command(app.app), arguments
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context("lbfgs-style", list(rest)):
        pass


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_options_are_those_of_the_command():
    """`python -m tools.figures.options_table` writes them."""
    page = options_table.PAGE.read_text("utf-8")
    assert options_table.with_table(page) == page
    assert page.count("| `--") > 40


LINK = re.compile(r"\]\((?!https?:)([^)]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_links_have_targets(page):
    for link in LINK.findall(page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_sizes_of_downloads_are_those_of_the_table():
    """In decimal megabytes."""
    (table,) = re.findall(r"^\| name \| what .*\n\|---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    for row in networks.KNOWN:
        (line,) = [line for line in table.splitlines() if f"`{row.name}`" in line]
        if row.size is not None:
            assert f"{row.size / 1e6:.0f}" in re.findall(r"\d+", line)
