"""Types that the corruptions share."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]
"""(H, W, C) in [0, 1]."""
Rng = np.random.Generator
Severities = tuple[tuple[float, ...], ...]
Effect = tuple[Callable[..., Image], Severities, Severities, Severities]
"""Function, and the five severities of CIFAR-10-C, of Tiny-ImageNet-C and of ImageNet-C."""
