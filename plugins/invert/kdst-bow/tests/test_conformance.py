"""bow passes the conformance kit."""

from pathlib import Path
from typing import Any

import pytest

import kdst_core
from kdst_authors.testing import check_plugin, run_check
from kdst_core.runs.setup import setup_of

CHOSEN = setup_of("bow")
CHECKS = {check.name: check for check in CHOSEN.bench.checks(CHOSEN.method)}


@pytest.mark.parametrize("name", CHECKS)
def test_bow_passes_the_checks_of_its_capability(name: str) -> None:
    assert run_check(CHECKS[name]) is None


@pytest.mark.slow
def test_bow_conforms() -> None:
    check_plugin("bow")


def test_a_fit_reads_the_texts_that_were_held_out(toy: Any, tmp_path: Path) -> None:
    result = kdst_core.run(
        "bow",
        out=tmp_path / "run",
        texts=toy.sentences(60, seed=1),
        embedder=toy.Sums(),
        stage="fit",
        candidates=10,
    )
    assert result.metrics["token_f1.final"] > 0.95
    again = kdst_core.run(
        "bow",
        out=tmp_path / "again",
        texts=toy.sentences(10, seed=2),
        embedder=toy.Sums(),
        model=str(tmp_path / "run" / "artifacts" / "model"),
        candidates=10,
    )
    assert again.metrics["token_f1.final"] > 0.95
