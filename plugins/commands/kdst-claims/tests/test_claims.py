"""`kdst claims`: planted effects get their verdicts, runs are shared and reused, errors are one line."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from kdst_claims import words
from kdst_claims.badge import badge
from kdst_claims.measure import values
from kdst_core.errors import KdstError
from tests.made_up import install
from tests.warm import kdst

PLANTED = {"planted-true": "holds", "planted-false": "fails", "planted-tiny": "undecided"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the made-up bench and method."""
    return install(tmp_path_factory.mktemp("claims"))


@pytest.fixture(scope="module")
def tried(place: Path) -> dict[str, Any]:
    """Every claim of the method, tried by the command."""
    done = kdst("claims", "made-up", "--json", "--out", "all", path=place, cwd=place)
    assert done.returncode == 1, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def by_name(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return verdicts by the names of claims."""
    return {v["claim"].partition(".")[2]: v for v in content["claims"]}


def test_every_claim_has_a_verdict_with_figures(tried: dict[str, Any]) -> None:
    found = by_name(tried)
    words_of = {name: v["verdict"] for name, v in found.items()}
    assert words_of == {
        **PLANTED,
        "marked": "fails",
        "without": "holds",
        "alone": "undecided",
        "missing": "no result",
        "failing": "no result",
        "lower": "holds",
    }
    true = found["planted-true"]
    assert true["least"] < true["low"] < true["effect"] < true["high"]
    assert (true["seeds"], true["parts"], true["runs"]) == (3, 8, 6)
    assert true["command"] == "kdst claims made-up.planted-true --quick"
    assert "kdst run made-up --effect 3.0" in true["commands"]
    assert found["lower"]["effect"] > 1
    assert found["alone"]["low"] is None
    assert "no metric" in found["missing"]["why"]
    assert "as it was told" in found["failing"]["why"]
    assert found["marked"]["known_to_fail"] == "planted"
    assert sum(tried["counts"].values()) == len(found) == 9


def test_a_verdict_is_judged_at_the_level_that_holm_leaves_it(tried: dict[str, Any]) -> None:
    told = [v for v in tried["claims"] if v["p"] is not None]
    for one in told:
        rejected = one["p"] <= 0.05
        assert rejected == (one["verdict"] in ("holds", "fails")), one["claim"]
        assert 0.05 / len(told) <= one["level"] <= 0.05


def test_claims_share_runs_and_use_finished_ones_again(place: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ["claims", "made-up.planted-true", "made-up.marked", "--world", "7"]
    for _ in range(2):
        done = kdst(*words, "--runs", "shared", path=place, cwd=place, MADE_UP_LOG=str(log))
        assert done.returncode == 0, done.stderr
        names = log.read_text().split()
        assert len(names) == len(set(names)) == 9, "two sides of their own and one shared"


def test_what_is_known_of_the_embedded_data_does_not_count_with_others(place: Path) -> None:
    words = ["claims", "made-up.marked", "--out", "own", "--json"]
    done = kdst(*words, "--texts", "mine", path=place, cwd=place)
    (one,) = json.loads(done.stdout)["claims"]
    assert (one["verdict"], one["known_to_fail"]) == ("fails", "")
    assert done.returncode == 1
    assert one["command"] == "kdst claims made-up.marked --quick --texts mine"
    assert "--texts mine" in one["commands"][0]


def test_a_change_of_verdict_is_an_error(place: Path, tried: dict[str, Any]) -> None:
    recorded = place / "recorded.json"
    words = ["claims", "made-up", "-q", "--out", "all", "--recorded", "recorded.json"]
    recorded.write_text(json.dumps(tried))
    assert kdst(*words, path=place, cwd=place).returncode == 0
    changed = {**tried, "claims": [dict(v) for v in tried["claims"]]}
    changed["claims"][0]["verdict"] = "fails"
    recorded.write_text(json.dumps(changed))
    done = kdst(*words, path=place, cwd=place)
    assert done.returncode == 1
    assert "Changed: made-up.planted-true: holds, recorded: fails" in done.stderr


def test_the_terminal_and_the_page_show_every_claim(place: Path, tried: dict[str, Any]) -> None:
    done = kdst("claims", "made-up", "--out", "all", path=place, cwd=place)
    page = (place / "all/report.html").read_text()
    for one in tried["claims"]:
        assert one["claim"] in done.stdout
        assert one["claim"] in page
    assert "9 claims: 3 holds, 2 fails, 2 undecided, 2 no result; 1 known to fail." in done.stdout
    assert "fails! " not in done.stdout.split("made-up.marked")[1].splitlines()[0]
    assert "Known to fail: planted." in page


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["nobody"], "no method .nobody. is installed"),
        (["made-up.planted-tru"], "Did you mean"),
        (["made-up", "--world", "many"], "world"),
        (["made-up", "--wrld", "1"], "o such option"),
        (["made-up", "--recorded", "nowhere.json"], "holds no verdicts"),
        (["made-up", "--out", "made_up_invert.py"], "is a file"),
    ],
)
def test_bad_input_is_one_line(place: Path, line: list[str], message: str) -> None:
    done = kdst("claims", *line, path=place, cwd=place)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


def test_an_option_that_a_method_lacks_names_the_claim(tmp_path: Path) -> None:
    place = install(tmp_path / "wrong")
    code = place / "made_up_invert.py"
    code.write_text(code.read_text().replace('run={"fail": True}', 'run={"fial": True}'))
    done = kdst("claims", "made-up", path=place, cwd=place)
    assert done.returncode == 2
    assert "claim made-up.failing: made-up has no option --fial" in done.stderr
    assert re.search("Did you mean .--fail", done.stderr)


def test_a_measure_is_a_metric_a_difference_or_one_for_each_part() -> None:
    metrics = {"a.x": 1.0, "a.y": 2.0, "a.mean": 1.5, "b.x": 3.0, "b.y": 5.0, "c": None}
    assert values(metrics, "a.mean") == [1.5]
    assert values(metrics, "a.*") == [1.0, 2.0]
    assert values(metrics, "b.* - a.*") == [2.0, 3.0]
    for wrong, message in (("c", "was not told"), ("d", "no metric"), ("d.*", "no metric")):
        with pytest.raises(KdstError, match=message):
            values(metrics, wrong)
    with pytest.raises(KdstError, match="other parts"):
        values({**metrics, "a.z": 1.0}, "b.* - a.*")


def test_a_badge_is_an_svg_that_says_what_it_shows() -> None:
    text = badge({"holds": 3, "fails": 1, "undecided": 0, "no result": 0})
    root = ET.fromstring(text)
    assert root.attrib["aria-label"] == "claims: 3 holds, 1 fails"
    assert "undecided" not in text


def test_figures_are_shown_with_three_digits() -> None:
    shown = [words.number(x) for x in (0, 1.23456, -0.0123456, 123.4, 1e-9)]
    assert shown == ["0", "+1.23", "-0.0123", "+123", "+1.00e-09"]
    assert words.cost(12.4) == "12 s"
    assert words.cost(120) == "2.0 min"
