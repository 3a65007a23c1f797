"""What the import of a plugin may not change for the others: it is put back."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
OURS = "KDST_"


@contextmanager
def harmless() -> Iterator[None]:
    """Put back working directory, streams, arguments, signals, umask and kdst's variables after the block.

    What is printed to stdout in it goes to stderr, since a command's answer is for scripts.
    """
    place = ""
    with suppress(OSError):  # a working directory that was removed has no name
        place = os.getcwd()
    streams, words = (sys.stdin, sys.stdout, sys.stderr), list(sys.argv)
    variables, mask = _ours(), os.umask(0o077)
    os.umask(mask)
    handlers = {s: signal.getsignal(s) for s in SIGNALS if _is_main()}
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if place:
            os.chdir(place)
        (sys.stdin, sys.stdout, sys.stderr), sys.argv[:] = streams, words
        for name in _ours().keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
        os.umask(mask)
        for sign, handler in handlers.items():
            if handler is not None and signal.getsignal(sign) is not handler:
                signal.signal(sign, handler)


def _ours() -> dict[str, str]:
    """Return the variables that kdst reads."""
    return {name: value for name, value in os.environ.items() if name.startswith(OURS)}


def _is_main() -> bool:
    """Return whether this is the thread that may change what signals do."""
    return threading.current_thread() is threading.main_thread()
