"""Which tools a run uses: entry points of the group `kdst.tools`, each made by its factory."""

import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from kdst_core import registry
from kdst_core.contracts import Tool
from kdst_core.errors import KdstError, did_you_mean

GROUP = "kdst.tools"
DEFAULT = ("calculator", "calendar")


def available() -> dict[str, EntryPoint]:
    """Return the installed tools by the name that `--tools` takes."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load(wanted: Sequence[str], network: bool) -> list[Tool]:
    """Return the tools of a list of NAME or NAME=ARGUMENT; KdstError for one that cannot be used.

    The value of an entry point is a function (argument: str | None) -> Tool. network: whether tools
    that reach beyond this machine may be used.
    """
    tools: list[Tool] = []
    for item in wanted:
        name, separator, argument = item.partition("=")
        tool = _make(name.strip(), argument.strip() if separator else None)
        if tool.network and not network:
            raise KdstError(
                f"the tool {name} uses the network, which is off; allow it with --network"
            )
        if not re.fullmatch(r"\w+", tool.name):
            raise KdstError(f"the tool {name} calls itself {tool.name!r}, which no call can spell")
        if any(tool.name == other.name for other in tools):
            raise KdstError(f"two tools are called {tool.name}; leave one out of --tools")
        tools.append(tool)
    if not tools:
        raise KdstError(f"give --tools at least one of {', '.join(sorted(available()))}")
    return tools


def _make(name: str, argument: str | None) -> Tool:
    """Import one entry point and make its tool."""
    known = available()
    if name not in known:
        hint = did_you_mean(name, known) or f" Installed: {', '.join(sorted(known))}"
        raise KdstError(f"--tools: there is no tool {name!r}.{hint}")
    entry = known[name]
    factory = registry.load_object(entry, entry.dist.name if entry.dist else name)
    tool: Tool = factory(argument)
    return tool
