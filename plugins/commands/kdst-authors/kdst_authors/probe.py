"""Small runs of a method in fresh processes, watched: what they return, print, write and change.

Two processes make two runs each. They differ in the seeds of Python's hashes and of the global random
generators, so that what depends on either gives different results.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from kdst_authors import strays
from kdst_authors.running import left_running, running
from kdst_authors.settings import settings
from kdst_core.errors import KdstError, first_line
from kdst_core.plugins import process_state
from kdst_core.runs.rundir import Run
from kdst_core.runs.setup import Setup, setup_of

SEEDS = ((0, 0), (0, 1))
"""Seeds of the two runs of each process."""
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
MOVES = ("os.rename", "os.symlink", "os.link")
PLACES = ("os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree")
"""Events whose first argument is a file or a folder that is made, emptied or removed."""


@frozen
class Answer:
    """What the runs of one process did.

    digests: of what each run returned. written: paths outside the run. connections: attempts to reach
    the network. changed: global settings that are not what they were, and functions of others that were
    replaced. left: threads and processes that still run. printed: its output. error: why a run failed,
    empty when none did.
    """

    digests: Sequence[str] = ()
    written: Sequence[str] = ()
    connections: Sequence[str] = ()
    changed: Sequence[str] = ()
    left: Sequence[str] = ()
    printed: str = ""
    error: str = ""


TORCHS = str(Path(tempfile.gettempdir()).resolve() / "torchinductor_")
"""How the paths begin of what torch's compiler keeps by itself, where no variable names another place."""
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables that name such places."""
SCRATCH = "elsewhere"
"""The folder that a watched process works in, so that nothing of the caller can be lost."""

Prober = Callable[[Setup], Sequence[Answer]]
"""Carries out the runs of `SEEDS` and returns an answer a process."""


def in_processes(chosen: Setup) -> list[Answer]:
    """Carry the small runs out in two fresh processes, side by side."""
    with tempfile.TemporaryDirectory() as directory:
        started = []
        for number in range(len(SEEDS)):
            folder = Path(directory) / str(number)
            (folder / SCRATCH).mkdir(parents=True)
            words = ["-m", "kdst_authors.probe", chosen.method.plugin.qualified, str(folder)]
            own = strays.prepare(folder, folder / SCRATCH)
            process = _python(*words, str(number), hash_seed=number, cwd=folder / SCRATCH, own=own)
            started.append((folder, process))
        return [_answer(process, folder) for folder, process in started]


def _python(
    *arguments: str, hash_seed: int, cwd: Path, own: Mapping[str, str]
) -> "subprocess.Popen[str]":
    """Start Python with warnings silenced, a hash seed and variables of its own."""
    quiet = {"PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": str(hash_seed)}
    environment = {**os.environ, **quiet, **own}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=cwd,
    )


def _answer(process: "subprocess.Popen[str]", folder: Path) -> Answer:
    """Wait for a process and read its answer."""
    try:
        out, err = process.communicate(timeout=600)
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        return Answer(printed=out, error=(err.strip() or "the process died")[-300:])
    return read_answer(folder, out.strip())


def read_answer(folder: Path, printed: str) -> Answer:
    """Return the answer that `watch` wrote to a folder."""
    found = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return Answer(**{**found, "printed": printed})


def watch(name: str, folder: Path, number: int) -> None:
    """Carry out the runs of one process under an audit hook, and write the answer to `folder`."""
    chosen = setup_of(name)
    list(chosen.bench.checks(chosen.method))  # imports what the bench needs, before the watch
    process_state.import_measures(chosen.bench)
    tempfile.gettempdir()  # its first call probes folders with a file
    _disturb(number)
    places = [folder / name for name in (SCRATCH, *strays.PLACES.values())]
    there = strays.tree(places)
    written, connections, commands = _listen(folder)
    before, functions, alive = settings(), process_state.functions(), running()
    digests, error = _runs(chosen, folder, SEEDS[number])
    changed = [key for key, value in settings().items() if value != before[key]]
    changed += process_state.replaced(functions)
    still = left_running(alive)
    also = [*strays.differences(there, strays.tree(places)), *commands.changed()]
    stray = [path for path in also if not _of_library(path)]
    written = [*dict.fromkeys([*written, *stray])]
    answer = Answer(digests, written, list(connections), changed, still, error=error)
    (folder / "answer.json").write_text(json.dumps(asdict(answer)), encoding="utf-8")


def _runs(chosen: Setup, folder: Path, seeds: Sequence[int]) -> tuple[list[str], str]:
    """Carry out a run a seed; return their digests, and why one failed, after which none is made."""
    digests: list[str] = []
    try:
        for turn, seed in enumerate(seeds):
            digests.append(small_run(chosen, folder / f"run{turn}", seed))
    except KdstError as e:
        return digests, first_line(e)
    except Exception as e:
        return digests, f"{type(e).__name__}: {e}"[:300]
    return digests, ""


def small_run(chosen: Setup, directory: Path, seed: int) -> str:
    """Carry out the bench's small run and return a digest of its result."""
    (directory / "artifacts").mkdir(parents=True)
    run = Run(directory, seed=seed, device="cpu", codec=chosen.bench.codec, show="quiet")
    result = chosen.bench.smoke(chosen.method, chosen.method.description.options(), run)
    return hashlib.sha256(result.encode()).hexdigest()


def _listen(inside: Path) -> tuple[list[str], list[str], strays.Commands]:
    """From now on note paths written outside a folder and programs started, and refuse connections."""
    written: list[str] = []
    connections: list[str] = []
    commands = strays.Commands()
    scratch, allowed = str(inside.resolve() / SCRATCH), str(inside.resolve())

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NETWORK:
            target = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
            if isinstance(target, str) and event == "socket.connect":
                return
            connections.append(str(target))
            raise ConnectionError(f"a method must not reach the network ({target})")
        commands.note(event, arguments)
        path = _written(event, arguments)
        if path is None:
            return
        if path.startswith(scratch) or not path.startswith(allowed):
            written.append(path)

    sys.addaudithook(audit)
    return written, connections, commands


def _written(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the path that an audit event writes to, None when it writes none that matters."""
    if event == "open":
        path, mode, flags = arguments
        writes = isinstance(mode, str) and any(m in mode for m in "wax+")
        creates = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (writes or creates):
            return None
    elif event in MOVES:
        path = arguments[1]
    elif event in PLACES:
        path = arguments[0]
    else:
        return None
    if not isinstance(path, str | os.PathLike):
        return None
    absolute = str(Path(path).resolve())
    return None if _of_library(absolute) else absolute


def _of_library(path: str) -> bool:
    """Return whether a path is one that Python or torch writes by itself."""
    caches = (TORCHS, *(os.environ[name] for name in CACHES if os.environ.get(name)))
    return path == os.devnull or "__pycache__" in path or path.startswith(caches)


def _disturb(number: int) -> None:
    """Put the global random generators into another state in every process."""
    random.seed(number)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed(number)
    if torch is not None:
        torch.manual_seed(number)


if __name__ == "__main__":
    try:
        watch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    except KdstError as error:
        sys.exit(str(error))
