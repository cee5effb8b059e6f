from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
from test_vgg import small_weights

from lbfgs_style import vgg
from lbfgs_style.errors import NetworkError, NetworkFileError
from lbfgs_style.weights import read_keras_h5, read_pth, vgg_weights

# Where torchvision's VGG keeps its convolutions: rows D and E of the table in torchvision/models/vgg.py,
# two modules for a convolution and its ReLU, one for a pool.
TORCHVISION_INDICES = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}


class Storage:
    def __init__(self, key, array, kind="FloatStorage"):
        self.key, self.array, self.kind = key, array, kind


class Global:
    """Pickles as a reference to module.name, whether or not that can be imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class TensorRecord:
    def __init__(self, array, key, **changes):
        self.storage = Storage(key, array, changes.pop("kind", "FloatStorage"))
        strides = tuple(stride // array.itemsize for stride in array.strides)
        self.arguments = {"offset": 0, "shape": array.shape, "stride": strides} | changes


class LegacyPickler(pickle._Pickler):
    """Writes what torch.save(…, _use_new_zipfile_serialization=False) writes, without torch."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, TensorRecord):
            arguments = obj.arguments
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.write(pickle.MARK)
            self.save(obj.storage)
            for item in (arguments["offset"], arguments["shape"], arguments["stride"], False, OrderedDict()):
                self.save(item)
            self.write(pickle.TUPLE + pickle.REDUCE)
        elif isinstance(obj, Storage):
            kind = Global("torch", obj.kind)
            self.write(pickle.MARK)
            for item in ("storage", kind, obj.key, "cpu", obj.array.size, None):
                self.save(item)
            self.write(pickle.TUPLE + pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def legacy_pth(arrays, *, magic=0x1950A86A20F9469CFC6C, little_endian=True, **changes):
    file = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": sizes}
    records = OrderedDict(
        (name, TensorRecord(array, str(94_000 + number), **changes))
        for number, (name, array) in enumerate(arrays.items())
    )
    keys = sorted(record.storage.key for record in records.values())
    for item in (magic, 1001, system, records, keys):
        LegacyPickler(file, 2).dump(item)
    for array in arrays.values():
        file.write(struct.pack("<q", array.size) + array.astype("<f4").tobytes())
    return file.getvalue()


def torchvision_arrays(arch, weights):
    arrays = {}
    for index, (kernel, bias) in zip(TORCHVISION_INDICES[arch], weights.values(), strict=True):
        arrays[f"features.{index}.weight"], arrays[f"features.{index}.bias"] = kernel, bias
    arrays["classifier.0.weight"] = np.ones((5, 7), np.float32)
    return arrays


def keras_h5(path, weights, names="{group}/{group}_{letter}_1:0"):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1"]
        for conv, (kernel, bias) in weights.items():
            group = f"block{conv[4]}_conv{conv[6]}"
            for letter, word, array in (("W", "kernel", kernel.transpose(2, 3, 1, 0)), ("b", "bias", bias)):
                file[names.format(group=group, letter=letter, word=word)] = array
        file.create_group("block1_pool")
    return path


def write(tmp_path, data):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return path


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        for mine, theirs in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == np.float32


@pytest.mark.parametrize("arch", ["vgg16", "vgg19"])
def test_a_legacy_pth_gives_the_weights_that_were_written(arch, tmp_path):
    weights = small_weights(arch)
    path = write(tmp_path, legacy_pth(torchvision_arrays(arch, weights)))
    assert_same(vgg_weights(arch, read_pth(path), "pth"), weights)


def test_prefix_leaves_the_classifier_out(tmp_path):
    path = write(tmp_path, legacy_pth(torchvision_arrays("vgg16", small_weights("vgg16"))))
    assert "classifier.0.weight" in read_pth(path)
    assert all(name.startswith("features.") for name in read_pth(path, prefix="features."))


@pytest.mark.torch
def test_a_file_that_torch_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    whole = torch.from_numpy(values.copy())
    state = OrderedDict(a=whole, part=whole[1], bias=torch.tensor([0.5, -1.5]))
    state._metadata = OrderedDict(version=1)
    path = tmp_path / "torch.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    arrays = read_pth(path)
    np.testing.assert_array_equal(arrays["a"], values)
    np.testing.assert_array_equal(arrays["part"], values[1])
    np.testing.assert_array_equal(arrays["bias"], [0.5, -1.5])


@pytest.mark.torch
def test_the_zip_format_is_refused_with_the_remedy(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "new.pth"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(NetworkError, match=r"zip format.*export_vgg19"):
        read_pth(path)


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
        ({"little_endian": False}, "big-endian"),
        ({"shape": (10**12,), "stride": (1,)}, "larger than its storage"),
        ({"shape": (3, 2), "stride": (1, 3)}, "not contiguous"),
        ({"offset": 1}, "larger than its storage"),
        ({"offset": -1}, "wrong shape"),
        ({"kind": "LongStorage"}, "torch.LongStorage"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, tmp_path):
    path = write(tmp_path, legacy_pth({"a": np.zeros((3, 2), np.float32)}, **changes))
    with pytest.raises(NetworkError, match=message):
        read_pth(path)


def test_a_huge_count_is_refused_before_memory_is_asked_for(tmp_path):
    data = bytearray(legacy_pth({"a": np.zeros(2, np.float32)}))
    data[-16:-8] = struct.pack("<q", 2**60)
    with pytest.raises(NetworkError, match="cut short"):
        read_pth(write(tmp_path, bytes(data)))


def test_a_storage_of_another_size_than_announced_is_refused(tmp_path):
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


def test_data_outside_the_h5_file_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("block1_conv1/b", (4,), "f4", external=[(str(secret), 0, 16)])
    with pytest.raises(NetworkError, match="another file"):
        read_keras_h5(path)


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
