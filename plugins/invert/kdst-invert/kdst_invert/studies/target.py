"""What a study attacks, and what becomes of its figures."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from kdst_core.bench.contract import Outcome
from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.progress import Mode
from kdst_core.runs.rundir import Run
from kdst_invert.load import Target
from kdst_invert.texts import Originals


@frozen
class StudyTarget:
    """The vectors of a study and the embedder that made them, with the options of the run.

    study: its name. options: of the method. count: rows that are attacked, None for the study's own
    number. said: warnings about the vectors. pairs: numbers of known pairs of the curve over them.
    """

    study: str
    target: Target
    embed: Embedder
    options: Any
    count: int | None
    seed: int
    show: Mode
    said: Sequence[str] = ()
    pairs: Sequence[int] = ()


def originals_of(subject: "StudyTarget") -> Originals:
    """The texts that are attacked; KdstError without them, since a study measures leakage."""
    originals = subject.target.originals
    if originals is None:
        study = subject.study
        raise KdstError(f"--study {study} needs the texts of the vectors: give --texts FILE")
    return originals


def outcome(
    subject: "StudyTarget",
    run: Run,
    table: Mapping[str, Any],
    metrics: Mapping[str, float],
    summary: Sequence[str],
    artifacts: Mapping[str, str] | None = None,
) -> Outcome:
    """The outcome of a study; its table is what the report is made of, its sentences what it says."""
    write_atomically(run.artifacts / "study.json", json.dumps(table))
    given = {
        "embedder_name": subject.embed.name,
        "dimension": subject.embed.dimension,
        "normalised": subject.embed.normalised,
        "rows": len(subject.target.vectors),
        "notes": subject.target.notes,
    }
    return Outcome(
        metrics,
        {"study.json": "artifacts/study.json", **(artifacts or {})},
        given,
        warnings=list(subject.said),
        summary=list(summary),
    )
