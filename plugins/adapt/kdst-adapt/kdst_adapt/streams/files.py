"""Images that stay in their files until a batch asks for them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdst_core.bench.sealed import seal_value


class Files:
    """Image files that are indexed like an array (N, H, W, 3) of uint8.

    Their paths are sealed, since a folder's name says the class. given: whether a method may know them.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[list[Path]], NDArray[Any]],
        *,
        given: bool = False,
    ) -> None:
        self.read = read
        self.given = list(paths) if given else None
        self.sealed = seal_value([] if given else list(map(str, paths)))
        self.shape = (len(paths), *read(list(paths[:1])).shape[1:])

    @property
    def paths(self) -> list[Path]:
        """The files; RuntimeError while a method works, unless it is given them."""
        if self.given is not None:
            return self.given
        return [Path(path) for path in self.sealed.read()]

    def opened(self) -> "Files":
        """Return the same images as ones that a method is given."""
        return Files(self.paths, self.read, given=True)

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Any:
        """Return the images of an array of rows, or further files for a slice."""
        if isinstance(rows, slice):
            return Files(self.paths[rows], self.read, given=self.given is not None)
        paths = self.paths
        return self.read([paths[k] for k in np.asarray(rows)])
