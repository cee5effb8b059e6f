"""Videos: frames held together, cuts, resuming bit for bit, passes, and what is refused."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lbfgs_style import STOP, ImageError, OptionError, Options, StyleError, VideoOptions, VideoTransfer
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.video.flow import find_flow, find_motion
from lbfgs_style.video.passes import later_passes
from tests.helpers.moving_pictures import pan, texture
from tests.helpers.small_networks import small_vgg
from tools.bench.synthetic import warping_error

SIZE = (48, 64)
PAINTING = texture(48, 9)
OPTIONS = Options(size=64, iterations=12, threads=1, device="cpu")
VIDEO = VideoOptions(frame_iterations=4)


def transfer(video: VideoOptions = VIDEO, **changes: object) -> VideoTransfer:
    return VideoTransfer(small_vgg(), options=replace(OPTIONS, **changes), video=video)


def images(frames) -> list[np.ndarray]:
    return [frame.picture.rgb for frame in frames]


def mean_error(contents: list[np.ndarray], painted: list[np.ndarray]) -> float:
    """Return the mean warping error of neighbours."""
    errors = []
    for (a, b), (x, y) in zip(itertools.pairwise(contents), itertools.pairwise(painted), strict=True):
        motion = find_motion(find_flow(a, b), find_flow(b, a))
        errors.append(warping_error(y, x, motion.flow, motion.reliable))
    return float(np.mean(errors))


def test_frames_flicker_less_than_alone() -> None:
    contents = pan(5, SIZE)
    job = transfer()
    frames = list(job.run(contents, PAINTING))
    assert [frame.number for frame in frames] == list(range(5))
    assert {frame.shot for frame in frames} == {0}
    assert all(frame.reliable > 0.6 for frame in frames[1:])
    assert all(frame.evaluations < 8 for frame in frames[1:])
    alone = [job.job.run(content, PAINTING).picture.rgb for content in contents]
    held = mean_error(contents, images(frames))
    assert held < 0.5 * mean_error(contents, alone)
    free = images(transfer(replace(VIDEO, temporal=0)).run(contents, PAINTING))
    assert held < mean_error(contents, free)


def test_the_first_frame_is_an_image_of_its_own() -> None:
    contents, job = pan(2, SIZE), transfer()
    first = next(iter(job.run(contents, PAINTING)))
    np.testing.assert_array_equal(first.picture.rgb, job.job.run(contents[0], PAINTING).picture.rgb)


def test_a_cut_begins_a_new_shot() -> None:
    contents = [*pan(3, SIZE), *pan(3, SIZE, seed=5)]
    job = transfer()
    frames = list(job.run(contents, PAINTING))
    assert [frame.shot for frame in frames] == [0, 0, 0, 1, 1, 1]
    assert frames[3].reliable == 0
    alone = job.job.run(contents[3], PAINTING).picture.rgb
    np.testing.assert_array_equal(frames[3].picture.rgb, alone)


def test_what_is_new_is_painted_at_the_coarser_scales_first() -> None:
    """The last columns of the second frame were not in view before."""
    contents, new, video = pan(2, SIZE, step=6), np.index_exp[:, -5:], replace(VIDEO, frame_iterations=3)
    changes = {}
    for scales in ("single", (32,)):
        job = transfer(video, scales=scales)
        frames = list(job.run(contents, PAINTING))
        assert [frame.shot for frame in frames] == [0, 0]
        changes[scales] = np.abs(frames[1].picture.rgb - contents[1])[new].mean()
        assert (frames[1].evaluations > 6) == (scales != "single")
    assert changes[32,] > 1.1 * changes["single"]
    still = list(job.run([contents[0]] * 2, PAINTING))
    assert still[1].evaluations < 6
    # Backwards, the first columns are new, and the first pass has painted them.
    backwards = next(iter(transfer(replace(video, passes=2), scales=(32,)).run(contents, PAINTING)))
    assert 0 < backwards.evaluations < 6


@pytest.mark.parametrize(
    ("color", "scales"), [("none", "auto"), ("luminance", "auto"), ("match", "auto"), ("none", (32,))]
)
def test_a_clip_is_resumed_bit_for_bit(color: str, scales: object) -> None:
    contents = [*pan(3, SIZE), *pan(3, SIZE, seed=5)]
    whole = list(transfer(preserve_color=color, scales=scales).run(contents, PAINTING))
    for stop in (2, 4):
        clip = transfer(preserve_color=color, scales=scales).clip(PAINTING)
        rest = images(clip.paint(contents[stop:], resume=whole[stop - 1].state))
        np.testing.assert_array_equal(rest, images(whole[stop:]))


def test_results_have_the_kind_of_the_frames() -> None:
    contents = [np.rint(255 * each).astype(np.uint8) for each in pan(2, SIZE)]
    for frame in transfer().run(contents, PAINTING):
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (*SIZE, 3)


def test_a_kept_part_stays() -> None:
    contents, keep = pan(3, SIZE), np.zeros(SIZE, np.float32)
    keep[:, :20] = 1
    for content, painted in zip(contents, images(transfer().run(contents, PAINTING, keep=keep)), strict=True):
        np.testing.assert_allclose(painted[:, :20], content[:, :20], atol=1e-6)
        assert np.abs(painted[:, 30:] - content[:, 30:]).mean() > 0.01


def test_other_sizes_and_bad_frames_end_a_clip_where_they_come() -> None:
    contents: list[np.ndarray] = [*pan(2, SIZE), pan(1, (64, 48))[0]]
    painted = []
    with pytest.raises(ImageError, match=r"Frame 3 has another size .* expected 64×48 .* got 48×64"):
        painted.extend(transfer().run(contents, PAINTING))
    assert len(painted) == 2


def test_a_clip_ends_by_callback_and_by_event() -> None:
    contents, cancel = pan(4, SIZE), threading.Event()
    frames = list(transfer().run(contents, PAINTING, on_iterate=lambda each: STOP))
    assert len(frames) == 1
    painted = []
    for frame in transfer().run(contents, PAINTING, cancel=cancel):
        painted.append(frame)
        cancel.set()
    assert len(painted) == 1


@pytest.mark.parametrize("statistic", ["gram", "mean-cov", "neighbours", "wasserstein"])
def test_frames_are_held_with_every_statistic(statistic: str) -> None:
    contents = pan(3, SIZE)
    held, free = (
        mean_error(
            contents,
            images(
                transfer(replace(VIDEO, temporal=weight), style_statistic=statistic).run(contents, PAINTING)
            ),
        )
        for weight in (20, 0)
    )
    assert held < free


@pytest.mark.parametrize("kind", ["tiles", "blocks"])
def test_frames_are_held_in_tiles_and_blocks_too(kind: str, monkeypatch) -> None:
    """What does not fit into memory whole: the same term, cut into windows."""
    monkeypatch.setattr(run_plan, "choose_methods", lambda *a: [ScaleMethod(kind, 6000, 4, 0) for _ in a[3]])
    contents = pan(2, (96, 128))
    layers = {
        "style_layers": ("relu1_1", "relu2_1"),
        "content_layers": ("relu2_1",),
        "size": 128,
        "iterations": 3,
    }
    held, free = (
        mean_error(
            contents, images(transfer(replace(VIDEO, temporal=weight), **layers).run(contents, PAINTING))
        )
        for weight in (10, 0)
    )
    assert held < 0.7 * free


def test_later_passes_turn_around_and_a_loop_is_joined() -> None:
    video = VideoOptions(passes=3, loop=True, long_term=(1, 2))
    second, third, loop = later_passes(20, video)
    assert list(second.order) == list(range(19, -1, -1))
    assert list(third.order) == list(range(20))
    assert (list(loop.order), loop.before) == (list(range(12)), [19, 18])
    assert loop.holds[0] == 0
    assert list(loop.holds) == sorted(loop.holds)
    assert later_passes(20, VideoOptions()) == []
    assert later_passes(1, VideoOptions(loop=True)) == []


def test_a_backward_pass_keeps_the_frames_and_their_consistency() -> None:
    contents = pan(4, SIZE)
    once = images(transfer().run(contents, PAINTING))
    twice = list(transfer(replace(VIDEO, passes=2)).run(contents, PAINTING))
    assert [frame.number for frame in twice] == [0, 1, 2, 3]
    np.testing.assert_array_equal(twice[-1].picture.rgb, once[-1])  # where the second pass begins
    assert np.abs(images(twice)[0] - once[0]).max() > 0
    assert mean_error(contents, images(twice)) < 1.2 * mean_error(contents, once)


def test_a_loop_leads_into_its_beginning() -> None:
    """A view that goes to and fro; at the end of the loop, the first frame continues the last one."""
    there = pan(4, SIZE)
    contents = [*there, *there[-2:0:-1]]
    ends = {}
    for loop in (False, True):
        painted = images(transfer(replace(VIDEO, loop=loop)).run(contents, PAINTING))
        ends[loop] = mean_error([contents[-1], contents[0]], [painted[-1], painted[0]])
    assert ends[True] < ends[False]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"temporal": -1}, "temporal must be a finite number"),
        ({"frame_iterations": 0}, "frame_iterations must be a whole number from 1"),
        ({"long_term": (2, 4)}, r"long_term must be numbers of frames that grow from 1.*\(2, 4\)"),
        ({"long_term": ()}, "long_term must be numbers"),
        ({"passes": 0}, "passes must be a whole number from 1"),
        ({"long_term": 4}, r"long_term must be numbers such as \(1, 2, 4\), got 4"),
        ({"loop": "no"}, "loop must be True or False"),
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        VideoOptions(**changes)


@pytest.mark.parametrize(
    ("frames", "more", "says"),
    [
        ("clip.mp4", {}, "frames must be the images of a clip one by one"),
        (None, {}, "frames must be the images of a clip one by one"),
        ([PAINTING, None], {}, "which cv2.imread returns for a file that it cannot read"),
        ([PAINTING], {"keep": "alpha"}, "a video has one mask for all frames"),
    ],
)
def test_what_is_no_clip_is_refused(frames: Any, more: dict[str, Any], says: str) -> None:
    """None among the frames is a file that could not be read, and not the end."""
    with pytest.raises(StyleError, match=says):
        list(transfer(VIDEO).run(frames, PAINTING, **more))
