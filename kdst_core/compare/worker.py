"""A worker of a comparison: reads runs from stdin, one JSON line each, and answers on stdout.

It ends at once when stdin is closed, so that no worker outlives a comparison that was killed.
"""

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from kdst_core import api
from kdst_core.errors import KdstError
from kdst_core.options import Given
from kdst_core.rundir import CONFIG


def main() -> None:
    """Carry out runs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a method prints must not be taken for an answer
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        error = _run(json.loads(lines.get()))
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


def _read(lines: "queue.SimpleQueue[str]") -> None:
    """Pass lines on; end the process when there are no more."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _run(message: dict[str, Any]) -> str | None:
    """Carry out one run; return the error that ended it, or None."""
    given = {
        flag: Given(g["value"], g["origin"], Path(g["base_dir"]))
        for flag, g in message["given"].items()
    }
    directory = Path(message["directory"])
    try:
        chosen = api.command(message["method"])
        resume = (directory / CONFIG).exists()
        api.execute(chosen, given, {}, out=directory, resume=resume, config=None, show="quiet")
    except KdstError as e:
        return str(e)
    except Exception as e:
        return f"{message['method']} failed with {type(e).__name__}: {e}"
    return None


if __name__ == "__main__":
    main()
