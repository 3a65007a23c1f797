"""Claims about the list of runs and the page that shows them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kdst_core.cli import cli
from kdst_core.errors import KdstError
from kdst_core.files import claim, give_back
from kdst_show import listing

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
"""What begins as a picture does; nothing here decodes it."""
RESULT: dict[str, Any] = {
    "schema": 1,
    "method": "tea",
    "capability": "adapt",
    "plugin": "kdst-tea",
    "plugin_version": "0.1.0",
    "core_version": "0.1.0",
    "seed": 0,
    "device": "cpu",
    "options": {},
    "input": {"data": "digits", "model": "tiny", "severity": 5},
    "seconds": 41.25,
    "metrics": {"accuracy.mean": 0.8731, "lost": None},
    "artifacts": {},
    "warnings": [],
    "command": "kdst run tea",
}


def finished(folder: Path, at: float = 1e9, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({**RESULT, **changes}))
    (folder / "report.html").write_text("<p>report</p>")
    os.utime(folder / "result.json", (at, at))
    return folder


def begun(folder: Path, method: str = "tent") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        f'[input]\ndata = "fog"\n[{method}]\nlr = 1.0\n[run]\nseed = 0\n'
    )
    return folder


def test_runs_are_listed_with_their_state_the_latest_first(tmp_path: Path) -> None:
    finished(tmp_path / "old", at=1e9)
    finished(tmp_path / "new", at=1.1e9, method="tent")
    begun(tmp_path / "open")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "result.json").write_text("{")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    found = {entry.directory.name: entry for entry in listing.entries(tmp_path)}
    assert [n for n in found if n in ("new", "old")] == ["new", "old"]
    assert {n: e.state for n, e in found.items()} == {
        **{"old": "finished", "new": "finished", "open": "unfinished", "cut": "damaged"}
    }
    assert (found["open"].method, found["open"].given) == ("tent", "fog")
    assert (found["old"].given, found["old"].seconds) == ("digits · 5", 41.25)
    assert "cannot read" in found["cut"].said


def test_a_run_that_a_process_works_in_is_running(tmp_path: Path) -> None:
    lock = claim(begun(tmp_path / "now"))
    try:
        assert [e.state for e in listing.entries(tmp_path)] == ["running"]
    finally:
        give_back(lock)
    assert [e.state for e in listing.entries(tmp_path)] == ["unfinished"]


def test_the_benchs_headline_is_what_is_shown() -> None:
    pytest.importorskip("kdst_adapt")
    assert listing.figures("adapt", RESULT["metrics"]) == [("accuracy, %", "87.31")]
    assert listing.figures("adapt", {"accuracy.mean": None}) == []


def test_the_table_and_its_filters(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    begun(tmp_path / "b")
    run = CliRunner().invoke
    lines = run(cli, ["runs", str(tmp_path)]).output.splitlines()
    assert len(lines) == 2
    assert any(line.startswith("a") and "finished" in line and "tea" in line for line in lines)
    assert run(cli, ["runs", str(tmp_path), "--state", "unfinished"]).output.startswith("b")
    assert run(cli, ["runs", str(tmp_path), "--method", "shot"]).output.startswith("No such runs")
    records = json.loads(run(cli, ["runs", str(tmp_path), "--json"]).output)
    assert {r["directory"]: r["metrics"] for r in records}[str(tmp_path / "a")] == RESULT["metrics"]


def test_a_folder_that_is_not_there_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="there is no folder"):
        listing.entries(tmp_path / "runs")


def test_the_page_escapes_links_and_loads_nothing(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a & b", input={"data": "<script>alert(1)</script>"})
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "inputs.png").write_bytes(PNG)
    text = json.dumps(
        {**RESULT, "input": {"data": "<q>"}, "artifacts": {"x": "artifacts/inputs.png"}}
    )
    (folder / "result.json").write_text(text)
    page = listing.write_index(tmp_path).read_text()
    assert "<q>" not in page.partition("<tbody>")[2]
    assert "&lt;q&gt;" in page
    assert 'href="a%20%26%20b/report.html"' in page
    assert "data:image/png;base64" in page
    assert "http" not in page


def test_a_picture_from_outside_the_run_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    finished(tmp_path / "runs" / "a", artifacts={"x": "../../secret.png"})
    folder = finished(tmp_path / "runs" / "b", artifacts={"x": "artifacts/x.png"})
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "x.png").symlink_to(tmp_path / "secret.png")
    assert [e.picture for e in listing.entries(tmp_path / "runs", pictures=True)] == [b"", b""]


def test_a_page_of_something_else_is_kept(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    (tmp_path / "index.html").write_text("<title>mine</title>")
    with pytest.raises(KdstError, match="no page of kdst"):
        listing.write_index(tmp_path)
    assert (tmp_path / "index.html").read_text() == "<title>mine</title>"


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 s"), (90, "2 min"), (7200, "2 h"), (200000, "2 d"), (-3, "0 s")]
)
def test_ages_have_one_unit(seconds: float, said: str) -> None:
    assert listing.ago(seconds) == said


def test_opening_what_has_no_report_says_what_to_do(tmp_path: Path) -> None:
    run = CliRunner().invoke
    begun(tmp_path / "a")
    assert "--resume" in str(run(cli, ["open", str(tmp_path / "a")]).exception)
    (finished(tmp_path / "b") / "report.html").unlink()
    assert "kdst report" in str(run(cli, ["open", str(tmp_path / "b")]).exception)


def test_a_run_that_somebody_sent_harms_no_list(tmp_path: Path) -> None:
    for name, text in {
        "deep": "a = " + "[" * 9999 + "]" * 9999,
        "none": "",
        "half": "[input",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(text)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "result.json")
    found = {entry.directory.name: entry for entry in listing.entries(tmp_path)}
    assert {name: entry.state for name, entry in found.items()} == {
        **dict.fromkeys(("deep", "half", "pipe"), "damaged"),
        "none": "unfinished",
    }
    assert "nested too deeply" in found["deep"].said
    assert "is no regular file" in found["pipe"].said
