"""The reports of the studies: what to do in one paragraph, a picture, and the figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Marked, ReportContent, Span, Stat, Table
from kdst_invert.measures.labels import LABELS
from kdst_invert.studies.pairs_report import known_pairs
from kdst_show.artifacts import Artifacts

Block = Figure | Table | Marked
TITLES = {
    "defence": "What defences protect, and what they cost",
    "noise": "What Gaussian noise protects, and what it costs",
    "search": "Steps and beam",
    "length": "Length",
    "access": "Access to the embedder",
}


def study_content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the report of a study."""
    study = result["input"]["study"]
    found = Artifacts(result, directory).json("study.json")
    given = result["input"]
    subtitle = (
        f"{TITLES[study]}: {found['attacked']} texts behind vectors of {given['embedder_name']}"
        f" (D = {given['dimension']}) attacked in every row."
    )
    blocks: list[Block] = [Marked("What this means", [[Span(s)] for s in found["sentences"]])]
    makers = {
        "defence": _defence,
        "noise": _defence,
        "search": _search,
        "length": _length,
        "access": _access,
    }
    blocks += makers[study](found)
    return ReportContent(subtitle, _stats(study, found), blocks)


def _stats(study: str, found: Mapping[str, Any]) -> list[Stat]:
    """Headline numbers: those of λ = .01 for the defences."""
    if study not in ("defence", "noise"):
        return [Stat("Texts attacked", str(found["attacked"]))]
    stats = []
    for row in found["rows"]:
        if row["defence"] == "gaussian" and row["scale"] in (0.0, 0.01):
            name = "names" if "names" in row["leakage"] else "token_f1"
            value, low, high = row["leakage"][name]
            label = f"{LABELS[name]} at {row['strength']}, {row['attacker']}"
            stats.append(Stat(label, f"{value:.0%}", f"{low:.0%} to {high:.0%}"))
    return stats


def _defence(found: Mapping[str, Any]) -> list[Block]:
    """The frontier, leakage over λ, and the table."""
    rows = found["rows"]
    name = "names" if "names" in rows[0]["leakage"] else "token_f1"
    blocks: list[Block] = [_frontier(rows, name), _over_lambda(rows, name), _defences(rows, found)]
    return [*blocks, *known_pairs(found.get("pairs", []))]


def _frontier(rows: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Retrieval against leakage: a point a defence and strength."""
    kinds = list(dict.fromkeys(row["defence"] for row in rows))
    with charts.figure(6.4, 4.2) as (fig, axes):
        for number, kind in enumerate(kinds):
            colour = charts.SERIES[(number + 1) % len(charts.SERIES)]
            for attacker, mark in (
                ("clean", "o"),
                ("adaptive", "s"),
                ("grammar", "^"),
                ("rewriting", "D"),
            ):
                mine = [r for r in rows if r["defence"] == kind and r["attacker"] == attacker]
                if not mine:
                    continue
                x = [r["retrieval"]["recall@1"][0] for r in mine]
                y = [r["leakage"][name][0] for r in mine]
                face = colour if attacker == "clean" else "none"
                line = "-" if kind in ("gaussian", "laplace", "private") else ""
                axes.plot(
                    x,
                    y,
                    ls=line,
                    lw=0.8,
                    color=colour,
                    marker=mark,
                    ms=6,
                    mfc=face,
                    label=kind if attacker == "clean" else None,
                )
        axes.set_xlabel("the search finds its target first (recall@1)")
        axes.set_ylabel(f"{LABELS[name]} recovered")
        axes.set_ylim(-0.03, 1.03)
        fig.legend(loc="outside upper left", ncols=5, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "frontier")
    caption = (
        "A point a defence and strength; good is right and low. Filled: an attacker trained without"
        " the defence. Open: one who knows it, undoes what pairs teach, and reads the rest with networks"
        " trained with noise."
    )
    return Figure("Retrieval against leakage", caption, svg=picture, wide=True)


def _over_lambda(rows: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Leakage and retrieval over λ of Gaussian noise."""
    with charts.figure(5.4, 3.4) as (fig, axes):
        for attacker, series in (("clean", 5), ("adaptive", 2)):
            mine = [r for r in rows if r["defence"] == "gaussian" and r["attacker"] == attacker]
            if mine:
                _band(
                    axes, mine, [r["leakage"][name] for r in mine], series, f"{attacker} attacker"
                )
        mine = [r for r in rows if r["defence"] == "gaussian" and r["attacker"] == "clean"]
        _band(axes, mine, [r["retrieval"]["recall@1"] for r in mine], 3, "recall@1 of the search")
        axes.set_xticks(range(len(mine)), [f"{r['scale']:g}" for r in mine])
        axes.set_xlabel("λ of Gaussian noise on every coordinate")
        axes.set_ylim(0, 1.03)
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "over-lambda")
    caption = f"Recovered ({LABELS[name]}), and what the search keeps; bands are 95 % intervals."
    return Figure("Noise", caption, svg=picture)


def _band(
    axes: Any,
    rows: Sequence[Mapping[str, Any]],
    values: Sequence[Sequence[float]],
    series: int,
    label: str,
) -> None:
    """A line with its interval."""
    x, colour = range(len(rows)), charts.SERIES[series]
    axes.plot(x, [v[0] for v in values], color=colour, marker="o", ms=4, label=label)
    axes.fill_between(
        x, [v[1] for v in values], [v[2] for v in values], color=colour, alpha=0.18, lw=0
    )


def _defences(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> Table:
    """Every defence, strength and attacker."""
    measures = [n for n in LABELS if n in rows[0]["leakage"]]
    asked = list(rows[0]["retrieval"])
    header = ["defence", "strength", "attacker", *(LABELS[n] for n in measures), *asked]
    cells = [
        [
            row["defence"],
            row["strength"],
            row["attacker"],
            *(_cell(row["leakage"][n]) for n in measures),
            *(_cell(row["retrieval"][n]) for n in asked),
        ]
        for row in rows
    ]
    caption = (
        f"Leakage over {found['attacked']} attacked texts, retrieval over a store of"
        f" {found['store']}; means and 95 % intervals, chance not subtracted. Queries are not protected,"
        " but for the rotation."
    )
    return Table("Defences", header, cells, caption)


def _cell(found: Sequence[float]) -> str:
    """Value and interval."""
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def _search(found: Mapping[str, Any]) -> list[Block]:
    """Exact matches over steps, a line a beam, and the table."""
    rows = found["rows"]
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, beam in enumerate(found["beams"]):
            mine = [r for r in rows if r["beam"] == beam]
            values = [r["leakage"]["exact"] for r in mine]
            _band(axes, mine, values, number + 1, f"beam {beam}")
        axes.set_xlabel("step; 0 is the first hypothesis")
        axes.set_ylabel("exact match")
        axes.set_ylim(0, 1.03)
        fig.legend(loc="outside upper left", ncols=4, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "search")
    caption = "Share of the texts read word for word; bands are 95 % intervals."
    return [Figure("Steps and beam", caption, svg=picture), _table(rows, ["beam", "step"])]


def _length(found: Mapping[str, Any]) -> list[Block]:
    """Measures over the length, and the table."""
    rows = found["rows"]
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, name in enumerate(("exact", "token_f1", "bleu")):
            _band(axes, rows, [r["leakage"][name] for r in rows], number + 1, LABELS[name])
        axes.set_xticks(range(len(rows)), [str(r["length"]) for r in rows])
        axes.set_xlabel("tokens of a text")
        axes.set_ylim(0, 1.03)
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "length")
    caption = (
        f"After a brief training on {found['trained_on']} texts of all four lengths: what comes out, not"
        " what is possible. Bands are 95 % intervals."
    )
    return [Figure("Length", caption, svg=picture), _table(rows, ["length"])]


def _access(found: Mapping[str, Any]) -> list[Block]:
    """The table of the cases."""
    rows = [{"access": found["labels"][k], **row} for k, row in found["cases"].items()]
    return [_table(rows, ["access"])]


def _table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Table:
    """All measures of every row."""
    measures = [n for n in LABELS if any(n in row["leakage"] for row in rows)]
    header = [*keys, *(LABELS[n] for n in measures), "embedder calls a text"]
    cells = [
        [
            *(str(row[key]) for key in keys),
            *(_cell(row["leakage"][n]) if n in row["leakage"] else "–" for n in measures),
            f"{row['embedder_calls_per_text']:.0f}",
        ]
        for row in rows
    ]
    return Table("Figures", header, cells, "Means and 95 % intervals.")
