"""What a method has in place of a run where there is none: in a worker, or in a caller's own program."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.progress import progress


@frozen
class Aside:
    """`RunServices` of a worker: nothing is shown, logged or kept, since records are all it returns."""

    dir: Path
    seed: int
    device: str

    def progress(self, total: int, label: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show nothing."""
        return progress(total, label, "quiet")

    def log(self, name: str, value: float, step: int) -> None:
        """Drop an event."""

    def checkpoint(self, state: Any) -> None:
        """Drop a state: a shard is done whole or again."""

    def restore(self) -> None:
        """Return None, as in a fresh run."""
