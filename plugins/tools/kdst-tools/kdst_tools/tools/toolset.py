"""Which tools a run uses: entry points of the group `kdst.tools`, functions, those of an MCP server."""

import re
from collections.abc import Sequence

from kdst_core.contracts import Tool
from kdst_core.errors import KdstError
from kdst_tools.tools.installed import OWN, available, entry_of, make_here

FUNCTION, SERVER = "python:", "mcp:"
DEFAULT = ("calculator", "calendar")


def load(wanted: Sequence[str], network: bool) -> list[Tool]:
    """Return the tools of a list of NAME, NAME=ARGUMENT, python:FILE:FUNCTION or mcp:COMMAND.

    KdstError for one that cannot be used. The value of an entry point is a function (argument: str |
    None) -> Tool. network: whether tools that reach beyond this machine may be used.
    """
    tools: list[Tool] = []
    for item in wanted:
        for tool in _made(item.strip()):
            _check(item, tool, network)
            if any(tool.name == other.name for other in tools):
                raise KdstError(f"two tools are called {tool.name}; leave one out of --tools")
            tools.append(tool)
    if not tools:
        raise KdstError(f"give --tools at least one of {', '.join(sorted(available()))}")
    return tools


def _check(item: str, tool: Tool, network: bool) -> None:
    """Raise KdstError for a tool that may not be used, or that no call can spell."""
    if tool.network and not network:
        raise KdstError(f"the tool {item} uses the network, which is off; allow it with --network")
    if not re.fullmatch(r"\w+", tool.name):
        raise KdstError(f"the tool {item} calls itself {tool.name!r}, which no call can spell")


def _made(item: str) -> Sequence[Tool]:
    """Return the tools of one item: what is not this package's runs in a process of its own."""
    if item.startswith(FUNCTION):
        from kdst_tools.tools.apart.tool import ProcessTool

        return [ProcessTool({"function": item.removeprefix(FUNCTION)}, item)]
    if item.startswith(SERVER):
        from kdst_tools.tools.apart.mcp import tools_of

        return tools_of(item.removeprefix(SERVER))
    name, separator, argument = item.partition("=")
    return [_make(name.strip(), argument.strip() if separator else None)]


def _make(name: str, argument: str | None) -> Tool:
    """Return the tool of an entry point; that of another package in a process of its own."""
    entry = entry_of(name)
    if entry.dist is not None and entry.dist.name == OWN:
        return make_here(name, argument)
    from kdst_tools.tools.apart.tool import ProcessTool

    return ProcessTool({"entry": name, "argument": argument}, name)
