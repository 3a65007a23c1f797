"""What the audit finds of the data: labels, order, files, pixels."""

from collections.abc import Sequence

import numpy as np
from attrs import evolve

from kdst_adapt.audit.findings import Finding
from kdst_adapt.streams import protocols
from kdst_adapt.streams.sampling import expected_classes, lacks_classes
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream

DARK = 1 / 15
"""Images without a pixel above this are not what anybody photographed: 16 grey levels end there."""
LOOKED_AT = 64
"""Images whose pixels are looked at, two of each source at least."""


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
    sorted_ones = [s for s in stream.shifts if _is_sorted(stream, s)]
    if not sorted_ones:
        return [*found, Finding("order", "ok", "Every stream mixes its classes in each batch.")]
    batches = _labels(stream, sorted_ones[0])
    whole = np.concatenate(batches)
    held = np.mean([len(np.unique(b)) for b in batches])
    expected = expected_classes(whole, [*map(len, batches)])
    more = f" and {len(sorted_ones) - 1} more streams" if len(sorted_ones) > 1 else ""
    sentence = (
        f"Batches of {sorted_ones[0].key}{more} hold {held:.1f} of {len(np.unique(whole))} classes, a"
        " shuffled stream"
        f" {expected:.1f}; batch statistics and adaptation suffer from that. Give --order shuffled"
        " unless it is wanted."
    )
    return [*found, Finding("order", "warning", sentence)]


def of_window(window: int | None, size: int) -> list[Finding]:
    """Return the finding on a window that adds no image to a batch."""
    if window is None or window > size:
        return []
    sentence = (
        f"--window {window} adds nothing to batches of {size} images. Give --batch-size 1, or a window"
        f" above {size}."
    )
    return [Finding("window", "warning", sentence)]


def of_protocol(name: str, departures: Sequence[str]) -> list[Finding]:
    """Return the findings on the protocol that is named: its paper, and a warning of departures."""
    if name not in protocols.PROTOCOLS:
        return []
    about = protocols.PROTOCOLS[name]
    ok = Finding("protocol", "ok", f"{name}: {about.source}; {about.metric}.")
    told = [f"--protocol {name} departs from its paper. {sentence}" for sentence in departures]
    return [ok, *(Finding("protocol", "warning", sentence) for sentence in told)]


def of_files(shifts: Sequence[Shift], named: str, doubt: str) -> list[Finding]:
    """Return findings on class folders: how their logits were found, and what was not read."""
    found = [Finding("classes", "ok", named)] if named else []
    found += [Finding("classes", "warning", doubt)] if doubt else []
    notes = dict.fromkeys(note for s in shifts for note in s.notes)
    return [*found, *(Finding("files", "mended", note) for note in notes)]


def of_pixels(shifts: Sequence[Shift], what: str = "pixels") -> list[Finding]:
    """Return a finding on type and range of the pixels of some images, a warning where all are dark.

    Images that a run corrupts on the fly are looked at as they were before.
    """
    sources = {id(s.images): s for s in shifts}.values()
    each = max(2, LOOKED_AT // len(sources))
    seen: dict[str, tuple[float, float]] = {}
    for shift in sources:
        kind = "floats" if shift.images.dtype.kind == "f" else "whole numbers to 255"
        x = evolve(shift, corruption=None).pictures(_spread(len(shift.labels), each))
        low, high = seen.get(kind, (1.0, 0.0))
        seen[kind] = min(low, x.min().item()), max(high, x.max().item())
    told = "; ".join(f"{k}, read as {low:.3g} to {high:.3g}" for k, (low, high) in seen.items())
    if max(high for _, high in seen.values()) > DARK:
        return [Finding(what, "ok", f"{told}.")]
    sentence = (
        f"Images are nearly black ({told}): they may have been divided by 255 before. Whole numbers must"
        " reach to 255, floats to 1."
    )
    return [Finding(what, "warning", sentence)]


def _spread(count: int, most: int) -> np.ndarray:
    """Return some rows, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _labels(stream: Stream, shift: Shift) -> list[np.ndarray]:
    """Return the labels of each batch of a shift."""
    labels = shift.labels
    return [labels[rows] for rows in stream.rows(shift)]


def _is_sorted(stream: Stream, shift: Shift) -> bool:
    """Return whether batches hold far fewer classes than those of a shuffled stream."""
    batches = _labels(stream, shift)
    return lacks_classes(np.concatenate(batches), *batches)
