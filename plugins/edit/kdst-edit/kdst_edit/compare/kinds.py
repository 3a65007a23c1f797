"""Compared edits by what they change, where the prompts tell it: PIE-Bench's kinds."""

from collections.abc import Sequence
from statistics import fmean

from kdst_batch.comparable import Contender
from kdst_core.reports.blocks import Table
from kdst_edit.compare.edits import MEASURE, Edited, edits_of
from kdst_edit.shapes import attributes

KINDS = {
    "shape": "change object",
    "colour": "change colour",
    "texture": "change material",
    "background": "change background",
}
"""Attributes of the tiny model's world, and PIE-Bench's name for changing them (Ju et al., ICLR 2024)."""
SEVERAL = "several at once"


def kind(source: str, target: str) -> str | None:
    """Return what kind of edit two prompts ask for; None where they do not tell, or ask for none."""
    before, after = attributes.parse(source), attributes.parse(target)
    if before is None or after is None:
        return None
    if len(before.objects) != len(after.objects):
        return "add object" if len(before.objects) < len(after.objects) else "delete object"
    old, new = before.attributes(), after.attributes()
    changed = {KINDS[name.rstrip("2")] for name in new if new[name] != old.get(name)}
    if len(changed) > 1:
        return SEVERAL
    return next(iter(changed), None)


def table(contenders: Sequence[Contender]) -> Table | None:
    """Return success and what was kept by kind of edit; None where no prompts tell the kind."""
    by_method = {who.label: _by_kind(who) for who in contenders}
    names = [*KINDS.values(), "add object", "delete object", SEVERAL]
    found = [name for name in names if any(name in kinds for kinds in by_method.values())]
    if not found:
        return None
    rows = [
        [label, *(_cell(kinds.get(name, [])) for name in found)]
        for label, kinds in by_method.items()
    ]
    caption = (
        "Success, what was kept outside the region, and the number of edits. The kinds are"
        " PIE-Bench's, as far as the prompts tell them."
    )
    return Table("By kind of edit", ["method", *found], rows, caption)


def _by_kind(who: Contender) -> dict[str, list[Edited]]:
    groups: dict[str, list[Edited]] = {}
    for edit in (edit for seed in edits_of(who) for edit in seed):
        name = kind(edit.source, edit.target)
        if name is not None:
            groups.setdefault(name, []).append(edit)
    return groups


def _cell(edits: Sequence[Edited]) -> str:
    if not edits:
        return "–"
    kept = f"{fmean(e.scores[MEASURE] for e in edits):.1f} dB"
    if all("success" in e.scores for e in edits):
        kept = f"{fmean(e.scores['success'] for e in edits):.0%}, {kept}"
    return f"{kept} ({len(edits)})"
