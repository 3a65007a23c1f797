"""The handwritten digits that ship with scikit-learn, enlarged from 8×8 to 32×32."""

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
    are mixed by one fixed permutation before the split.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    scans = load_digits()
    order = np.random.default_rng(0).permutation(len(scans.target))
    part = order[:TRAIN] if train else order[TRAIN:]
    enlarged = [
        Image.fromarray((scans.images[i] / 16).astype(np.float32)).resize(
            (SIZE, SIZE), Image.Resampling.BICUBIC
        )
        for i in part
    ]
    images = np.clip(np.stack([np.asarray(e) for e in enlarged]), 0, 1)[..., None]
    return images, scans.target[part].astype(np.int64)
