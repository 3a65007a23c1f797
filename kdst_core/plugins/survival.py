"""Whether code of a plugin ends the process that loads it, tried in a copy of this one before.

A copy costs a few milliseconds, since it shares what is loaded already. Nothing is tried where there are
no copies, or where threads run that a copy would lack.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from kdst_core.errors import KdstError

SURVIVED = 73
"""Exit code of a copy that lived on."""
_untried: list[bool] = []


def refuse_dying(name: str, package: str, module: str, load: Callable[[], Any]) -> None:
    """Raise KdstError where `load`, which imports a module, ends the process.

    name: of the plugin. Nothing is tried of a module that is loaded already.
    """
    if module in sys.modules or _untried or not _can_copy():
        return
    try:
        child = os.fork()
    except OSError:
        return
    if not child:
        _load_and_leave(load)
    code = _exit_code(child)
    if code != SURVIVED:
        raise KdstError(
            f"importing {name} ended the process {how(code)}.\n"
            f"The other plugins still work. Repair it: pip install --force-reinstall {package}"
        )


def load_untried() -> None:
    """From now on try nothing: this process is there to be ended."""
    _untried.append(True)


def _can_copy() -> bool:
    """Return whether this process can be copied as it is: it has one thread."""
    if not hasattr(os, "fork") or sys.platform == "darwin":  # where libraries forbid copies
        return False
    with suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1
    return threading.active_count() == 1


def _load_and_leave(load: Callable[[], Any]) -> NoReturn:
    """Load silently, and end this process, which is a copy."""
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        with suppress(BaseException):
            load()
    finally:
        os._exit(SURVIVED)


def _exit_code(child: int) -> int:
    """Wait for a copy; one that is waited for no longer is ended."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise


def how(code: int) -> str:
    """Return how a process ended, by its exit code, which is negative for a signal."""
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"


@contextmanager
def exits_refused() -> Iterator[None]:
    """Let `os._exit` raise SystemExit in this thread within the block, so that no run ends unsaid.

    Copies of the process and other threads end as they did.
    """
    leave, process, thread = os._exit, os.getpid(), threading.get_ident()

    def refuse(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == (process, thread):
            raise SystemExit(f"os._exit({status})")
        leave(status)

    places = [vars(sys.modules[name]) for name in ("os", os.name) if name in sys.modules]
    for place in places:
        place["_exit"] = refuse
    try:
        yield
    finally:
        for place in places:
            place["_exit"] = leave
