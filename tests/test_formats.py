"""Every published set through its real reader, on small files in its real format, without a network.

The files are those of the publishers but for their number of images. Only the checksums that torchvision knows are
replaced by those of these files.
"""

import gzip
import hashlib
import json
import pickle
import struct
import tarfile
import urllib.request

import numpy as np
import pytest
import torch
from torchvision import datasets

from oatlib.data.load import PUBLISHED, load_data

N_TRAIN, N_TEST = 60, 20  # six and two of each class
PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **__):
        pytest.fail(f"a download was tried: {args}")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def pictures(n, channels, size, seed):
    """uint8 (n, channels, size, size): every pixel by chance, so that no other order of the axes gives the same."""
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def labels_of(n, n_classes=10):
    """Not sorted, and the same number of each class."""
    return (7 * np.arange(n) + 3) % n_classes


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def dump(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


# ---- writers: each makes the files of a set in a folder, from images uint8 (N, C, H, W) and labels ----------------


def write_fashion_mnist(root, monkeypatch, train, test):
    """IDX files, compressed by gzip: a number that says type and rank, the sizes, the bytes."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    sums = []
    for prefix, (x, y) in (("train", train), ("t10k", test)):
        images = struct.pack(">IIII", 0x0803, len(x), 28, 28) + x.tobytes()
        labels = struct.pack(">II", 0x0801, len(y)) + y.astype(np.uint8).tobytes()
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            path = raw / f"{prefix}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(content))
            sums.append((path.name, md5(path)))
    assert [name for name, _ in sums] == [name for name, _ in datasets.FashionMNIST.resources]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", sums)


def write_cifar10(root, monkeypatch, train, test):
    """Pickled dictionaries in an archive: rows of 3,072 bytes, red first."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    x, y = train
    for number in range(5):
        part = slice(number * len(x) // 5, (number + 1) * len(x) // 5)
        rows = x[part].reshape(-1, 3072)
        dump(folder / f"data_batch_{number + 1}", {"data": rows, "labels": y[part].tolist()})
    dump(folder / "test_batch", {"data": test[0].reshape(-1, 3072), "labels": test[1].tolist()})
    dump(folder / "batches.meta", {"label_names": NAMES["cifar10"], "num_vis": 3072})
    pack_cifar(datasets.CIFAR10, folder, monkeypatch)


def write_cifar100(root, monkeypatch, train, test):
    """As CIFAR-10, with one file for each part, and two labels for each image."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, (x, y) in (("train", train), ("test", test)):
        coarse = (y // 5).tolist()
        dump(folder / name, {"data": x.reshape(-1, 3072), "coarse_labels": coarse, "fine_labels": y.tolist()})
    dump(folder / "meta", {"fine_label_names": NAMES["cifar100"], "coarse_label_names": ["x"] * 20})
    pack_cifar(datasets.CIFAR100, folder, monkeypatch)


def pack_cifar(cls, folder, monkeypatch):
    """Pack the folder into the archive that is downloaded, and remove it."""
    for attribute in ("train_list", "test_list"):
        sums = [[name, md5(folder / name)] for name, _ in getattr(cls, attribute)]
        monkeypatch.setattr(cls, attribute, sums)
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5(folder / cls.meta["filename"])})
    archive = folder.parent / cls.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(cls, "tgz_md5", md5(archive))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def write_svhn(root, monkeypatch, train, test):
    """MATLAB files: images (H, W, C, N), labels (N, 1) in which a 0 is called 10."""
    savemat = pytest.importorskip("scipy.io").savemat
    root.mkdir()
    known = dict(datasets.SVHN.split_list)
    for part, (x, y) in (("train", train), ("test", test)):
        path = root / f"{part}_32x32.mat"
        named = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        savemat(path, {"X": x.transpose(2, 3, 1, 0), "y": named})
        known[part] = [*known[part][:2], md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", known)


def write_stl10(root, monkeypatch, train, test):
    """Bytes without a header: images column by column, labels from 1."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for part, (x, y) in (("train", train), ("test", test)):
        (folder / f"{part}_X.bin").write_bytes(x.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes((y + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(pictures(1, 3, 96, 5).tobytes())
    (folder / "class_names.txt").write_text("\n".join(NAMES["stl10"]) + "\n")
    (folder / "fold_indices.txt").write_text("0 1 2 \n" * 10)
    for attribute in ("train_list", "test_list"):
        sums = [[name, md5(folder / name)] for name, _ in getattr(datasets.STL10, attribute)]
        monkeypatch.setattr(datasets.STL10, attribute, sums)


WRITERS = {
    "fashion-mnist": (write_fashion_mnist, 1, 28, 10),
    "cifar10": (write_cifar10, 3, 32, 10),
    "cifar100": (write_cifar100, 3, 32, 100),
    "svhn": (write_svhn, 3, 32, 10),
    "stl10": (write_stl10, 3, 96, 10),
}
# Names that the files hold. The others are those of torchvision.
NAMES = {
    "cifar10": [f"thing {label}" for label in range(10)],
    "cifar100": [f"fine thing {label}" for label in range(100)],
    "stl10": [f"bird {label}" for label in range(10)],
}


def write(name, root, monkeypatch):
    """Write the files of a set; returns its images and labels by part."""
    writer, channels, size, n_classes = WRITERS[name]
    times = n_classes // 10
    train = pictures(times * N_TRAIN, channels, size, 1), labels_of(times * N_TRAIN, n_classes)
    test = pictures(times * N_TEST, channels, size, 2), labels_of(times * N_TEST, n_classes)
    writer(root, monkeypatch, train, test)
    return train, test


def table(x, y):
    """The label of each image, by its bytes."""
    return {image.tobytes(): int(label) for image, label in zip(x, y, strict=True)}


def bytes_of(split):
    return (split.x * 255).round().byte().numpy()


def test_every_published_set_has_a_writer():
    assert WRITERS.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_images_and_labels_are_those_of_the_files(name, tmp_path, monkeypatch):
    (train_x, train_y), (test_x, test_y) = write(name, tmp_path / "root", monkeypatch)
    _, channels, size, n_classes = WRITERS[name]
    data = load_data(name, root=tmp_path / "root", n_val=n_classes)
    assert [len(data.train), len(data.val), len(data.test)] == [5 * n_classes, n_classes, 2 * n_classes]
    assert data.shape == (channels, size, size) and all(getattr(data, part).x.is_contiguous() for part in PARTS)
    # Every image is there once, bit for bit, with its label.
    held_out = table(bytes_of(data.val), data.val.y)
    kept = table(bytes_of(data.train), data.train.y)
    assert held_out | kept == table(train_x, train_y) and not held_out.keys() & kept.keys()
    assert table(bytes_of(data.test), data.test.y) == table(test_x, test_y)
    assert data.val.y.bincount().tolist() == [1] * n_classes
    for split in (data.train, data.val, data.test):
        assert split.x.dtype == torch.float32 and torch.equal(split.x, torch.from_numpy(bytes_of(split)).float() / 255)
    # The names of the classes, and the same data again from what a network records.
    digits = [str(digit) for digit in range(10)]
    assert list(data.classes) == NAMES.get(name, digits if name == "svhn" else datasets.FashionMNIST.classes)
    again = load_data(data.name, **json.loads(json.dumps(data.options)))
    assert all(torch.equal(getattr(again, part).x, getattr(data, part).x) for part in PARTS)


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_not_loaded(name, tmp_path, monkeypatch):
    write(name, tmp_path / "root", monkeypatch)
    largest = max((path for path in (tmp_path / "root").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)

    def refuse(*_, **__):
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(RuntimeError, match=f"could not load {PUBLISHED[name].cls}(?s:.*)no network here"):
        load_data(name, root=tmp_path / "root", n_val=10)
