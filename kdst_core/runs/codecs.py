"""How the state of a checkpoint becomes a file; a bench chooses the codec of its capability."""

import json
from pathlib import Path
from typing import Any, Protocol


class Codec(Protocol):
    """How a bench writes and reads the state of its checkpoints."""

    def dump(self, state: Any, path: Path) -> None:
        """Write a state to a file."""

    def load(self, path: Path) -> Any:
        """Read a state without running code from the file."""


class JsonCodec:
    """Checkpoints of plain values."""

    def dump(self, state: Any, path: Path) -> None:
        """Write a state as JSON."""
        path.write_text(json.dumps(state), encoding="utf-8")

    def load(self, path: Path) -> Any:
        """Read a state from JSON."""
        return json.loads(path.read_text(encoding="utf-8"))


class TorchCodec:
    """Checkpoints of tensors and plain values; torch is imported by the calls, never by the core."""

    def dump(self, state: Any, path: Path) -> None:
        """Write a state of tensors and plain values."""
        import torch

        with path.open("wb") as file:
            torch.save(state, file)

    def load(self, path: Path) -> Any:
        """Read a state; runs no code from the file."""
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
