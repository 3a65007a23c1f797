"""Comparisons of adaptation: pairing of images, columns, figures."""

from collections.abc import Sequence

from kdst_adapt.compare.figures import figures, stats
from kdst_adapt.compare.pairing import columns, mismatch, paired, seeded
from kdst_batch.comparable import Contender
from kdst_core.reports.blocks import Figure, Stat

__all__ = ["columns", "comparison", "mismatch", "paired", "seeded"]


def comparison(runs: Sequence[Contender]) -> tuple[Sequence[Stat], Sequence[Figure]]:
    """Return headline numbers and figures of a comparison's report."""
    return stats(runs), figures(runs)
