"""Capabilities: those whose hooks the core specifies, and those that packages add.

A package adds one by an entry point of the group `kdst.capabilities`: its name is the capability, its
value the module that holds the hook's specification, a function of that name marked by `hookspec`.
"""

from collections import defaultdict
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint
from keyword import iskeyword
from typing import Any

from kdst_core.errors import KdstError, typed_line
from kdst_core.plugins import survival
from kdst_core.plugins.harmless import harmless
from kdst_core.plugins.installed import entry_points, module_problem, owner

OWN = ("adapt", "reconstruct", "edit", "augment_with_tools", "invert")
"""Capabilities of the core, in the order in which they are listed."""
ADDED = "kdst.capabilities"
GROUPS = ("benches", "capabilities", "commands", "executors", "observers", "tools")
"""Groups of entry points that are no capabilities."""
TAKEN = frozenset({*OWN, *GROUPS, "describe", "load_scene", "observe"})
"""Names that no package can add."""


def capabilities() -> tuple[str, ...]:
    """Return every capability: the core's, then those of installed packages by name."""
    return (*OWN, *added(entry_points(ADDED)))


def added(entries: Iterable[EntryPoint]) -> list[str]:
    """Return the names that entry points of the group add; one that cannot be a hook's adds none."""
    return sorted({e.name for e in entries if e.group == ADDED and _can_be_added(e.name)})


def _can_be_added(name: str) -> bool:
    """Return whether a name can be that of a hook and means nothing else."""
    return name.isidentifier() and not iskeyword(name) and name not in TAKEN


def faults(entries: Iterable[tuple[EntryPoint, str]]) -> list[str]:
    """Return a line for each capability that a package adds in vain, from metadata alone.

    entries: those of the group, each with what is wrong with its line, else an empty text.
    """
    lines, owners = [], defaultdict(set)
    for entry, fault in entries:
        reason = fault or module_problem(entry)
        if not reason and not _can_be_added(entry.name):
            reason = "it means something else, or no function can have the name"
        if reason:
            lines.append(f"{owner(entry)}: it adds no capability {entry.name!r}: {reason}")
        else:
            owners[entry.name].add(owner(entry))
    return lines + [_shared(name, by) for name, by in sorted(owners.items()) if len(by) > 1]


def _shared(capability: str, by: Iterable[str]) -> str:
    """Say that a capability is added more than once."""
    names = sorted(by)
    return (
        f"the capability {capability!r} is added by {' and '.join(names)};"
        f" one package can.\nUninstall what you do not need: pip uninstall {' or '.join(names)}"
    )


def is_capability(name: Any) -> bool:
    """Return whether a name is a capability; packages are asked only where it is none of the core's."""
    return name in OWN or (isinstance(name, str) and name in capabilities())


def specification(capability: str) -> Any | None:
    """Return the module that specifies the hook of an added capability, None for one of the core's.

    KdstError where several packages add it, or its module cannot be imported or has no such hook.
    """
    if capability in OWN:
        return None
    entry = _entry(capability)
    module = _imported(entry)
    try:
        specified = hasattr(getattr(module, capability, None), "kdst_spec")
    except Exception:  # of a module that answers for its names itself
        specified = False
    if not specified:
        raise KdstError(
            f"{entry.module} adds the capability {capability!r} but specifies no hook of that name"
            " (a function marked by kdst_core.hookspec)"
        )
    return module


def _entry(capability: str) -> EntryPoint:
    """Return the one entry point that adds a capability; one whose module does not exist adds nothing."""
    entries = entry_points(ADDED, capability)
    there = [entry for entry in entries if not module_problem(entry)] or entries
    if not there:
        raise KdstError(f"no package adds the capability {capability!r}.\nSee: kdst plugins")
    if len(there) > 1:
        raise KdstError(_shared(capability, {owner(entry) for entry in there}))
    return there[0]


def _imported(entry: EntryPoint) -> Any:
    """Return the module of an added capability, after a copy of this process has imported it."""

    def load() -> Any:
        with harmless():
            return import_module(entry.module)

    called = f"the capability {entry.name!r}"
    survival.refuse_dying(called, owner(entry), entry.module, load)
    try:
        return load()
    except KeyboardInterrupt:
        raise
    except BaseException as e:
        raise KdstError(f"{called} of {owner(entry)} cannot be imported: {typed_line(e)}") from e
