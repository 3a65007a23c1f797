"""`KDST_TRACE=1`: every hook call with the shapes of its arguments and its seconds, on stderr."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pluggy

LONGEST_TEXT = 40


def trace(manager: pluggy.PluginManager) -> None:
    """Print every hook call of a manager when it returns; nothing of torch is imported for it."""
    started: list[float] = []

    def before(_name: str, _impls: Any, _kwargs: Any) -> None:
        started.append(time.perf_counter())

    def after(outcome: Any, name: str, impls: Any, kwargs: Mapping[str, Any]) -> None:
        seconds = time.perf_counter() - started.pop()
        plugins = ", ".join(i.plugin_name for i in impls)
        result = "an exception" if outcome.exception else shape(outcome.get_result())
        print(f"kdst: {name} -> {plugins} ({seconds:.3f} s)", file=sys.stderr)
        for key, value in kwargs.items():
            print(f"kdst:   {key}: {shape(value)}", file=sys.stderr)
        print(f"kdst:   returned {result}", file=sys.stderr)

    manager.add_hookcall_monitoring(before, after)


def shape(value: Any, depth: int = 2) -> str:
    """Return a value in a few words: kind and shape of a tensor, fields of a request, numbers as such.

    depth: how many levels of fields and elements are opened.
    """
    name = type(value).__name__
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if attrs.has(type(value)) and depth:
        fields = (f.name for f in attrs.fields(type(value)) if not f.name.startswith("_"))
        inner = (f"{f}={shape(getattr(value, f), depth - 1)}" for f in fields)
        return f"{name}({', '.join(inner)})"
    if isinstance(value, Sequence):
        return _sequence(value, depth)
    return name


def _sequence(value: Sequence[Any], depth: int) -> str:
    """Return a short sequence of plain values as such, another by its length and first element."""
    if len(value) <= 4 and all(isinstance(v, int | float | str) for v in value):
        return repr(list(value)) if isinstance(value, list) else repr(tuple(value))
    return f"{len(value)} × {shape(value[0], depth - 1)}" if depth else f"{len(value)} elements"
