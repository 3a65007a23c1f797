"""Inversions on disk, one safetensors file each, named by a digest of all that decides them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_edit.inversion.result import Inversion

FORMAT = 1


def key(parts: Mapping[str, Any]) -> str:
    """Digest of named values: texts, numbers, None, and tensors by their bits."""
    found = hashlib.sha256(str(FORMAT).encode())
    for name, value in sorted(parts.items()):
        if isinstance(value, Tensor):
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().tobytes())
        else:
            found.update(f"{name} {json.dumps(value, sort_keys=True)}".encode())
    return found.hexdigest()[:32]


@frozen
class Cache:
    """A directory of inversions, made when the first one is written."""

    directory: Path

    def load(self, name: str) -> Inversion | None:
        """The inversion of a digest, or None when it is absent or its file is damaged."""
        found = self._read(name)
        try:
            return Inversion.from_file(*found) if found else None
        except (KeyError, TypeError, ValueError):
            return None

    def save(self, name: str, inversion: Inversion) -> None:
        """Write an inversion; whoever reads sees all of it or nothing."""
        self._write(name, inversion.tensors(), inversion.header())
        self._path(name + ".part").unlink(missing_ok=True)

    def load_part(self, name: str) -> dict[str, Tensor] | None:
        """Tensors that an unfinished inversion left, or None."""
        found = self._read(name + ".part")
        return found[0] if found else None

    def save_part(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep what an unfinished inversion would have to compute again."""
        self._write(name + ".part", tensors, {})

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.safetensors"

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path(name), framework="pt") as file:
                return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None

    def _write(self, name: str, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        from safetensors.torch import save

        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(name), save(tensors, header))
        except OSError as e:
            raise KdstError(f"cannot write inversions to {self.directory}: {e.strerror}") from e
