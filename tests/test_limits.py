"""Values that nothing can be computed with are refused before work; what judges a method is sealed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import frozen

from kdst_authors import probe
from kdst_batch.comparable import Column
from kdst_batch.table import Value as Shown
from kdst_batch.table import best, figure, number
from kdst_core.bench import sealed
from kdst_core.errors import KdstError
from kdst_core.options import Given, Section, build, from_toml, option
from kdst_core.runs import execute
from kdst_core.runs.rundir import Run


@frozen
class Options:
    """One option of each kind, with and without a range of its own."""

    rate: float = option(1.0, "A rate.", min=0)
    count: int = 3
    rates: list[float] = option([1.0], "Rates.")


SECTION = Section("T", "t", Options)


def given(flag: str, value: Any) -> Any:
    return build(SECTION, {flag: Given(value, flag, Path.cwd())})


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--rate", "inf"), ("--rate", float("nan")), ("--count", "9" * 23), ("--rates", "1,-inf"),
     ("--count", "9" * 5000), ("--count", -(2**64))],
)  # fmt: skip
def test_numbers_that_cannot_be_computed_with_are_refused(flag: str, value: Any) -> None:
    with pytest.raises(KdstError, match=flag) as refused:
        given(flag, value)
    assert len(str(refused.value)) < 250


def test_the_largest_numbers_are_taken() -> None:
    assert given("--count", str(2**63 - 1)).count == 2**63 - 1
    assert given("--rate", "1e300").rate == 1e300


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 9000 + "]" * 9000, "[" + ".".join("t" * 900) + "]"]
)
def test_nested_toml_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "o.toml"
    path.write_text(text)
    with pytest.raises(KdstError, match="nested too deeply"):
        from_toml(path, [], ["t", "x"]) if text[0] == "x" else _known(path)


def _known(path: Path) -> None:
    from kdst_core.options import items

    from_toml(path, items(SECTION))


def test_what_is_sealed_is_read_only_while_no_method_works() -> None:
    secret = sealed.seal(b"labels")
    assert secret.read() == b"labels"
    with sealed.closed(), pytest.raises(RuntimeError, match="judged by"):
        secret.read()
    assert secret.read() == b"labels"


def test_a_figure_that_cannot_be_told_is_a_dash_and_never_best() -> None:
    cost = Column("cost", "cost", better="lower", digits=1)
    values = [(Shown(figure(None), None),), (Shown(figure(2.0), None),)]
    assert number(values[0][0], cost) == "–"
    assert best(values, [cost], 0) == 1


@pytest.mark.parametrize("lost", [True, False])
def test_a_report_that_fails_costs_no_result_where_a_figure_is_lost_and_else_is_a_bug(
    tmp_path: Path, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(execute.report, "write", broken)
    monkeypatch.setattr(execute.report, "page", lambda *_: "a page without charts")
    run = Run(tmp_path, seed=0, device="cpu", show="quiet")
    data = {"method": "m", "metrics": {"cost": None}}
    chosen: Any = SimpleNamespace(bench=None)
    if lost:
        execute._write_report(data, run, chosen, lost=True)
        assert (tmp_path / "report.html").read_text() == "a page without charts"
        return
    with pytest.raises(ZeroDivisionError):
        execute._write_report(data, run, chosen, lost=False)


def test_only_torchs_own_cache_is_no_stray(tmp_path: Path) -> None:
    hidden = str(tmp_path / "torchinductor_x" / "labels")
    assert probe._written("open", (hidden, "w", 0)) == hidden
    assert probe._written("open", (f"{probe.TORCHS}root/kernel.py", "w", 0)) is None
