"""The page of claims: counts, a picture of all effects, a table, and what is to be said of some."""

from collections.abc import Sequence
from typing import Any

from attrs import asdict

from kdst_batch.results import finished
from kdst_claims import words
from kdst_claims.plan import Size, Trial
from kdst_claims.verdicts import Verdict, counts
from kdst_core import __version__
from kdst_core.reports import charts, report
from kdst_core.reports.blocks import Figure, ReportContent, Stat, Table

HEADER = ("claim", "verdict", "effect (interval)", "counts when", "p", "over", "cost")
MEANING = {
    "holds": "the interval lies above the smallest effect that counts",
    "fails": "it lies below",
    "undecided": "it includes it",
    "no result": "a run failed",
    "not tried": "what it is set against is not here",
}
SHOWN = 3.0
"""Half widths of the picture's axis, in the smallest scale that shows an interval."""


def html(verdicts: Sequence[Verdict], planned: Sequence[Trial], command: str, size: Size) -> str:
    """Return the page as HTML, in the look of the other reports."""
    rows = [asdict(v) for v in verdicts]
    blocks: list[Figure | Table] = []
    if charts.available() and any(row["low"] is not None for row in rows):
        blocks.append(_picture(rows))
    blocks += [_table(rows), _sentences(rows), _commands(rows)]
    content = ReportContent(_subtitle(verdicts), _stats(verdicts), blocks)
    return report.page(_head(verdicts, planned, command, size), content, "kdst claims", "Claims")


def _subtitle(verdicts: Sequence[Verdict]) -> str:
    """Say in a sentence what was tried."""
    methods = list(dict.fromkeys(v.method for v in verdicts))
    return f"What the papers of {', '.join(methods)} say, tried here."


def _stats(verdicts: Sequence[Verdict]) -> list[Stat]:
    """Return the counts, and how many verdicts nobody expected."""
    found = counts(verdicts)
    stats = [
        Stat(w, f"{n} of {len(verdicts)}", MEANING[w], strong=w == "holds")
        for w, n in found.items()
        if n or w == "holds"
    ]
    known = sum(bool(v.known_to_fail) for v in verdicts)
    return [*stats, Stat("known to fail", str(known), "said so by the methods themselves")]


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a row for each claim."""
    cells = [
        [
            row["claim"],
            row["verdict"],
            words.effect(row),
            words.least(row),
            words.p(row),
            words.over(row),
            words.cost(row["seconds"]),
        ]
        for row in rows
    ]
    caption = (
        "Effects are in the units of their measure, above 0 for the better. Intervals are at the level at"
        " which Holm's procedure judges each claim, so that the chance of any wrong verdict is 5 %; p is"
        " corrected in the same way."
    )
    strong = {(n, 1) for n, row in enumerate(rows) if row["verdict"] == "holds"}
    return Table("Verdicts", HEADER, cells, caption, strong)


def _sentences(rows: Sequence[dict[str, Any]]) -> Table:
    """Return what each claim says, where, and what is known of it."""
    cells = [
        [row["claim"], row["sentence"], row["source"], row["measure"], words.said(row) or "–"]
        for row in rows
    ]
    return Table("Claims", ("claim", "what it says", "source", "measure", "known"), cells)


def _commands(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the command that repeats each claim."""
    caption = "A claim alone is corrected for itself only."
    cells = [[row["claim"], row["command"], str(row["runs"])] for row in rows]
    return Table("Repeat one", ("claim", "command", "runs"), cells, caption)


def _picture(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return every effect with its interval, each in units of its own interval's half width."""
    shown = [row for row in rows if row["low"] is not None]
    colours = {"holds": charts.SERIES[3], "fails": charts.SERIES[5], "undecided": charts.SERIES[0]}
    with charts.figure(7.2, 0.9 + 0.24 * len(shown)) as (fig, axes):
        for place, row in enumerate(shown):
            middle, reach = _scaled(row)
            axes.plot(
                [middle - reach, middle + reach],
                [place, place],
                color=colours[row["verdict"]],
                lw=2,
            )
            axes.plot([middle], [place], "o", color=colours[row["verdict"]], ms=5)
        axes.axvline(0, color=charts.INK, lw=1)
        axes.set_yticks(range(len(shown)), [row["claim"] for row in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(-SHOWN, SHOWN)
        axes.set_xticks([])
        axes.set_xlabel("fails  ←  smallest effect that counts  →  holds")
        picture = charts.svg(fig, "claims")
    caption = (
        "The line in the middle is the smallest effect that counts. Each claim has a scale of its own:"
        " a bar that does not cross the line decides."
    )
    return Figure("All effects", caption, svg=picture, wide=True)


def _scaled(row: dict[str, Any]) -> tuple[float, float]:
    """Return middle and half width of an interval so that it lies in the picture, the line at 0."""
    distance, reach = row["effect"] - row["least"], (row["high"] - row["low"]) / 2
    scale = max(abs(distance) + reach, 1e-300) / (0.9 * SHOWN)
    return distance / scale, reach / scale


def _head(
    verdicts: Sequence[Verdict], planned: Sequence[Trial], command: str, size: Size
) -> dict[str, Any]:
    """Return what the page shows around its content."""
    cases = {c.directory: c for trial in planned for c in trial.cases}
    results = [f.result for f in finished(list(cases.values()))]
    devices = ", ".join(dict.fromkeys(str(r["device"]) for r in results)) or "none"
    seeds = ", ".join(map(str, sorted({c.seed for c in cases.values()})))
    return {
        "method": "claims",
        "warnings": [f"{v.claim} has no result: {v.why}" for v in verdicts if v.why],
        "input": {"claims": len(verdicts), "runs": len(results), "settings": size},
        "options": {},
        "command": command,
        "plugin": "kdst claims",
        "plugin_version": __version__,
        "core_version": __version__,
        "seed": seeds,
        "device": devices,
        "seconds": float(sum(r["seconds"] for r in results)),
    }
