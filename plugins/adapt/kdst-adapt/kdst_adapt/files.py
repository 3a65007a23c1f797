"""Images that stay in their files until a batch asks for them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Files:
    """Image files that are indexed like an array (N, H, W, 3) of uint8."""

    dtype = np.dtype(np.uint8)

    def __init__(self, paths: Sequence[Path], read: Callable[[list[Path]], NDArray[Any]]) -> None:
        self.paths, self.read = list(paths), read
        self.shape = (len(self.paths), *read(self.paths[:1]).shape[1:])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, rows: Any) -> Any:
        """Return the images of an array of rows, or further files for a slice."""
        if isinstance(rows, slice):
            return Files(self.paths[rows], self.read)
        return self.read([self.paths[k] for k in np.asarray(rows)])
