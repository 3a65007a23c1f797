"""How well the filter tells calls that help from others, where the truth is known."""

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from kdst_batch.statistics import wilson
from kdst_core.contracts import ToolCall
from kdst_tools.default.texts import Help

Truth = Mapping[str, Sequence[Help]]
"""The calls that help, by the id of the document."""


@frozen
class Quality:
    """The filter at one threshold. useful: candidates that help. right: those of them that are kept."""

    tau_f: float
    kept: int
    useful: int
    right: int

    @property
    def precision(self) -> float:
        """Share of what is kept that helps; 1 where nothing is kept."""
        return self.right / self.kept if self.kept else 1.0

    @property
    def recall(self) -> float:
        """Share of what helps that is kept; 1 where nothing helps."""
        return self.right / self.useful if self.useful else 1.0


def helps(call: ToolCall, truth: Truth) -> bool:
    """Return whether a call is one that helps: its result is what the text says next."""
    return any(
        call.tool == known.tool and call.result == known.answer and call.offset == known.offset
        for known in truth.get(call.doc, ())
    )


def quality(calls: Iterable[ToolCall], truth: Truth) -> dict[str, float]:
    """Return precision and recall of the calls that were kept, with 95 % intervals, as metrics.

    Of several calls at one position that help, only one can be kept, so they count as one.
    """
    best = distinct(calls, truth)
    useful = sum(good for _, good in best)
    kept = sum(call.kept for call, _ in best)
    right = sum(call.kept and good for call, good in best)
    found = Quality(0.0, kept, useful, right)
    metrics = {"filter.candidates": float(len(best)), "filter.useful": float(useful)}
    for name, value, count in (
        ("precision", found.precision, kept), ("recall", found.recall, useful)
    ):  # fmt: skip
        low, high = wilson(right, count)
        metrics |= {f"filter.{name}": value, f"filter.{name}.low": low, f"filter.{name}.high": high}
    return metrics


def curve(calls: Iterable[ToolCall], truth: Truth, thresholds: Sequence[float]) -> list[Quality]:
    """Return the filter's quality at other thresholds, from the gains alone."""
    best = [(call.gain or 0.0, good) for call, good in distinct(calls, truth)]
    useful = sum(good for _, good in best)
    return [
        Quality(
            tau, sum(gain >= tau for gain, _ in best), useful,
            sum(gain >= tau and good for gain, good in best),
        )
        for tau in thresholds
    ]  # fmt: skip


def distinct(calls: Iterable[ToolCall], truth: Truth) -> list[tuple[ToolCall, bool]]:
    """Return scored calls and whether they help, of those that help in one place only the best."""
    found: list[tuple[ToolCall, bool]] = []
    best: dict[tuple[str, int], ToolCall] = {}
    for call in calls:
        if call.gain is None:
            continue
        if not helps(call, truth):
            found.append((call, False))
            continue
        place = (call.doc, call.offset)
        before = best.get(place)
        if before is None or (call.kept, call.gain) > (before.kept, before.gain or 0.0):
            best[place] = call
    return found + [(call, True) for call in best.values()]
