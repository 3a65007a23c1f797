"""Files of a run that hold what was recovered."""

import os
import stat
from pathlib import Path

from kdst_invert.private import private


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "artifacts").mkdir(parents=True)
    (run / "before.txt").write_text("x")
    run.chmod(0o755)
    before = os.umask(0o022)
    try:
        with private(run):
            (run / "artifacts" / "found.txt").write_text("x")
        (tmp_path / "after.txt").write_text("x")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (run, *run.rglob("*"))}
    assert modes == {"run": 0o700, "artifacts": 0o700, "before.txt": 0o600, "found.txt": 0o600}
    assert stat.S_IMODE((tmp_path / "after.txt").stat().st_mode) == 0o644
