"""What an audit says to a person who is no researcher."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdst_batch.statistics import Z_975
from kdst_invert.store_audit.leakage import LABELS, main

READERS = {
    "inverter": "by words learned from other texts and a search that asks a public embedder",
    "words": "by linear regression, without any network",
    "nearest": "by taking the most similar text that they know",
}


def summary(table: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal: what was audited, the strongest reader at each number, the other questions."""
    head = f"{table['rows']} rows of {table['kind']}, {table['dimension']} numbers each"
    return [head, *findings(table)]


def findings(table: Mapping[str, Any]) -> list[str]:
    """The findings, each in a sentence or two; what was not above chance is said to be that."""
    found = [table["identity"] or _unknown(table)]
    for k in table["known"]:
        found += _at(k, [row for row in table["leaks"] if row["known"] == k])
    found += _membership(table["membership"])
    found += [_attribute(row) for row in table["attributes"]]
    return found


def _unknown(table: Mapping[str, Any]) -> str:
    """Where no embedder was recognised."""
    return (
        "None of the embedders that were tried made these vectors, so every attack here learned its way"
        " from known texts. Name the right one with --embedder to test an attacker who may ask it."
    )


def _at(k: int, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What those who know k texts read."""
    who = f"Someone who knows {k:,} texts of the store" if k else "Someone who knows no text of it"
    if not rows:
        return [f"{who} was not tested: no attacker here can begin without a known text."]
    measure = main([row["leaks"] for row in rows])
    best = max(rows, key=lambda row: row["leaks"][measure]["gain"])
    leak = best["leaks"][measure]
    how = READERS[best["attacker"]]
    if not leak["found"]:
        said = [
            f"{who} read no more of the others' words than chance gives ({how}); with"
            f" {leak['count']} texts a gain below {leak['least']:.2f} could not have been seen."
        ]
    else:
        said = [
            f"{who} reads the others with {LABELS[measure]} {leak['value']:.2f} ({how}); unrelated texts"
            f" of the store give {leak['chance']:.2f}."
        ]
    kinds = dict.fromkeys(kind for row in rows for kind in row["leaks"] if kind not in LABELS)
    return [*said, *_kinds(kinds, rows)]


def _kinds(kinds: Mapping[str, None], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was read of each kind of personal data by the best of the readers."""
    found, nothing = [], []
    for kind in kinds:
        leak = max((row["leaks"][kind] for row in rows), key=lambda leak: leak["gain"])
        if leak["found"]:
            found.append(
                f"{kind} {leak['value']:.0%} of {leak['count']} (chance {leak['chance']:.0%})"
            )
        else:
            nothing.append(f"{kind} (below {leak['least']:.0%} could not be seen)")
    lines = []
    if found:
        lines.append(f"Personal data read: {', '.join(found)}.")
    if nothing:
        lines.append(f"Not read above chance: {', '.join(nothing)}.")
    return lines


def _membership(found: Mapping[str, Any] | None) -> list[str]:
    """Whether a text's presence can be told."""
    if found is None:
        return ["Whether a text is in the store was not tested: the embedder is not known here."]
    who = "may ask the embedder" if found["asks"] else "learned a map from the known texts"
    least = least_area(found["members"], found["others"])
    count = f"{found['members']} members and {found['others']} others"
    if found["auc"] <= least:
        return [
            f"Whoever {who} and has a text could not be seen to tell whether it is in the store (area under"
            f" the curve {found['auc']:.2f}); with {count} an area up to {least:.2f} could not have been"
            " told from chance."
        ]
    value, low, high = found["recognised"]
    return [
        f"Whoever {who} and has a text can tell whether it is in the store: {value:.0%}"
        f" ({low:.0%} to {high:.0%}) of {found['members']} are recognised {_threshold(found)} (area under"
        f" the curve {found['auc']:.2f})."
    ]


def _threshold(found: Mapping[str, Any]) -> str:
    """What the threshold of membership costs in false alarms, and who set it."""
    if not found.get("shadow"):
        return f"where at most 1 % of {found['others']} others are taken for members"
    value, low, high = found["alarms"]
    return (
        f"by a threshold that {found['shadow']} known texts set, which takes {value:.0%} ({low:.0%} to"
        f" {high:.0%}) of {found['others']} others for members"
    )


def least_area(members: int, others: int) -> float:
    """The area under the curve up to which members are not told from others beyond chance: the upper end
    of its 95 % interval where both are alike (Mann and Whitney's variance)."""
    if not members or not others:
        return 1.0
    return min(1.0, 0.5 + Z_975 * ((members + others + 1) / (12 * members * others)) ** 0.5)


def _attribute(row: Mapping[str, Any]) -> str:
    """What a vector says of one column."""
    if row["found"]:
        return (
            f"The vectors give away {row['column']}: {row['right']:.0%} right, where the most frequent"
            f" value is right for {row['usual']:.0%}."
        )
    return (
        f"{row['column']} could not be told better than by its most frequent value"
        f" ({row['right']:.0%} right, {row['usual']:.0%}; {row['count']} rows)."
    )


def untested(table: Mapping[str, Any]) -> list[str]:
    """What the audit did not try, so that nobody takes silence for safety."""
    found = [
        "An inverter trained on texts like these, or larger than the embedded one, reads more. The"
        " figures are what these attackers read, not what can be read.",
        "An attacker who may ask the embedder can make as many pairs as he likes from texts of his own;"
        " only texts of the store were given to the attackers here.",
        "Encryption of the index, access rights and deletion were not looked at.",
    ]
    if table["not_tried"]:
        many = ", ".join(f"{k:,}" for k in table["not_tried"])
        found.insert(0, f"{many} known texts: the store has too few besides those attacked.")
    return [*found, *table["notes"]]
