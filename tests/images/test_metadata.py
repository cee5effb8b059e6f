"""Metadata of image files: colour profile, EXIF and XMP, from the content's file to the result's."""

from __future__ import annotations

import io
import logging
import struct
import tracemalloc
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.images import Metadata
from lbfgs_style.images import exif as tiff_tags
from lbfgs_style.images.files import metadata_for_result
from lbfgs_style.images.formats import avif as avif_boxes
from lbfgs_style.images.formats import base, registry
from tests.helpers import picture_bytes, profiles
from tests.helpers.camera import XMP, camera, entry

FORMATS = ["png", "jpg", "webp", "avif", "tiff"]


def declared(data: bytes) -> tuple[str, tuple[int, int] | None]:
    """Return the format of a file and the size that it declares."""
    file_format = registry.format_of(data)
    assert file_format is not None
    return file_format.name, registry.declared_size(file_format, data)


def wave(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([80 + 3 * x, 100 + 4 * y, 60 + 2 * (x + y)], axis=2).astype(np.uint8)


def picture(array: np.ndarray, **about: bytes) -> images.Picture:
    return replace(images.from_array(array), metadata=Metadata(**about))


def kept(file_format: str, source: images.Picture) -> images.Picture:
    return images.decode(images.encode(source, file_format))


def with_profile(array: np.ndarray, profile: bytes, file_format: str = "png") -> bytes:
    """Return a file whose numbers are those of the array, whatever the profile says."""
    plain = images.encode(images.from_array(array), file_format)
    return registry.write_metadata(plain, Metadata(icc=profile), array.shape[:2], alpha=False)


# --- from format to format


@pytest.mark.parametrize("shape", ["rgb", "rgba", "gray"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_metadata_come_through(file_format, shape):
    array = {"rgb": wave(), "rgba": np.dstack([wave(), wave()[..., 0]]), "gray": wave()[..., 0]}[shape]
    profile = profiles.gray() if shape == "gray" and file_format != "webp" else profiles.rgb()
    back = kept(file_format, picture(array, exif=camera(), icc=profile, xmp=XMP)).metadata
    assert back.icc == profile
    assert back.xmp == (b"" if file_format == "avif" else XMP.replace(b'"6"', b'"1"'))
    maker = tiff_tags.entry(back.exif, 271)
    assert maker is not None
    assert maker.data == b"Ace\0"


@pytest.mark.parametrize("file_format", FORMATS)
def test_pillow_reads_the_same(file_format):
    image = pytest.importorskip("PIL.Image")
    data = images.encode(picture(wave(), exif=camera(), icc=profiles.rgb(), xmp=XMP), file_format)
    file = image.open(io.BytesIO(data))
    file.load()
    assert file.size == (32, 24)
    assert file.info["icc_profile"] == profiles.rgb()
    exif = file.getexif()
    assert exif[271] == "Ace"
    assert exif.get(274, 1) == 1
    inner = exif.get_ifd(34665)
    assert inner[33434] == 1 / 250
    assert (inner[0xA002], inner[0xA003]) == (32, 24)
    if file_format == "png":
        assert file.text["XML:com.adobe.xmp"].encode() == XMP.replace(b'"6"', b'"1"')
    else:
        xmp = file.info["xmp"]
        assert xmp == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_of_pillow_are_read(file_format):
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[271], exif[274] = "Ace", 6
    exif.get_ifd(34665)[33434] = 0.004
    more = {} if file_format in ("png", "avif") else {"xmp": XMP}
    if file_format == "png":
        more["pnginfo"] = pytest.importorskip("PIL.PngImagePlugin").PngInfo()
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if file_format == "tiff":
        exif[700] = more.pop("xmp")
    file = io.BytesIO()
    image.fromarray(wave()).save(
        file, file_format.replace("jpg", "jpeg"), exif=exif, icc_profile=profiles.rgb(), **more
    )
    read = images.decode(file.getvalue())
    assert read.rgb.shape == (32, 24, 3)  # turned
    assert read.metadata.icc == profiles.rgb()
    assert read.metadata.xmp == (b"" if file_format == "avif" else XMP)
    maker = tiff_tags.entry(read.metadata.exif, 271)
    assert maker is not None
    assert maker.data.rstrip(b"\0") == b"Ace"


def test_opencv_reads_the_extended_webp():
    array = np.dstack([wave(), wave()[..., 0]])
    data = images.encode(
        picture(array, exif=camera(), icc=profiles.rgb(profiles.SRGB, profiles.SRGB_CURVE)),
        "webp",
        quality=100,
    )
    plain = images.encode(images.from_array(array), "webp", quality=100)
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), -1), cv2.imdecode(np.frombuffer(plain, np.uint8), -1)
    )


def test_without_metadata_files_are_those_of_opencv():
    for file_format in FORMATS:
        data = images.encode(images.from_array(wave()), file_format)
        assert images.decode(data).metadata == Metadata()


def test_a_profile_of_many_segments_comes_through_jpeg():
    long = profiles.rgb() + np.random.default_rng(0).bytes(150_000)
    assert kept("jpg", picture(wave(), icc=long)).metadata.icc == long


def test_segments_of_a_profile_are_put_in_their_order():
    body = b"ICC_PROFILE\0\2\2later", b"ICC_PROFILE\0\1\2first, "
    segments = b"".join(segment(0xE2, part) for part in body)
    assert registry.read_metadata(b"\xff\xd8" + segments + b"\xff\xda").icc == b"first, later"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(*chunks: bytes) -> bytes:
    """Return a PNG with chunks behind its header."""
    plain = images.encode(images.from_array(wave()), "png")
    return plain[:33] + b"".join(chunks) + plain[33:]


def test_of_two_profiles_in_a_png_the_first_counts():
    profile = [chunk(b"iCCP", b"x\0\0" + zlib.compress(name)) for name in (b"first", b"second")]
    assert registry.read_metadata(with_chunks(*profile)).icc == b"first"


@pytest.mark.parametrize(("compressed", "expected"), [(b"\0\0", XMP), (b"\1\0", b"")])
def test_xmp_in_a_png_is_not_compressed(compressed, expected):
    """As Adobe's specification of XMP (part 3) has it."""
    assert (
        registry.read_metadata(
            with_chunks(chunk(b"iTXt", b"XML:com.adobe.xmp\0" + compressed + b"\0\0" + XMP))
        ).xmp
        == expected
    )


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_exif_begins_with_its_tags(file_format):
    """Some programs write the head that JPEG alone has."""
    plain = images.encode(images.from_array(wave()), file_format)
    with_head = registry.write_metadata(plain, Metadata(exif=b"Exif\0\0" + camera()), (24, 32), alpha=False)
    assert registry.read_metadata(with_head).exif == camera()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def test_the_scan_of_a_jpeg_is_not_read_as_metadata():
    """What follows the scan's header (0xDA) are pixels, whatever they look like."""
    exif = segment(0xE1, b"Exif\0\0" + camera())
    assert registry.read_metadata(b"\xff\xd8" + exif).exif == camera()
    assert registry.read_metadata(b"\xff\xd8" + segment(0xDA, bytes(10)) + exif) == Metadata()


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_jpeg_segment_has_a_maximal_length(more, fits):
    """A length of 16 bits that counts itself: 65,533 bytes, of which the name of the namespace takes 29."""
    xmp = bytes(65_533 - 29 + more)
    assert kept("jpg", picture(wave(), xmp=xmp)).metadata.xmp == (xmp if fits else b"")


def test_a_profile_too_long_for_jpeg_is_reported(caplog):
    """Its segments are numbered in one byte."""
    profile = bytearray(17_000_000)
    profile[16:20], profile[36:40] = b"RGB ", b"acsp"
    with caplog.at_level(logging.WARNING, "lbfgs_style"):
        encoded = images.encode(picture(wave(), icc=bytes(profile)), "jpg")
    assert len(encoded) < 100_000
    assert "colour profile of 17000000 bytes is more than a JPEG holds" in caplog.text


def test_the_name_of_a_format_may_be_in_capitals():
    assert images.encode(images.from_array(wave()), "PNG") == images.encode(images.from_array(wave()), "png")


def test_metadata_too_long_for_jpeg_are_reported(caplog):
    with caplog.at_level(logging.WARNING, "lbfgs_style"):
        back = kept("jpg", picture(wave(), exif=camera() + bytes(70_000), xmp=bytes(70_000)))
    assert back.metadata == Metadata()
    assert [r.message.split()[0] for r in caplog.records] == ["EXIF", "XMP"]


def test_a_profile_that_decompresses_to_much_is_cut():
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 26)))
    assert len(registry.read_metadata(with_chunks(bomb)).icc) == 1 << 24


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_truncation_of_a_file_is_handled(file_format):
    data = images.encode(picture(wave(4, 4), exif=camera(), icc=profiles.rgb(), xmp=XMP), file_format)
    for end in range(0, len(data), 5):
        registry.read_metadata(data[:end])
    rng = np.random.default_rng(0)
    for _ in range(200):
        junk = bytearray(data)
        for place in rng.integers(4, len(data), 6):
            junk[place] = rng.integers(256)
        about = registry.read_metadata(bytes(junk))
        registry.write_metadata(data, metadata_for_result(about, (4, 4)), (4, 4), alpha=False)


# --- EXIF


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_a_result_is_true(order):
    before = camera(6, order)
    after = tiff_tags.for_result(before, (300, 400))
    assert len(after) == len(before)
    orientation = tiff_tags.entry(after, 274)
    assert orientation is not None
    assert orientation.number() == 1
    assert b"maker note" in after
    assert b"thumbnail" not in after
    assert struct.pack(order + "HHIHH", 0xA002, 3, 1, 400, 0) in after
    assert struct.pack(order + "HHII", 0xA003, 4, 1, 300) in after
    assert after[8 + 2 + 36 : 8 + 2 + 40] == bytes(4)  # no second directory


@pytest.mark.parametrize("kind", range(1, 14))
def test_an_applied_orientation_is_reset(kind):
    """By its type (TIFF 6.0): BYTE, SHORT, LONG, or IFD; one that is no integer is left as it is."""
    value = 26 if kind in (5, 10, 12) else 6  # that of eight bytes stands behind the directory
    block = b"II*\0" + struct.pack("<IHHHIIIII", 8, 1, 274, kind, 1, value, 0, 6, 1)
    is_obeyed = base.upright(np.zeros((2, 3)), block).shape == (3, 2)
    assert is_obeyed == (kind in (1, 3, 4, 13))
    assert (tiff_tags.for_result(block, (2, 3)) != block) == is_obeyed
    assert tiff_tags.number(tiff_tags.for_result(block, (2, 3)), 274) == (1 if is_obeyed else None)


def test_an_orientation_that_overlaps_another_value_is_reset():
    """With the height, whose two numbers begin there."""
    tags = struct.pack("<HHHIIHHII", 2, 274, 3, 1, 6, 0xA003, 4, 2, 18)
    after = tiff_tags.for_result(b"II*\0\x08\0\0\0" + tags + bytes(4), (300, 400))
    assert tiff_tags.number(after, 274) == 1


def test_a_side_too_long_for_its_tag_is_as_long_as_that_can_say():
    after = tiff_tags.for_result(camera(), (70_000, 80_000))
    assert struct.pack(">HHIHH", 0xA002, 3, 1, 65_535, 0) in after
    assert struct.pack(">HHII", 0xA003, 4, 1, 70_000) in after


@pytest.mark.parametrize(("tag", "value"), [(0x0202, 2**20), (0x0201, 2**20), (0x0202, 0)])
def test_a_thumbnail_with_a_wrong_length_or_offset(tag, value):
    """Its bytes within the block are removed, nothing else is changed, and nothing is added."""
    start = camera().index(b"thumbnail")
    true = start if tag == 0x0201 else 9
    before = camera(1).replace(struct.pack(">HHII", tag, 4, 1, true), struct.pack(">HHII", tag, 4, 1, value))
    after = tiff_tags.for_result(before, (3000, 4000))
    assert after[start:] == (bytes(9) if (tag, value) == (0x0202, 2**20) else b"thumbnail")
    assert after[:46] == before[:46]
    assert len(after) == len(before)


def test_where_no_second_directory_is_there_is_no_thumbnail():
    """The first eight bytes are no directory, though in a longer block they could be read as one."""
    count = struct.unpack("<H", b"II")[0]
    block = bytearray(b"II*\0" + struct.pack("<IHHHIII", 8, 1, 274, 3, 1, 1, 0)).ljust(
        2 + 12 * count + 20, b"x"
    )
    struct.pack_into("<HHIIHHII", block, 2 + 12 * 9, 0x0201, 4, 1, 200, 0x0202, 4, 1, 50)
    assert tiff_tags.for_result(bytes(block), (1, 1)) == block


def test_a_copy_goes_without_the_makers_note():
    """It holds offsets in the original file, which are wrong in the copy."""
    copy = tiff_tags.exif_of(camera())
    assert b"Ace" in copy
    assert struct.pack("<II", 1, 250) in copy
    assert b"maker note" not in copy


@pytest.mark.parametrize("more", [b"", b"\0"])
def test_a_directory_begins_at_an_even_offset(more):
    """TIFF 6.0, section 2."""
    plain = images.encode(images.from_array(wave()), "tiff") + more
    written = tiff_tags.add(plain, b"", {tiff_tags.XMP: XMP})
    assert struct.unpack_from("<I", written, 4)[0] % 2 == 0
    assert tiff_tags.entry(written, tiff_tags.XMP).data == XMP
    np.testing.assert_array_equal(images.to_array(images.decode(written)), wave())


BIG = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + struct.pack("<HHQQQ", 274, 3, 1, 6, 0)
"""Sound as a BigTIFF, which EXIF is not."""


@pytest.mark.parametrize("block", [b"junk", b"II*\0", camera()[:30], b"II*\0\xff\xff\xff\xff", b"II+\0", BIG])
def test_damaged_exif_is_left_out(block, caplog):
    """Another program might find an orientation in it, and turn a result that is upright."""
    with caplog.at_level(logging.WARNING, "lbfgs_style"):
        assert metadata_for_result(Metadata(exif=block), (10, 20)) == Metadata()
    message = "the EXIF of the content image is damaged, and is left out"
    assert [r.message for r in caplog.records] == [message]
    assert metadata_for_result(Metadata(), (10, 20)) == Metadata()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_intact_tags_of_damaged_exif_are_read_and_reset(order):
    """The directory of the camera is cut off; the orientation stands before it."""
    cut = camera(6, order)[:60]
    after = tiff_tags.for_result(cut, (300, 400))
    assert len(after) == len(cut)
    orientations = tiff_tags.entry(cut, 274), tiff_tags.entry(after, 274)
    assert [entry.number() for entry in orientations] == [6, 1]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "exif",
    [
        b"junk" * 9,
        camera()[:9],
        # Its count of tags is beyond its end, and libavif finds the orientation all the same.
        camera()[:8] + b"\xff\xff" + camera()[10:],
        camera()[:60],
        camera().replace(struct.pack(">HHI", 34665, 4, 1), struct.pack(">HHI", 34665, 5, 1)),
    ],
)
def test_a_result_with_damaged_exif_is_written_upright(file_format, exif):
    data = images.encode(picture(wave(), exif=exif), file_format)
    assert images.decode(data).rgb.shape == (24, 32, 3)
    pillow = pytest.importorskip("PIL.Image").open(io.BytesIO(data))
    assert pillow.size == (32, 24)
    assert pillow.getexif().get(274, 1) == 1


def test_a_pointer_of_64_bits_is_no_pointer():
    """A directory whose offset is a fraction, whose first eight bytes were read as an offset."""
    head = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 34665, 5, 1, 26) + bytes(4)
    block = head + b"\xff" * 8
    assert tiff_tags.for_result(block, (1, 1)) == block
    assert tiff_tags.exif_of(block) == b""


def test_tags_that_all_claim_the_whole_block_take_no_memory():
    size = 1 << 20
    entries = b"".join(struct.pack("<HHII", 1000 + i, 7, size - 8, 8) for i in range(2000))
    block = (b"II*\0" + struct.pack("<IH", 8, 2000) + entries).ljust(size, b"\0")
    tracemalloc.start()
    try:
        assert tiff_tags.entry(block, 274) is None
        assert tiff_tags.exif_of(block) == b""
        assert tiff_tags.for_result(block, (1, 1)) == b""
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff_is_read_like_tiff(order):
    """64-bit offsets; opacity not multiplied into the colours; orientation; the size in the header."""
    rgba = np.array([[[50, 100, 25, 128], [200, 0, 30, 255]]], np.uint8)
    data = picture_bytes.big_tiff(rgba, [(338, 2), (274, 6)], order)
    np.testing.assert_allclose(
        images.to_array(images.decode(data)).astype(int), rgba.transpose(1, 0, 2), atol=1
    )
    assert tiff_tags.number(data, tiff_tags.ORIENTATION) == 6
    assert declared(data) == ("TIFF", (1, 2))


@pytest.mark.parametrize(("count", "size"), [(65_535, (7, 7)), (65_536, None)])
def test_a_big_tiff_has_no_more_tags_than_there_are(count, size):
    """Its count has 64 bits: of a large file, one could be made that takes minutes to walk through."""
    tags = struct.pack("<HHQQ", 256, 4, 1, 7) + struct.pack("<HHQQ", 257, 4, 1, 7)
    tags += struct.pack("<HHQQ", 300, 3, 1, 7) * (count - 2)
    data = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, count) + tags
    assert declared(data) == ("TIFF", size)


def test_an_orientation_in_both_directories_is_reset_in_both():
    """An Exif directory should have no orientation, but a damaged one may."""
    short = struct.Struct("<HHII")
    first = struct.pack("<H", 2) + short.pack(274, 3, 1, 6) + short.pack(0x8769, 4, 1, 38) + bytes(4)
    inner = struct.pack("<H", 1) + short.pack(274, 3, 1, 8) + bytes(4)
    after = tiff_tags.for_result(b"II*\0\x08\0\0\0" + first + inner, (300, 400))
    assert (after[18], after[48]) == (1, 1)


def test_a_directory_that_points_to_itself_ends():
    loop = b"II*\0" + struct.pack("<IH", 8, 1) + entry(34665, 4, 1, 8, "<") + bytes(4)
    assert tiff_tags.exif_of(loop).startswith(b"II*\0")


def test_xmp_in_the_other_form_is_put_upright():
    about = Metadata(xmp=b"<tiff:Orientation>8</tiff:Orientation><exif:Flash>8</exif:Flash>")
    upright = b"<tiff:Orientation>1</tiff:Orientation><exif:Flash>8</exif:Flash>"
    assert metadata_for_result(about, (1, 1)).xmp == upright


# --- colours


@pytest.mark.parametrize(
    ("file_format", "dtype", "off"),
    [("png", np.uint8, 0), ("png", np.uint16, 1), ("tiff", np.uint16, 1), ("tiff", np.uint8, 0)],
)
def test_colours_of_a_wide_profile_come_back(file_format, dtype, off):
    """Read as sRGB, written in the profile again: the same numbers."""
    top = np.iinfo(dtype).max
    array = (np.random.default_rng(0).uniform(0.4, 0.6, (20, 20, 3)) * top).astype(dtype)
    read = images.decode(with_profile(array, profiles.rgb(), file_format))
    assert np.abs(images.to_array(read).astype(int) - array).max() > 0.02 * top  # other numbers in sRGB
    again = images.encode(read, file_format)
    stored = cv2.imdecode(np.frombuffer(again, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert stored.dtype == dtype
    assert np.abs(stored.astype(int) - array).max() <= off


def test_red_of_adobe_rgb_is_a_red_that_srgb_clips():
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (8, 8, 3))
    data = with_profile(red, profiles.rgb())
    assert images.to_array(images.decode(data))[0, 0].tolist() == [255, 0, 0]
    half = np.broadcast_to(np.array([128, 128, 128], np.uint8), (8, 8, 3))
    data = with_profile(half, profiles.rgb())
    # (128/255)^2.19922 = 0.2197 of the light; sRGB writes that as 1.055 · 0.2197^(1/2.4) − 0.055 = 0.5065.
    assert images.to_array(images.decode(data))[0, 0].tolist() == [128 + 1] * 3


def test_srgb_under_another_name_changes_no_number():
    data = with_profile(wave(), profiles.rgb(profiles.SRGB, profiles.SRGB_CURVE))
    np.testing.assert_array_equal(images.to_array(images.decode(data)), wave())


def test_a_gray_profile_goes_with_gray_alone():
    gray = wave()[..., 0]
    data = with_profile(gray, profiles.gray())
    read = images.decode(data)
    assert (images.to_array(read) != gray).any()
    stored = cv2.imdecode(np.frombuffer(images.encode(read, "png"), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, gray)
    as_rgb = images.decode(images.encode(read, "webp", quality=100))  # WebP has no grey
    assert as_rgb.metadata.icc == b""
    np.testing.assert_allclose(as_rgb.rgb, read.rgb, atol=0.02)


@pytest.mark.parametrize(
    ("profile", "stays"), [(profiles.tables_only(), True), (profiles.cmyk(), False), (profiles.gray(), False)]
)
def test_profiles_that_are_not_applied_are_reported(profile, stays, caplog):
    data = with_profile(wave(), profile)
    with caplog.at_level(logging.WARNING, "lbfgs_style"):
        read = images.decode(data, name="photo.png")
    (record,) = caplog.records
    assert (
        record.message.startswith("photo.png: its colour profile 'a ") or "hand-made grey" in record.message
    )
    assert record.message.endswith("is not applied: taken as sRGB")
    assert read.metadata.icc == (profile if stays else b"")
    np.testing.assert_array_equal(images.to_array(read), wave())
    assert images.decode(images.encode(read, "png")).metadata.icc == (profile if stays else b"")


# --- AVIF


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def avif(*properties: bytes) -> bytes:
    """The boxes of an AVIF file up to its pixels, which are missing (ISO/IEC 14496-12)."""
    meta = box(b"meta", bytes(4), box(b"iprp", box(b"ipco", *properties), box(b"ipma", bytes(8))))
    return box(b"ftyp", b"avif", bytes(4), b"mif1") + meta


def test_properties_of_avif():
    coding = box(b"av1C", bytes([0x81, 0x04, 0b01100000, 0]))
    colour = box(b"colr", b"prof", profiles.rgb())
    codes = box(b"colr", b"nclx", struct.pack(">HHHB", 12, 13, 6, 0x80))
    properties = avif_boxes.properties(avif(coding, colour, codes, box(b"irot", b"\3"), box(b"imir", b"\1")))
    assert properties == avif_boxes.AvifProperties(
        bits=12, turns=3, mirror=1, icc=profiles.rgb(), primaries=12, transfer=13
    )
    assert avif_boxes.properties(avif(box(b"av1C", bytes([0x81, 0, 0b01000000, 0])))).bits == 10
    assert avif_boxes.properties(avif()) == avif_boxes.AvifProperties()
    assert avif_boxes.AVIF.begins(avif())
    assert not avif_boxes.AVIF.begins(b"\xff\xd8" + bytes(20))


def to_the_end(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 0, kind) + body


def of_64_bits(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body


@pytest.mark.parametrize("outer", [box, to_the_end, of_64_bits])
def test_lengths_of_boxes(outer):
    """ISO/IEC 14496-12, 4.2: 0 for all that is left, 1 for a length of 64 bits."""
    assert avif_boxes.properties(outer(b"meta", avif(box(b"irot", b"\3"))[28:])).turns == 3


def test_nothing_is_read_behind_a_box_shorter_than_its_head():
    data = avif(struct.pack(">I", 4), box(b"irot", b"\3"))
    assert avif_boxes.properties(data) == avif_boxes.AvifProperties()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_put_upright(orientation):
    """Pillow writes what EXIF calls an orientation as AVIF has it, and reads it back."""
    image, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    exif = image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    image.fromarray(wave(32, 48)).save(file, "avif", exif=exif, quality=100, subsampling="4:4:4")
    expected = np.asarray(ops.exif_transpose(image.open(file)))
    actual = images.to_array(images.decode(file.getvalue()))
    np.testing.assert_allclose(actual.astype(int), expected.astype(int), atol=4)


def test_an_avif_that_lies_about_its_bits_does_not_wrap_around(monkeypatch):
    array = np.full((16, 16, 3), 4095, np.uint16)
    array[:, :8] = 2047
    data = cv2.imencode(".avif", array, [cv2.IMWRITE_AVIF_DEPTH, 12, cv2.IMWRITE_AVIF_QUALITY, 100])[1]
    for bits, dark in ((10, 1), (8, 2047 / 65535)):
        monkeypatch.setattr(
            avif_boxes,
            "properties",
            lambda data, bits=bits: avif_boxes.AvifProperties(bits=bits, size=(16, 16)),
        )
        read = images.decode(data.tobytes())
        np.testing.assert_allclose(read.rgb[:, 3], dark, atol=0.01)
        assert (read.rgb[:, 12] >= read.rgb[:, 3]).all()


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_has_its_full_range(bits):
    top = (1 << bits) - 1
    array = np.full((16, 16, 3), top, np.uint16)
    array[:, :8] = top // 2
    data = cv2.imencode(".avif", array, [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100])[
        1
    ].tobytes()
    read = images.decode(data)
    assert read.dtype == np.uint16
    np.testing.assert_allclose(read.rgb[:, 12], 1, atol=0.01)
    np.testing.assert_allclose(read.rgb[:, 3], 0.5, atol=0.01)


# --- CMYK


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(file_format):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("CMYK", (16, 16), (20, 180, 90, 40)).save(file, file_format)
    read = images.decode(file.getvalue())
    assert read.alpha is None
    # (1 − C)(1 − K): 198, 63, 139
    np.testing.assert_allclose(images.to_array(read)[8, 8].astype(int), [198, 63, 139], atol=2)
