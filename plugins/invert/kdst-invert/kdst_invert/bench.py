"""The bench of `invert`: prepares a run, carries it out, and reports on it."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from kdst_core.bench import Check, Column, Job, ReportContent
from kdst_core.codecs import Codec, JsonCodec
from kdst_core.device import has_cuda, usable
from kdst_core.errors import KdstError
from kdst_core.executors.place import here, place
from kdst_core.library import Library
from kdst_core.method import Method
from kdst_core.rundir import Run
from kdst_invert.inputs import InvertInputs
from kdst_invert.precision import Precision, precision_of
from kdst_invert.prepared import Planned
from kdst_invert.spread import Spread

MANY = 256
"""Texts from which workers are worth their start."""
MOST_WORKERS = 4
"""Each holds an embedder and an inverter."""


class InvertBench:
    """The bench that the entry point `invert` of the group `kdst.benches` names."""

    capability = "invert"
    package = "kdst-invert"
    inputs: type = InvertInputs
    live: frozenset[str] = frozenset({"texts", "embeddings", "embedder"})
    codec: Codec = JsonCodec()
    headline = (
        Column("exact.final", "exact, %", 100.0, 1),
        Column("token_f1.final", "token F1", 1.0, 3),
    )
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> Planned:
        """Load embedder, texts and vectors; no text is embedded before the run has its directory."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from kdst_invert import source
        from kdst_invert.embedders import choose
        from kdst_invert.embedders.function import as_embedder

        device = usable(job.device if job.device != "auto" else "cuda" if has_cuda() else "cpu")
        inputs: InvertInputs = job.inputs
        live = job.objects.get("embedder")
        embed = (
            choose.choose(inputs, device)
            if live is None
            else choose.prefixed(as_embedder(live, "embedder"), inputs.prefix)
        )
        plan = source.read(inputs, job.seed, job.objects)
        spread = _spread(job, device, plan.rows, precision_of(embed) or "auto")
        job = evolve(job, objects={k: v for k, v in job.objects.items() if k != "texts"})
        return Planned(job, device, embed, plan, spread)

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_invert.library import inverted

        return Library(inverted)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run or of an audit."""
        if "audit.json" in result["artifacts"]:
            from kdst_invert.audit.report import content as audited

            return audited(result, directory)
        from kdst_invert.report import content

        return content(result, directory)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Invert a few notes in two steps; return a digest of the texts."""
        from kdst_invert.checks import small_inversion

        found = small_inversion(method, options, run)
        texts = json.dumps([[i.step, list(i.texts)] for i in found])
        return hashlib.sha256(texts.encode()).hexdigest()

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a method that inverts."""
        from kdst_invert.checks import invert_checks

        return invert_checks(method)


def _spread(job: Job, device: str, rows: int, precision: Precision = "auto") -> Spread | None:
    """What sends blocks to workers, where options ask for that or it pays; KdstError where it cannot be.

    precision: of the embedder in this process, which all workers take, whatever their processors.
    """
    inputs: InvertInputs = job.inputs
    where, one_process = place(inputs), "embedder" in job.objects or inputs.embedder == "endpoint"
    if where is not None and one_process:
        raise KdstError(
            "workers load the embedder themselves, so it can be neither an object nor an endpoint,"
            " whose calls one process counts.\nLeave --executor and --jobs out"
        )
    asked = where is not None
    pays = device == "cpu" and rows >= MANY and inputs.study == "none"
    if inputs.jobs is None and pays and not asked and not one_process:
        where = here(MOST_WORKERS)
    if where is None:
        return None
    name = job.method.plugin.qualified
    return Spread(where, name, inputs, device, job.seed, asked, precision)


bench = InvertBench()
"""The bench of embedding inversion for kdst."""
