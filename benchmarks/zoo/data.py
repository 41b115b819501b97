"""The data sets the zoo is trained on, as uint8 NHWC arrays, and the parts of the test set that never meet."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...fixtures.attacks.interface import Images, Labels

SCAN_PART = 2500  # test[:2500] is what a scan may see, test[2500:5000] measures ACC and ASR


@dataclass(frozen=True)
class DataSet:
    """Training and test parts; `mean` and `std` are of pixels in 0..1, one a channel."""

    name: str
    train_x: Images
    train_y: Labels
    test_x: Images
    test_y: Labels
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        return int(self.train_x.shape[-1])

    @property
    def size(self) -> int:
        return int(self.train_x.shape[1])

    @property
    def held(self) -> tuple[Images, Labels]:
        """What accuracy and attack success are measured on."""
        return self.test_x[SCAN_PART : 2 * SCAN_PART], self.test_y[SCAN_PART : 2 * SCAN_PART]

    def clean_samples(self, per_class: int, *, seed: int) -> tuple[Images, Labels]:
        """`per_class` samples of each class from the part a scan may see; ValueError if there are too few."""
        images, labels = self.test_x[:SCAN_PART], self.test_y[:SCAN_PART]
        rng = np.random.default_rng(seed)
        index: list[int] = []
        for label in range(10):
            where = np.flatnonzero(labels == label)
            if len(where) < per_class:
                raise ValueError(f"{self.name}: only {len(where)} samples of class {label} in the scan's part")
            index += rng.choice(where, per_class, replace=False).tolist()
        return images[index], labels[index]


def cifar10(root: Path, train_count: int = 20_000) -> DataSet:
    """CIFAR-10 from `root/cifar10`, the first `train_count` of 25,000 training images of 32x32."""
    train, test = np.load(root / "cifar10" / "train.npz"), np.load(root / "cifar10" / "test.npz")
    return DataSet(
        "cifar10",
        train["x"][:train_count],
        train["y"][:train_count],
        test["x"],
        test["y"],
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
    )


def fashion_mnist(root: Path, train_count: int = 12_000) -> DataSet:
    """Fashion-MNIST from `root/fashion_mnist`, the first `train_count` training images of 28x28."""
    folder = root / "fashion_mnist"
    arrays = [
        _idx(folder / f"{part}-{kind}-ubyte.gz")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    train_x, train_y, test_x, test_y = arrays
    return DataSet(
        "fashion-mnist",
        train_x[:train_count, ..., None],
        train_y[:train_count].astype(np.int64),
        test_x[..., None],
        test_y.astype(np.int64),
        (0.2860,),
        (0.3530,),
    )


def _idx(path: Path) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes (big-endian sizes after a magic number)."""
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


DATA_SETS = {"cifar10": cifar10, "fashion-mnist": fashion_mnist}
