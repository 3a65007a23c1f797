"""Commands and watched methods in forks of a Python that has torch loaded, which costs seconds a process.

What the commands use is loaded too, and what is not installed is left out.

Everything of kdst is imported in the fork, with the variables, the folder and the arguments of its own
command, as in a fresh process. What looks at starting itself belongs in `tests.fakes.kdst`.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parent.parent
LIBRARIES = (
    *("attrs", "click", "filelock", "jinja2", "packaging.requirements", "pluggy", "rich.console"),
    *("rich.progress", "tomli_w", "typed_settings", "pydantic"),
    *("numpy", "pandas", "pyarrow", "matplotlib.figure", "matplotlib.backends.backend_svg"),
    *("scipy.linalg", "scipy.ndimage", "numba.core.registry", "torch", "torch._dynamo"),
)
"""What is loaded before the forks; an optimiser imports `torch._dynamo` at its first step."""
Order = Mapping[str, Any]
"""What a process is to be: arguments, environment, cwd, and files for stdout and stderr."""


def available() -> bool:
    """Return whether processes can be forked here."""
    return hasattr(os, "fork")


class Nursery:
    """A process that forks one for each order, one after the other; hash_seed is that of its Python."""

    def __init__(self, hash_seed: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        )
        atexit.register(self.process.kill)

    def start(self, order: Order) -> int:
        """Start the process of an order and return its number."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """Wait for the process that was started last, and return its exit code."""
        return self._answer()

    def _answer(self) -> int:
        """Read one number."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"the process that forks others ended: {self.process.wait()}")
        return int(line)


@cache
def nursery(hash_seed: int) -> Nursery:
    """Return the one of this process with a hash seed, started where it is asked for first."""
    return Nursery(hash_seed)


class Child:
    """A process of a nursery, with the part of `subprocess.Popen` that is used of it."""

    def __init__(self, nursery: Nursery, order: Order) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="warm-"))
        files = {name: str(self.folder / name) for name in ("stdout", "stderr")}
        self.nursery, self.returncode = nursery, 0
        self.pid = nursery.start({**order, **files})

    def kill(self) -> None:
        """End it."""
        os.kill(self.pid, 9)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end, at most so many seconds, and return what it said."""
        watch = threading.Timer(timeout, self.kill)
        watch.start()
        try:
            self.returncode = self.nursery.wait()
        finally:
            watch.cancel()
        said = [(self.folder / name).read_text() for name in ("stdout", "stderr")]
        subprocess.run(["rm", "-r", str(self.folder)], check=True)
        return said[0], said[1]


def python(
    *arguments: str, hash_seed: int | None = None, cwd: Path | None, own: Mapping[str, str | None]
) -> Child:
    """Start Python as `kdst_authors.probe` does, in a fork.

    arguments: `-m`, a module, and its own. own: variables, besides those of this process; one that
    is None is left out.
    """
    quiet = {} if hash_seed is None else {"PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, **quiet, **own}
    order = {"arguments": arguments, "environment": environment, "cwd": str(cwd or Path.cwd())}
    return Child(nursery(hash_seed or 0), order)


def kdst(
    *arguments: str, path: Path | None = None, cwd: Path | None = None, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command as `tests.fakes.kdst` does, in a fork where that is possible."""
    from tests import fakes

    if not available():
        return fakes.kdst(*arguments, path=path, cwd=cwd, **env)
    return completed("-m", "kdst_core", *arguments, path=path, cwd=cwd, **env)


def completed(
    *arguments: str, path: Path | None = None, cwd: Path | None = None, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run Python in a fork, without kdst's variables, and return what became of it."""
    none = dict.fromkeys(name for name in os.environ if name.startswith("KDST_"))
    paths = {} if path is None else {"PYTHONPATH": str(path)}
    child = python(*arguments, cwd=cwd, own={**none, **paths, **env})
    out, err = child.communicate(timeout=300)
    return subprocess.CompletedProcess(list(arguments), child.returncode, out, err)


def serve() -> None:
    """Load the libraries, then fork a process for each order; in a fork, carry it out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            with suppress(ImportError):
                import_module(library)
    if numba := sys.modules.get("numba.core.registry"):
        numba.cpu_target.target_context.refresh()  # imports what every kernel needs
    gc.freeze()
    with os.fdopen(os.dup(0)) as orders, os.fdopen(os.dup(1), "w") as answers:
        order = _next(orders, answers)
    if order is not None:
        _carry_out(order)


def _next(orders: TextIO, answers: TextIO) -> Order | None:
    """Fork for each order and answer with the number of the process and its exit code.

    Return an order in the fork that is to carry it out, None where there are no more.
    """
    for line in orders:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        print(child, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
    return None


def _carry_out(order: Order) -> None:
    """Be the process of an order: its streams, variables, folder and path; then its module."""
    _redirect(order["stdout"], order["stderr"])
    os.environ.clear()
    os.environ.update({k: v for k, v in order["environment"].items() if v is not None})
    if os.environ.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    os.chdir(order["cwd"])
    tempfile.tempdir = None
    _, module, *rest = order["arguments"]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [order["cwd"], *filter(None, paths)]
    sys.argv = ["-m", *rest]
    _customize(paths)
    for name in [n for n in sys.modules if n.partition(".")[0] == "tests"]:
        del sys.modules[name]
    code: Any = None
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as e:
        code = e.code
    _end(code)


def _customize(folders: list[str]) -> None:
    """Import the `sitecustomize` of some folders of the path, as Python does when it starts."""
    if any(Path(folder, "sitecustomize.py").is_file() for folder in filter(None, folders)):
        sys.modules.pop("sitecustomize", None)
        import_module("sitecustomize")


def _end(code: Any) -> None:
    """End as Python does, but leave the loaded libraries to the system, which frees them at once."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # tells pools to end, then waits for every thread that is no daemon
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _redirect(*files: str) -> None:
    """Put nothing and two files in the place of the streams."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, closefd=False)


if __name__ == "__main__":
    serve()
