"""The paper's defence alone: Gaussian noise, an attacker who does not expect it, and the search."""

from typing import TYPE_CHECKING

from kdst_core.bench.contract import Outcome
from kdst_core.runs.rundir import Run
from kdst_invert.defences.noise import Gaussian
from kdst_invert.loop import Attacker
from kdst_invert.studies.common import unseen
from kdst_invert.studies.defence import asked, flat, measure
from kdst_invert.studies.sentences import at_one_hundredth
from kdst_invert.studies.stage import Stage
from kdst_invert.studies.target import originals_of, outcome

if TYPE_CHECKING:
    from kdst_invert.studies.target import StudyTarget

LAMBDAS = (0.0, 0.01, 0.03, 0.1)
"""Strengths, relative to the mean length of the vectors; the paper (section 7) recommends .01."""


def study(subject: "StudyTarget", attacker: Attacker, run: Run) -> Outcome:
    """Attack the store and search it under noise of each strength.

    It takes a part of the time of the study of defences, whose figures of a λ these are.
    """
    originals = originals_of(subject)
    stage = Stage(subject, attacker, run, originals, asked(subject, originals))
    with run.progress(len(LAMBDAS), "noise") as advance:
        for scale in LAMBDAS:
            measure(stage, Gaussian(scale), "clean", subject.options, None)
            advance(1)
    said = [
        *at_one_hundredth(stage.rows),
        "One who expects the noise may read more: --study defence has him.",
        unseen(stage.attacked),
    ]
    table = {
        "rows": stage.rows,
        "attacked": stage.attacked,
        "store": len(stage.vectors),
        "graded": stage.queries.relevance is not None,
        "sentences": said,
    }
    return outcome(subject, run, table, dict(flat(stage.rows)), said)
