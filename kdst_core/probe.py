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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, frozen

from kdst_core.api import Command, command
from kdst_core.errors import KdstError
from kdst_core.rundir import Run

SEEDS = ((0, 0), (0, 1))
"""Seeds of the two runs of each process."""
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
MOVES = ("os.rename", "os.symlink", "os.link")
PLACES = ("os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree")
"""Events whose first argument is a file or a folder that is made, emptied or removed."""
OF_LIBRARIES = ("TORCHINDUCTOR_", "TRITON_", "CUDA_", "KMP_", "HF_", "TOKENIZERS_")
"""Beginnings of variables that libraries set when they are imported."""


@frozen
class Answer:
    """What the runs of one process did.

    digests: of what each run returned. written: paths outside the run. connections: attempts to reach
    the network. changed: global settings that are not what they were. printed: its output. error: why
    a run failed, empty when none did.
    """

    digests: Sequence[str] = ()
    written: Sequence[str] = ()
    connections: Sequence[str] = ()
    changed: Sequence[str] = ()
    printed: str = ""
    error: str = ""


TORCHS = str(Path(tempfile.gettempdir()).resolve() / "torchinductor_")
"""How the paths begin of what torch's compiler keeps by itself."""
SCRATCH = "elsewhere"
"""The folder that a watched process works in, so that nothing of the caller can be lost."""

Prober = Callable[[Command], Sequence[Answer]]
"""Carries out the runs of `SEEDS` and returns an answer a process."""


def in_processes(chosen: Command) -> list[Answer]:
    """Carry the small runs out in two fresh processes, side by side."""
    with tempfile.TemporaryDirectory() as directory:
        started = []
        for number in range(len(SEEDS)):
            folder = Path(directory) / str(number)
            (folder / SCRATCH).mkdir(parents=True)
            words = ["-m", "kdst_core.probe", chosen.method.plugin.qualified, str(folder)]
            process = _python(*words, str(number), hash_seed=number, cwd=folder / SCRATCH)
            started.append((folder, process))
        return [_answer(process, folder) for folder, process in started]


def _python(*arguments: str, hash_seed: int, cwd: Path | None = None) -> "subprocess.Popen[str]":
    """Start Python with warnings silenced and a hash seed."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": str(hash_seed)}
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
    found = read_answer(folder, out.strip())
    strays = [str(p) for p in sorted((folder / SCRATCH).rglob("*"))]  # also of subprocesses
    return evolve(found, written=[*dict.fromkeys([*found.written, *strays])])


def read_answer(folder: Path, printed: str) -> Answer:
    """Return the answer that `watch` wrote to a folder."""
    found = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return Answer(**{**found, "printed": printed})


def watch(name: str, folder: Path, number: int) -> None:
    """Carry out the runs of one process under an audit hook, and write the answer to `folder`."""
    chosen = command(name)
    list(chosen.bench.checks(chosen.method))  # imports what the bench needs, before the watch
    tempfile.gettempdir()  # its first call probes folders with a file
    _disturb(number)
    written, connections = _listen(folder)
    before = settings()
    runs = enumerate(SEEDS[number])
    digests = [small_run(chosen, folder / f"run{turn}", seed) for turn, seed in runs]
    changed = [key for key, value in settings().items() if value != before[key]]
    answer = Answer(digests, list(written), list(connections), changed)
    (folder / "answer.json").write_text(json.dumps(asdict(answer)), encoding="utf-8")


def small_run(chosen: Command, directory: Path, seed: int) -> str:
    """Carry out the bench's small run and return a digest of its result."""
    (directory / "artifacts").mkdir(parents=True)
    run = Run(directory, seed=seed, device="cpu", codec=chosen.bench.codec, show="quiet")
    result = chosen.bench.smoke(chosen.method, chosen.method.description.options(), run)
    return hashlib.sha256(result.encode()).hexdigest()


def _listen(inside: Path) -> tuple[list[str], list[str]]:
    """From now on note paths written outside a folder, and note and refuse connections."""
    written: list[str] = []
    connections: list[str] = []
    scratch, allowed = str(inside.resolve() / SCRATCH), str(inside.resolve())

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NETWORK:
            target = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
            if isinstance(target, str) and event == "socket.connect":
                return
            connections.append(str(target))
            raise ConnectionError(f"a method must not reach the network ({target})")
        path = _written(event, arguments)
        if path is None:
            return
        if path.startswith(scratch) or not path.startswith(allowed):
            written.append(path)

    sys.addaudithook(audit)
    return written, connections


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
    own = absolute == os.devnull or "__pycache__" in absolute or absolute.startswith(TORCHS)
    return None if own else absolute


def _disturb(number: int) -> None:
    """Put the global random generators into another state in every process."""
    random.seed(number)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed(number)
    if torch is not None:
        torch.manual_seed(number)


def settings() -> dict[str, Any]:
    """Return the global settings that a method must leave alone, by what they are called."""
    found: dict[str, Any] = {
        "the working directory": os.getcwd(),
        "environment variables": {
            key: value for key, value in os.environ.items() if not key.startswith(OF_LIBRARIES)
        },
        "Python's random numbers": random.getstate(),
    }
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        found["numpy's random numbers"] = numpy.random.get_state()[1].tolist()
    if torch is not None:
        found["torch's random numbers"] = torch.get_rng_state().tolist()
        found["torch's default dtype"] = str(torch.get_default_dtype())
        found["torch's number of threads"] = torch.get_num_threads()
        found["whether torch computes gradients"] = torch.is_grad_enabled()
        found["torch's deterministic algorithms"] = torch.are_deterministic_algorithms_enabled()
    return found


if __name__ == "__main__":
    try:
        watch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    except KdstError as error:
        sys.exit(str(error))
