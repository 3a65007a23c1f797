"""The study that the options name."""

from kdst_core.bench.contract import Outcome
from kdst_core.runs.rundir import Run
from kdst_invert.loop import Attacker
from kdst_invert.studies.target import StudyTarget


def carry_out(subject: StudyTarget, attacker: Attacker, run: Run) -> Outcome:
    """Carry out a study; KdstError where it needs what was not given."""
    from kdst_invert.studies import access, defence, length, noise, search

    studies = {
        "access": access.study,
        "defence": defence.study,
        "length": length.study,
        "noise": noise.study,
        "search": search.study,
    }
    return studies[subject.study](subject, attacker, run)
