"""Colour profiles: what they say, to sRGB and back."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest

from lbfgs_style.images import icc_profile, srgb
from tests.helpers import profiles

# Bruce Lindbloom, "RGB/XYZ Matrices": Adobe RGB (1998) → XYZ, and XYZ → sRGB, both under D65.
ADOBE_TO_XYZ = np.array(
    [
        [0.5767309, 0.1855540, 0.1881852],
        [0.2973769, 0.6273491, 0.0752741],
        [0.0270343, 0.0706872, 0.9911085],
    ]
)
XYZ_TO_SRGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def colours(n: int = 500) -> np.ndarray:
    return np.random.default_rng(1).random((1, n, 3)).astype(np.float32)


def parsed(data: bytes) -> icc_profile.Profile:
    profile = icc_profile.parse(data)
    assert profile is not None
    return profile


def test_the_transfer_function_of_srgb():
    """Values of IEC 61966-2-1: 0.5 is 21.4 % of the light; the bend; both ways."""
    np.testing.assert_allclose(
        srgb.to_linear(np.array([0, 0.04045, 0.5, 1, -0.5])),
        [0, 0.0031308, 0.2140411, 1, -0.2140411],
        atol=1e-7,
    )
    values = np.linspace(-1, 1, 1001)
    np.testing.assert_allclose(srgb.to_encoded(srgb.to_linear(values)), values, atol=1e-12)


def test_adobe_rgb_becomes_srgb_as_lindblooms_matrices_say():
    rgb = colours()
    light = rgb.astype(np.float64) ** (563 / 256) @ (XYZ_TO_SRGB @ ADOBE_TO_XYZ).T
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
    actual = parsed(profiles.rgb()).to_srgb(rgb)
    inside = ((expected > 0) & (expected < 1)).all(axis=2)
    assert 100 < inside.sum() < 500
    np.testing.assert_allclose(actual[inside], expected[inside], atol=1e-3)
    np.testing.assert_allclose(
        actual, np.clip(expected, 0, 1), atol=3e-3
    )  # Lindblom's and Adobe's figures differ


def test_little_cms_agrees():
    image = pytest.importorskip("PIL.Image")
    cms = pytest.importorskip("PIL.ImageCms")
    data = profiles.rgb()
    rgb = (255 * colours()).astype(np.uint8)
    source = cms.ImageCmsProfile(io.BytesIO(data))
    change = cms.buildTransform(source, cms.createProfile("sRGB"), "RGB", "RGB", renderingIntent=1)
    expected = np.asarray(cms.applyTransform(image.fromarray(rgb), change))
    actual = 255 * parsed(data).to_srgb(rgb.astype(np.float32) / 255)
    assert np.abs(actual - expected).max() < 1.5


@pytest.mark.parametrize(
    "curve",
    [
        profiles.gamma(1.8),
        profiles.table(),
        profiles.table(0, 20000, 50000, 65535),
        profiles.para(0, 2.2),
        profiles.para(1, 2.4, 1 / 1.055, 0.055 / 1.055),
        profiles.para(2, 2.4, 0.9, 0.05, 0.02),
        profiles.SRGB_CURVE,
        profiles.para(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0),
    ],
)
def test_there_and_back_is_where_it_was(curve):
    """From sRGB, which lies inside Adobe's primaries; curves that start above black lose what is below."""
    profile = parsed(profiles.rgb(curve=curve))
    rgb = 0.2 + 0.6 * colours()
    np.testing.assert_allclose(profile.to_srgb(profile.from_srgb(rgb)), rgb, atol=2e-6)


def test_the_straight_part_of_a_curve_is_undone_too():
    curve = profiles.para(4, 2.4, 1 / 1.055, 0.055 / 1.055, 0.5, 0.1, 0.05, 0.01)
    dark = np.linspace(0.01, 0.06, 90, dtype=np.float32).reshape(1, -1, 1)
    profile = parsed(profiles.gray(curve))
    encoded = profile.from_srgb(srgb.to_encoded(np.repeat(dark, 3, axis=2)).astype(np.float32))
    # X/2 + 0.01 below X = 0.1, so that light of 0.06 stands at 0.1.
    np.testing.assert_allclose(encoded[..., :1], 2 * (dark - 0.01), atol=2e-4)


@pytest.mark.parametrize(
    ("curve", "encoded", "light"),
    [
        (profiles.gamma(2), 0.5, 0.25),
        (profiles.table(), 0.3, 0.3),
        (profiles.table(0, 0, 65535), 0.75, 0.5),
        (profiles.para(0, 3), 0.5, 0.125),
        (profiles.para(1, 2, 2, -1), 0.25, 0),  # (2X − 1)², zero below X = ½
        (profiles.para(1, 2, 2, -1), 0.75, 0.25),
        (profiles.para(2, 2, 1, -0.5, 0.25), 0.25, 0.25),  # (X − ½)² + ¼, ¼ below X = ½
        (profiles.para(2, 2, 1, -0.5, 0.25), 1.0, 0.5),
        (profiles.para(3, 2, 1, 0, 0.5, 0.5), 0.25, 0.125),  # X/2 below ½, X² above
        (profiles.para(3, 2, 1, 0, 0.5, 0.5), 0.75, 0.5625),
        (profiles.para(4, 2, 1, 0, 0.25, 0.5, 0.125, 0.0625), 0.25, 0.125),  # X/4 + 1/16, X² + ⅛
        (profiles.para(4, 2, 1, 0, 0.25, 0.5, 0.125, 0.0625), 0.5, 0.375),
    ],
)
def test_curves_are_those_of_the_specification(curve, encoded, light):
    (read,) = parsed(profiles.gray(curve)).curves
    np.testing.assert_allclose(read.forward(np.array([encoded])), [light], atol=2e-5)


def test_gray_goes_by_its_curve_alone():
    actual = parsed(profiles.gray(profiles.gamma(2))).to_srgb(np.full((1, 1, 3), 0.5, np.float32))
    np.testing.assert_allclose(actual, 1.055 * 0.25 ** (1 / 2.4) - 0.055, atol=1e-5)


def test_srgb_is_recognised_in_the_profiles_of_others():
    assert parsed(profiles.rgb(profiles.SRGB, profiles.SRGB_CURVE)).is_srgb()
    steps = np.rint(65535 * srgb.to_linear(np.linspace(0, 1, 1024))).astype(int)
    assert parsed(profiles.rgb(profiles.SRGB, profiles.table(*steps))).is_srgb()
    assert not parsed(profiles.rgb()).is_srgb()
    assert not parsed(profiles.rgb(profiles.SRGB, profiles.gamma(2.2))).is_srgb()
    assert parsed(profiles.gray(profiles.SRGB_CURVE)).is_srgb()
    assert not parsed(profiles.gray()).is_srgb()


def test_a_picture_larger_than_a_strip_is_converted_whole():
    profile = parsed(profiles.rgb())
    rgb = np.tile(colours(1000), (1100, 1, 1))
    np.testing.assert_array_equal(profile.to_srgb(rgb)[-1], profile.to_srgb(rgb[-1:])[0])


DAMAGED = [
    b"",
    b"junk" * 50,
    profiles.rgb()[:200],
    profiles.rgb(curve=b"sf32" + bytes(20)),
    profiles.rgb(curve=profiles.para(4, 1)),  # too few numbers for it, in a tag of its own length
    profiles.rgb(curve=profiles.para(9, 2.2)),
    profiles.rgb(curve=profiles.table(65535, 0)),
    profiles.rgb(curve=profiles.table(7, 7)),
    profiles.rgb(curve=profiles.table(0, 60000, 100, 65535)),
    profiles.rgb(curve=profiles.gamma(0)),
    profiles.rgb(curve=profiles.para(1, 2, 0, 0)),
    profiles.rgb(curve=profiles.para(3, 2.2, -1, 0, 0, 0)),
    profiles.rgb(primaries=(profiles.ADOBE[0],) * 3),
    profiles.rgb(curve=profiles.para(3, 0, 0, 0, 1, 0.5)),  # rises, but by a power of 0
    profiles.rgb(curve=profiles.para(4, 0, 1, 0, 0.5, 1, 0.5, 0)),  # the same in the longest form
    profiles.rgb(curve=profiles.para(3, 32767, 32767, 32767, 0, 0)),  # more than any number
    profiles.rgb(curve=profiles.para(3, 1, 0, 1, 0.5, 0.5)),  # flat above its middle
    profiles.rgb(curve=profiles.para(1, 30000, 30000, 0)),  # from 0 to more than any number
    profiles.rgb(curve=profiles.para(4, 1 / 65536, 1, 0, 0, 0, -30000, 0)),  # its inverse is more than any
    profiles.rgb(curve=profiles.para(4, 1, 0.1, 0, 1, 2, 0, 0)),  # two numbers for one light
    profiles.rgb(primaries=((0, 0, 0),) * 3),
    profiles.tables_only(),
    profiles.cmyk(),
]


@pytest.mark.parametrize("data", DAMAGED)
def test_damaged_profiles_are_not_applied(data):
    assert icc_profile.parse(data) is None


def test_tags_that_all_claim_the_whole_profile_take_no_memory():
    entries = b"".join(struct.pack(">4sII", b"%04d" % number, 1, 1 << 20) for number in range(2000))
    data = bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(88) + struct.pack(">I", 2000) + entries
    data = data.ljust(1 << 20, b"\0")
    tracemalloc.start()
    try:
        assert icc_profile.parse(data) is None
        assert icc_profile.name(data) == "without a name"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_long_name_is_cut():
    assert icc_profile.name(profiles.rgb(name="x" * 5000)) == "x" * 80


def test_a_name_holds_no_control_characters():
    assert icc_profile.name(profiles.rgb(name="a\x1b[2J\nb")) == "a[2Jb"


def test_every_truncation_of_a_profile_is_handled():
    data = profiles.rgb()
    for end in range(0, len(data), 7):
        icc_profile.parse(data[:end])
        icc_profile.name(data[:end])
        icc_profile.space(data[:end])


def test_names():
    assert icc_profile.name(profiles.rgb(name="Adobe RGB (1998)")) == "Adobe RGB (1998)"
    words = "Écran".encode("utf-16-be")
    text = b"mluc" + bytes(4) + b"\0\0\0\1\0\0\0\x0cfrFR" + bytes([0, 0, 0, len(words), 0, 0, 0, 28]) + words
    assert icc_profile.name(profiles.profile("RGB ", {"desc": text})) == "Écran"
    assert icc_profile.name(b"") == "without a name"
    assert icc_profile.space(profiles.cmyk()) == "CMYK"
    assert icc_profile.space(b"RGB " * 20) == ""
