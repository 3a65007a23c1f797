"""The table that the terminal shows."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import asdict

from kdst_claims import words
from kdst_claims.verdicts import Verdict, counts

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {
    "holds": "green",
    "fails": "red",
    "undecided": "yellow",
    "no result": "red",
    "not tried": "yellow",
}
HEADER = ("claim", "verdict", "effect (interval)", "counts when", "p", "cost")


def show(verdicts: Sequence[Verdict]) -> None:
    """Print a table of verdicts, and the counts in one line."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(verdicts))
    console.print(summary(verdicts))


def table(verdicts: Sequence[Verdict]) -> "Table":
    """Return a row for each verdict; a mark stands at those that nobody expected."""
    from rich.table import Table
    from rich.text import Text

    out = Table(*HEADER, box=None, pad_edge=False)
    for one in verdicts:
        row = asdict(one)
        known = " (known to fail)" if one.known_to_fail else ""
        word = Text(one.verdict + ("!" if one.surprises else "") + known, STYLES[one.verdict])
        cells = (words.effect(row), words.least(row), words.p(row), words.cost(one.seconds))
        out.add_row(Text(one.claim), word, *map(Text, cells))
    return out


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the counts as a sentence."""
    found = [f"{n} {word}" for word, n in counts(verdicts).items() if n]
    known = sum(bool(v.known_to_fail) for v in verdicts)
    return f"{len(verdicts)} claims: {', '.join(found)}; {known} known to fail."
