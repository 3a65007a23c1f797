"""One case, carried out in a worker from plain values."""

import json
import os
import shutil
import subprocess
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch.executors.processes import last_lines
from kdst_batch.plan import Case
from kdst_core.errors import BusyError, CheckpointError, KdstError, MethodError
from kdst_core.options import Given
from kdst_core.plugins.elsewhere import PLACES
from kdst_core.runs import execute
from kdst_core.runs.rundir import CONFIG
from kdst_core.runs.setup import Setup, setup_of


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


MARK = ".running"
"""End of the name of a file that lies beside the others while a case runs."""


def message(case: Case, marks: Path | None = None) -> dict[str, Any]:
    """Return a case as plain values; the directory is where every worker finds it."""
    values = {
        flag: {"value": _plain(g.value), "origin": g.origin, "base_dir": str(g.base_dir)}
        for flag, g in case.given.items()
    }
    plugin = case.entrant.setup.method.plugin
    place = PLACES.get(plugin.package)
    return {
        "method": plugin.qualified,
        "python": place.python if place else "",
        "given": values,
        "directory": str(case.directory.resolve()),
        "cwd": str(Path.cwd()),
        "mark": str((marks / (case.directory.name + MARK)).resolve()) if marks else "",
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    return str(value) if isinstance(value, Path) else value


def run(message: Mapping[str, Any]) -> End:
    """Carry out one case in a worker, with its mark beside the others while it runs."""
    with _marked(Path(message["mark"])) if message["mark"] else nullcontext():
        return elsewhere(message) if message["python"] else _run(message)


def elsewhere(message: Mapping[str, Any]) -> End:
    """Carry out one case by the interpreter of an environment of its own."""
    words = [message["python"], "-P", "-m", __name__]
    answer = b""
    try:
        pipes = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with suppress(BrokenPipeError), pipes as child:  # one that has ended already reads nothing
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(message).encode() + b"\n")
            child.stdin.flush()  # it stays open: the child ends with this process
            answer = child.stdout.read()
    except OSError as e:
        return End(f"{words[0]} cannot be started: {e.strerror}")
    try:
        return End(**json.loads(answer))
    except (ValueError, TypeError):
        return End(
            f"its process ended without an answer (exit code {child.returncode})", again=True
        )


def main() -> None:
    """Carry out the case of one line of JSON from stdin, and answer by one line."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what a method prints is no answer
    line = b""
    while not line.endswith(b"\n"):
        if not (more := os.read(0, 1 << 16)):  # the caller is no more
            return
        line += more
    message = json.loads(line)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    end = _run(message)
    with open(answer, "w", encoding="utf-8") as file:
        json.dump({"error": end.error, "again": end.again}, file)


def _end_with_caller() -> None:
    """End this process at once when its caller is no more."""
    while os.read(0, 1):
        pass
    os._exit(1)


@contextmanager
def _marked(path: Path) -> Iterator[None]:
    """Keep a file while something runs."""
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _run(message: Mapping[str, Any]) -> End:
    """Carry out one case, from its checkpoint where there is one.

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
        setup = setup_of(message["method"])
        try:
            _execute(setup, given, directory)
        except CheckpointError:
            shutil.rmtree(directory)
            _execute(setup, given, directory)
    except KdstError as e:
        return End(str(e), again=isinstance(e, BusyError | MethodError))
    except Exception:
        return End(last_lines(traceback.format_exc()), again=True)
    return End()


def _execute(setup: Setup, given: Mapping[str, Given], directory: Path) -> None:
    """Carry out a run, or continue it."""
    resume = (directory / CONFIG).exists()
    execute.execute(setup, given, {}, out=directory, resume=resume, config=None, show="quiet")


if __name__ == "__main__":
    main()
