"""Studies: many small attacks in one run, each kept on disk when it is done."""

from typing import TYPE_CHECKING

from kdst_core.bench import Outcome
from kdst_core.rundir import Run
from kdst_invert.attack import Attacker

if TYPE_CHECKING:
    from kdst_invert.prepared import PreparedInvert


def carry_out(prepared: "PreparedInvert", attacker: Attacker, run: Run) -> Outcome:
    """Carry out the study that the options name."""
    from kdst_invert.studies import access, defence, length, search

    studies = {
        "access": access.study,
        "defence": defence.study,
        "length": length.study,
        "search": search.study,
    }
    return studies[prepared.inputs.study](prepared, attacker, run)
