"""TIFF files of every kind: read right, or refused by what they are."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import ImageFileError
from lbfgs_style.images.formats import tiff_declared, tiff_parts
from tests.helpers import picture_bytes

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 65536, (6, 5, 3)).astype(np.uint16)
UNIT = PHOTO / 65535


@pytest.fixture(autouse=True)
def silent_opencv():
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    yield
    logging.setLogLevel(level)


def tiff(blocks, shape, bits, photometric=2, order="<", **tags) -> bytes:
    """Return a TIFF of these strips; more tags are named t317=[2] for tag 317."""
    height, width, samples = shape
    data, offsets = b"", []
    for block in blocks:
        offsets.append(8 + len(data))
        data += block + bytes(len(block) % 2)
    values = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [photometric]}
    values |= {273: offsets, 277: [samples], 278: [height], 279: [len(block) for block in blocks], 284: [1]}
    values |= {int(name[1:]): value for name, value in tags.items()}
    if photometric < 0:
        del values[262]
    entries, behind, start = b"", b"", 8 + len(data) + 2 + 12 * len(values) + 4
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(order + "HHI", tag, 4, len(numbers))
        entries += packed if len(packed) == 4 else struct.pack(order + "I", start + len(behind))
        behind += packed if len(packed) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    return head + data + struct.pack(order + "H", len(values)) + entries + bytes(4) + behind


def planes(samples: np.ndarray, order: str, rows: int) -> list[bytes]:
    ordered = samples.astype(samples.dtype.newbyteorder(order))
    height = samples.shape[0]
    return [
        ordered[top : top + rows, :, k].tobytes()
        for k in range(samples.shape[2])
        for top in range(0, height, rows)
    ]


def read(data: bytes) -> np.ndarray:
    return images.to_array(images.decode(data, name="a.tif"))


def refusal(data: bytes, name: str = "a.tif") -> str:
    with pytest.raises(ImageFileError) as caught:
        images.decode(data, name=name)
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("rows", [6, 4])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.float32, np.float64])
def test_planes_one_behind_the_other_are_read(dtype, channels, packed, rows, order):
    """What Photoshop calls per channel, and GDAL INTERLEAVE=BAND."""
    true = np.dstack([PHOTO, PHOTO[..., 1]])[..., :channels]
    true = true if dtype == np.uint16 else (true / 65535).astype(dtype)
    blocks = planes(true, order, rows)
    blocks = [zlib.compress(block) for block in blocks] if packed else blocks
    bits, float_tags = true.dtype.itemsize * 8, [1 if dtype == np.uint16 else 3] * channels
    more = {"t338": [2]} if channels == 4 else {}
    data = tiff(
        *(blocks, true.shape, bits, 2, order),
        **{"t284": [2], "t278": [rows], "t339": float_tags, "t259": [8 if packed else 1], **more},
    )
    actual = read(data)
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, true.astype(np.float32).astype(dtype))


def test_planes_of_8_bits_are_read():
    true = (PHOTO >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read(tiff(planes(true, "<", 6), true.shape, 8, t284=[2])), true)


def test_planes_lie_as_the_orientation_says():
    data = tiff(planes(PHOTO, "<", 6), PHOTO.shape, 16, t284=[2], t274=[6])
    np.testing.assert_array_equal(read(data), PHOTO[::-1].transpose(1, 0, 2))


@pytest.mark.parametrize(("channels", "more"), [(3, {}), (4, {"t338": [2]})])
def test_half_floats_are_read(channels, more):
    true = np.dstack([UNIT, UNIT[..., 1]])[..., :channels].astype(np.float16)
    actual = read(tiff([true.tobytes()], true.shape, 16, t339=[3] * channels, **more))
    assert actual.dtype == np.float16
    np.testing.assert_array_equal(actual, true)


def test_a_predictor_of_half_floats_is_undone():
    """Predictor 2: whole numbers, each less the one to its left."""
    true = UNIT.astype(np.float16)
    steps = np.diff(true.view(np.uint16), axis=1, prepend=np.uint16(0)).astype(np.uint16)
    packed = zlib.compress(steps.tobytes())
    data = tiff([packed], true.shape, 16, t339=[3, 3, 3], t259=[8], t317=[2])
    np.testing.assert_array_equal(read(data), true)


@pytest.mark.parametrize(
    ("stored", "bits", "kind", "true"),
    [
        (np.uint8([[0, 51, 255]]), 8, 1, np.uint8([[255, 204, 0]])),
        (np.uint16([[0, 1000, 65535]]), 16, 1, np.uint16([[65535, 64535, 0]])),
        (np.float32([[0, 0.25, 1]]), 32, 3, np.float32([[1, 0.75, 0]])),
        (np.float16([[0, 0.25, 1]]), 16, 3, np.float16([[1, 0.75, 0]])),
    ],
)
def test_white_at_zero_is_turned_round_at_every_depth(stored, bits, kind, true):
    actual = read(tiff([stored.tobytes()], (1, 3, 1), bits, photometric=0, t339=[kind]))
    np.testing.assert_array_equal(actual, true)
    assert actual.dtype == true.dtype


def test_white_of_12_bits_is_white():
    packed = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    actual = read(tiff([packed], (1, 2, 1), 12, photometric=1))
    assert actual.tolist() == [[65535, round(2048 / 4095 * 65535)]]
    actual = read(tiff([packed], (1, 2, 1), 12, photometric=0))
    assert actual.tolist() == [[0, 65535 - round(2048 / 4095 * 65535)]]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (6, "old JPEG"),
        (34661, "JBIG"),
        (34712, "JPEG 2000"),
        (34887, "LERC"),
        (34925, "LZMA"),
        (50000, "ZSTD"),
        (50001, "WebP"),
        (50002, "JPEG XL"),
        (4711, "compression no. 4711"),
        (0, "compression no. 0"),
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_compression_that_is_not_read_is_named(code, name, bits):
    line = refusal(tiff([bytes(64)], (6, 5, 3), bits, t259=[code]))
    assert name in line
    assert line.endswith("convert it to PNG, or to TIFF with LZW or Deflate")


@pytest.mark.parametrize(
    ("shape", "bits", "photometric", "more", "says"),
    [
        ((6, 5, 5), 8, 2, {"t338": [0, 0]}, "a TIFF of 5 channels; expected 1 to 4"),
        ((6, 5, 2), 12, 1, {"t338": [2]}, r"12-bit samples (grey, 2 channels); expected 1 channel"),
        ((6, 5, 3), 8, -1, {}, "8-bit samples (no PhotometricInterpretation, 3 channels); expected grey"),
        ((6, 5, 3), 8, 77, {}, "8-bit samples (PhotometricInterpretation 77, 3 channels); expected grey"),
        ((6, 5, 2), 8, 2, {}, "8-bit samples (RGB, 2 channels); expected 3 or 4 channels"),
        ((6, 5, 4), 16, 5, {}, "16-bit samples (CMYK, 4 channels); expected 8 bits"),
        ((6, 5, 3), 16, 8, {}, "16-bit samples (CIELab, 3 channels); expected 8 bits"),
        ((6, 5, 3), 8, 9, {}, "8-bit samples (ICCLab, 3 channels)"),
        ((6, 5, 1), 4, 1, {}, "4-bit samples (grey, 1 channel); expected 8 or 16 bits"),
        ((6, 5, 1), 2, 3, {"t320": [0] * 12}, "2-bit samples (a palette, 1 channel); expected 4 or 8 bits"),
        ((6, 5, 3), 8, 2, {"t258": [5, 6, 5]}, "unequally deep samples"),
        ((6, 5, 1), 24, 1, {"t339": [3]}, "24-bit floating-point samples"),
        ((6, 5, 1), 64, 1, {"t339": [6]}, "64-bit complex samples"),
    ],
)
def test_samples_that_are_not_read_are_named(shape, bits, photometric, more, says):
    line = refusal(tiff([bytes(6 * 5 * 5 * 8)], shape, bits, photometric, **more))
    assert says in line


def test_lab_of_8_bits_becomes_rgb():
    """L 53.2, a 80, b 67: sRGB's red, as CIE 15 has it, but for rounding and its white."""
    lab = np.full((4, 4, 3), (136, 80, 67), np.uint8)
    rgb = read(picture_bytes.tiff(lab, 8))
    np.testing.assert_allclose(rgb[0, 0], [255, 0, 0], atol=6)


def strips(compression: int, rows: int = 16):
    """Return a noisy photo in strips of LZW, PackBits or Deflate, written by OpenCV with its predictor."""
    photo = RNG.integers(0, 256, (70, 33, 3)).astype(np.uint8)
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows]
    return cv2.imencode(".tiff", photo[..., ::-1], flags)[1].tobytes(), photo


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_sound_strips_are_read(compression):
    data, photo = strips(compression)
    np.testing.assert_array_equal(read(data), photo)
    declared = tiff_declared.read(data)
    assert len(list(tiff_parts.strict(data, declared))) == (0 if compression == 8 else 2)


@pytest.mark.parametrize("compression", [5, 8, 32773])
@pytest.mark.parametrize("strip", [0, 2, 4])
def test_a_strip_that_is_cut_short_is_refused(compression, strip):
    """Its count of bytes is halved: OpenCV would paint the rest black and say so on stderr alone."""
    data, _ = strips(compression)
    page = tiff_declared.read(data).page
    counts = page[279]
    size = len(counts.data) // 5
    place = counts.offset + strip * size
    half = int.from_bytes(data[place : place + size], "little") // 2
    damaged = data[:place] + half.to_bytes(size, "little") + data[place + size :]
    assert "damaged: " in refusal(damaged)
    assert "get another copy of it" in refusal(damaged)


def test_a_wrong_bit_in_a_deflated_strip_is_refused():
    """The strips have an odd number of bytes, so that no other count of samples would do."""
    photo = RNG.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    packed = bytearray(zlib.compress(photo.tobytes(), 0))  # stored as it is: every bit is a sample's
    data = tiff([bytes(packed)], photo.shape, 8, t259=[8])
    np.testing.assert_array_equal(read(data), photo)
    packed[20] ^= 4
    assert "strip or tile 1 of 1 cannot be unpacked" in refusal(
        tiff([bytes(packed)], photo.shape, 8, t259=[8])
    )


def test_damaged_lzw_is_refused():
    """Zeros in the middle of a strip: codes that its table does not have yet."""
    data, _ = strips(5)
    page = tiff_declared.read(data).page
    start = int.from_bytes(page[273].data[:4], "little")
    damaged = data[: start + 700] + b"\xff" * 200 + data[start + 900 :]
    assert "some of its strips or tiles cannot be unpacked" in refusal(damaged)


def test_a_strip_outside_the_file_is_refused():
    assert "damaged" in refusal(tiff([bytes(90)], (6, 5, 3), 8, t273=[10**6]))


@pytest.mark.parametrize(("bits", "sample_format"), [(8, 1), (16, 3)])
def test_an_offset_of_64_bits_is_refused(bits, sample_format):
    """Two numbers of 32 bits, declared as one of 64 bits that no file reaches."""
    data = tiff([bytes(180)], (6, 5, 3), bits, t273=[8, 1], t339=[sample_format] * 3)
    data = data.replace(struct.pack("<HHI", 273, 4, 2), struct.pack("<HHI", 273, 16, 1))
    assert "damaged" in refusal(data)


def test_tiles_are_checked_too():
    tiles = [RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(2)]
    raw = [zlib.compress(tile.tobytes()) for tile in tiles]
    tags = {"t322": [16], "t323": [16], "t259": [8]}

    def file(blocks):
        data = tiff(blocks, (16, 32, 3), 8, **tags)
        # Strips named as tiles: the same kinds of values under other numbers.
        for old, new in ((273, 324), (279, 325)):
            data = data.replace(struct.pack("<HHI", old, 4, 2), struct.pack("<HHI", new, 4, 2))
        return data

    np.testing.assert_array_equal(read(file(raw)), np.concatenate(tiles, axis=1))
    assert "strip or tile 2 of 2" in refusal(file([raw[0], raw[1][:90]]))


def camera_raw(photometric: int, **more) -> bytes:
    """Return a thumbnail whose inner page is what a sensor saw, as DNG, NEF and ARW are laid out."""
    inner = picture_bytes.directory("<", [(256, 4, 1, 60), (262, 3, 1, photometric)])[8:]
    thumbnail = np.zeros((6, 5, 3), np.uint8)
    return tiff([thumbnail.tobytes(), inner], (6, 5, 3), 8, t273=[8], t279=[90], t330=[8 + 90], **more)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (camera_raw(32803), "a.nef"),
        (camera_raw(32803), "a.tif"),
        (camera_raw(34892), "standard input"),
        (tiff([bytes(90)], (6, 5, 3), 8, t50706=[0x0401]), "a.tif"),
        (tiff([bytes(90)], (6, 5, 3), 8), "a.ARW"),
        (tiff([bytes(60)], (6, 5, 1), 16, photometric=32803), "a.tif"),
        (tiff([b"CR" + bytes(88)], (6, 5, 3), 8), "a.jpg"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(90), "a.raf"),
        (b"IIRO\x08\0\0\0" + bytes(90), "a.orf"),
        (b"IIU\0\x08\0\0\0" + bytes(90), "a.rw2"),
        (b"\0\0\0\x18ftypcrx " + bytes(90), "a.cr3"),
        (b"II\x1a\0\0\0HEAPCCDR" + bytes(90), "a.crw"),
    ],
)
def test_camera_raw_is_refused(data, name):
    assert "camera raw: develop it first" in refusal(data, name)


def test_an_inner_page_that_is_a_picture_is_no_camera_raw():
    assert read(camera_raw(2)).shape == (6, 5, 3)


def test_a_reduced_copy_is_not_taken_for_the_picture():
    inner = picture_bytes.directory("<", [(256, 4, 1, 60), (257, 4, 1, 60), (254, 4, 1, 0)])[8:]
    tags = {"t273": [8], "t279": [90], "t330": [8 + 90]}
    assert "reduced copy" in refusal(tiff([bytes(90), inner], (6, 5, 3), 8, t254=[1], **tags))


def test_a_reduced_copy_of_nothing_is_the_picture():
    """Programs that extract a page from a file leave its NewSubfileType as it was."""
    true = (PHOTO >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read(tiff([true.tobytes()], true.shape, 8, t254=[1])), true)


@pytest.mark.parametrize("rows", [6, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bits_in_the_other_order_are_turned_before_they_are_unpacked(dtype, rows):
    """FillOrder 2."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    true = (PHOTO >> (16 - 8 * np.dtype(dtype).itemsize)).astype(dtype)
    blocks = [zlib.compress(true[top : top + rows].tobytes()).translate(turned) for top in range(0, 6, rows)]
    tags = {"t259": [8], "t266": [2], "t278": [rows]}
    data = tiff(blocks, true.shape, true.dtype.itemsize * 8, **tags)
    np.testing.assert_array_equal(read(data), true)
    blocks[-1] = blocks[-1][: len(blocks[-1]) // 2]
    assert "cannot be unpacked" in refusal(tiff(blocks, true.shape, true.dtype.itemsize * 8, **tags))


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_strips_that_are_missing_are_refused(dtype, planar, compression):
    true = (PHOTO / 65535 if np.dtype(dtype).kind == "f" else PHOTO >> 8).astype(dtype)
    blocks = planes(true, "<", 4) if planar == 2 else [true[:4].tobytes(), true[4:].tobytes()]
    blocks = [zlib.compress(block) for block in blocks] if compression == 8 else blocks
    tags = {"t278": [4], "t284": [planar], "t259": [compression]}
    tags |= {"t339": [3 if true.dtype.kind == "f" else 1] * 3}
    bits = true.dtype.itemsize * 8
    np.testing.assert_array_equal(read(tiff(blocks, true.shape, bits, **tags)), true)
    for there in range(1, len(blocks)):
        line = refusal(tiff(blocks[:there], true.shape, bits, **tags))
        assert f"damaged: it names {there} strips or tiles of {len(blocks)}; expected a whole" in line


def test_strips_beyond_those_of_the_picture_mean_nothing():
    blocks = [*planes(PHOTO, "<", 6), bytes(60), bytes(60)]
    np.testing.assert_array_equal(read(tiff(blocks, PHOTO.shape, 16, t284=[2])), PHOTO)


def gray_samples(dtype, extra: int) -> np.ndarray:
    samples = np.dstack([PHOTO, PHOTO[..., 0]])[..., : 1 + extra]
    if np.dtype(dtype).kind == "f":
        return (samples / 65535).astype(dtype)
    return (samples >> (16 - 8 * np.dtype(dtype).itemsize)).astype(dtype)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_grey_keeps_its_alpha(dtype, order, planar, orientation, caplog):
    true = gray_samples(dtype, 1)
    blocks = (
        planes(true, order, 6) if planar == 2 else [true.astype(true.dtype.newbyteorder(order)).tobytes()]
    )
    tags = {"t338": [2], "t284": [planar], "t274": [orientation]}
    tags |= {"t339": [3 if true.dtype.kind == "f" else 1] * 2}
    data = tiff(blocks, true.shape, true.dtype.itemsize * 8, 1, order, **tags)
    picture = images.decode(data, name="a.tif")
    assert picture.gray
    actual = images.to_array(picture)
    assert actual.dtype == dtype
    upright = true.swapaxes(0, 1) if orientation > 4 else true
    upright = upright[:, ::-1] if orientation in (2, 3, 6, 7) else upright
    upright = upright[::-1] if orientation in (3, 4, 7, 8) else upright
    np.testing.assert_array_equal(actual, upright[..., [0, 0, 0, 1]])
    assert caplog.records == []


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_differences_of_grey_and_alpha_are_undone(dtype, tiled):
    """Predictor 2: each sample is less the one of its kind to the left, in its strip or tile."""
    true = RNG.integers(0, 256, (16, 32, 2)).astype(dtype)
    step = 16 if tiled else 32
    parts = [true[:, left : left + step] for left in range(0, 32, step)]
    steps = [np.diff(part, axis=1, prepend=dtype(0)) for part in parts]
    blocks = [zlib.compress(part.astype(dtype).tobytes()) for part in steps]
    tags = {"t338": [2], "t259": [8], "t317": [2]} | ({"t322": [16], "t323": [16]} if tiled else {})
    data = tiff(blocks, true.shape, true.dtype.itemsize * 8, 1, **tags)
    np.testing.assert_array_equal(read(data), true[..., [0, 0, 0, 1]])


@pytest.mark.parametrize(("kinds", "alpha"), [([0], None), ([0, 0], None), ([0, 2], 2), ([], None)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_several_samples_behind_grey_the_alpha_is_taken(dtype, kinds, alpha):
    true = gray_samples(dtype, max(1, len(kinds)))
    more = {"t338": kinds} if kinds else {}
    actual = read(tiff([true.tobytes()], true.shape, true.dtype.itemsize * 8, 1, **more))
    np.testing.assert_array_equal(actual, true[..., 0] if alpha is None else true[..., [0, 0, 0, alpha]])


def test_white_at_zero_with_alpha_and_grey_times_alpha():
    stored = np.uint8([[[0, 255], [51, 128], [255, 0]]])
    actual = read(tiff([stored.tobytes()], stored.shape, 8, photometric=0, t338=[2]))
    assert actual[0, :, [0, 3]].T.tolist() == [[255, 255], [204, 128], [0, 0]]
    stored = np.uint16([[[300, 600], [7, 0]]])
    actual = read(tiff([stored.tobytes()], stored.shape, 16, photometric=1, t338=[1]))
    assert actual[0, :, [0, 3]].T.tolist() == [[32768, 600], [7, 0]]


def test_an_alpha_that_cannot_be_read_is_reported(monkeypatch, caplog):
    """As of JPEG in TIFF, here for its width."""
    monkeypatch.setattr(tiff_declared, "LONGEST", 9)
    true = gray_samples(np.uint8, 1)
    actual = images.to_array(images.decode(tiff([true.tobytes()], true.shape, 8, 1, t338=[2]), name="a.tif"))
    np.testing.assert_array_equal(actual, true[..., 0])
    (record,) = caplog.records
    assert record.getMessage().startswith("a.tif: its alpha is not read: save a TIFF with LZW")


@pytest.mark.parametrize("compression", [5, 8])
def test_a_predictor_of_half_floats_that_is_not_read_is_named(compression):
    line = refusal(tiff([bytes(180)], (6, 5, 3), 16, t339=[3] * 3, t259=[compression], t317=[3]))
    assert "a TIFF of 16-bit floating point with predictor 3; expected predictor 1 or 2" in line


def test_a_predictor_without_a_compression_means_nothing():
    true = UNIT.astype(np.float16)
    np.testing.assert_array_equal(read(tiff([true.tobytes()], true.shape, 16, t339=[3] * 3, t317=[3])), true)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.5, "a.tif: floating-point samples from 0.25 to 1.5; expected 0 to 1: clip or rescale them in an "),
        (-2, "a.tif: floating-point samples from -2 to 0.25; expected 0 to 1: clip or rescale them in an "),
        (np.nan, "a.tif: contains NaN or infinity in floating-point samples; expected 0 to 1: repair it in "),
        (np.inf, "a.tif: contains NaN or infinity in floating-point samples; expected 0 to 1: repair it in "),
        (-np.inf, "a.tif: contains NaN or infinity in floating-point samples; expected 0 to 1: repair it "),
    ],
)
def test_floating_point_outside_the_range_has_advice_for_files(value, says, dtype, photometric):
    stored = np.array([[0.25, value]], dtype)
    line = refusal(tiff([stored.tobytes()], (1, 2, 1), stored.itemsize * 8, photometric, t339=[3]))
    assert line.startswith(says)
    assert line.endswith("image editor, or save 8 or 16 bits")


def test_decoded_arrays_unlike_the_header_are_refused(monkeypatch):
    data = tiff([bytes(90)], (6, 5, 3), 8)
    for came in (np.zeros((5, 5, 3), np.uint8), np.zeros((6, 5), np.uint8), np.zeros((6, 5, 3), np.uint16)):
        monkeypatch.setattr(cv2, "imdecodeWithMetadata", lambda *_, came=came, **__: (came, (), ()))
        assert "declares 5×6 pixels of 3 channels and 8 bits, and was decoded as" in refusal(data)
