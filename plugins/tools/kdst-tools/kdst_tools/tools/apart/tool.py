"""A tool whose calls are carried out in other processes, each killed at the tool's timeout."""

import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.tools.apart.lines import Ended, LineProcess
from kdst_tools.tools.apart.serve import LOADING
from kdst_tools.tools.kit import GaveUp


class ProcessTool:
    """A tool of another package, or of a user's file.

    One process carries out one call at a time; calls at the same time have processes of their own,
    which are kept for the next ones. patience: of whoever waits for a call; it needs no other bound.
    """

    patience = math.inf

    def __init__(self, asked: Mapping[str, Any], shown: str) -> None:
        """Start a process and learn the tool's facts; KdstError where there is no such tool."""
        self.asked, self.shown = dict(asked), shown
        self._idle: list[LineProcess] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _end, self._idle)
        process, facts = self._start()
        self._idle.append(process)
        self.name: str = facts["name"]
        self.description: str = facts["description"]
        self.examples: Sequence[tuple[str, str]] = [(p, c) for p, c in facts["examples"]]
        self.timeout: float = facts["timeout"]
        self.deterministic: bool = facts["deterministic"]
        self.network: bool = facts["network"]

    def _start(self) -> tuple[LineProcess, dict[str, Any]]:
        """Return a process that has made the tool, and the tool's facts."""
        process = LineProcess(
            [sys.executable, "-P", "-m", "kdst_tools.tools.apart.serve"],
            {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        )
        deadline = time.monotonic() + LOADING
        try:
            process.send(self.asked, deadline)
            facts = process.receive(deadline)
        except (Ended, TimeoutError) as error:
            process.kill()
            why = str(error) or f"it was not ready after {LOADING:g} s"
            raise KdstError(f"the tool {self.shown} cannot be used: {why}") from error
        if "refused" in facts:
            process.kill()
            raise KdstError(str(facts["refused"]))
        return process, facts

    def __call__(self, argument: str, document: Document) -> str:
        """Answer one call; ValueError with what went wrong, GaveUp where the timeout passed."""
        process = self._taken()
        try:
            process = process or self._start()[0]
        except KdstError as error:
            raise ValueError(str(error)) from error
        answer = self._asked(process, argument, document)
        with self._lock:
            self._idle.append(process)
        if "result" not in answer:
            raise ValueError(answer.get("failed", ""))
        return str(answer["result"])

    def _taken(self) -> LineProcess | None:
        """A process that waits for a call, None where there is none; what has ended is let go of."""
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.kill()
        return None

    def _asked(self, process: LineProcess, argument: str, document: Document) -> dict[str, Any]:
        """Ask a process; one that gives no answer is ended."""
        date = document.date.isoformat() if document.date else None
        given = {"text": document.text, "id": document.id, "date": date}
        deadline = time.monotonic() + self.timeout
        try:
            process.send({"argument": argument, "document": given}, deadline)
            return process.receive(deadline)
        except TimeoutError:
            process.kill()
            raise GaveUp(f"gave no answer in {self.timeout:g} s") from None
        except Ended as error:
            process.kill()
            raise ValueError(f"its process ended ({error})") from error


def _end(processes: list[LineProcess]) -> None:
    """End processes that wait for calls."""
    for process in processes:
        process.kill()
