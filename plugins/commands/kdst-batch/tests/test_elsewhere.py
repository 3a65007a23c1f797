"""A case that is carried out by another interpreter, where that one fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdst_batch import worker


def test_an_interpreter_that_is_not_there_is_an_error_of_the_case(tmp_path: Path) -> None:
    end = worker.elsewhere({"python": str(tmp_path / "absent")})
    assert "cannot be started: No such file" in end.error
    assert not end.again


@pytest.mark.parametrize("length", [1, 1 << 20])  # more than a pipe holds
def test_one_that_ends_at_once_is_an_error_of_the_case(tmp_path: Path, length: int) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 7\n")
    script.chmod(0o755)
    end = worker.elsewhere({"python": str(script), "text": "x" * length})
    assert "ended without an answer (exit code 7)" in end.error


def test_one_whose_caller_is_gone_before_it_asks_ends() -> None:
    words = [sys.executable, "-m", "kdst_batch.worker"]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
