"""What tool use is measured by, out of the reach of methods: problems with answers, held-out texts."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from attrs import astuple, frozen

from kdst_core.bench.sealed import SealedValue, seal_value
from kdst_core.contracts import Document
from kdst_tools.evaluation.problems import Problem
from kdst_tools.inputs import ToolsInputs


@frozen
class Judged:
    """Problems and held-out texts, sealed; only how many there are is in the open."""

    problem_count: int
    text_count: int
    kept_problems: SealedValue
    kept_texts: SealedValue

    @classmethod
    def of(cls, problems: Sequence[Problem], texts: Sequence[Document]) -> "Judged":
        """Seal problems and texts."""
        plain = [(d.text, d.id, d.date.isoformat() if d.date else None) for d in texts]
        rows = [astuple(p) for p in problems]
        return cls(len(problems), len(texts), seal_value(rows), seal_value(plain))

    def problems(self) -> list[Problem]:
        """Return the problems; RuntimeError while a method works."""
        return [Problem(*row) for row in self.kept_problems.read()]

    def texts(self) -> list[Document]:
        """Return the held-out texts; RuntimeError while a method works."""
        return [
            Document(text, name, datetime.date.fromisoformat(date) if date else None)
            for text, name, date in self.kept_texts.read()
        ]


def judging_files(inputs: ToolsInputs) -> list[Path]:
    """Return the files of problems and held-out texts, for no method to open."""
    named = (inputs.problems, inputs.baseline_problems)
    files = [Path((name or "").partition(":")[2]) for name in named]
    files = [file for file in files if file.name]
    return [*files, inputs.held_out] if inputs.held_out is not None else files
