"""A plugin imported in a process of its own, so that one that dies takes nothing with it.

`python -m kdst_show.inspection KIND NAME FILE` imports a method or a command and writes what is
wrong with it to a file. No answer is a failure.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from kdst_core.files import write_atomically
from kdst_core.plugins import survival

Kind = Literal["method", "command"]
LIMIT = 300.0
"""Seconds that an import may take."""


def inspect(kind: Kind, name: str) -> list[str]:
    """Return what is wrong with a method or a command, imported in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        words = [sys.executable, "-m", "kdst_show.inspection", kind, name, str(answer)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [f"importing {name} gave no answer in {LIMIT:.0f} s"]
        return _read(answer) if answer.is_file() else [_died(name, done)]


def inspect_all(kind: Kind, names: Sequence[str]) -> list[list[str]]:
    """Return what is wrong with each of several, two side by side."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda name: inspect(kind, name), names))


def _read(answer: Path) -> list[str]:
    """Return the reasons that a process wrote."""
    return [str(reason) for reason in json.loads(answer.read_text(encoding="utf-8"))]


def _died(name: str, done: "subprocess.CompletedProcess[bytes]") -> str:
    """Say how a process ended that gave no answer."""
    how = survival.how(done.returncode)
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    return f"importing {name} ended the process {how}" + (f": {last[0][:200]}" if last else "")


def problems(kind: Kind, name: str) -> list[str]:
    """Import a method with its bench, or a command, in this process; return what is wrong."""
    from kdst_core.errors import KdstError
    from kdst_core.plugins import registry
    from kdst_core.runs.setup import setup_of

    try:
        if kind == "method":
            setup_of(name)
        else:
            registry.load_command(name)
    except KdstError as e:
        return [str(e)]
    return []


if __name__ == "__main__":
    survival.load_untried()
    what: Kind = "method" if sys.argv[1] == "method" else "command"
    found = problems(what, sys.argv[2])
    target = Path(sys.argv[3])
    write_atomically(target, json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # what a plugin does when a process ends is no part of the answer
