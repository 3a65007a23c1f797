"""The audit: what was checked of model, data and stream before the first update, and what was mended."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from attrs import asdict, frozen

from kdst_adapt.data import Shift
from kdst_adapt.protocol import Stream
from kdst_core.bench import Table

FEW_CLASSES = 0.5
"""A batch with less than this share of the classes that a shuffled one would hold counts as sorted."""


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


def of_stream(stream: Stream, classes: int) -> list[Finding]:
    """Return findings on labels and order: labels against logits, classes a batch against all."""
    labels = np.unique(np.concatenate([s.labels for s in stream.shifts]))
    found = [
        Finding(
            "labels",
            "ok",
            f"{len(labels)} classes in the data, labels {labels[0]} to {labels[-1]};"
            f" the model has {classes} logits.",
        )
    ]
    sorted_ones = [
        (s, *counts) for s in stream.shifts if _is_sorted(*(counts := _spread(stream, s)))
    ]
    if not sorted_ones:
        return [*found, Finding("order", "ok", "Every stream mixes its classes in each batch.")]
    shift, held, expected, total = sorted_ones[0]
    more = f" and {len(sorted_ones) - 1} more streams" if len(sorted_ones) > 1 else ""
    sentence = (
        f"Batches of {shift.key}{more} hold {held:.1f} of {total} classes, a shuffled stream"
        f" {expected:.1f}; batch statistics and adaptation suffer from that. Give --order shuffled"
        " unless it is wanted."
    )
    return [*found, Finding("order", "warning", sentence)]


def of_files(shifts: Sequence[Shift], named: str, doubt: str) -> list[Finding]:
    """Return findings on class folders: how their logits were found, and what was not read."""
    found = [Finding("classes", "ok", named)] if named else []
    found += [Finding("classes", "warning", doubt)] if doubt else []
    notes = dict.fromkeys(note for s in shifts for note in s.notes)
    return [*found, *(Finding("files", "mended", note) for note in notes)]


def _spread(stream: Stream, shift: Shift) -> tuple[float, float, int]:
    """Return classes a batch, as many as of a shuffled stream are expected, and classes of the stream."""
    batches = stream.rows(shift)
    held = np.mean([len(np.unique(shift.labels[rows])) for rows in batches])
    _, counts = np.unique(shift.labels[np.concatenate(batches)], return_counts=True)
    share = counts / counts.sum()
    expected = np.mean([(1 - (1 - share) ** len(rows)).sum() for rows in batches])
    return float(held), float(expected), len(counts)


def _is_sorted(held: float, expected: float, total: int) -> bool:
    """Return whether batches hold far fewer classes than those of a shuffled stream."""
    return total > 1 and expected >= 2 and held < FEW_CLASSES * expected
