"""What a bench adds, so that runs of its methods can be compared."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from attrs import frozen

from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import Figure, Stat, Table


@frozen
class Column:
    """A metric in the table of a comparison: shown times `scale`, with `digits` decimals.

    short: shown in the terminal too, where there is little room.
    """

    metric: str
    label: str
    scale: float = 1.0
    digits: int = 2
    better: Literal["higher", "lower"] = "higher"
    short: bool = True


@frozen
class Contender:
    """What a comparison has of one method: its results and their directories, one a seed."""

    label: str
    results: Sequence[Mapping[str, Any]]
    directories: Sequence[Path]


@runtime_checkable
class Refusing(Protocol):
    """What a bench may add, so that a comparison ends before its first run where a later one cannot begin."""

    def refuse(self, method: Method, inputs: Any) -> None:
        """Raise KdstError for inputs that a method cannot run on, before anything is loaded."""


class Comparable(Protocol):
    """What a bench adds to be compared by; a bench without it gets a table of its metrics."""

    def seeded(self, inputs: Any) -> bool:
        """Return whether the seed changes what a method is fed."""

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the columns of the table; the first is the one that methods are ranked by."""

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return how the protocols of two results differ, '' where they can be compared."""

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the difference in the first column's metric, and its standard error."""

    def comparison(
        self, contenders: Sequence[Contender]
    ) -> tuple[Sequence[Stat], Sequence[Figure | Table]]:
        """Return headline numbers, figures and tables of the report, contenders in the order given."""


class ComparedByModule:
    """What a bench inherits to be `Comparable` by its module `compare`, imported when it is asked for.

    The module has the five functions of `Comparable`.
    """

    package: str

    def _module(self) -> Any:
        return import_module(f"{self.package.replace('-', '_')}.compare")

    def seeded(self, inputs: Any) -> bool:
        """Return whether the seed changes what a method is fed."""
        return bool(self._module().seeded(inputs))

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the columns of the table; the first is the one that methods are ranked by."""
        columns: Sequence[Column] = self._module().columns(result)
        return columns

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return how the protocols of two results differ, '' where they can be compared."""
        return str(self._module().mismatch(ours, theirs))

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the difference in the first column's metric, and its standard error."""
        difference, error = self._module().paired(ours, theirs)
        return difference, error

    def comparison(
        self, contenders: Sequence[Contender]
    ) -> tuple[Sequence[Stat], Sequence[Figure | Table]]:
        """Return headline numbers, figures and tables of the report, contenders in the order given."""
        stats, figures = self._module().comparison(contenders)
        return stats, figures


def first_difference(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], keys: Iterable[str]
) -> str:
    """Return the first part of the protocol in which two results differ, '' where they agree."""
    for key in keys:
        a, b = ours["input"].get(key), theirs["input"].get(key)
        if a != b:
            return f"{key} is {a} in one and {b} in the other"
    return ""
