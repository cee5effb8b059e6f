"""Small weights of VGG, in the formats in which they are published, and their features."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from lbfgs_style.networks import vgg

WIDTHS = (4, 4, 8, 8, 8)


def small_weights(arch, seed=0, widths=WIDTHS):
    rng = np.random.default_rng(seed)
    weights, channels = {}, 3
    for block, count in enumerate(vgg.LAYOUTS[arch], start=1):
        for layer in range(1, count + 1):
            out = widths[block - 1]
            kernel = rng.normal(0, np.sqrt(2 / (9 * channels)), (out, channels, 3, 3)).astype(np.float32)
            weights[f"conv{block}_{layer}"] = (kernel, rng.normal(0, 0.1, out).astype(np.float32))
            channels = out
    return weights


def by_hand(arch, image_hwc, weights, normalization, pooling):
    """Compute features in float64 by NumPy, from H×W×3 RGB in [0, 1]: name → [C, H, W]."""
    if normalization == "torchvision":
        x = (image_hwc - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        x = 255 * image_hwc[..., ::-1] - [103.939, 116.779, 123.68]
    x = np.moveaxis(x, -1, 0)
    features = {}
    for block, count in enumerate(vgg.LAYOUTS[arch], start=1):
        if block > 1:
            rows, columns = x.shape[1] // 2, x.shape[2] // 2
            tiles = x[:, : 2 * rows, : 2 * columns].reshape(-1, rows, 2, columns, 2)
            x = tiles.max(axis=(2, 4)) if pooling == "max" else tiles.mean(axis=(2, 4))
        for layer in range(1, count + 1):
            kernel, bias = (array.astype(float) for array in weights[f"conv{block}_{layer}"])
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            x = bias[:, None, None] + sum(
                np.einsum("oi,ihw->ohw", kernel[..., a, b], padded[:, a:, b:][:, : x.shape[1], : x.shape[2]])
                for a in range(3)
                for b in range(3)
            )
            x = np.maximum(x, 0)
            features[f"relu{block}_{layer}"] = x
    return features


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
    """An object that is pickled as a reference to module.name, whether or not that can be imported."""

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


def legacy_pth(arrays, *, magic=0x1950A86A20F9469CFC6C, protocol=1001, little_endian=True, **changes):
    file = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": sizes}
    records = OrderedDict(
        (name, TensorRecord(array, str(94_000 + number), **changes))
        for number, (name, array) in enumerate(arrays.items())
    )
    keys = sorted(record.storage.key for record in records.values())
    for item in (magic, protocol, system, records, keys):
        LegacyPickler(file, 2).dump(item)
    for array in arrays.values():
        file.write(struct.pack("<q", array.size) + array.astype("<f4").tobytes())
    return file.getvalue()


def zip_pth(arrays, *, compression=zipfile.ZIP_STORED, pickled=None, **changed):
    """Return what torch.save writes since 1.6, with `pickled` as its object and members `changed`."""
    records = OrderedDict(
        (name, TensorRecord(array, str(number))) for number, (name, array) in enumerate(arrays.items())
    )
    head = io.BytesIO()
    LegacyPickler(head, 2).dump(records)
    members = {"data.pkl": head.getvalue() if pickled is None else pickled, "byteorder": b"little"}
    members |= {f"data/{i}": array.astype("<f4").tobytes() for i, array in enumerate(arrays.values())}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in (members | changed).items():
            if data is not None:
                archive.writestr(f"archive/{name}", data)
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
