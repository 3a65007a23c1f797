"""The tools of an MCP server, `--tools mcp:COMMAND`: their results are as hostile as any page."""

import math
import re
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from kdst_core.contracts import Document, Tool
from kdst_core.errors import KdstError
from kdst_tools.calls import clean
from kdst_tools.tools.apart.lines import Ended
from kdst_tools.tools.apart.session import RefusedError, Session
from kdst_tools.tools.kit import GaveUp
from kdst_tools.tools.schema import arguments, described
from kdst_tools.tools.shown import written

TIMEOUT = 30.0
"""Seconds that a call of a server's tool may take."""
MAX_NAME, MAX_DESCRIPTION = 40, 300


class Server:
    """A server that is started again where it ended; it is asked one thing at a time."""

    def __init__(self, command: str) -> None:
        self.command, self.lock = command, threading.Lock()
        self._sessions = [Session(command)]
        weakref.finalize(self, _end, self._sessions)

    def tools(self) -> list[dict[str, Any]]:
        """Return what the server says of its tools."""
        return self._sessions[0].tools()

    def call(self, name: str, given: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the result of a call; ValueError where there is none, GaveUp where the time passed.

        A server that gave no answer or ended costs that call; the next one starts it again.
        """
        with self.lock:
            try:
                if self._sessions and not self._sessions[0].alive:
                    self._drop()
                if not self._sessions:
                    self._sessions.append(Session(self.command))
                session, deadline = self._sessions[0], time.monotonic() + seconds
                return session.ask("tools/call", {"name": name, "arguments": given}, deadline)
            except RefusedError as error:
                raise ValueError(str(error)) from error
            except KdstError as error:
                if isinstance(
                    error.__cause__, TimeoutError
                ):  # each further call would wait as long
                    raise GaveUp(str(error)) from error
                raise ValueError(str(error)) from error
            except TimeoutError:
                self._drop()
                raise GaveUp(f"gave no answer in {seconds:g} s") from None
            except Ended as error:
                self._drop()
                raise ValueError(f"its server ended ({error})") from error

    def _drop(self) -> None:
        """Let go of the process that does not answer."""
        self._sessions.pop().kill()


class McpTool:
    """One tool of a server. patience: of whoever waits for a call; the server needs no other bound."""

    patience, timeout = math.inf, TIMEOUT
    deterministic, network = True, False
    examples: Sequence[tuple[str, str]] = ()

    def __init__(self, server: Server, told: Mapping[str, Any]) -> None:
        """Read what a server says of a tool, all of it checked."""
        schema = told.get("inputSchema")
        self.server, self.wanted = server, str(told.get("name", ""))
        self.schema: Mapping[str, Any] = _checked(schema) if isinstance(schema, dict) else {}
        self.name = re.sub(r"[^A-Za-z0-9_]+", "_", self.wanted)[:MAX_NAME]
        said = clean(str(told.get("description") or ""))[:MAX_DESCRIPTION]
        self.description = clean(f"{said} {described(self.schema)}")

    def __call__(self, argument: str, document: Document) -> str:
        """Answer one call; ValueError where the arguments do not fit or the server says that it failed."""
        given = arguments(argument, self.schema)
        result = self.server.call(self.wanted, given, self.timeout)
        said = _text(result)
        if result.get("isError"):
            raise ValueError(said or "the tool says that it failed")
        return said


def tools_of(command: str) -> list[Tool]:
    """Start a server and return its tools; KdstError where it has none."""
    server = Server(command)
    try:
        found: list[Tool] = [McpTool(server, told) for told in server.tools() if told.get("name")]
    except (TypeError, ValueError, AttributeError) as error:
        raise KdstError(
            f"--tools mcp:{command[:80]}: the schema of a tool cannot be read: {error}"
        ) from error
    if not found:
        raise KdstError(f"--tools mcp:{command[:80]}: the server has no tool")
    return found


def _checked(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a schema that are read, those of another shape left out."""
    known = schema.get("properties")
    properties = {
        str(name): own if isinstance(own, dict) else {}
        for name, own in (known.items() if isinstance(known, dict) else ())
    }
    required = schema.get("required")
    names = [n for n in required if n in properties] if isinstance(required, list) else []
    return {"properties": properties, "required": names}


def _text(result: Mapping[str, Any]) -> str:
    """The text of a result, that of resources in it included; its structured content where it has none.

    ValueError for structured content that holds what is no number.
    """
    content = result.get("content")
    found = [
        part for part in (content if isinstance(content, list) else ()) if isinstance(part, dict)
    ]
    holders = [part.get("resource") if part.get("type") == "resource" else part for part in found]
    parts = [
        own["text"] for own in holders if isinstance(own, dict) and isinstance(own.get("text"), str)
    ]
    if parts or result.get("structuredContent") is None:
        return " ".join(parts)
    return written(result["structuredContent"])


def _end(sessions: list[Session]) -> None:
    """End what is left of a server."""
    for session in sessions:
        session.kill()
