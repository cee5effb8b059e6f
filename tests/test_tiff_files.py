"""TIFF files of every kind: read right, or refused by what they are."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import picture_bytes
import pytest

from lbfgs_style import images, tiff_declared, tiff_parts
from lbfgs_style.errors import ImageFileError

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
    got = read(data)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, true.astype(np.float32).astype(dtype))


def test_planes_of_8_bits_are_read():
    true = (PHOTO >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read(tiff(planes(true, "<", 6), true.shape, 8, t284=[2])), true)


def test_planes_lie_as_the_orientation_says():
    data = tiff(planes(PHOTO, "<", 6), PHOTO.shape, 16, t284=[2], t274=[6])
    np.testing.assert_array_equal(read(data), PHOTO[::-1].transpose(1, 0, 2))


@pytest.mark.parametrize(("channels", "more"), [(3, {}), (4, {"t338": [2]})])
def test_half_floats_are_read(channels, more):
    true = np.dstack([UNIT, UNIT[..., 1]])[..., :channels].astype(np.float16)
    got = read(tiff([true.tobytes()], true.shape, 16, t339=[3] * channels, **more))
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, true)


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
    got = read(tiff([stored.tobytes()], (1, 3, 1), bits, photometric=0, t339=[kind]))
    np.testing.assert_array_equal(got, true)
    assert got.dtype == true.dtype


def test_white_of_12_bits_is_white():
    packed = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    got = read(tiff([packed], (1, 2, 1), 12, photometric=1))
    assert got.tolist() == [[65535, round(2048 / 4095 * 65535)]]
    got = read(tiff([packed], (1, 2, 1), 12, photometric=0))
    assert got.tolist() == [[0, 65535 - round(2048 / 4095 * 65535)]]


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
        ((6, 5, 2), 16, 1, {"t338": [2]}, r"16-bit samples (grey, 2 channels); expected 1 channel"),
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
    """Return a noisy photo in strips of LZW, PackBits or Deflate, by OpenCV; predictor as it likes."""
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
    place = counts.place + strip * size
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
def test_a_place_of_64_bits_is_refused(bits, sample_format):
    """Two numbers of 32 bits, declared as one of 64 bits that no file reaches."""
    data = tiff([bytes(180)], (6, 5, 3), bits, t273=[8, 1], t339=[sample_format] * 3)
    data = data.replace(struct.pack("<HHI", 273, 4, 2), struct.pack("<HHI", 273, 16, 1))
    assert "damaged" in refusal(data)


def test_tiles_are_checked_too():
    tiles = [RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(2)]
    raw = [zlib.compress(tile.tobytes()) for tile in tiles]
    given = {"t322": [16], "t323": [16], "t259": [8]}

    def file(blocks):
        data = tiff(blocks, (16, 32, 3), 8, **given)
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
    assert "reduced copy" in refusal(tiff([bytes(90)], (6, 5, 3), 8, t254=[1]))


def test_what_comes_out_otherwise_than_declared_is_refused(monkeypatch):
    data = tiff([bytes(90)], (6, 5, 3), 8)
    for came in (np.zeros((5, 5, 3), np.uint8), np.zeros((6, 5), np.uint8), np.zeros((6, 5, 3), np.uint16)):
        monkeypatch.setattr(cv2, "imdecodeWithMetadata", lambda *_, came=came, **__: (came, (), ()))
        assert "declares 5×6 pixels of 3 channels and 8 bits, and was decoded as" in refusal(data)
