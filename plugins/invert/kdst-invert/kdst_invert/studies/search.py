"""Steps against width of the beam: what more search buys, and what it costs."""

from typing import TYPE_CHECKING, Any

from kdst_core.bench.contract import Outcome
from kdst_core.runs.rundir import Run
from kdst_invert.loop import Attacker
from kdst_invert.measures.scores import HEADLINE
from kdst_invert.options import with_options
from kdst_invert.studies.common import FEW, attack, three, unseen
from kdst_invert.studies.target import originals_of, outcome

if TYPE_CHECKING:
    from kdst_invert.studies.target import StudyTarget

BEAMS = (1, 2, 4, 8)
STEPS = 6


def study(subject: "StudyTarget", attacker: Attacker, run: Run) -> Outcome:
    """Invert the same texts with every beam, and read every measure after every step."""
    count = min(subject.count or FEW, len(subject.target.vectors))
    originals = originals_of(subject).cut(range(count))
    rows: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    with run.progress(len(BEAMS), "beams") as advance:
        for beam in BEAMS:
            options = with_options(subject.options, beam=beam, steps=STEPS)
            vectors = subject.target.vectors[:count]
            scores, costs = attack(attacker, f"beam-{beam}", vectors, options, originals)
            kept = [n for n in scores.values if n in HEADLINE]
            for step in range(STEPS + 1):
                at = min(step, scores.steps)
                found = {n: three(scores.at(n, at)) for n in kept}
                rows.append({"beam": beam, "step": step, "leakage": found, **costs})
                metrics |= {f"beam{beam}.{n}.step{step}": v[0] for n, v in found.items()}
            calls = costs["embedder_calls_per_text"]
            metrics[f"beam{beam}.embedder_calls_per_text"] = calls
            advance(1)
    lines = [
        f"beam {beam}: exact {metrics[f'beam{beam}.exact.step0']:.2f} at step 0,"
        f" {metrics[f'beam{beam}.exact.step{STEPS}']:.2f} after {STEPS},"
        f" {metrics[f'beam{beam}.embedder_calls_per_text']:.0f} embedder calls a text"
        for beam in BEAMS
    ]
    lines.append(unseen(count))
    table = {"rows": rows, "beams": list(BEAMS), "steps": STEPS, "attacked": count}
    return outcome(subject, run, {**table, "sentences": lines}, metrics, lines)
