"""Plugins imported in processes of their own, so that one that dies takes nothing with it.

`python -m kdst_show.inspection KIND FOLDER NAME…` imports methods or commands and writes what is wrong
with each to a file. No answer is a failure. Several are imported in copies of the process, which has
loaded kdst alone: a copy takes a sixth of the time of a process that loads kdst itself.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

from kdst_core.files import write_atomically
from kdst_core.plugins import survival

Kind = Literal["method", "command"]
LIMIT = 300.0
"""Seconds that an import may take."""
COPIES = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a process can be copied; on macOS libraries forbid it."""


def inspect(kind: Kind, name: str) -> list[str]:
    """Return what is wrong with a method or a command, imported in a process of its own."""
    return _inspected(kind, [name])[0]


def inspect_all(kind: Kind, names: Sequence[str]) -> list[list[str]]:
    """Return what is wrong with each of several, two side by side."""
    from concurrent.futures import ThreadPoolExecutor

    shares = min(2, len(names)) if COPIES else len(names)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda k: _inspected(kind, names[k::shares]), range(shares)))
    return [found[number % shares][number // shares] for number in range(len(names))]


def _inspected(kind: Kind, names: Sequence[str]) -> list[list[str]]:
    """Return what is wrong with each of some, which one process or its copies import."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "kdst_show.inspection", kind, folder, *names]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment,
                timeout=LIMIT * len(names),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [_answer(folder, n, name, None, b"") for n, name in enumerate(names)]
        said = (done.returncode, done.stderr)
        return [_answer(folder, n, name, *said) for n, name in enumerate(names)]


def _answer(folder: str, number: int, name: str, code: int | None, said: bytes) -> list[str]:
    """Return the reasons that a process wrote of its plugin, or how it ended without.

    code: its exit code, None where it took too long. said: what it wrote to stderr.
    """
    file = Path(folder, f"{number}.json")
    if file.is_file():
        return [str(reason) for reason in json.loads(file.read_text(encoding="utf-8"))]
    if code is None:
        return [f"importing {name} gave no answer in {LIMIT:.0f} s"]
    last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
    how = f"importing {name} ended the process {survival.how(code)}"
    return [how + (f": {last[0][:200]}" if last else "")]


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


def _import(kind: Kind, name: str, folder: str, number: int) -> NoReturn:
    """Import a plugin, write what is wrong with it, and end this process."""
    found = problems(kind, name)
    write_atomically(Path(folder, f"{number}.json"), json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # what a plugin does when a process ends is no part of the answer


def _import_in_copies(kind: Kind, names: Sequence[str], folder: str) -> None:
    """Import plugins one after the other, each in a copy of this process, which has read their metadata."""
    import typed_settings.cls_utils  # noqa: F401  (reads the options of every method)

    from kdst_core.plugins import registry
    from kdst_core.runs import setup  # noqa: F401

    registry.survey()
    for number, name in enumerate(names):
        errors = Path(folder, f"{number}.txt")
        child = os.fork()
        if not child:
            os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
            _import(kind, name, folder, number)
        watch = threading.Timer(LIMIT, os.kill, (child, signal.SIGKILL))
        started = time.monotonic()
        watch.start()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        late = time.monotonic() - started >= LIMIT
        watch.cancel()
        watch.join()  # the next copy is made without threads
        reasons = _answer(folder, number, name, None if late else code, errors.read_bytes())
        write_atomically(Path(folder, f"{number}.json"), json.dumps(reasons))


def _main(kind: Kind, folder: str, *names: str) -> None:
    """Import the plugins of the command line."""
    survival.load_untried()
    if len(names) == 1:
        _import(kind, names[0], folder, 0)
    _import_in_copies(kind, names, folder)


if __name__ == "__main__":
    _main("method" if sys.argv[1] == "method" else "command", *sys.argv[2:])
