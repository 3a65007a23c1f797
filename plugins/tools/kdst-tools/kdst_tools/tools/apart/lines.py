"""A process that is spoken to in lines of JSON, with bounds on how long it takes and how much it says."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from kdst_tools.calls.visible import stripped

MAX_LINE = 2**20
"""Bytes of a line; a process that says more in one is ended."""
WAITING = 64
"""Lines that wait to be read; a process that says more has to wait itself."""
POSIX = os.name == "posix"


class Ended(Exception):
    """The process is gone, or said what is no line of JSON."""


class LineProcess:
    """One process, started without a shell; what it prints to stderr goes to a file that is thrown away."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=dict(environment),
            start_new_session=POSIX,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._closed = self._too_long = False
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        """Read lines until the process ends; None closes them, also where one is too long."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while not self._closed:
                line = output.readline(MAX_LINE + 1)
                whole = line.endswith(b"\n") and len(line) <= MAX_LINE
                self._too_long = len(line) > MAX_LINE
                self._lines.put(line if whole else None)
                if not whole:
                    return

    def send(self, content: Mapping[str, Any], deadline: float) -> None:
        """Write a line; Ended where nobody reads any more, TimeoutError where nobody does in time."""
        line = json.dumps(content).encode() + b"\n"
        failed: list[OSError] = []

        def write() -> None:
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(line)
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                failed.append(OSError(str(error)))

        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(max(0.0, deadline - time.monotonic()))
        if writing.is_alive():
            raise TimeoutError
        if failed:
            raise Ended(self.last_words())

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the next object; TimeoutError after the deadline, Ended where there will be none."""
        while (line := self._line(deadline)) is not None and line.isspace():
            if time.monotonic() > deadline:
                raise TimeoutError
        if line is None:
            raise Ended(self.last_words())
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            raise Ended("it said what is no JSON") from None
        if not isinstance(content, dict):
            raise Ended("it said what is no JSON object")
        return content

    def _line(self, deadline: float) -> bytes | None:
        """The next line, None where there will be none; TimeoutError after the deadline."""
        try:
            return self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """How the process ended, and the last line that it printed to stderr."""
        if self._too_long:
            return f"it said more than {MAX_LINE:,} bytes in a line"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        code = self._process.returncode
        how = "it said no more" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {-code}"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2000))
        said = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f"{how}: {stripped(said[-1])[:160]}" if said else how

    def kill(self) -> None:
        """End the process and those that it started, and let go of what it said."""
        self._closed = True
        with contextlib.suppress(OSError):
            if POSIX:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        with contextlib.suppress(queue.Empty):
            while True:
                self._lines.get_nowait()
        self._log.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
