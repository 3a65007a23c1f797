"""Choices of settings: by each criterion, over seeds, beside the best one."""

import math
from pathlib import Path

import pytest

from kdst_batch import selection
from kdst_batch.comparable import Column, Contender
from kdst_core.errors import KdstError

RANKING = Column("accuracy", "accuracy, %", 100.0)
CRITERIA = (
    Column("entropy", "entropy", better="lower"),
    Column("density", "density"),
    Column("source", "source accuracy"),
)


def who(label: str, *runs: tuple[float, float, float, float | None]) -> Contender:
    names = ("accuracy", "entropy", "density", "source")
    results = [{"metrics": dict(zip(names, run, strict=True))} for run in runs]
    return Contender(label, results, [Path()] * len(runs))


CONTENDERS = [
    who("a:lr=1", (0.5, 0.1, 3.0, 0.9), (0.7, 0.3, 3.0, 0.9)),
    who("a:lr=2", (0.9, 0.4, 4.0, 0.8), (0.9, 0.4, 4.0, None)),
    who("a", (0.2, 0.9, 1.0, 0.7)),
    who("b", (1.0, 0.0, 9.0, 1.0)),
]


def test_each_criterion_chooses_in_its_own_direction() -> None:
    found = {c.criterion: c for c in selection.choices(CONTENDERS, RANKING, CRITERIA)}
    assert {c.method for c in found.values()} == {"a"}, "b has one setting"
    chosen = {name: c.chosen for name, c in found.items()}
    assert chosen == {
        "oracle": "a:lr=2",
        "entropy": "a:lr=1",
        "density": "a:lr=2",
        "source accuracy": "",
        "worst": "a",
    }
    assert found["entropy"].figure == pytest.approx(0.6)
    assert found["entropy"].behind == pytest.approx(0.3)
    assert found["density"].behind == 0
    assert math.isnan(found["source accuracy"].figure)


def test_the_table_names_settings_and_what_could_not_be_measured() -> None:
    rows = selection.cells(selection.choices(CONTENDERS, RANKING, CRITERIA), RANKING)
    assert rows[1] == ["a", "entropy", "lr=1", "60.00", "30.00"]
    assert rows[3] == ["a", "source accuracy", "not measured", "–", "–"]
    assert rows[4][2] == "default"
    text = selection.to_csv({"x": selection.choices(CONTENDERS, RANKING, CRITERIA)}, RANKING)
    assert text.splitlines()[4] == "x,a,source accuracy,,,"


def test_a_bench_without_criteria_is_refused() -> None:
    with pytest.raises(KdstError, match="has no label-free criteria"):
        selection.with_criteria(object(), {}, ["a", "a:lr=1"])
