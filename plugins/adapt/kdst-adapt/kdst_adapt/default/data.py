"""The handwritten digits that ship with scikit-learn, enlarged from 8×8 to 32×32."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZE = 32
TRAIN = 1000
"""Images in the training part; the other 797 are the test part."""

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


def load(train: bool) -> Arrays:
    """Return images (N, 32, 32, 1) in [0, 1] and labels (N,) of the training or the test part.

    The scans have 8×8 pixels of 17 grey levels (optical recognition of handwritten digits, UCI); they
    are enlarged bicubically, so that corruptions work at 32×32 with CIFAR-10-C's parameters. Writers
    are mixed by one fixed permutation before the split. They are kept for the process; each caller gets
    arrays of its own.
    """
    images, labels = _enlarged(train)
    return images.copy(), labels.copy()


@cache
def _enlarged(train: bool) -> Arrays:
    """Return what `load` does, the same arrays each time."""
    from PIL import Image

    scans, target = _scans()
    order = np.random.default_rng(0).permutation(len(target))
    part = order[:TRAIN] if train else order[TRAIN:]
    enlarged = [
        Image.fromarray((scans[i] / 16).astype(np.float32)).resize(
            (SIZE, SIZE), Image.Resampling.BICUBIC
        )
        for i in part
    ]
    images = np.clip(np.stack([np.asarray(e) for e in enlarged]), 0, 1)[..., None]
    return images, target[part].astype(np.int64)


def table() -> Path | None:
    """Return scikit-learn's file of the scans and their labels, None where it lies elsewhere."""
    spec = find_spec("sklearn")
    folders = (spec and spec.submodule_search_locations) or []
    files = (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _scans() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scans (N, 8, 8) of 0 to 16 and labels (N,).

    The file is read without importing scikit-learn, which takes 2 seconds (measured, beside torch).
    """
    file = table()
    if file is not None:
        rows = np.loadtxt(file, delimiter=",")
        return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target
