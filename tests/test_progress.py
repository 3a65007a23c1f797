"""Progress of long work."""

import pytest

from kdst_core import progress as module
from kdst_core.progress import progress


def test_a_slow_start_has_no_time_left_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL", 0.0)
    with progress(2, "work", "plain") as advance:
        advance(0)
        advance(2)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "work: 0/2 (0/s)"
    assert last.startswith("work: 2/2")
