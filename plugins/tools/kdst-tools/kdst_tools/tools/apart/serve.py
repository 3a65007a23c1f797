"""`python -m kdst_tools.tools.apart.serve`: one tool in a process of its own, asked in lines of JSON.

The first line says which tool; the answer to it holds the tool's facts, or why there is none. Every
line after it is a call. A call that takes longer than the tool's timeout ends the process, by a thread
that needs no lock of Python, so that no process outlives a run that was killed.
"""

import datetime
import faulthandler
import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from kdst_core.contracts import Document, Tool
from kdst_core.errors import KdstError

MAX_RESULT = 2**16
"""Characters of a result that are sent."""
GRACE = 5.0
"""Seconds after its timeout at which a call that nobody ended ends the process."""
LONGEST = 86400.0
"""Seconds that a call may take at most, whatever the tool says."""
LOADING = 120.0
"""Seconds in which a tool must be made."""


def main() -> int:
    """Serve until the other side closes; returns the exit status."""
    questions, answers, nowhere = _channels()
    faulthandler.dump_traceback_later(LOADING + GRACE, exit=True, file=nowhere)
    try:
        tool = _make(json.loads(questions.readline()))
        facts = _facts(tool)
    except BaseException as error:
        _say(answers, {"refused": _reason(error)})
        return 2
    faulthandler.cancel_dump_traceback_later()
    _say(answers, facts)
    for line in questions:
        faulthandler.dump_traceback_later(
            min(facts["timeout"], LONGEST) + GRACE, exit=True, file=nowhere
        )
        found = _answer(tool, json.loads(line))
        faulthandler.cancel_dump_traceback_later()
        _say(answers, found)
    return 0


def _channels() -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Keep stdin and stdout for questions and answers; what a tool reads and prints goes elsewhere."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = open(os.devnull, "r+b")  # noqa: SIM115
    os.dup2(nowhere.fileno(), 0)
    os.dup2(2, 1)
    return questions, answers, nowhere


def _make(asked: Mapping[str, Any]) -> Tool:
    """Make the tool of an entry point, or of a function in a file or module."""
    if "function" in asked:
        from kdst_tools.tools.functions import from_source

        return from_source(asked["function"])
    from kdst_tools.tools.installed import make_here

    return make_here(asked["entry"], asked["argument"])


def _facts(tool: Tool) -> dict[str, Any]:
    """What a run needs to know about a tool."""
    return {
        "name": str(tool.name),
        "description": str(tool.description),
        "examples": [[str(plain), str(called)] for plain, called in tool.examples],
        "timeout": float(tool.timeout),
        "deterministic": bool(tool.deterministic),
        "network": bool(tool.network),
    }


def _answer(tool: Tool, call: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out one call; whatever the tool does wrong is an answer too."""
    given = call["document"]
    date = datetime.date.fromisoformat(given["date"]) if given["date"] else None
    try:
        result: object = tool(call["argument"], Document(given["text"], given["id"], date))
    except ValueError as error:
        return {"failed": str(error)[:MAX_RESULT]}
    except BaseException as error:
        return {"failed": f"raised {type(error).__name__}: {error}"[:MAX_RESULT]}
    if not isinstance(result, str):
        return {"failed": f"returned {type(result).__name__}, not text"}
    return {"result": result[:MAX_RESULT]}


def _reason(error: BaseException) -> str:
    """Why a tool could not be made."""
    if isinstance(error, KdstError):
        return str(error)
    return f"making it raised {type(error).__name__}: {error}"


def _say(answers: IO[bytes], content: Mapping[str, Any]) -> None:
    """Write a line."""
    answers.write(json.dumps(content).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
