"""Calls carried out: each once, concurrently, given up after a tool's timeout, errors as text."""

import math
import queue
import threading
import time
from collections.abc import Sequence

from attrs import field, frozen, mutable

from kdst_core.contracts import Document, Tool
from kdst_core.errors import KdstError
from kdst_tools.calls import clean
from kdst_tools.tools.kit import GaveUp

WORKERS = 8
MAX_RESULT = 300
"""Characters of a result that a text takes; a longer one ends with `...`."""
MAX_READ = 100 * MAX_RESULT
"""Characters of a result that are looked at."""
MAX_HUNG = 32
"""Calls of one tool that may hang before the run stops; each leaves a thread behind."""


@frozen
class Answer:
    """result: one line without API tokens, or None; reason says then why not. hung: none came in time."""

    result: str | None
    reason: str = ""
    hung: bool = field(default=False, eq=False)


@mutable
class _Task:
    """One call on its way through a worker."""

    tool: Tool
    argument: str
    document: Document
    started: float = 0.0
    begun: threading.Event = field(factory=threading.Event)
    done: threading.Event = field(factory=threading.Event)
    answer: Answer = field(factory=lambda: Answer(None, "was not carried out"))
    given_up: bool = False


class ToolRunner:
    """Carries out calls of a set of tools; what a tool does wrong becomes the call's reason."""

    def __init__(self, tools: Sequence[Tool], workers: int = WORKERS) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.workers = workers
        self.hung = dict.fromkeys(self.tools, 0)

    def __call__(self, calls: Sequence[tuple[str, str, Document]]) -> list[Answer]:
        """Return the answer of each (tool, argument, document); the same call is made once.

        Raises KdstError when a tool hung too often to go on with.
        """
        tasks: list[_Task | None] = []
        unique: dict[tuple[str, str, str], _Task] = {}
        for name, argument, document in calls:
            tool = self.tools.get(name)
            if tool is None:
                tasks.append(None)
                continue
            task = _Task(tool, argument, document)
            same = (name, argument, document.id if tool.deterministic else str(len(tasks)))
            tasks.append(unique.setdefault(same, task))
        self._carry_out(list(unique.values()))
        return [Answer(None, "no such tool") if task is None else task.answer for task in tasks]

    def _carry_out(self, tasks: Sequence[_Task]) -> None:
        """Fill in the answers of tasks; a worker that hangs is replaced."""
        waiting: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        for _ in range(min(self.workers, len(tasks))):
            _start(waiting)
        try:
            for task in tasks:
                task.begun.wait()
                if not task.done.wait(_patience(task)):
                    task.given_up = True
                    task.answer = _in_vain(task.tool)
                    _start(waiting)
                if task.answer.hung:
                    self._count(task)
        finally:
            for _ in range(self.workers):
                waiting.put(None)

    def _count(self, task: _Task) -> None:
        """Count a call that hung; KdstError when its tool did so too often."""
        name = task.tool.name
        self.hung[name] += 1
        if self.hung[name] >= MAX_HUNG:
            raise KdstError(
                f"the tool {name} hung {MAX_HUNG} times (timeout {task.tool.timeout:g} s); the last"
                f" input was {task.argument[:60]!r}.\nRun without it: leave it out of --tools"
            )


def _patience(task: _Task) -> float | None:
    """Seconds to wait for a task; None where the tool itself sees to its timeout."""
    most = getattr(task.tool, "patience", task.tool.timeout)
    return None if most == math.inf else max(0.0, task.started + most - time.monotonic())


def _in_vain(tool: Tool) -> Answer:
    """The answer of a tool that gave none."""
    return Answer(None, f"gave no answer in {tool.timeout:g} s", hung=True)


def _start(waiting: "queue.SimpleQueue[_Task | None]") -> None:
    """Start a worker; it ends with the process, also when a tool never returns."""
    threading.Thread(target=_work, args=(waiting,), daemon=True).start()


def _work(waiting: "queue.SimpleQueue[_Task | None]") -> None:
    """Carry out tasks until told to stop, or until one was given up meanwhile."""
    while (task := waiting.get()) is not None:
        task.started = time.monotonic()
        task.begun.set()
        answer = ask(task.tool, task.argument, task.document)
        if task.given_up:
            return
        task.answer = answer
        task.done.set()


def ask(tool: Tool, argument: str, document: Document) -> Answer:
    """Call a tool; whatever it raises or returns becomes an answer."""
    try:
        result: object = tool(argument, document)
    except GaveUp:
        return _in_vain(tool)
    except ValueError as e:
        return Answer(None, clean(str(e))[:MAX_RESULT] or "cannot answer")
    except BaseException as e:
        return Answer(None, clean(f"raised {type(e).__name__}: {e}")[:MAX_RESULT])
    if not isinstance(result, str):
        return Answer(None, f"returned {type(result).__name__}, not text")
    text = clean(result[:MAX_READ])
    if not text:
        return Answer(None, "returned nothing")
    return Answer(text if len(text) <= MAX_RESULT else text[: MAX_RESULT - 4].rstrip() + " ...")
