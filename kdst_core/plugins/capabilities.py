"""Capabilities: those whose hooks the core specifies, and those that packages add.

A package adds one by an entry point of the group `kdst.capabilities`: its name is the capability, its
value the module that holds the hook's specification, a function of that name marked by `hookspec`.
"""

from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from kdst_core.errors import KdstError, typed_line
from kdst_core.plugins.installed import entry_points

OWN = ("adapt", "reconstruct", "edit", "augment_with_tools", "invert")
"""Capabilities of the core, in the order in which they are listed."""
ADDED = "kdst.capabilities"
GROUPS = ("benches", "capabilities", "commands", "executors", "observers", "tools")
"""Groups of entry points that are no capabilities."""


def capabilities() -> tuple[str, ...]:
    """Return every capability: the core's, then those of installed packages by name."""
    return (*OWN, *added(entry_points(ADDED)))


def added(entries: Iterable[EntryPoint]) -> list[str]:
    """Return the names that entry points of the group add; one that cannot be a hook's adds none."""
    names = {e.name for e in entries if e.group == ADDED and e.name.isidentifier()}
    return sorted(names - {*OWN, *GROUPS, "describe", "load_scene", "observe"})


def is_capability(name: Any) -> bool:
    """Return whether a name is a capability; packages are asked only where it is none of the core's."""
    return name in OWN or (isinstance(name, str) and name in capabilities())


def specification(capability: str) -> Any | None:
    """Return the module that specifies the hook of an added capability, None for one of the core's.

    KdstError where several packages add it, or its module cannot be imported or has no such hook.
    """
    if capability in OWN:
        return None
    entries = entry_points(ADDED, capability)
    if len(entries) != 1:
        owners = " and ".join(sorted(e.dist.name for e in entries if e.dist)) or "no package"
        raise KdstError(f"the capability {capability!r} is added by {owners}; one package can")
    name = entries[0].value.partition(":")[0].strip()
    try:
        module = import_module(name)
    except (Exception, SystemExit) as e:
        raise KdstError(f"the capability {capability!r} cannot be imported: {typed_line(e)}") from e
    if not hasattr(getattr(module, capability, None), "kdst_spec"):
        raise KdstError(
            f"{name} adds the capability {capability!r} but specifies no hook of that name"
            " (a function marked by kdst_core.hookspec)"
        )
    return module
