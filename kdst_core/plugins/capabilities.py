"""Capabilities: those whose hooks the core specifies, and those that packages add.

A package adds one by an entry point of the group `kdst.capabilities`: its name is the capability, its
value the module that holds the hook's specification, a function of that name marked by `hookspec`.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint
from keyword import iskeyword
from typing import Any

from kdst_core.plugins.installed import entry_points, module_problem

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
    """Return the names that entry points of the group add, whether their modules exist or not."""
    return sorted({e.name for e in entries if e.group == ADDED and _can_be_hook(e.name)})


def _can_be_hook(name: str) -> bool:
    """Return whether a name can be that of a hook and means nothing else."""
    return name.isidentifier() and not iskeyword(name) and name not in TAKEN


def unusable(entry: EntryPoint) -> str:
    """Say why an entry point of the group adds no capability, '' where it does."""
    return module_problem(entry) if _can_be_hook(entry.name) else "no hook can have the name"


def is_capability(name: Any) -> bool:
    """Return whether a name is a capability; packages are asked only where it is none of the core's."""
    return name in OWN or (isinstance(name, str) and name in capabilities())
