"""Tools that packages bring: entry points of the group `kdst.tools`."""

from importlib.metadata import EntryPoint, entry_points

from kdst_core.contracts import Tool
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.plugins import registry

GROUP, OWN = "kdst.tools", "kdst-tools"


def available() -> dict[str, EntryPoint]:
    """Return the installed tools by the name that `--tools` takes."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def make_here(name: str, argument: str | None) -> Tool:
    """Import an entry point and make its tool in this process."""
    entry = entry_of(name)
    factory = registry.load_object(entry, entry.dist.name if entry.dist else name)
    tool: Tool = factory(argument)
    return tool


def entry_of(name: str) -> EntryPoint:
    """Return the entry point of a tool; KdstError where there is none."""
    known = available()
    if name not in known:
        hint = did_you_mean(name, known) or f" Installed: {', '.join(sorted(known))}"
        raise KdstError(f"--tools: there is no tool {name!r}.{hint}")
    return known[name]
