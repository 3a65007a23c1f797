"""The errors that reach a user as one or two lines instead of a traceback."""

from collections.abc import Iterable


class KdstError(Exception):
    """Bad input or a broken plugin: what was given, what is allowed, what to do (exit code 2)."""

    exit_code = 2


class MethodError(KdstError):
    """A method failed while it ran; its own exception is the cause (exit code 1)."""

    exit_code = 1


class CheckpointError(KdstError):
    """A checkpoint is damaged, so that its run cannot go on from it."""


class BusyError(KdstError):
    """Another process works in a directory; later it may be free."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was sent; work stops as by Ctrl-C (exit code 143)."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message that says something; its type where none does."""
    try:
        lines = list(map(str.strip, str(error).splitlines()))
    except Exception:  # its class cannot even write it
        lines = []
    return next(filter(None, lines), type(error).__name__)


def typed_line(error: BaseException) -> str:
    """Return an exception's type with the first line of its message, if it has one."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean …?' when something known resembles the word, else an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(word, dict.fromkeys(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
