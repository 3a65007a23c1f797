"""Loops over arrays, compiled by numba and kept on disk."""

from collections.abc import Callable
from typing import Any

import numba

from kdst_core.bench.compression import name_kernels_without_zlib

_numba: Any = numba  # its type hints are too few to check against
name_kernels_without_zlib()


def compiled(function: Callable[..., Any]) -> Any:
    # a product and a sum may be rounded at once, nothing else is relaxed
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return _numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no directory that it may write to
        return _numba.njit(**options)(function)
