"""Libraries of stores, which are optional."""

import importlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError


def library(module: str, package: str, extra: str) -> Any:
    """A module of an optional package; KdstError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise KdstError(
            f"this store is read by {package}: pip install 'kdst-invert[{extra}]'"
        ) from e


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A copy of a store's folder, since a library that opens one may write into it."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "store"
        try:
            shutil.copytree(path, copy)
        except (OSError, shutil.Error) as e:
            raise KdstError(f"cannot read {path}: {e}") from e
        yield copy


def chosen(where: Path, names: list[str], wanted: str | None) -> str:
    """The collection that is wanted, or the only one."""
    if not names:
        raise KdstError(f"{where} is empty: it has no collection")
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        what = "holds several" if wanted is None else f"has no collection {wanted!r}; it holds"
        raise KdstError(f"{where} {what}: {', '.join(names)}.\n--collection names one")
    return wanted
