"""The command, which saves after each step and gets a signal from itself once it has logged a given one.

python -m tests.at_step SIGNAL STEP WORDS of kdst…
"""

import os
import signal
import sys
from typing import Any

from kdst_core.bench.pacing import Pace
from kdst_core.cli import main
from kdst_core.runs.rundir import Run


def begin() -> None:
    """Take the signal and the step from the arguments, and carry the command out."""
    sign, step, log = int(sys.argv.pop(1)), int(sys.argv.pop(1)), Run.log
    if sign == signal.SIGINT:
        signal.signal(sign, signal.default_int_handler)

    def logged(self: Run, name: str, value: float, at: int, **context: Any) -> None:
        log(self, name, value, at, **context)
        if at == step:
            os.kill(os.getpid(), sign)

    Pace.due = lambda *_: True  # type: ignore[method-assign, assignment]
    Run.log = logged  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    begin()
