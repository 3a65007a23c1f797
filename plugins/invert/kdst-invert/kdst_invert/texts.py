"""Texts that are known, which no method may see while it works."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attrs import frozen

from kdst_core.bench.sealed import SealedValue, seal_value


class Known(NamedTuple):
    """Texts, and the named fields of each where they are known too."""

    texts: Sequence[str]
    fields: Sequence[Mapping[str, str]]

    def fields_of(self, row: int) -> Mapping[str, str]:
        """The named fields of one text."""
        return self.fields[row] if self.fields else {}


@frozen(init=False)
class Originals:
    """Texts that are known, and the named fields of each where they are known too; both are sealed."""

    kept: SealedValue

    def __init__(self, texts: Sequence[str], fields: Sequence[Mapping[str, str]] = ()) -> None:
        self.__attrs_init__(seal_value([list(texts), list(map(dict, fields))]))

    def opened(self) -> Known:
        """Return what is known; RuntimeError while a method works."""
        return Known(*self.kept.read())

    @property
    def texts(self) -> Sequence[str]:
        """The texts; RuntimeError while a method works."""
        return self.opened().texts

    @property
    def fields(self) -> Sequence[Mapping[str, str]]:
        """The fields of every text, or none; RuntimeError while a method works."""
        return self.opened().fields

    def fields_of(self, row: int) -> Mapping[str, str]:
        """The named fields of one text; RuntimeError while a method works."""
        return self.opened().fields_of(row)

    def cut(self, rows: range) -> "Originals":
        """Some of the texts."""
        part, known = slice(rows.start, rows.stop), self.opened()
        return Originals(known.texts[part], known.fields[part])
