"""Measured figures of the pages stand in docs/figures, and what looks measured is marked or recorded."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / ".ci" / "figures").is_dir():
    pytest.skip("no checkout of the repository", allow_module_level=True)
sys.path.insert(0, str(ROOT / ".ci"))

from figures import holding, pages, reading, recording, records, tables  # noqa: E402

HELD = records.records(records.files(ROOT))
ABOUT = dict.fromkeys(records.FIELDS, "said")
SENTENCE = "TEA gains 0.26 points (0.13 to 0.38) and takes 12 to 14 s."
TABLE = """\
| seed | mean | − norm, 95 % interval | took |
| --- | --- | --- | --- |
| 0 | 84.90 | +0.21 (+0.03 to +0.39) | 1,305 MiB, 1.60 × |
| 1 | 85.34 | −0.36 (−0.53 to −0.18) | |
| 2, again | – | 0 | not run |"""


@pytest.mark.parametrize("page", pages.pages(ROOT), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_figures_of_a_page_are_recorded(page: Path) -> None:
    """`python .ci/figures write` writes the tables; docs/quality.md says how a figure gets into a page."""
    assert [*holding.complaints(page.read_text(encoding="utf-8"), HELD)] == []


def test_records_say_how_they_were_measured_and_are_shown() -> None:
    assert len(HELD) > 50
    assert [*holding.of_files(ROOT)] == []
    texts = [page.read_text(encoding="utf-8") for page in pages.pages(ROOT)]
    assert [*holding.unused(ROOT, texts)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SENTENCE, [".26", ".13", ".38", "12", "14"]),
        ("57 % (49 to 64) of them", ["57", "49", "64"]),
        ("IoU .746 [.715, .778]", [".746", ".715", ".778"]),
        ("2 minutes 42 seconds, 7.2 × as fast", ["2", "42", "7.2"]),
        ("PSNR is 13 dB, −1.4 before", ["13", "-1.4"]),
        ("469, 449 and 451 CPU-ms, 1,037 MiB", ["469", "449", "451", "1037"]),
        ("16 updates of 3 types on 1,000 images, two seconds", []),
        ("section 3.2, Python 3.11, guidance 7.5, severity 5", []),
        ("λ = .01 and `--lr .1` within 1e-10, 95 % intervals", []),
        ("[a page](x.md#v1.5), https://example.org/2.5, version 2.7.1", []),
    ],
)
def test_numbers_that_look_measured(text: str, found: list[str]) -> None:
    assert [n.value for n in reading.measured(text)] == [Decimal(value) for value in found]


def told(text: str) -> dict[str, records.Record]:
    """Return a record of what a text tells."""
    return {"page#told": ABOUT | {"rows": recording.rows(text)}}


def test_a_planted_figure_without_a_mark_is_found() -> None:
    for text in (SENTENCE, TABLE, f"# Page\n\nFine.\n\n- one\n- {SENTENCE}\n"):
        assert "no mark" in " ".join(holding.complaints(text, {}))
    assert [
        *holding.complaints(f"```text\n{SENTENCE}\n```\n\n{TABLE.replace('seed', 'option', 1)}", {})
    ] == []


def test_a_planted_wrong_figure_is_found() -> None:
    page = f"{SENTENCE} <!-- figures: page#told --> It ends."
    assert [*holding.complaints(page, told(SENTENCE))] == []
    for right, wrong in (("0.26", "0.27"), ("0.13", "0.1"), ("14", "15"), ("(0.13 to 0.38) ", "")):
        assert [*holding.complaints(page.replace(right, wrong), told(SENTENCE))], wrong
    assert "no record" in " ".join(holding.complaints(page, {}))


def test_a_mark_covers_what_is_before_it() -> None:
    page = f"{SENTENCE} <!-- figures: page#told --> A call may take 30 s."
    assert [*holding.complaints(page, told(SENTENCE))] == ["1: look measured and have no mark: 30"]
    assert [*holding.complaints(f"{page} <!-- not measured: settings -->", told(SENTENCE))] == []
    for kind, fine in (
        ("bound, test_speed.py", True),
        ("bound", False),
        ("published", False),
        ("because", False),
    ):
        found = [*holding.complaints(f"{page} <!-- not measured: {kind} -->", told(SENTENCE))]
        assert bool(found) != fine, kind


def test_a_table_is_written_as_it_was_read_and_a_planted_figure_is_undone() -> None:
    held = {"page#table": ABOUT | tables.read(TABLE)}
    assert held["page#table"]["rows"][1][2] == {
        "estimate": Decimal("-0.36"),
        "low": Decimal("-0.53"),
        "high": Decimal("-0.18"),
    }
    page = f"Text.\n\n<!-- figures: page#table -->\n{TABLE}\n\nText.\n"
    assert [*holding.complaints(page, held)] == []
    wrong = page.replace("84.90", "84.9")
    assert "not the table of page#table" in " ".join(holding.complaints(wrong, held))
    assert holding.as_written(wrong, held) == page


def test_a_table_may_be_part_of_another() -> None:
    whole = tables.read(TABLE)
    part = {"of": "page#table", "only": ["1", "0"], "heads": ["", "took"]}
    held = records.records(
        {"page": {"shared": {}, "records": {"table": ABOUT | whole, "part": part}}}
    )
    assert (
        tables.written(held["page#part"])
        == "| | took |\n| --- | --- |\n| 0 | 1,305 MiB, 1.60 × |\n| 1 | |"
    )
    assert records.lacks(held["page#part"]) == []


def test_a_record_says_where_it_is_from() -> None:
    record = ABOUT | {"rows": [{"says": "…", "estimate": 1}]}
    assert records.lacks(record) == []
    assert records.lacks(record | {"command": None}) == ["command"]
    assert records.lacks(record | {"command": None, "by_hand": True}) == ["origin"]
    assert records.lacks(record | {"seed": ""}) == ["seed"]


def commit(folder: Path) -> None:
    """Make a repository of a folder, with one commit."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "A"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def test_figures_of_a_page_are_taken_into_its_file(tmp_path: Path) -> None:
    page = tmp_path / "docs/speed.md"
    page.parent.mkdir()
    page.write_text(
        f"# Speed\n\n`kdst run tea`, seed 1: {SENTENCE}\n\n{TABLE}\n\n{SENTENCE}\n",
        encoding="utf-8",
    )
    commit(tmp_path)
    recording.record(tmp_path, page)
    held = records.records(records.files(tmp_path))
    assert [*held] == ["speed#speed", "speed#speed-2"]
    assert [*holding.complaints(page.read_text(encoding="utf-8"), held)] == []
    assert page.read_text(encoding="utf-8").count("speed#speed -->") == 2
    first = held["speed#speed"]
    assert (first["command"], first["seed"], first["by_hand"]) == ("kdst run tea", "1", True)
    assert first["origin"].startswith("docs/speed.md at ")
    assert [*holding.of_files(tmp_path)] == []
    again = records.files(tmp_path)
    recording.record(tmp_path, page)
    assert records.files(tmp_path) == again


def test_figures_that_change_in_a_page_are_taken_over_with_a_new_origin(tmp_path: Path) -> None:
    page = tmp_path / "docs/speed.md"
    page.parent.mkdir()
    page.write_text(f"# Speed\n\n{SENTENCE}\n\n{TABLE}\n", encoding="utf-8")
    commit(tmp_path)
    recording.record(tmp_path, page, "kdst run tea")
    text = page.read_text(encoding="utf-8").replace("0.26", "0.27").replace("84.90", "84.80")
    page.write_text(text, encoding="utf-8")
    held = records.records(records.files(tmp_path))
    assert len([*holding.complaints(text, held)]) == 2
    recording.record(tmp_path, page)
    held = records.records(records.files(tmp_path))
    assert page.read_text(encoding="utf-8") == text
    assert [*holding.complaints(text, held)] == []
    assert held["speed#speed"]["rows"][0]["estimate"] == Decimal("0.27")
    assert held["speed#speed"]["command"] == "kdst run tea"
    assert held["speed#speed"]["origin"] == "docs/speed.md at a change of today"
