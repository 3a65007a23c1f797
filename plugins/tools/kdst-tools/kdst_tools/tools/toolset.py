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
            if tool.network and not network:
                raise KdstError(
                    f"the tool {item} uses the network, which is off; allow it with --network"
                )
            tools.append(tool)
    return checked(tools)


def checked(tools: list[Tool]) -> list[Tool]:
    """Return tools that can be used together; KdstError where no call could tell them apart, or none is."""
    names: set[str] = set()
    for tool in tools:
        if not re.fullmatch(r"\w+", tool.name):
            raise KdstError(f"a tool calls itself {tool.name!r}, which no call can spell")
        if tool.name in names:
            raise KdstError(f"two tools are called {tool.name}; leave one out of --tools")
        names.add(tool.name)
    if not tools:
        raise KdstError(f"give --tools at least one of {', '.join(sorted(available()))}")
    return tools


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
