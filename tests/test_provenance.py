"""What a run records of the packages that were installed, and how reports show it."""

import json
import os
from pathlib import Path

import pytest

from kdst_core.plugins import provenance
from kdst_core.plugins.provenance import Installed
from kdst_core.reports import report
from kdst_core.reports.blocks import ReportContent
from tests.fakes import kdst, letters

RESULT = {
    "method": "m",
    "command": "kdst run m",
    "input": {},
    "options": {},
    "metrics": {},
    "warnings": [],
    "seed": 0,
    "device": "cpu",
    "seconds": 1.0,
    "plugin": "kdst-m",
    "plugin_version": "1",
    "core_version": "1",
}


class Bench:
    def report(self, result: object, directory: Path) -> ReportContent:
        return ReportContent("", (), ())


def write(folder: Path, name: str, text: str = "x = 1\n") -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)


def test_a_digest_is_of_content_and_not_of_place_or_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, text in enumerate(("x = 1\n", "x = 1\n", "x = 2\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, f"kdst_content_{number}", text)
        write(folder, "kdst_content", text)
        (folder / "kdst_content/__pycache__").mkdir()
        (folder / "kdst_content/__pycache__/a.pyc").write_bytes(bytes([number]))
        monkeypatch.syspath_prepend(str(folder))
        found.append(provenance.content({"kdst_content"}))
    assert found[0] == found[1]
    assert found[2] not in ("", found[0])
    assert provenance.content({"kdst_content_0"}) != found[0]
    assert provenance.content({"kdst_nowhere_at_all"}) == ""


def test_a_run_records_who_adds_what(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    letters(site)
    done = kdst("run", "letters", "--out", "run", path=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "run/env.json").read_text())["installed"]
    ours = recorded["kdst-invert"]
    assert ours["version"] == "1.0"
    assert ours["adds"] == ["benches invert", "invert letters", "invert other"]
    assert len(ours["sha256"]) == len(recorded["kdst-core"]["sha256"]) == provenance.DIGITS
    page = (tmp_path / "run/report.html").read_text()
    assert ours["sha256"] in page
    assert "invert letters" in page


def test_what_is_written_is_read_back() -> None:
    found = {"kdst-a": Installed("0.1.0", "ab" * 8, ("adapt a",)), "b": Installed("", "", ())}
    assert provenance.from_json(json.loads(json.dumps(provenance.as_json(found)))) == found


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"a": None},
        {"a b": {"version": "1", "sha256": "", "adds": []}},
        {"a": {"version": "1; rm", "sha256": "", "adds": []}},
        {"a": {"version": "1", "sha256": "zz", "adds": []}},
        {"a": {"version": "1", "sha256": "", "adds": ["\x1b[2J"]}},
        {"a": {"version": "1", "sha256": "", "adds": "adapt a"}},
    ],
)
def test_a_record_of_another_form_says_nothing(value: object) -> None:
    assert provenance.from_json(value) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", "{" * 5000, '{"installed": 3}'])
def test_a_report_is_made_whatever_the_record_holds(tmp_path: Path, text: str) -> None:
    (tmp_path / "env.json").write_text(text)
    assert "Installed when" not in report.render(RESULT, tmp_path, Bench())  # type: ignore[arg-type]


def test_a_record_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    found = {"kdst-a": Installed("0.1.0", "ab" * 8, ("adapt a",))}
    (tmp_path / "other.json").write_text(json.dumps({"installed": provenance.as_json(found)}))
    (tmp_path / "env.json").symlink_to(tmp_path / "other.json")
    assert "kdst-a" not in report.render(RESULT, tmp_path, Bench())  # type: ignore[arg-type]


def test_a_package_that_cannot_be_told_harms_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "kdst_odd")
    write(tmp_path, "kdst_long", "x = 1" * 100)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/kdst_odd/\xff.txt")).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(provenance, "MOST_BYTES", 100)
    assert provenance.content({"kdst_odd"})
    assert provenance.content({"kdst_long"}) == ""
