from __future__ import annotations

import copyreg
import io
import pickle
import struct
import subprocess
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from lbfgs_style.errors import NetworkError, NetworkFileError
from lbfgs_style.networks import torch_pickle, vgg
from lbfgs_style.networks.published_weights import read_keras_h5, vgg_weights
from lbfgs_style.networks.torch_pickle import read_pth
from tests.helpers.command import ROOT
from tests.helpers.vgg_weights import (
    Global,
    LegacyPickler,
    keras_h5,
    legacy_pth,
    small_weights,
    torchvision_arrays,
)


def write(tmp_path, data):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return path


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        for actual, expected in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(actual, expected)
            assert actual.dtype == np.float32


@pytest.mark.parametrize("arch", ["vgg16", "vgg19"])
def test_a_legacy_pth_gives_the_weights_that_were_written(arch, tmp_path):
    weights = small_weights(arch)
    path = write(tmp_path, legacy_pth(torchvision_arrays(arch, weights)))
    assert_same(vgg_weights(arch, read_pth(path), "pth"), weights)


def test_prefix_leaves_the_classifier_out(tmp_path):
    path = write(tmp_path, legacy_pth(torchvision_arrays("vgg16", small_weights("vgg16"))))
    assert "classifier.0.weight" in read_pth(path)
    kept = list(read_pth(path, prefix="features."))
    assert kept == [name for name in read_pth(path) if name != "classifier.0.weight"]
    assert len(kept) == 26


@pytest.mark.torch
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_file_that_torch_writes_is_read(is_zip, tmp_path):
    torch = pytest.importorskip("torch")
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    whole = torch.from_numpy(values.copy())
    state = OrderedDict(a=whole, part=whole[1], bias=torch.tensor([0.5, -1.5]))
    state._metadata = OrderedDict(version=1)
    path = tmp_path / "torch.pth"
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    arrays = read_pth(path)
    np.testing.assert_array_equal(arrays["a"], values)
    np.testing.assert_array_equal(arrays["part"], values[1])
    np.testing.assert_array_equal(arrays["bias"], [0.5, -1.5])


class Harmful:
    def __init__(self, module, name, *arguments):
        self.reference, self.arguments = Global(module, name), arguments


class HarmfulPickler(LegacyPickler):
    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Harmful):
            self.save(obj.reference)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("bait", "touch"), ("torch", "HalfStorage"), ("torch", "load")],
)
@pytest.mark.parametrize("place", range(5))
def test_a_harmful_pickle_is_refused_by_name_and_not_run(module, name, place, tmp_path, monkeypatch):
    called = []
    bait = types.ModuleType("bait")
    bait.touch = called.append
    monkeypatch.setitem(sys.modules, "bait", bait)
    monkeypatch.setattr("os.system", called.append)
    file = io.BytesIO()
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, []]
    parts[place] = Harmful(module, name, "harm")
    for part in parts:
        HarmfulPickler(file, 2).dump(part)
    with pytest.raises(NetworkError, match=rf"Refused .*{module}\.{name}"):
        read_pth(write(tmp_path, file.getvalue()))
    assert called == []


def test_every_truncation_is_one_clear_error(tmp_path):
    data = legacy_pth({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.float32)})
    for length in range(len(data)):
        path = write(tmp_path, data[:length])
        with pytest.raises(NetworkError) as caught:
            read_pth(path)
        assert "\n" not in str(caught.value)
    assert list(read_pth(write(tmp_path, data))) == ["a", "b"]


def test_flipped_bytes_never_escape_as_another_error(tmp_path):
    data = legacy_pth({"a": np.arange(6, dtype=np.float32)})
    for place in range(len(data)):
        garbled = bytearray(data)
        garbled[place] ^= 0xFF
        try:
            arrays = read_pth(write(tmp_path, bytes(garbled)))
        except NetworkError:
            continue
        assert all(array.size <= 6 for array in arrays.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": 1}, "magic"),
        ({"protocol": 1002}, "magic"),
        ({"little_endian": False}, "big-endian"),
        ({"shape": (10**12,), "stride": (1,)}, "larger than its storage"),
        ({"shape": (3, 2), "stride": (1, 3)}, "not contiguous"),
        ({"offset": 1}, "larger than its storage"),
        ({"offset": -1}, "wrong shape"),
        ({"offset": 0.0}, "wrong shape"),
        ({"kind": "LongStorage"}, "torch.LongStorage"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes, message, tmp_path):
    path = write(tmp_path, legacy_pth({"a": np.zeros((3, 2), np.float32)}, **changes))
    with pytest.raises(NetworkError, match=message):
        read_pth(path)


@pytest.mark.parametrize("count", [2**60, -1])
def test_an_impossible_count_is_refused_before_memory_is_allocated(count, tmp_path):
    data = bytearray(legacy_pth({"a": np.zeros(2, np.float32)}))
    data[-16:-8] = struct.pack("<q", count)
    with pytest.raises(NetworkError, match="cut short"):
        read_pth(write(tmp_path, bytes(data)))


def test_a_storage_of_another_size_than_declared_is_refused(tmp_path):
    data = legacy_pth({"a": np.zeros(2, np.float32)})[:-16] + struct.pack("<q", 3) + bytes(12)
    with pytest.raises(NetworkError, match="wrong size"):
        read_pth(write(tmp_path, data))


def test_a_missing_file_is_a_file_error(tmp_path):
    for read in (read_pth, read_keras_h5):
        if read is read_keras_h5:
            pytest.importorskip("h5py")
        with pytest.raises(NetworkFileError, match="Cannot read"):
            read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "names",
    [
        "{group}/{group}_{letter}_1:0",
        "{group}/{word}:0",
        "{group}/{group}/{word}:0",
        "layers/{group}/vars/{word}",
    ],
)
def test_keras_names_and_layout_are_understood(names, tmp_path):
    weights = small_weights("vgg19", widths=(2, 3, 4, 5, 6))
    path = keras_h5(tmp_path / "weights.h5", weights, names)
    assert_same(vgg_weights("vgg19", read_keras_h5(path), "h5"), weights)


def test_damaged_h5_is_one_clear_error(tmp_path):
    path = keras_h5(tmp_path / "weights.h5", small_weights("vgg16"))
    data = path.read_bytes()
    for content in (b"", b"junk" * 1000, data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(NetworkError, match="not an HDF5 file"):
            read_keras_h5(path)


def test_every_byte_of_the_heads_in_an_h5_file(tmp_path):
    """What describes the datasets stands there; h5py has an error of another class for each part of it."""
    ones = {"conv1_1": (np.ones((2, 3, 3, 3), np.float32), np.ones(2, np.float32))}
    path = keras_h5(tmp_path / "weights.h5", ones)
    data, refused = path.read_bytes(), []
    for place in range(900, 1100):
        for change in (1, 255):
            turned = bytearray(data)
            turned[place] ^= change
            path.write_bytes(turned)
            try:
                read_keras_h5(path)
            except NetworkError as error:
                refused.append(str(error))
    assert len(refused) > 50
    assert "".join(refused).isprintable()


def test_number_types_that_numpy_lacks_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"times", h5py.h5t.UNIX_D32LE, space)
    with pytest.raises(NetworkError, match="not an HDF5 file, or is damaged"):
        read_keras_h5(path)


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_data_outside_the_h5_file_is_refused(tmp_path, kind):
    h5py = pytest.importorskip("h5py")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        if kind == "external":
            file.create_dataset("block1_conv1/b", (4,), "f4", external=[(str(secret), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(secret, "b", (4,))
            file.create_virtual_dataset("block1_conv1/b", layout)
    with pytest.raises(NetworkError, match="another file"):
        read_keras_h5(path)


def test_an_h5_file_of_declared_zeros_is_refused_before_they_are_allocated(tmp_path):
    """A few hundred bytes that say they are 1.6 GB: HDF5 fills what was never written."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("block1_conv1/kernel", (400, 1000, 1000), "f4", chunks=(1, 100, 100))
    assert path.stat().st_size < 10_000
    with pytest.raises(NetworkError, match="16 times their file"):
        read_keras_h5(path)


def test_datasets_that_are_no_weights_are_left_out(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["block1_conv1/b"] = np.ones(2, np.float64)
        file["step"] = np.ones(2, np.int64)
        file["words"] = "not a number"
    arrays = read_keras_h5(path)
    assert list(arrays) == ["block1_conv1/b"]
    assert arrays["block1_conv1/b"].dtype == np.float32


def test_two_kernels_of_one_name_are_refused(tmp_path):
    """Nobody could say which one is meant."""
    weights = small_weights("vgg16")
    arrays = read_keras_h5(keras_h5(tmp_path / "weights.h5", weights))
    twice = arrays | {f"copy/{name}": array for name, array in arrays.items() if "block3_conv2" in name}
    assert "conv3_2" in vgg_weights("vgg16", arrays, "h5")
    with pytest.raises(NetworkError, match="no kernel and bias for 'conv3_2'"):
        vgg_weights("vgg16", twice, "h5")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(NetworkError, match=r"pip install 'lbfgs-style\[caffe\]'"):
        read_keras_h5(tmp_path / "weights.h5")


def test_weights_of_another_network_are_refused():
    weights = torchvision_arrays("vgg16", small_weights("vgg16"))
    with pytest.raises(NetworkError, match="'conv3_4' of vgg19"):
        vgg_weights("vgg19", weights, "pth")
    with pytest.raises(NetworkError, match="'conv1_1'"):
        vgg_weights("vgg16", weights, "h5")
    assert set(vgg_weights("vgg16", weights, "pth")) == set(vgg.convolution_names("vgg16"))


def instructions(*parts: bytes) -> bytes:
    """Return a .pth whose object is a pickle of raw instructions."""
    file = io.BytesIO()
    for item in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(item, file, 2)
    file.write(b"".join(parts) + pickle.STOP)
    return file.getvalue()


def text(word: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(word)) + word.encode()


STORAGE_CLASS = b"ctorch\nFloatStorage\n"


def storage(word=b"U\7storage", kind=STORAGE_CLASS, key=b"U\0011", count=b"K\2", view=pickle.NONE) -> bytes:
    """Return the instructions for a storage."""
    return pickle.MARK + word + kind + key + text("cpu") + count + view + pickle.TUPLE + pickle.BINPERSID


TRICKS = {
    "STACK_GLOBAL": (text("os") + text("system") + pickle.STACK_GLOBAL, r"Refused .*os\.system"),
    "STACK_GLOBAL of a path": (text("os") + text("path.join") + pickle.STACK_GLOBAL, r"os\.path\.join"),
    "STACK_GLOBAL of two lines": (text("o\ns") + text("x\x1b[2J") + pickle.STACK_GLOBAL, r"o\\ns"),
    "INST": (pickle.MARK + text("echo") + b"ios\nsystem\n", r"Refused .*os\.system"),
    "OBJ": (pickle.MARK + b"csubprocess\nPopen\n" + text("echo") + pickle.OBJ, r"subprocess\.Popen"),
    "NEWOBJ": (b"cbuiltins\neval\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ, r"builtins\.eval"),
    "a REDUCE within a REDUCE": (
        b"ccollections\nOrderedDict\n(" + b"cbuiltins\nexec\n(" + text("1") + b"tRtR",
        r"builtins\.exec",
    ),
    "getattr of what is allowed": (b"cbuiltins\ngetattr\n(" + STORAGE_CLASS + text("mro") + b"tR", "getattr"),
    "an attribute of what is allowed": (
        text("collections") + text("OrderedDict.fromkeys") + pickle.STACK_GLOBAL,
        r"collections\.OrderedDict\.fromkeys",
    ),
    "EXT1": (pickle.EXT1 + b"\x07", "extension 7"),
    "EXT4": (pickle.EXT4 + struct.pack("<i", 240), "extension 240"),
    "BUILD of a class": (
        STORAGE_CLASS + pickle.NONE + b"}" + text("key") + text("x") + b"s" + pickle.TUPLE2 + pickle.BUILD,
        "state of an object that is not a mapping",
    ),
    "BUILD of a function": (
        b"ctorch._utils\n_rebuild_tensor\n" + b"}" + text("__wrapped__") + text("x") + b"s" + pickle.BUILD,
        "state of an object that is not a mapping",
    ),
    "a memo of 2³² places": (
        b"}" + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1),
        "not a state dict|damaged",
    ),
    "a text of 2⁴⁰ bytes": (pickle.BINUNICODE8 + struct.pack("<Q", 2**40), "too long"),
    "bytes of 2⁶³ bytes": (pickle.BINBYTES8 + struct.pack("<Q", 2**63), "damaged"),
    "an array of 2⁴⁰ bytes": (pickle.BYTEARRAY8 + struct.pack("<Q", 2**40), "too long|damaged"),
    "a number of 2³¹ bytes": (pickle.LONG4 + struct.pack("<i", 2**31 - 1), "too long"),
    "a frame of 2⁴⁰ bytes": (pickle.FRAME + struct.pack("<Q", 2**40), "too long"),
    "a line without an end": (pickle.UNICODE + b"x" * 2_000_000, "damaged"),
    "900,000 tuples in each other as a name": (
        b"}N" + pickle.TUPLE1 * 900_000 + b"Ns" + pickle.STOP + b"]",
        "tuples in tuples in tuples",
    ),
    "a tuple of the one before twice, sixty times": (
        b"}N" + (pickle.DUP + pickle.TUPLE2) * 60 + b"Ns" + pickle.STOP + b"]",
        "tuples in tuples in tuples",
    ),
    "a tensor of no storage": (
        b"ctorch._utils\n_rebuild_tensor\n(" + text("1") + b"K\0))tR" + pickle.STOP + b"]",
        "a tensor without a storage",
    ),
    "strides of another length": (
        b"ctorch._utils\n_rebuild_tensor\n(" + storage() + b"K\0K\1K\1\x86K\1\x85tR" + pickle.STOP + b"]",
        "damaged .*shorter",
    ),
    "a module in place of a storage": (storage(text("module")), "an unknown kind of storage"),
    "a storage of words": (storage(kind=text("FloatStorage")), "an unknown kind of storage"),
    "a storage that is a part of another": (storage(view=b"K\0"), "an unknown kind of storage"),
    "a storage with a number for a name": (storage(key=b"K\1"), "a storage without key or size"),
    "a storage whose size is a word": (storage(count=text("2")), "a storage without key or size"),
    "a storage of -1": (storage(count=b"J\xff\xff\xff\xff"), "a storage without key or size"),
    "a list in place of a mapping": (b"]" + pickle.STOP + b"]", "not a state dict"),
    "a mapping in place of the list of keys": (b"}" + pickle.STOP + b"}", "not a state dict"),
    "a number in place of a tensor": (
        b"}" + text("a") + b"K\1s" + pickle.STOP + b"]",
        "state dict of tensors",
    ),
    "a number in place of a name": (
        b"}K\1ctorch._utils\n_rebuild_tensor\n(" + storage() + b"K\0))tRs" + pickle.STOP + b"]",
        "state dict of tensors",
    ),
    "an addition to nothing": (b"NNa", "damaged .*append"),
    "a hundred thousand lists in each other": (b"]" * 100_000 + b"a" * 99_999, "not a state dict|damaged"),
    "a buffer from elsewhere": (pickle.NEXT_BUFFER, "damaged"),
    "a pickle of 2 MB": ((text("x") + pickle.POP) * 300_000 + b"}", "too long"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_harmful_pickle_instruction_is_refused(name, tmp_path, monkeypatch):
    """None runs or changes anything; what asks for a global is refused by its name."""
    parts, says = TRICKS[name]
    monkeypatch.setattr("os.system", pytest.fail)
    path = write(tmp_path, instructions(parts))
    before = vars(torch_pickle.FloatStorage).copy(), vars(torch_pickle.rebuild_tensor).copy()
    with pytest.raises(NetworkError, match=says) as caught:
        read_pth(path)
    assert str(caught.value).isprintable()
    assert (vars(torch_pickle.FloatStorage), vars(torch_pickle.rebuild_tensor)) == before


def test_a_pickle_gets_no_more_bytes_than_it_may_have():
    bounded = torch_pickle.BoundedFile(io.BytesIO(b"line\n" + bytes(2_000_000)))
    assert bounded.readline() == b"line\n"
    with pytest.raises(pickle.UnpicklingError, match="too long"):
        bounded.read(-1)
    assert len(bounded.readline()) == 999_995
    with pytest.raises(pickle.UnpicklingError, match="too long"):
        bounded.read(1)
    assert bounded.readline() == bounded.read(0) == b""


def test_a_registered_extension_is_not_run(tmp_path):
    copyreg.add_extension("os", "system", 7)
    try:
        with pytest.raises(NetworkError, match="extension 7"):
            read_pth(write(tmp_path, instructions(pickle.EXT1 + b"\x07")))
    finally:
        copyreg.remove_extension("os", "system", 7)


@pytest.mark.parametrize("shape", [(2,) * 9, (2**62,), (1 << 2000,) * 8])
def test_an_invalid_shape_is_refused(shape, tmp_path):
    data = legacy_pth({"a": np.zeros(2, np.float32)}, shape=shape, stride=(1,) * len(shape))
    with pytest.raises(NetworkError, match="wrong shape"):
        read_pth(write(tmp_path, data))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_a_pickle_that_mentions_a_large_number_takes_no_memory(tmp_path):
    """The unpickler in C makes room for 2·(2³² − 1) places here, 68 GB; ours lives with 200 MB more."""
    path = write(tmp_path, instructions(b"}" + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1)))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from lbfgs_style.errors import NetworkError\n"
        "from lbfgs_style.networks.torch_pickle import read_pth\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 10**8,) * 2)\n"
        "try: read_pth(Path(sys.argv[1]))\n"
        "except NetworkError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "cut short" in done.stdout
