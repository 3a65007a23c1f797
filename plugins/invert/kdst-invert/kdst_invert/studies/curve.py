"""Leakage over the number of known pairs, for every defence, on a few texts with a narrow search."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdst_invert.studies.common import attack, changed, three

if TYPE_CHECKING:
    from kdst_invert.defences import Defence
    from kdst_invert.studies.adaptive import Known, Undoing
    from kdst_invert.studies.defence import Stage

PAIRS = (0, 10, 100, 1000)
ATTACKED = 20
"""Texts of the curve; it needs many attacks."""
BEAM, STEPS = 1, 1
SHOWN = ("token_f1", "names")


def curve(stage: "Stage", defences: Sequence["Defence"], known: "Known") -> list[dict[str, Any]]:
    """F1 and names for every defence and number of known pairs that there are."""
    rows = []
    with stage.run.progress(len(defences), "known pairs") as advance:
        for defence in defences:
            for count in PAIRS:
                few = known.few(count)
                undoing = stage.undo(defence, few) if few is not None and count else None
                if count == 0 or undoing is not None:
                    rows.append(_point(stage, defence, count, undoing))
            advance(1)
    return rows


def _point(
    stage: "Stage", defence: "Defence", count: int, undoing: "Undoing | None"
) -> dict[str, Any]:
    """One attack by who knows so many pairs."""
    most = min(ATTACKED, stage.attacked)
    seen = stage.seen(defence, undoing)[:most]
    options = changed(stage.reader(undoing), beam=BEAM, steps=STEPS)
    name = f"pairs{count}-{stage.file(defence)}"
    view = None if undoing is None else undoing.view
    shown = stage.originals.cut(range(most))
    scores, _ = attack(stage.attacker, name, seen, options, shown, view=view)
    leakage = {n: three(scores.at(n)) for n in SHOWN if n in scores.values}
    return {
        "defence": defence.name,
        "strength": defence.strength,
        "pairs": count,
        "attacked": most,
        "leakage": leakage,
    }


def metrics(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Flat metrics: defence, strength, pairs, measure."""
    for point in points:
        strength = point["strength"].removeprefix("λ = ").replace("%", "").replace(" ", "-")
        for name, found in point["leakage"].items():
            yield f"{point['defence']}.{strength}.pairs{point['pairs']}.{name}", found[0]


def sentences(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the number of known pairs changes, and what was not tried."""
    tried = sorted({point["pairs"] for point in points})
    missing = [count for count in PAIRS if count not in tried]
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
    if missing:
        listed = " and ".join(f"{count:,}" for count in missing)
        found.append(f"Attackers who know {listed} pairs were not tried, for want of known texts.")
    return found


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
