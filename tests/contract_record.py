"""The contract as data: every hook with its arguments, every contract class with its fields, in order.

`python -m tests.contract_record` prints it. `contract.json` in the tests is what was last agreed;
a change that removes or reorders anything breaks plugins, one that appends does not.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from kdst_core import contracts
from kdst_core.plugins import hookspecs

SPECIAL = ("__call__", "__iter__", "__len__", "__next__")
Record = Mapping[str, Mapping[str, Sequence[str]]]


def record() -> dict[str, dict[str, list[str]]]:
    """Return hooks to arguments, classes to fields (a default as `= …`), protocols to members."""
    hooks = {
        name: list(inspect.signature(hook).parameters)
        for name, hook in vars(hookspecs).items()
        if hasattr(hook, f"{hookspecs.PROJECT}_spec")
    }
    classes: dict[str, list[str]] = {}
    protocols: dict[str, list[str]] = {}
    for name in contracts.__all__:
        kind = getattr(contracts, name)
        if attrs.has(kind):
            classes[name] = [_field(a) for a in attrs.fields(kind)]
        elif inspect.isclass(kind):
            protocols[name] = _members(kind)
    return {"hooks": hooks, "classes": classes, "protocols": protocols}


def _field(attribute: Any) -> str:
    """Return a field's name, marked where it may be left out."""
    return attribute.name if attribute.default is attrs.NOTHING else f"{attribute.name} = …"


def _members(kind: type) -> list[str]:
    """Return the members of a protocol; methods with their arguments."""
    found = []
    for name, member in vars(kind).items():
        if callable(member) and (not name.startswith("_") or name in SPECIAL):
            arguments = list(inspect.signature(member).parameters)[1:]
            found.append(f"{name}({', '.join(arguments)})")
        elif isinstance(member, property):
            found.append(name)
    return found


def breaks(before: Record, now: Record) -> list[str]:
    """Return what plugins written for `before` would miss in `now`, a sentence each.

    Hooks, arguments and fields may be appended; a new field needs a default. No member of a protocol
    may be removed or take other arguments.
    """
    found = []
    for kind, entries in before.items():
        for name, old in entries.items():
            new = now.get(kind, {}).get(name)
            if new is None:
                found.append(f"{kind[:-1]} {name} was removed")
            elif kind == "protocols":
                found += [f"{name}.{m} was removed or changed" for m in old if m not in new]
            else:
                found += _lost(name, old, new) or (
                    [] if kind == "hooks" else _without_default(name, old, new)
                )
    return found


def _lost(name: str, old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return what is wrong with the new fields or arguments of a name."""
    plain = [field.removesuffix(" = …") for field in new]
    lost = [field for field in old if field.removesuffix(" = …") not in plain]
    if lost:
        return [f"{name}.{field.removesuffix(' = …')} was removed" for field in lost]
    if plain[: len(old)] != [field.removesuffix(" = …") for field in old]:
        return [f"the order of {name} was changed: {', '.join(plain)}"]
    return []


def _without_default(name: str, old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the fields that are new, or could be left out before, and now have no default."""
    could = {field.removesuffix(" = …") for field in old if not field.endswith(" = …")}
    needed = [field for field in new if not field.endswith(" = …") and field not in could]
    return [f"{name}.{field} has no default" for field in needed]


if __name__ == "__main__":
    print(json.dumps(record(), indent=2, ensure_ascii=False))
