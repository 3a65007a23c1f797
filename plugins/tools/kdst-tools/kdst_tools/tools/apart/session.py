"""A session with an MCP server over stdio: JSON-RPC 2.0 in lines (modelcontextprotocol.io, 2025-06-18).

The server is a process of its own, started without a shell and with few variables of the environment.
What it asks of its client is refused; what it says is bounded in time and in size, and believed in
nothing. The official client is not used: it needs an event loop and a web server's packages, and
bounds neither.
"""

import os
import shlex
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from kdst_core.errors import KdstError
from kdst_tools.tools.apart.lines import Ended, LineProcess

PROTOCOL = "2025-06-18"
STARTING = 60.0
"""Seconds in which a server must be ready."""
MAX_TOOLS = 64
"""Tools of a server that are looked at."""
MAX_PAGES = 64
"""Parts in which it may name them."""
PASSED = (
    "HOME", "PATH", "LANG", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TMP", "TEMP", "USER", "VIRTUAL_ENV",
    "SYSTEMROOT", "APPDATA", "LOCALAPPDATA", "PATHEXT", "USERPROFILE",
)  # fmt: skip
"""Variables that a server sees, besides those of locale and Python; no keys of the user's."""
REFUSED = {"code": -32601, "message": "not supported"}


class RefusedError(Exception):
    """The server answered with an error."""


class Session:
    """One process of a server, ready to be asked. KdstError where it cannot be started."""

    def __init__(self, command: str) -> None:
        self.command, self._number = command, 0
        self._process = _started(command)
        deadline = time.monotonic() + STARTING
        about = {"name": "kdst", "version": version("kdst-tools")}
        hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": about}
        try:
            self.ask("initialize", hello, deadline)
            self._send({"method": "notifications/initialized"}, deadline)
        except (Ended, TimeoutError, RefusedError) as error:
            self.kill()
            why = str(error) or f"it was not ready after {STARTING:g} s"
            raise KdstError(
                f"--tools mcp:{command[:80]}: the server does not serve: {why}"
            ) from error

    def _send(self, message: Mapping[str, Any], deadline: float) -> None:
        self._process.send({"jsonrpc": "2.0", **message}, deadline)

    def ask(self, method: str, params: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Return the result of a request.

        Raises TimeoutError after the deadline, RefusedError where the server says that it failed, Ended
        where it is gone or makes no sense.
        """
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": dict(params)}, deadline)
        while True:
            message = self._process.receive(deadline)
            if "method" in message:
                self._refuse(message, deadline)
            elif message.get("id") in (number, str(number)):
                return _result(message)
            if time.monotonic() > deadline:
                raise TimeoutError

    def _refuse(self, message: Mapping[str, Any], deadline: float) -> None:
        """Answer what a server asks: a ping with nothing, all else with no; notes need no answer."""
        if "id" not in message or not isinstance(message["id"], str | int):
            return
        said = {"result": {}} if message["method"] == "ping" else {"error": REFUSED}
        self._send({"id": message["id"], **said}, deadline)

    def tools(self) -> list[dict[str, Any]]:
        """Return what the server says of its tools; KdstError where it says nothing useful."""
        deadline, found = time.monotonic() + STARTING, list[dict[str, Any]]()
        params: dict[str, Any] = {}
        try:
            for _ in range(MAX_PAGES):
                page = self.ask("tools/list", params, deadline)
                own = page.get("tools")
                found += [t for t in own if isinstance(t, dict)] if isinstance(own, list) else []
                if not page.get("nextCursor") or len(found) >= MAX_TOOLS:
                    break
                params = {"cursor": page["nextCursor"]}
        except (Ended, TimeoutError, RefusedError) as error:
            self.kill()
            why = str(error) or f"no answer in {STARTING:g} s"
            raise KdstError(
                f"--tools mcp:{self.command[:80]}: the server names no tools: {why}"
            ) from error
        return found[:MAX_TOOLS]

    @property
    def alive(self) -> bool:
        """Whether the server has not ended."""
        return self._process.alive

    def kill(self) -> None:
        """End the server."""
        self._process.kill()


def _result(message: Mapping[str, Any]) -> dict[str, Any]:
    """The result of an answer; RefusedError where it is an error."""
    if "error" in message:
        error = message["error"]
        raise RefusedError(str(error.get("message") if isinstance(error, dict) else error))
    result = message.get("result")
    if not isinstance(result, dict):
        raise Ended("it answered without a result")
    return result


def _started(command: str) -> LineProcess:
    """Start a server; KdstError for a command that is none."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise KdstError(f"--tools mcp:{command[:80]}: {error}") from error
    if not words:
        raise KdstError("--tools mcp: needs the command that starts a server: mcp:COMMAND")
    try:
        return LineProcess(words, environment())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise KdstError(
            f"--tools mcp:{command[:80]}: cannot start {words[0]!r}: {reason}"
        ) from error


def environment() -> dict[str, str]:
    """Return the variables that a server sees."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in PASSED or name.startswith(("LC_", "PYTHON"))
    }
