"""Leakage over the number of known pairs, for every defence, on a few texts with a narrow search."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from kdst_invert.options import with_options
from kdst_invert.studies.common import attack, plain, three

if TYPE_CHECKING:
    from kdst_invert.defences.defence import Defence
    from kdst_invert.studies.adaptive import Known, Undoing
    from kdst_invert.studies.stage import Stage

ATTACKED = 20
"""Texts of the curve; it needs many attacks."""
BEAM, STEPS = 1, 1
SHOWN = ("token_f1", "names")
HELPED = 190
HELPED_SECRET = 60
"""Pairs of an attacker who also has texts of his own, which are worth more where he can protect them."""
WIDE_BEAM, WIDE_STEPS = 4, 4
"""His search."""


def curve(stage: "Stage", defences: Sequence["Defence"], known: "Known") -> list[dict[str, Any]]:
    """F1 and names for every defence and number of known pairs that there are."""
    rows = []
    with stage.run.progress(len(defences), "known pairs") as advance:
        for defence in defences:
            for count in sorted(set(stage.subject.pairs)):
                few = known.few(count)
                undoing = stage.undo(defence, few) if few is not None and count else None
                if count == 0 or undoing is not None:
                    rows.append(_point(stage, defence, count, undoing))
            rows += _helped(stage, defence, known)
            advance(1)
    return rows


def _helped(stage: "Stage", defence: "Defence", known: "Known") -> list[dict[str, Any]]:
    """The attack of who has texts of his own besides pairs; none where there are too few of either."""
    count = HELPED_SECRET if defence.name == "rotation" else HELPED
    if not len(known.own) or len(known.pairs) < count:
        return []
    undoing = stage.undo(defence, evolve(known, pairs=known.pairs[:count]))
    return [_point(stage, defence, count, undoing, len(known.own))]


def _point(
    stage: "Stage", defence: "Defence", count: int, undoing: "Undoing | None", own: int = 0
) -> dict[str, Any]:
    """One attack by who knows so many pairs, and has so many texts of his own."""
    most = min(ATTACKED, stage.attacked)
    seen = stage.seen(defence, undoing)[:most]
    beam, steps = (WIDE_BEAM, WIDE_STEPS) if own else (BEAM, STEPS)
    options = with_options(stage.reader(undoing.left if undoing else 0.0), beam=beam, steps=steps)
    name = f"pairs{count}-own{own}-{stage.file(defence)}"
    view = None if undoing is None else undoing.view
    shown = stage.originals.cut(range(most))
    scores, _ = attack(stage.attacker, name, seen, options, shown, view=view)
    leakage = {n: three(scores.at(n)) for n in SHOWN if n in scores.values}
    return {
        "defence": defence.name,
        "strength": defence.strength,
        "pairs": count,
        "own": own,
        "attacked": most,
        "leakage": leakage,
    }


def metrics(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Flat metrics: defence, strength, pairs, measure."""
    for point in points:
        strength = plain(point["strength"])
        for name, found in point["leakage"].items():
            own = f".own{point['own']}" if point["own"] else ""
            yield f"{point['defence']}.{strength}.pairs{point['pairs']}{own}.{name}", found[0]


def sentences(points: Sequence[Mapping[str, Any]], asked: Sequence[int]) -> list[str]:
    """What the number of known pairs changes, and what was not tried of the numbers that were asked for."""
    helped = [point for point in points if point["own"]]
    points = [point for point in points if not point["own"]]
    tried = sorted({point["pairs"] for point in points})
    missing = [count for count in sorted(set(asked)) if count not in tried]
    found = []
    if len(tried) > 1:
        most = tried[-1]
        gains = [_change(points, most, *kind) for kind in _kinds(points)]
        told = [said for gain, said in sorted(gains, reverse=True)[:3] if gain > 0]
        if told:
            found.append(
                f"From 0 to {most:,} known pairs token F1 rises most for {', '.join(told)}"
                f" ({points[0]['attacked']} texts, beam {BEAM}, {STEPS} step)."
            )
    if helped:
        found.append(_with_own(helped))
    if missing:
        listed = " and ".join(f"{count:,}" for count in missing)
        found.append(f"Attackers who know {listed} pairs were not tried, for want of known texts.")
    return found


def _with_own(points: Sequence[Mapping[str, Any]]) -> str:
    """What is read with texts of the attacker's own besides."""
    told = [
        f"{p['defence']} {p['strength']} {p['leakage']['token_f1'][0]:.2f} ({p['pairs']} pairs)"
        for p in points
    ]
    return (
        f"With {points[0]['own']:,} texts of his own besides, of the same kind, and a wider search (beam"
        f" {WIDE_BEAM}, {WIDE_STEPS} steps) an attacker reaches token F1: {', '.join(told)}."
    )


def _kinds(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Defences with their strengths, each once."""
    return list(dict.fromkeys((point["defence"], point["strength"]) for point in points))


def _change(
    points: Sequence[Mapping[str, Any]], most: int, defence: str, strength: str
) -> tuple[float, str]:
    """How much more is read of a defence with most pairs than with none, and in words."""
    mine = {
        p["pairs"]: p["leakage"]["token_f1"][0]
        for p in points
        if (p["defence"], p["strength"]) == (defence, strength)
    }
    if most not in mine or 0 not in mine:
        return 0.0, ""
    return mine[most] - mine[0], f"{defence} {strength} ({mine[0]:.2f} to {mine[most]:.2f})"
