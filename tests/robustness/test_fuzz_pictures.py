"""Random damage to picture files: reading one gives a picture or a refusal, nothing else.

The quick tests are the same at each run. ``pytest -m slow tests/robustness/test_fuzz_pictures.py`` tries new
inputs each time, as many for each target as ``FUZZ`` says (10,000 without it), and prints their number.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import ImageError
from lbfgs_style.images import Metadata, exif, icc_profile
from lbfgs_style.images.files import metadata_for_result
from lbfgs_style.images.formats import avif, foreign, registry
from tests.helpers import profiles
from tests.helpers.camera import XMP, camera
from tests.robustness.corpus import cases, damaged

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

QUICK = hypothesis.settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
MANY = int(os.environ.get("FUZZ", "10000"))
SLOW = hypothesis.settings(QUICK, max_examples=MANY, derandomize=False)
CAP = 1 << 16
SIZE = (9, 11)
SIDES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.fixture(autouse=True, scope="module")
def silent_opencv():
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    yield
    logging.setLogLevel(level)


def about(profile: bytes) -> Metadata:
    return Metadata(exif=camera(), icc=profile, xmp=XMP)


def seeds() -> list[bytes]:
    """Return small sound files of every format, with metadata where we read them ourselves."""
    files = [data for data, _, _ in cases.plain().values() if len(data) < 10_000]
    picture = images.from_array(cases.wave(*SIZE))
    for file_format in ("png", "jpg", "webp", "tiff", "avif"):
        for profile in (profiles.rgb(), profiles.rgb(curve=profiles.SRGB_CURVE), profiles.tables_only()):
            data = images.encode(picture, file_format)
            if file_format == "avif":
                data = images.encode(replace(picture, metadata=about(profile)), file_format)
            files.append(registry.write_metadata(data, about(profile), SIZE, alpha=False))
    odd = (case.content for case in (*damaged.huge(), *damaged.damaged_exif()))
    return files + [data for data in odd if isinstance(data, bytes) and len(data) < 10_000]


SEEDS = seeds()


ANY_SEED = st.sampled_from(SEEDS)


@st.composite
def injured(draw, sound=ANY_SEED):
    """Draw a sound file with one to five changes, mostly in its first quarter, where the headers are."""
    data = bytearray(draw(sound))
    for _ in range(draw(st.integers(1, 5))):
        if not data:
            break
        end = len(data) - 1 if draw(st.booleans()) else len(data) // 4
        place = draw(st.integers(0, end))
        match draw(st.integers(0, 6)):
            case 0:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[place] = draw(st.integers(0, 255))
            case 2:
                number = draw(st.sampled_from(SIDES))
                kind = draw(st.sampled_from((">I", "<I", ">H", "<H")))
                packed = struct.pack(kind, number & (0xFFFF if "H" in kind else 0xFFFFFFFF))
                data[place : place + len(packed)] = packed
            case 3:
                del data[place : place + draw(st.integers(1, 40))]
            case 4:
                data[place:place] = draw(st.binary(max_size=20))
            case 5:
                part = data[place : place + draw(st.integers(1, 60))]
                data[place:place] = part
            case 6:
                del data[place:]
    return bytes(data)


@st.composite
def with_damaged_metadata(draw):
    """Draw a sound picture with damaged EXIF, profile and XMP."""
    metadata = Metadata(exif=draw(injured(BLOCKS)), icc=draw(injured(PROFILES)), xmp=draw(injured(PACKETS)))
    return registry.write_metadata(draw(st.sampled_from(PLAIN)), metadata, (4, 4), alpha=False)


def decode(data: bytes) -> str:
    """Read a file: a sound picture, or a refusal in one line that names it."""
    try:
        picture = images.decode(data, name="fuzz", max_pixels=CAP)
    except ImageError as error:
        line = str(error)
    else:
        sound(picture)
        return "read"
    assert line.startswith("fuzz: ")
    assert "\n" not in line
    return "refused"


def sound(picture: images.Picture) -> None:
    """Assert shape, type and range of a picture, and write it in every format."""
    assert picture.rgb.ndim == 3
    assert picture.rgb.shape[0] * picture.rgb.shape[1] <= CAP
    for array in (picture.rgb, picture.alpha):
        if array is not None:
            assert array.shape[:2] == picture.rgb.shape[:2]
            assert array.dtype == np.float32
            assert 0 <= array.min() <= array.max() <= 1
    for file_format in ("png", "jpg", "webp", "tiff"):
        again = images.decode(images.encode(picture, file_format), name=file_format, max_pixels=CAP)
        assert again.rgb.shape == picture.rgb.shape


def parse(data: bytes) -> str:
    """Pass bytes to every reader of ours, and write what they return."""
    metadata = registry.read_metadata(data, data[:200])
    true = metadata_for_result(metadata, SIZE)
    for plain in PLAIN:
        registry.write_metadata(plain, true, SIZE, alpha=False)
    file_format = registry.format_of(data)
    size = None if file_format is None else registry.declared_size(file_format, data)
    foreign.describe(data)
    exif.exif_of(data)
    fixed = exif.for_result(data, SIZE)
    assert len(fixed) in (0, len(data))
    if fixed:
        assert exif.number(fixed, exif.ORIENTATION) in (None, 1)
    avif.properties(data)
    curves(metadata.icc)
    return "read" if size is not None else "refused"


def curves(data: bytes) -> str:
    """Read a profile; one that is taken can be applied and undone."""
    icc_profile.name(data)
    icc_profile.space(data)
    profile = icc_profile.parse(data)
    if profile is None:
        return "refused"
    light = profile.to_srgb(STEPS)
    back = profile.from_srgb(STEPS)
    assert np.isfinite(light).all()
    assert np.isfinite(back).all()
    return "read"


STEPS = np.random.default_rng(0).random((1, 64, 3)).astype(np.float32)
STEPS[0, :2] = [[0], [1]]
PLAIN = [images.encode(images.from_array(cases.wave(4, 4)), kind) for kind in ("png", "jpg", "webp", "tiff")]
PROFILES = st.sampled_from(
    [
        profiles.rgb(),
        profiles.rgb(curve=profiles.SRGB_CURVE),
        profiles.rgb(curve=profiles.table(0, 10, 900, 30000, 65535)),
        profiles.rgb(curve=profiles.para(4, 2.4, 0.9, 0.1, 0.08, 0.04, 0.001, 0.0)),
        profiles.rgb(curve=profiles.para(1, 2.2, 0.9, 0.1)),
        profiles.gray(),
        damaged.profile(profiles.para(2, 2.2, 0.9, 0.1, 0.01)),
    ]
)
BLOCKS = st.sampled_from([camera(order="<"), camera(order=">"), *SEEDS])
PACKETS = st.sampled_from([XMP, b""])
TARGETS = {
    "files": (decode, injured()),
    "metadata": (decode, with_damaged_metadata()),
    "our readers": (parse, injured(BLOCKS) | st.binary(max_size=200)),
    "profiles": (curves, injured(PROFILES)),
}


def fuzz(target: str, settings) -> Counter:
    check, inputs = TARGETS[target]
    count = Counter()

    @settings
    @hypothesis.given(inputs)
    def one(data: bytes) -> None:
        count[check(data)] += 1

    one()
    return count


@pytest.mark.parametrize("target", TARGETS)
def test_random_damage_is_handled(target):
    count = fuzz(target, QUICK)
    assert count["read"] > 5
    assert count["refused"] > 5 or target == "metadata"  # whatever a file says, its picture is read


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_much_random_damage_is_handled(target, capsys):
    count = fuzz(target, SLOW)
    summary = f"{sum(count.values())} inputs, {count['read']} read, {count['refused']} refused, 0 lost"
    with capsys.disabled():
        print(f"\n{target}: {summary}")  # noqa: T201  # the number is what the test is run for
    assert sum(count.values()) >= MANY // 2  # hypothesis ends earlier where it runs out of new inputs
