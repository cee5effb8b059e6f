"""Colours that files name by code or by numbers, and linear light: sRGB when they are read."""

from __future__ import annotations

import logging
import struct
import zlib

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import ImageFileError
from tests.helpers import profiles
from tests.helpers.picture_bytes import chunk, png
from tests.robustness.corpus.cases import shown

RAMP = np.arange(0, 256, 5).astype(np.uint8)
GRAYS = np.stack([RAMP] * 3, axis=-1)[np.newaxis]


def read(samples: np.ndarray, *chunks: bytes, color: int = 2, depth: int = 8) -> np.ndarray:
    return images.to_array(images.decode(png(samples, color, depth, b"".join(chunks)), name="a.png"))


def gama(exponent: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(exponent * 100_000)))


def cicp(*codes: int) -> bytes:
    return chunk(b"cICP", bytes(codes))


def chrm(*numbers: float) -> bytes:
    """White, red, green, blue: x and y of each."""
    return chunk(b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers)))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))


P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
SRGB = (0.3127, 0.3290, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
# sRGB's red in Display P3, as CSS Color 4 has it: color(display-p3 0.9175 0.2003 0.1386).
RED_IN_P3 = np.rint(np.array([[[0.9175, 0.2003, 0.1386]]]) * 65535).astype(np.uint16)


def test_linear_samples_are_encoded():
    light = np.array([[[0, 1000, 65535], [30000, 500, 20]]], np.uint16)
    np.testing.assert_allclose(read(light, gama(1), depth=16) / 65535, shown(light / 65535), atol=2e-5)


def test_an_exponent_is_undone():
    """gAMA 0.55556: light is the 1.8th power, as old Macintoshes had it."""
    actual = read(GRAYS, gama(1 / 1.8)) / 255
    np.testing.assert_allclose(actual, shown((GRAYS / 255) ** 1.8), atol=0.51 / 255)


def test_grey_with_an_exponent_stays_grey():
    actual = images.decode(png(RAMP[np.newaxis], 0, 8, gama(1)), name="a")
    assert actual.gray
    np.testing.assert_allclose(images.to_array(actual) / 255, shown(RAMP[np.newaxis] / 255), atol=0.51 / 255)


@pytest.mark.parametrize(
    "chunks",
    [
        [gama(0.45455)],
        [gama(0.45)],
        [gama(0.45455), chrm(*SRGB)],
        [chrm(*SRGB)],
        [gama(0)],
        [gama(1), chunk(b"sRGB", b"\0")],
        [chunk(b"sRGB", b"\0"), chrm(*P3), gama(1)],
        [cicp(1, 13, 0, 1)],
        [cicp(1, 1, 0, 1)],
        [cicp(1, 13, 0, 1), gama(1)],
        [cicp(1, 13, 0, 1), iccp(profiles.rgb())],
        [gama(1), iccp(profiles.rgb(curve=profiles.SRGB_CURVE, primaries=profiles.SRGB))],
        [chunk(b"gAMA", b"\1")],
        [chunk(b"cICP", b"\1")],
        [gama(0.45455), chrm(*[0] * 8)],
        [gama(0.45455), chrm(*[0.3] * 8)],
    ],
)
def test_what_is_srgb_or_says_nothing_stays_as_it_is(chunks):
    colors = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read(colors, *chunks), colors)


@pytest.mark.parametrize("chunks", [[cicp(12, 13, 0, 1)], [chrm(*P3), gama(0.45455)], [chrm(*P3)]])
def test_display_p3_becomes_srgb(chunks):
    np.testing.assert_allclose(read(RED_IN_P3, *chunks, depth=16), [[[65535, 0, 0]]], atol=260)


def test_rec_2020_becomes_srgb():
    """Light of sRGB's red in BT.2020 is 0.6274, 0.0691, 0.0164 (ITU-R BT.2087, table 3)."""
    red = np.rint(shown(np.array([[[0.6274, 0.0691, 0.0164]]])) * 65535).astype(np.uint16)
    np.testing.assert_allclose(read(red, cicp(9, 14, 0, 1), depth=16), [[[65535, 0, 0]]], atol=400)


def test_white_of_another_temperature_is_white():
    """DCI-P3's white is greenish; adapted, grey is grey."""
    np.testing.assert_allclose(read(GRAYS, cicp(11, 13, 0, 1)).astype(int), GRAYS, atol=1)


def test_a_code_stands_above_a_profile():
    actual = images.decode(png(GRAYS, 2, 8, cicp(12, 13, 0, 1) + iccp(profiles.rgb())), name="a")
    assert actual.metadata.icc == b""
    np.testing.assert_allclose(images.to_array(actual).astype(int), GRAYS, atol=1)


def test_a_profile_stands_above_numbers():
    both = read(GRAYS, gama(1), chrm(*P3), iccp(profiles.rgb()))
    np.testing.assert_array_equal(both, read(GRAYS, iccp(profiles.rgb())))


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_refused(transfer, name):
    with pytest.raises(
        ImageFileError, match=f"^a.png: an image of high dynamic range \\({name}\\); expected standard dyn"
    ):
        read(GRAYS, cicp(9, transfer, 0, 1))


@pytest.mark.parametrize("codes", [(2, 2, 0, 1), (12, 13, 0, 0), (12, 13, 1, 1), (99, 13, 0, 1)])
@pytest.mark.parametrize(
    ("others", "instead"),
    [
        ([], "sRGB is"),
        ([chunk(b"sRGB", b"\0"), gama(1)], "sRGB is"),
        ([gama(1)], "gAMA is"),
        ([chrm(*P3), gama(1)], "gAMA and cHRM are"),
        ([chrm(*P3)], "cHRM is"),
        ([iccp(profiles.rgb()), gama(1)], "its ICC profile (iCCP) is"),
    ],
)
def test_an_unknown_code_is_reported_with_its_substitute(codes, others, instead, caplog):
    np.testing.assert_array_equal(read(GRAYS, cicp(*codes), *others), read(GRAYS, *others))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    code = "-".join(map(str, codes))
    assert (
        record.getMessage()
        == f"a.png: the colour code {code} (cICP) is not known: {instead} taken in its place"
    )


@pytest.mark.parametrize("number", [0, 1, 9_999, 1_000_001, 2**32 - 1])
@pytest.mark.parametrize("others", [[], [chrm(*P3)]])
def test_a_gamma_that_makes_no_sense_is_not_applied(number, others, caplog):
    colors = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    senseless = chunk(b"gAMA", struct.pack(">I", number))
    np.testing.assert_array_equal(read(colors, senseless, *others), read(colors, *others))
    (record,) = caplog.records
    assert (
        record.getMessage()
        == f"a.png: its gamma of {number / 100_000:g} (gAMA) makes no sense; expected 0.1 to "
        "10: sRGB's curve is taken in its place"
    )


@pytest.mark.parametrize("exponent", [0.1, 0.35, 2.5, 10])
def test_a_gamma_that_makes_sense_is_applied(exponent, caplog):
    assert np.abs(read(GRAYS, gama(exponent)).astype(int) - GRAYS).max() > 9
    assert caplog.records == []


@pytest.mark.parametrize("primaries", [[0] * 8, [0.3] * 8])
def test_a_gamma_counts_where_the_primaries_span_nothing(primaries):
    np.testing.assert_array_equal(read(GRAYS, gama(1), chrm(*primaries)), read(GRAYS, gama(1)))
    assert np.abs(read(GRAYS, gama(1), chrm(*primaries)).astype(int) - GRAYS).max() > 9


def test_a_result_is_written_as_srgb():
    picture = images.decode(png(GRAYS, 2, 8, gama(1)), name="a")
    again = images.decode(images.encode(picture), name="b")
    np.testing.assert_array_equal(images.to_array(again), images.to_array(picture))


def avif(primaries: int, transfer: int, rgb: np.ndarray) -> bytes:
    """Return an AVIF written by OpenCV, with other codes in its colr box."""
    data = cv2.imencode(".avif", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_AVIF_QUALITY, 100])[
        1
    ].tobytes()
    place = data.index(b"nclx") + 4
    return data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]


def test_codes_of_avif_are_applied():
    red = np.full((16, 16, 3), np.rint(RED_IN_P3 / 257), np.uint8)
    actual = images.to_array(images.decode(avif(12, 13, red), name="a.avif"))
    np.testing.assert_allclose(actual.astype(int), np.full((16, 16, 3), (255, 0, 0)), atol=40)
    assert actual[..., 1:].mean() < 20
    with pytest.raises(ImageFileError, match=r"high dynamic range \(PQ\)"):
        images.decode(avif(9, 16, red), name="a.avif")


# Linear light


@pytest.mark.parametrize("suffix", [".hdr", ".pfm", ".tiff"])
def test_linear_light_is_encoded_and_reported(suffix, caplog):
    light = np.random.default_rng(0).uniform(0.05, 1, (5, 6, 3)).astype(np.float32)
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_SGILOG] if suffix == ".tiff" else []
    data = cv2.imencode(suffix, light[..., ::-1], flags)[1].tobytes()
    picture = images.decode(data, name="a")
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture.rgb, shown(light), atol=1e-6 if suffix == ".pfm" else 0.03)
    assert [record.getMessage() for record in caplog.records][-1].startswith(
        "a: linear light, converted to sRGB"
    )
    assert len(caplog.records) == 1


def test_light_beyond_white_is_clipped_and_reported(caplog):
    light = np.array([[[0.5, 0.5, 0.5], [2, np.inf, -1]]], np.float32)
    picture = images.decode(cv2.imencode(".pfm", light[..., ::-1])[1].tobytes(), name="a")
    np.testing.assert_allclose(picture.rgb, shown(light), atol=1e-6)
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "50.0% of its values are outside [0, 1] and clipped: lower its exposure in an HDR editor first"
    )


def test_floating_point_of_tiff_is_srgb(caplog):
    unit = np.random.default_rng(0).uniform(0, 1, (5, 6, 3)).astype(np.float32)
    data = cv2.imencode(".tiff", unit[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(images.decode(data, name="a").rgb, unit)
    assert caplog.records == []
