"""The audit: what was checked of model, data and stream before the first update, and what was mended."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from attrs import asdict, frozen

from kdst_core.reports.blocks import Table


@frozen
class Finding:
    """One line of the audit.

    what: the thing that was checked, in a word or two. state: ok; mended, where the run goes on with
    something changed; warning, where the figures may not mean what they seem to. sentence: what was
    found, for the report; those that are not ok are among the run's warnings too.
    """

    what: str
    state: Literal["ok", "mended", "warning"]
    sentence: str


def plain(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as `result.json` holds them."""
    return [asdict(f) for f in findings]


def warnings(findings: Iterable[Finding]) -> list[str]:
    """Return the sentences that a reader of the figures must know."""
    return [f.sentence for f in findings if f.state != "ok"]


def table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the report from what `result.json` holds."""
    rows = [[f["what"], f["state"], f["sentence"]] for f in found]
    caption = "Checked on model, data and stream before the first update."
    return Table("Audit", ["checked", "state", "found"], rows, caption)


def some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
