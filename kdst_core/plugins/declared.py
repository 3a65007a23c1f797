"""What options classes declare, held to what flags, variables and files can give and a run can keep."""

from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from kdst_core.errors import KdstError
from kdst_core.options import Item, Section, items

OF_RUN = ("out", "config", "resume", "observe", "quiet", "debug", "help")
"""Options of every run, without a table."""
PLAIN = (int, float, bool, str, Path)
ASKED = "the author of the method must"


def check_options(sections: Iterable[Section]) -> None:
    """Raise KdstError when two sections claim the same flag, or an option is of a type that no flag gives,
    or has a default that is none of its values."""
    owner = {f"--{name}": "[every run]" for name in OF_RUN}
    for section in sections:
        for item in items(section):
            _check_type(item)
            for flag in _claims(item):
                if flag in owner:
                    clash = f"is claimed by {owner[flag]} and [{section.table}]"
                    raise KdstError(f"option {flag} {clash}; {ASKED} rename it")
                owner[flag] = f"[{section.table}]"


def _claims(item: Item) -> list[str]:
    """Return the flags of an option: one that is on or off has two."""
    return [item.flag, f"--no-{item.flag[2:]}"] if item.type is bool else [item.flag]


def _check_type(item: Item) -> None:
    """Raise KdstError where an option cannot be given or kept."""
    if item.type in (None, Any, object):  # told by `kdst check`
        return
    if not _is_given(item.type):
        name = getattr(item.type, "__name__", "") if not get_args(item.type) else ""
        raise KdstError(
            f"option {item.flag} of [{item.section.table}] is of the type {name or item.type}, which no"
            f" flag gives; {ASKED} take a number, a text, a path, a choice of texts or a list of them"
        )
    values = get_args(item.type) if get_origin(item.type) is Literal else (item.default,)
    if item.default not in values:
        raise KdstError(
            f"option {item.flag} of [{item.section.table}] has the default {item.default!r}, which is none"
            f" of {', '.join(values)}; {ASKED} mend it"
        )


def _is_given(kind: Any) -> bool:
    """Return whether flags, variables and files can give values of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return all(isinstance(value, str) for value in arguments)
    if origin in (Union, UnionType):
        rest = [a for a in arguments if a is not NoneType]
        return len(rest) == 1 and _is_given(rest[0])
    if origin is list or kind is list:
        return all(map(_is_given, arguments))
    if origin is tuple or kind is tuple:
        return all(a is Ellipsis or _is_given(a) for a in arguments)
    return kind in PLAIN or origin is dict or kind is dict
