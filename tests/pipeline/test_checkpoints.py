"""Saved runs: resumed as if they had not been interrupted, and refused where they do not fit."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import STOP, Checkpoint, CheckpointError, OptionError, Options, Style, StyleTransfer
from lbfgs_style.cli import checkpoint as checkpoints_cli
from lbfgs_style.cli import signals, transfer
from lbfgs_style.images import to_hwc
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.tiling.blocks import Blocks
from lbfgs_style.optimization.variables import VARIABLES
from lbfgs_style.pipeline import fingerprints as identity
from lbfgs_style.pipeline.checkpoints import checkpoint as checkpoints
from lbfgs_style.pipeline.checkpoints import snapshot as snapshots
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from tests.helpers.command import contents, one_error, paint, run, save, save_network
from tests.helpers.interrupted_runs import OPTIONS, PAINTING, PHOTO, cut_off, job, stop_after
from tests.helpers.small_networks import small_vgg

# Going on


VARIABLES_AND_CUTS = [
    *(("spectral", count) for count in (1, 9, 16, 17, 25)),
    ("pixels", 25),
]


@pytest.mark.parametrize(("variables", "count"), VARIABLES_AND_CUTS)
def test_a_resumed_run_continues_the_saved_one(path, variables, count):
    options = replace(OPTIONS, variables=variables)
    whole = job(options).run(PHOTO, PAINTING)
    cut_off(path, count, options)
    seen = []
    again = Checkpoint(path, resume=True)
    result = job(options).run(PHOTO, PAINTING, on_iterate=seen.append, checkpoint=again)
    assert result.history[:count] == whole.history[:count]  # the curve is whole
    assert [len(curve) for curve in result.term_history.values()] == [len(result.history)] * 5
    assert len(result.history) == sum(scale.iterations for scale in result.scales)
    assert [scale.size for scale in result.scales] == [(24, 32), (36, 48)]
    assert result.scales[0].loss_start == whole.scales[0].loss_start
    if count != 16:  # within a scale: a line search from the saved variables lowers the saved loss
        assert result.history[count] <= result.history[count - 1]
    # L-BFGS gets iterations to learn the curvature again: as many as it had, 10 at the most.
    within = count if count <= 16 else count - 16
    extra = [min(within, 10), 0] if count <= 16 else [0, min(within, 10)]
    assert [scale.iterations for scale in result.scales] == [16 + extra[0], 12 + extra[1]]
    assert seen[0].iteration == within + 1
    assert seen[-1].plan[-1][1] == 12 + extra[1]
    assert result.report()["resumed"] == 1
    again.discard()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("variables", "count"), VARIABLES_AND_CUTS)
def test_the_saved_variables_are_those_of_the_last_iteration(path, variables, count):
    options = replace(OPTIONS, variables=variables)
    pictures = []
    job(options).run(
        PHOTO,
        PAINTING,
        on_iterate=lambda it: pictures.append(it.image()) or (STOP if len(pictures) == count else None),
        checkpoint=Checkpoint(path, every=1000),
    )
    snapshot, _ = snapshots.read(path)
    height, width = pictures[-1].shape[:2]
    for z in (snapshot.state.z, snapshot.state.best_z):  # the loss fell at each iteration
        decoded = VARIABLES[variables]((height, width)).decode(z)
        np.testing.assert_array_equal(np.clip(to_hwc(decoded), 0, 1), pictures[-1])
    assert snapshot.state.best.loss == snapshot.history[-1]
    assert len(snapshot.history) == count


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_first_order_methods_resume_exactly(path, optimizer):
    options = replace(OPTIONS, optimizer=optimizer)
    whole = job(options).run(PHOTO, PAINTING)
    cut_off(path, 20, options)
    result = job(options).run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    assert result.history == whole.history
    np.testing.assert_array_equal(result.image, whole.image)


def test_many_interruptions_do_not_add_iterations(path):
    """The iterations to learn the curvature again are added once for a scale, not for each interruption."""
    cut_off(path, 5)
    for _ in range(3):
        kept = Checkpoint(path, every=1000, resume=True)
        job().run(PHOTO, PAINTING, on_iterate=stop_after(5), checkpoint=kept)
    kept = Checkpoint(path, resume=True)
    result = job().run(PHOTO, PAINTING, checkpoint=kept)
    assert [scale.iterations for scale in result.scales] == [16 + 10, 12]
    assert result.report()["resumed"] == 4


BLOCKS_PHOTO, BLOCKS_PAINTING = (
    np.random.default_rng(1).random((96, 128, 3)).astype(np.float32) for _ in range(2)
)


def in_blocks(monkeypatch) -> Options:
    """Give every scale to blocks, and return options for an image of a few."""
    ways = lambda *a: [ScaleMethod("blocks", 4500, 5, 0) for _ in a[3]]  # noqa: E731
    monkeypatch.setattr(run_plan, "choose_methods", ways)
    return replace(OPTIONS, size=128, scales="single", iterations=24)


def test_blocks_are_resumed(path, monkeypatch):
    photo, painting, options = BLOCKS_PHOTO, BLOCKS_PAINTING, in_blocks(monkeypatch)
    whole = job(options).run(photo, painting)
    for count in (9, 70):
        in_blocks(monkeypatch)
        kept = Checkpoint(path, every=1000)
        job(options).run(photo, painting, on_iterate=stop_after(count), checkpoint=kept)
        # More memory is free by now, but a run continues with its method.
        monkeypatch.setattr(
            run_plan, "choose_methods", lambda *a: [ScaleMethod("whole", None, 5, 0) for _ in a[3]]
        )
        result = job(options).run(photo, painting, checkpoint=Checkpoint(path, resume=True))
        assert result.history[:count] == whole.history[:count]
        assert len(whole.history) <= len(result.history) <= len(whole.history) + 5
        assert result.scales[0].loss_start == whole.scales[0].loss_start
        assert result.scales[0].loss_end < result.scales[0].loss_start
        path.unlink()


def test_the_best_so_far_survives(path):
    """A resumed run that is stopped before its first step returns the saved best."""
    cut_off(path, 20)
    stopped = job()
    cancel = type("Set", (), {"is_set": lambda self: True})()
    result = stopped.run(PHOTO, PAINTING, cancel=cancel, checkpoint=Checkpoint(path, resume=True))
    assert (result.stop_reason, len(result.history)) == ("cancelled", 20)
    before = job().run(PHOTO, PAINTING, on_iterate=stop_after(20))
    np.testing.assert_array_equal(result.image, before.image)
    assert path.exists()


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("at", ["the sums of the picture", "the block"])
def test_the_best_so_far_survives_in_blocks(path, monkeypatch, count, at):
    """The best so far includes the saved state of the block in work."""
    options = in_blocks(monkeypatch)
    before = job(options).run(BLOCKS_PHOTO, BLOCKS_PAINTING, on_iterate=stop_after(count))
    kept = Checkpoint(path, every=1000)
    job(options).run(BLOCKS_PHOTO, BLOCKS_PAINTING, on_iterate=stop_after(count), checkpoint=kept)
    cancel, owner = threading.Event(), Engine if at == "the sums of the picture" else Blocks
    name = "blocks" if owner is Engine else "free"
    plain = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a: cancel.set() or plain(*a))
    again = Checkpoint(path, resume=True)
    result = job(options).run(BLOCKS_PHOTO, BLOCKS_PAINTING, cancel=cancel, checkpoint=again)
    assert (result.stop_reason, len(result.history)) == ("cancelled", count)
    np.testing.assert_array_equal(result.image, before.image)


def test_iterations_of_blocks_are_counted_through_many_interruptions(path, monkeypatch):
    """Each interrupted block gets its extra iterations once, and those made before are counted."""
    options = in_blocks(monkeypatch)
    cut_at = [5, 6, 30]
    for number, count in enumerate(cut_at):
        kept = Checkpoint(path, every=1000, resume=number > 0)
        job(options).run(BLOCKS_PHOTO, BLOCKS_PAINTING, on_iterate=stop_after(count), checkpoint=kept)
    seen = []
    result = job(options).run(
        BLOCKS_PHOTO, BLOCKS_PAINTING, on_iterate=seen.append, checkpoint=Checkpoint(path, resume=True)
    )
    assert result.stop_reason == "iterations"
    assert seen[-1].iteration == seen[-1].iterations == len(result.history)
    assert max(iterate.iteration for iterate in seen) == seen[-1].iteration


def test_no_checkpoint_is_a_new_run(path):
    result = job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    assert result.report()["resumed"] == 0
    assert len(result.history) == 28


# Refusals


OTHER = np.random.default_rng(5).random((36, 48, 3)).astype(np.float32)
MASK = np.linspace(0, 1, 48, dtype=np.float32) * np.ones((36, 1), np.float32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": {"tv_weight": 0.5}}, r"tv_weight was 0\.001, now 0\.5\. Give"),
        (
            {"options": {"iterations": (16, 13), "seed": 3}},
            r"iterations was 16,12, now 16,13; seed was 0, now 3",
        ),
        ({"content": OTHER}, r"the content image changed\."),
        ({"styles": OTHER}, r"the style image 1 changed\."),
        ({"styles": Style(PAINTING, weight=2)}, r"weight of style 1 was 1, now 2\."),
        ({"styles": Style(PAINTING, scale=0.5)}, r"scale of style 1 was 1, now 0\.5\."),
        ({"content": np.dstack([PHOTO, MASK])}, r"the content image changed\."),
        ({"styles": Style(PAINTING, mask=MASK)}, r"the mask of style 1 is new\."),
        ({"styles": [PAINTING, OTHER]}, r"the style image 2 is new"),
        ({"keep": MASK}, r"the keep mask is new\."),
        ({"init": OTHER}, r"the initial image is new\."),
    ],
)
def test_what_changed_is_named(path, change, says):
    cut_off(path, 3)
    before = path.read_bytes()
    more = {name: change[name] for name in ("keep", "init") if name in change}
    with pytest.raises(CheckpointError, match=f"was saved by another run: .*{says}") as e:
        job(**change.get("options", {})).run(
            change.get("content", PHOTO),
            change.get("styles", PAINTING),
            checkpoint=Checkpoint(path, resume=True),
            **more,
        )
    assert "\n" not in str(e.value)
    assert path.read_bytes() == before


def test_missing_inputs_are_named(path):
    kept = Checkpoint(path, every=0)
    job().run(PHOTO, [PAINTING, OTHER], on_iterate=stop_after(1), checkpoint=kept)
    with pytest.raises(CheckpointError, match=r"the style image 2 is gone"):
        job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


def test_options_of_another_version_are_named():
    saved, now = {"options": {"gone": 1, "same": 2}}, {"options": {"same": 2, "new": [3, 4]}}
    assert checkpoints.differences(saved, now) == ["gone was 1, now None", "new was None, now 3,4"]


def test_changes_are_listed_on_one_line_of_limited_length(path):
    """Even if the file lists many changes with long names."""
    cut_off(path, 3)
    snapshot, saved = snapshots.read(path)
    saved["options"] |= {f"gone\n{number}": "\x1b[2J" * 99 for number in range(20)}
    snapshots.write(path, snapshot, saved)
    with pytest.raises(CheckpointError, match=r"; and 8 more\. Give") as e:
        job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 12 * 500


def test_other_statistics_are_another_style(path):
    first, second = (job().measure_style(each, sizes=(32, 48)) for each in (PAINTING, OTHER))
    job().run(PHOTO, first, on_iterate=stop_after(1), checkpoint=Checkpoint(path, every=0))
    with pytest.raises(CheckpointError, match=r"the style image 1 changed\."):
        job().run(PHOTO, second, checkpoint=Checkpoint(path, resume=True))
    assert job().run(PHOTO, first, checkpoint=Checkpoint(path, resume=True)).stop_reason == "iterations"


def test_fingerprints_know_shapes_and_types():
    zeros = np.zeros((2, 3), np.uint8)
    others = zeros.T, zeros.astype(bool), zeros[:, :2], zeros.reshape(6)
    prints = [identity.fingerprint(each) for each in (zeros, *others)]
    assert len(set(prints)) == 5
    assert identity.fingerprint(zeros.T.copy().T) == prints[0]
    assert identity.fingerprint(zeros, zeros) != prints[0]
    assert identity.fingerprint(None) is None


def test_another_network_is_refused(path):
    cut_off(path, 3)
    other = StyleTransfer(small_vgg(widths=(4, 5, 6, 7, 8)), options=OPTIONS)
    with pytest.raises(CheckpointError, match="the network changed"):
        other.run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


@pytest.mark.parametrize("elsewhere", [{"threads": 2}, {"device": "auto"}])
def test_device_and_threads_may_change(path, elsewhere):
    cut_off(path, 3)
    result = job(**elsewhere).run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    assert result.stop_reason == "iterations"


def test_damage_is_detected(path):
    """Cut or with any bit turned, the file is refused, or gives what it gave."""
    cut_off(path, 20)
    data = path.read_bytes()
    snapshot, identity = snapshots.read(path)
    rng = np.random.default_rng(0)
    refused: list[str] = []
    for place in [*rng.integers(0, len(data), 150), *range(0, 60)]:
        turned = bytearray(data)
        turned[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(turned)
        try:
            again, same = snapshots.read(path)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        assert same == identity
        np.testing.assert_array_equal(again.state.z, snapshot.state.z)
        assert (again.history, again.results, again.scales) == (
            snapshot.history,
            snapshot.results,
            snapshot.scales,
        )
    assert len(refused) > 120
    assert "\n" not in "".join(refused)
    for length in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
            snapshots.read(path)


def test_a_save_that_fails_leaves_the_one_before(path, monkeypatch):
    cut_off(path, 3)
    before, (snapshot, identity) = contents(path.parent), snapshots.read(path)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        snapshots.write(path, snapshot, identity)
    assert contents(path.parent) == before


def test_a_file_of_another_kind_or_version(path):
    np.savez(path.with_suffix(".npz"), format=np.array(99))
    with pytest.raises(CheckpointError, match=r"another version.*format 99, expected 3"):
        snapshots.read(path.with_suffix(".npz"))
    path.mkdir()
    with pytest.raises(CheckpointError, match="is a folder"):
        Checkpoint(path)


def test_a_file_that_is_there_is_not_replaced(path):
    path.write_bytes(b"precious")
    with pytest.raises(CheckpointError, match=r"is there already: resume it \(--resume\), or delete it"):
        Checkpoint(path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("every", [-1, float("nan"), float("inf"), "often", True])
def test_the_seconds_are_checked(path, every):
    with pytest.raises(OptionError, match="every must be a number of seconds, 0 or more, got"):
        Checkpoint(path, every=every)


# How often


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def saves(monkeypatch):
    """Return the clock, and a list of the times of the saves, each of which takes two seconds."""
    clock, times = Clock(), []

    def write(path, snapshot, identity, cancel):
        times.append(clock.now)
        path.write_bytes(b"")
        clock.now += 2

    monkeypatch.setattr(checkpoints, "time", clock)
    monkeypatch.setattr(checkpoints, "write", write)
    return clock, times


class At:
    """A snapshot that has only a time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def offered(checkpoint, clock, until, total):
    """Offer a snapshot every second of a run that takes `total` seconds."""
    checkpoint.begin(dict)
    while clock.now < until:
        clock.now += 1
        checkpoint.offer(At(clock.now), clock.now / total)


def test_saving_takes_a_fiftieth_of_the_time(path, saves):
    clock, times = saves
    offered(Checkpoint(path), clock, 300, 1000)
    assert times == [30, 132, 234]  # 30, then 100 after the end of each


def test_it_saves_as_often_as_configured(path, saves):
    clock, times = saves
    offered(Checkpoint(path, every=7), clock, 30, 1000)
    assert times == [7, 16, 25]


@pytest.mark.parametrize(("total", "begins"), [(179, None), (181, 10)])
def test_long_runs_are_saved_unasked(path, saves, total, begins):
    clock, times = saves
    announced = []
    checkpoint = Checkpoint(path, after=180, announce=lambda: announced.append(clock.now))
    offered(checkpoint, clock, 40, total)
    assert announced == ([] if begins is None else [begins])
    assert times == ([] if begins is None else [30])
    checkpoint.discard()
    assert not path.exists()


def test_an_unasked_checkpoint_replaces_no_file(path, saves, caplog):
    clock, times = saves
    path.write_bytes(b"another run")
    checkpoint = Checkpoint(path, after=0)
    offered(checkpoint, clock, 100, 1000)
    checkpoint.save_latest()
    checkpoint.discard()
    assert (times, path.read_bytes()) == ([], b"another run")
    assert "another unfinished run" in caplog.text


def test_a_finished_run_is_not_saved_again(path):
    kept = Checkpoint(path, every=1000)
    assert job().run(PHOTO, PAINTING, checkpoint=kept).stop_reason == "iterations"
    assert (kept.saved, path.exists()) == (False, False)


def test_a_full_disk_ends_no_run(path, monkeypatch, caplog):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", fail)
    result = job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, every=0))
    assert result.stop_reason == "iterations"
    assert "cannot be saved: No space left on device" in caplog.text
    assert not path.exists()


# The command


@pytest.fixture
def network(folder):
    return save_network(folder)


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupt every run after a number of iterations at its first scale."""
    monkeypatch.setattr(signals, "GRACE_SECONDS", 600)

    def after(iteration):
        @contextmanager
        def signalling(**kwargs):
            yield lambda it: it.iteration == iteration and signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(transfer, "show_progress", signalling)

    return after


def test_an_interrupted_command_is_resumed(folder, network, capfd, interrupted):
    arguments = ("--iterations", 20, "--frames", "frames", "--save-every", 4, "--report", "run.json")
    interrupted(7)
    assert paint(network, "--checkpoint", "c.npz", *arguments) == 130
    assert capfd.readouterr().err == (
        "lbfgs-style: stopped: the best image so far is in out.png; --resume continues from c.npz\n"
    )
    interrupted(None)
    assert paint(network, "--checkpoint", "c.npz", "--resume", *arguments) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "lbfgs-style: resuming from c.npz"
    assert not Path("c.npz").exists()
    report = json.loads(Path("run.json").read_text())
    assert (len(report["history"]), report["resumed"]) == (27, 1)
    # 4 from before, the others from after.
    assert {path.name for path in Path("frames").iterdir()} == {
        f"frame-{number:06d}.png" for number in (1, *range(4, 28, 4))
    }


def test_long_runs_of_the_command_are_saved_next_to_the_output(
    folder, network, capfd, interrupted, monkeypatch
):
    monkeypatch.setattr(checkpoints_cli, "LONG", 0.0)
    interrupted(3)
    assert paint(network, "--iterations", 9, "--quiet") == 130
    assert "a long run" not in capfd.readouterr().err
    Path("out.png.checkpoint").unlink()
    assert paint(network, "--iterations", 9) == 130
    assert "a long run: saved to out.png.checkpoint from time to time" in capfd.readouterr().err
    interrupted(None)
    assert paint(network, "--iterations", 9) == 0  # without --resume, what is saved stays
    assert "out.png.checkpoint has an unfinished run" in capfd.readouterr().err
    assert paint(network, "--iterations", 9, "--resume", "--strength", 0.9) == 2
    one_error_of_two = capfd.readouterr().err.splitlines()
    assert len(one_error_of_two) == 2
    assert "strength was None, now 0.9" in one_error_of_two[1]
    assert paint(network, "--iterations", 9, "--resume", "--quiet") == 0
    assert set(contents(folder)) == {"photo.png", "painting.png", "small.onnx", "out.png"}


def test_seconds_alone_request_a_checkpoint_next_to_the_output(folder, network, capfd, interrupted):
    interrupted(3)
    assert paint(network, "--iterations", 9, "--checkpoint-every", 0) == 130
    err = capfd.readouterr().err
    assert "--resume continues from out.png.checkpoint" in err
    assert "a long run" not in err
    assert Path("out.png.checkpoint").is_file()


def test_a_picture_that_changed_is_refused(folder, network, capfd, interrupted):
    interrupted(3)
    assert paint(network, "--iterations", 9, "--checkpoint", "c") == 130
    save("photo.png", np.zeros((27, 32, 3), np.uint8))
    capfd.readouterr()
    before = contents(folder)
    assert paint(network, "--iterations", 9, "--checkpoint", "c", "--resume", "--quiet") == 2
    one_error(capfd, "c was saved by another run: the content image changed")
    assert contents(folder) == before


def test_a_checkpoint_that_somebody_changed_is_refused(folder, network, capfd, interrupted):
    interrupted(3)
    assert paint(network, "--iterations", 9, "--checkpoint", "c") == 130
    with np.load("c") as archive:
        arrays = dict(archive)
    capfd.readouterr()
    for change, says in (("z", "other variables than this run"), ("history", "c: damaged, or no checkpoint")):
        with Path("c").open("wb") as file:
            np.savez(file, **arrays | {change: arrays[change][1:]})
        before = contents(folder)
        assert paint(network, "--iterations", 9, "--checkpoint", "c", "--resume", "--quiet") == 2
        one_error(capfd, f"{says}.*: start again without it")
        assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--checkpoint photo.png", "checkpoint and photo.png are one file"),
        ("--checkpoint out.png", "checkpoint and out.png are one file"),
        ("--checkpoint no/../painting.png", "checkpoint and painting.png are one file"),
        ("--checkpoint no/c", "checkpoint no/c: the folder .* does not exist"),
        ("--checkpoint painting.txt", "painting.txt is there already: resume it"),
        ("--checkpoint painting.txt --resume --quiet", "painting.txt: damaged, or no checkpoint"),
        ("--checkpoint-every -1", "every must be a number of seconds, 0 or more, got -1"),
    ],
)
def test_mistakes_are_one_line(folder, network, capfd, arguments, says):
    Path("painting.txt").write_text("no checkpoint")
    before = contents(folder)
    assert paint(network, *arguments.split()) == 2
    one_error(capfd, says)
    assert contents(folder) == before


def test_the_name_of_an_output_may_leave_no_room_for_a_checkpoints(folder, network, capfd):
    """Without a request the picture is painted; with one, the command says which option to add."""
    output = "a" * 245 + ".png"
    assert paint(network, "--quiet", output=output) == 0
    assert Path(output).is_file()
    capfd.readouterr()
    assert paint(network, "--resume", output=output) == 2
    one_error(capfd, "too long.*--checkpoint FILE")


def test_standard_output_needs_a_checkpoint_path(folder, network, capfd):
    assert run("transfer", "photo.png", "painting.png", "-o", "-", "--resume", "--network", network) == 2
    one_error(capfd, "no folder for a checkpoint: add --checkpoint FILE")
