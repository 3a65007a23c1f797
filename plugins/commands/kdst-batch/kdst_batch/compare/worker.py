"""One run of a comparison or a sweep, carried out in a worker from plain values."""

import os
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.errors import BusyError, CheckpointError, KdstError, MethodError
from kdst_core.options import Given
from kdst_core.runs import execute
from kdst_core.runs.rundir import CONFIG
from kdst_core.runs.setup import Setup, setup_of

LINES = 12
"""Lines kept of what went wrong."""


@frozen
class End:
    """How a run ended: error is empty on success; again says whether another try may help."""

    error: str = ""
    again: bool = False

    @property
    def line(self) -> str:
        """The error in one line: the last of a traceback, else the first."""
        lines = self.error.strip().splitlines() or [""]
        return lines[-1 if any(text.startswith("  File ") for text in lines) else 0].strip()


def message(chosen: Setup, given: Mapping[str, Given], directory: Path) -> dict[str, Any]:
    """Return a run as plain values; the directory is where every worker finds it."""
    values = {
        flag: {"value": _plain(g.value), "origin": g.origin, "base_dir": str(g.base_dir)}
        for flag, g in given.items()
    }
    name = chosen.method.plugin.qualified
    return {
        "method": name,
        "given": values,
        "directory": str(directory.resolve()),
        "cwd": str(Path.cwd()),
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    return str(value) if isinstance(value, Path) else value


def run(message: Mapping[str, Any]) -> End:
    """Carry out one run, from its checkpoint where there is one.

    A directory whose checkpoint is damaged is started again: its name is a digest, so that it holds
    nothing that the run would not make anew.
    """
    given = {
        flag: Given(g["value"], g["origin"], Path(g["base_dir"]))
        for flag, g in message["given"].items()
    }
    directory = Path(message["directory"])
    try:
        os.chdir(message["cwd"])
        chosen = setup_of(message["method"])
        try:
            _execute(chosen, given, directory)
        except CheckpointError:
            shutil.rmtree(directory)
            _execute(chosen, given, directory)
    except KdstError as e:
        return End(str(e), again=isinstance(e, BusyError | MethodError))
    except Exception:
        return End(last_lines(traceback.format_exc()), again=True)
    return End()


def _execute(chosen: Setup, given: Mapping[str, Given], directory: Path) -> None:
    """Carry out a run, or continue it."""
    resume = (directory / CONFIG).exists()
    execute.execute(chosen, given, {}, out=directory, resume=resume, config=None, show="quiet")


def last_lines(text: str) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.strip().splitlines()[-LINES:])
