"""Runs are compared text by text, and only where they inverted the same vectors."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdst_batch.comparable import Comparable, Contender, Refusing
from kdst_core.errors import KdstError
from kdst_invert import compare
from kdst_invert.bench import bench
from kdst_invert.inputs import InvertInputs
from kdst_invert.measures.scores import Scores

VECTORS = torch.eye(6)


def scores(f1: list[float], cosine: float = 0.9) -> Scores:
    """Scores of one step after the first hypothesis."""
    last = np.array(f1, dtype=np.float32)
    values = {"token_f1": np.stack([last / 2, last], 1), "cosine": np.full((len(f1), 2), cosine)}
    return Scores(values, 1)


def run(folder: Path, f1: list[float], vectors: torch.Tensor = VECTORS, seed: int = 0) -> Any:
    """The result of a run and its directory, with what a comparison reads of it."""
    (folder / "artifacts").mkdir(parents=True)
    found = scores(f1)
    (folder / "artifacts" / compare.BY_TEXT).write_bytes(compare.pack(found, vectors))
    curve = {"measures": {"token_f1": [[v, v, v] for v in (np.mean(f1) / 2, np.mean(f1))]}}
    (folder / "artifacts" / "scores.json").write_text(json.dumps(curve))
    metrics = {"token_f1.final": float(np.mean(f1)), "embedder_calls_per_text": 4.0}
    given = {"rows": len(f1), "notes": True, "study": "none", "texts_known": True}
    files = {"scores.json": "artifacts/scores.json"}
    return {"metrics": metrics, "input": given, "seed": seed, "artifacts": files}, folder


def contender(label: str, *runs: Any) -> Contender:
    """A method with a run a seed."""
    return Contender(label, [r for r, _ in runs], [d for _, d in runs])


def test_the_bench_can_be_compared_by() -> None:
    assert isinstance(bench, Refusing)
    assert hasattr(bench, "comparison")
    found: Comparable = bench
    assert found.seeded(InvertInputs())
    assert not found.seeded(InvertInputs(texts=Path("texts.txt")))


def test_the_difference_is_that_of_the_texts(tmp_path: Path) -> None:
    a = contender("a", run(tmp_path / "a", [0.9, 0.8, 1.0, 0.7, 0.6, 0.8]))
    b = contender("b", run(tmp_path / "b", [0.8, 0.7, 0.9, 0.6, 0.5, 0.8]))
    difference, error = bench.paired(b, a)
    gaps = np.array([-0.1, -0.1, -0.1, -0.1, -0.1, 0.0])
    assert difference == pytest.approx(gaps.mean(), abs=1e-6)
    assert error == pytest.approx(math.sqrt(gaps.var(ddof=1) / 6), abs=1e-6)


def test_seeds_with_texts_of_their_own_are_further_texts(tmp_path: Path) -> None:
    sets = {"a": ([0.9, 0.5], [0.2, 0.8]), "b": ([0.7, 0.6], [0.4, 0.1])}
    turned = (torch.eye(2), torch.eye(2).flip(0))
    who = {
        name: contender(
            name,
            *(run(tmp_path / f"{name}{n}", f1, turned[n], n) for n, f1 in enumerate(lists)),
        )
        for name, lists in sets.items()
    }
    difference, error = compare.paired(who["a"], who["b"])
    gaps = [np.subtract(a, b) for a, b in zip(*sets.values(), strict=True)]
    assert difference == pytest.approx(np.mean(gaps), abs=1e-6)
    wanted = sum(g.var(ddof=1) / 2 for g in gaps) / 4
    assert error == pytest.approx(math.sqrt(wanted), abs=1e-6)


def test_seeds_of_the_same_texts_add_their_own_error(tmp_path: Path) -> None:
    a = contender("a", *(run(tmp_path / f"a{n}", [v, v]) for n, v in enumerate((0.9, 0.7))))
    b = contender("b", run(tmp_path / "b", [0.5, 0.5]))
    difference, error = compare.paired(a, b)
    assert difference == pytest.approx(0.3, abs=1e-6)
    assert error == pytest.approx(np.std([0.4, 0.2], ddof=1) / math.sqrt(2), abs=1e-6)


def test_other_vectors_are_not_paired(tmp_path: Path) -> None:
    a = contender("a", run(tmp_path / "a", [0.9] * 6))
    b = contender("b", run(tmp_path / "b", [0.8] * 6, VECTORS.flip(0)))
    with pytest.raises(KdstError, match="a and b inverted other vectors"):
        bench.paired(a, b)
    (tmp_path / "a" / "artifacts" / compare.BY_TEXT).write_bytes(b"nothing")
    with pytest.raises(KdstError, match="which a comparison needs"):
        bench.paired(a, b)


def test_another_protocol_is_named(tmp_path: Path) -> None:
    (ours, _), (theirs, _) = run(tmp_path / "a", [0.9]), run(tmp_path / "b", [0.9])
    assert bench.mismatch(ours, theirs) == ""
    theirs["input"]["rows"] = 7
    assert bench.mismatch(ours, theirs) == "rows is 1 in one and 7 in the other"


def test_a_study_is_refused_before_work() -> None:
    with pytest.raises(KdstError, match="--study search has no figure for each text"):
        bench.refuse(None, InvertInputs(study="search"))  # type: ignore[arg-type]
    bench.refuse(None, InvertInputs())  # type: ignore[arg-type]


def test_pictures_and_columns(tmp_path: Path) -> None:
    a = contender("a", run(tmp_path / "a", [0.9] * 6))
    b = contender("b", run(tmp_path / "b", [0.8] * 6))
    stats, figures = bench.comparison([b, a])
    assert stats[0].value == "a"
    assert all("<svg" in figure.svg for figure in figures)
    assert bench.columns(a.results[0])[0].metric == "token_f1.final"
    assert bench.columns({"metrics": {"cosine.final": 0.5}})[0].metric == "cosine.final"
