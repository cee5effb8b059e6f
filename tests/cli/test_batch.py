"""The command ``batch``: a folder in, a folder out, and again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lbfgs_style import images, recipes
from lbfgs_style.cli import batch
from lbfgs_style.outputs import batch_workers
from lbfgs_style.outputs.batch_summary import SHEET, TABLE
from tests.helpers.command import enter, one_error, photo, run, save, save_network

QUICK = ("--size", 32, "--scales", "single", "--iterations", 3, "--device", "cpu")


@pytest.fixture
def network(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    for name in ("photos", "paintings"):
        Path(name).mkdir()
    for number in range(3):
        save(f"photos/{number}.png", photo(24, 32 + number))
    save("paintings/a.png", photo(32, 32))
    save("paintings/b.png", photo(32, 32)[::-1].copy())
    return save_network(tmp_path)


def table(folder="out"):
    with Path(folder, TABLE).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_a_folder_in_and_a_folder_out(network, capfd):
    arguments = ("photos", "--styles", "paintings", "-o", "out", "--network", network, *QUICK)
    assert run("batch", *arguments) == 0
    names = {f"{photo}--{painting}.png" for photo in "012" for painting in "ab"}
    assert {path.name for path in Path("out").iterdir()} == names | {TABLE, SHEET}
    assert [row["state"] for row in table()] == ["painted"] * 6
    assert {row["picture"] for row in table()} == names
    assert "out: 6 painted, 0 there before, 0 failed" in capfd.readouterr().err
    rows, columns = images.read("out/sheet.jpg").rgb.shape[:2]
    assert rows > 3 * 160
    assert columns > 2 * 160
    before = Path("out/1--a.png").read_bytes()
    assert run("batch", *arguments) == 0
    assert "6 of 6 pictures are there already" in capfd.readouterr().err
    assert [row["state"] for row in table()] == ["there before"] * 6
    assert Path("out/1--a.png").read_bytes() == before
    save("photos/1.png", photo(30, 24))  # another photo of that name
    assert run("batch", *arguments, "--processes", 1) == 0
    assert "out: 2 painted, 4 there before, 0 failed" in capfd.readouterr().err
    assert Path("out/1--a.png").read_bytes() != before
    assert run("rerun", "out/1--a.png", "-o", "again.png") == 0
    assert "the same as out/1--a.png, pixel for pixel" in capfd.readouterr().err


def test_a_bad_file_is_reported_and_the_rest_goes_on(network, capfd):
    Path("photos/1.png").write_bytes(b"damaged")
    arguments = ("photos", "--styles", "paintings/a.png", "-o", "out", "--network", network)
    assert run("batch", *arguments, *QUICK) == batch.FAILED
    err = capfd.readouterr().err
    assert "1--a.png: photos/1.png" in err
    assert "out: 2 painted, 0 there before, 1 failed" in err
    assert [row["state"] for row in table()] == ["painted", "failed", "painted"]


def test_pairs_and_options(network, capfd):
    Path("pairs.csv").write_text("photos/0.png,paintings/b.png\nphotos/2.png,paintings/a.png\n")
    arguments = ("--pairs", "pairs.csv", "-o", "deep/out", "--network", network, "--format", "jpg", *QUICK)
    assert run("batch", *arguments, "--strength", 0.7, "--style-scale", 0.8, "--quiet") == 0
    assert capfd.readouterr().err == ""
    recipe = recipes.read_recipe("deep/out/2--a.jpg")
    assert (recipe.options.strength, recipe.inputs.styles[0].scale) == (0.7, 0.8)
    assert [row["picture"] for row in table("deep/out")] == ["0--b.jpg", "2--a.jpg"]
    assert run("batch", *arguments, "--look", "fine", "--quiet") == 0
    assert recipes.read_recipe("deep/out/2--a.jpg").inputs.styles[0].scale == 0.5


def test_a_batch_that_is_interrupted_goes_on(network, capfd, monkeypatch):
    original = batch_workers.paint

    def interrupted(jobs, settings, *, processes, cancel, on_progress):
        for number, done in enumerate(
            original(jobs, settings, processes=1, cancel=cancel, on_progress=on_progress)
        ):
            yield done
            if number == 1:
                cancel.set()

    arguments = ("photos", "--styles", "paintings", "-o", "out", "--network", network, *QUICK)
    monkeypatch.setattr(batch_workers, "paint", interrupted)
    assert run("batch", *arguments) == 130
    assert "stopped: 2 pictures painted; the same command continues" in capfd.readouterr().err
    assert len(list(Path("out").glob("*--*.png"))) == 2
    monkeypatch.setattr(batch_workers, "paint", original)
    assert run("batch", *arguments) == 0
    assert "out: 4 painted, 2 there before, 0 failed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("nowhere", "--styles", "paintings", "-o", "out"),
            "nowhere: there is no such file or folder",
        ),
        (("photos", "--styles", "paintings", "-o", "-"), "--output '-': a batch writes into a folder"),
        (("photos", "--styles", "paintings", "-o", "out", "--style-scale", "0"), "--style-scale must be a"),
        (
            ("photos", "--styles", "paintings", "-o", "out", "--memory", "10MB", "--size", "96"),
            "does not fit",
        ),
        (("photos", "-o", "out"), "A batch needs photos and paintings: lbfgs-style batch PHOTOS --styles"),
        (
            ("photos", "--styles", "photos/x*", "-o", "out"),
            r"photos/x\*: no file matches this pattern of paintings",
        ),
        (("photos", "--pairs", "p.csv", "-o", "out"), "--pairs names photos and paintings: leave the others"),
        (
            ("photos", "--styles", "paintings", "-o", "photos/0.png"),
            "--output photos/0.png: is a file; ",
        ),
        (
            ("photos", "--styles", "paintings", "-o", "out", "--format", "webp"),
            "--format must be png or jpg, which",
        ),
        (("photos", "--styles", "paintings", "-o", "out", "--size", "3"), "size"),
        (
            ("photos", "--styles", "paintings", "-o", "out", "--learning-rate", "3"),
            "--learning-rate is the step",
        ),
    ],
)
def test_mistakes(network, capfd, arguments, message):
    assert run("batch", *arguments, "--network", network) == 2
    one_error(capfd, message)
    assert not Path("out").exists() or list(Path("out").iterdir()) == []


def test_nothing_of_others_is_overwritten(network, capfd):
    """Inputs, pictures without a recipe, a sheet and a table that no batch made."""
    arguments = ("--styles", "paintings/a.png", "--network", network, *QUICK)
    assert run("batch", "photos", "-o", "photos", *arguments) == 2
    one_error(capfd, "photos is read and would be written into: choose another folder")
    Path("out").mkdir()
    save("out/0--a.png", photo())
    kept = Path("out/0--a.png").read_bytes()
    assert run("batch", "photos", "-o", "out", *arguments) == batch.FAILED
    assert "0--a.png: is there already and has no recipe of lbfgs-style" in capfd.readouterr().err
    assert Path("out/0--a.png").read_bytes() == kept
    assert [row["state"] for row in table()] == ["failed", "painted", "painted"]
    for name, data in (("sheet.jpg", kept), ("pictures.csv", b"mine")):
        Path("other").mkdir(exist_ok=True)
        Path("other", name).write_bytes(data)
        assert run("batch", "photos", "-o", "other", *arguments) == 2
        one_error(capfd, rf"other/{name} is not of a batch, and would be overwritten")
        assert [path.name for path in Path("other").iterdir()] == [name]
        Path("other", name).unlink()
    Path("other/pictures.csv").write_text("picture,photo,painting,state,seconds,loss,message\n")
    assert run("batch", "--pairs", "other/pictures.csv", "-o", "other", "--network", network, *QUICK) == 2
    assert Path("other/pictures.csv").exists()


def test_the_table_keeps_the_pictures_of_other_batches(network):
    common = ("-o", "out", "--network", network, "--quiet", *QUICK)
    assert run("batch", "photos", "--styles", "paintings/a.png", *common) == 0
    assert run("batch", "photos/0.png", "--styles", "paintings/b.png", *common) == 0
    assert [row["picture"] for row in table()] == ["0--a.png", "1--a.png", "2--a.png", "0--b.png"]


def test_a_folder_for_transfer_is_a_batch(network, capfd):
    assert run("transfer", "photos", "paintings/a.png", "-o", "out.png", "--network", network) == 2
    one_error(capfd, "photos: is a folder; expected an image file: lbfgs-style batch paints folders")
