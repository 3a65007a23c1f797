"""From what a run measured to its outcome: metrics, artifacts, warnings and lines of the terminal."""

import json
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from kdst_adapt import pictures
from kdst_adapt.audit import findings
from kdst_adapt.audit.batches import largest_batch
from kdst_adapt.baselines.records import BASELINES
from kdst_adapt.compare import pairing
from kdst_adapt.corruptions import kept
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.loop import Measured, carry_out, surroundings
from kdst_adapt.models.digest import model_digest
from kdst_adapt.outcome import alarms, metrics, terminal
from kdst_adapt.streams import protocols
from kdst_adapt.streams.changing import Changing
from kdst_adapt.streams.severities import parse_severities
from kdst_adapt.streams.shift import Shift
from kdst_adapt.studies import generation, study
from kdst_core.bench.contract import Outcome
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdst_adapt.load import Target


@frozen
class Prepared:
    """A run whose data and model are loaded and checked."""

    target: "Target"

    @property
    def device(self) -> str:
        """The device that was chosen."""
        return self.target.device

    def execute(self, run: Run) -> Outcome:
        """Run the stream through the baselines and the method, and write curves and pictures."""
        with surroundings(self.target, run):
            return outcome(self.target, carry_out(self.target, run), run)


def outcome(target: "Target", measured: Measured, run: Run) -> Outcome:
    """Return the outcome of a run, and write its curves and pictures."""
    name, shifts = target.job.method.name, target.stream.shifts
    traces, chosen = measured.traces, target.job.inputs.study
    figures = metrics.metrics(traces, shifts, name)
    figures |= study.metrics(chosen, traces, name, shifts, target.probe.found)
    names = [*(b for b in BASELINES if b != name), name]
    later = range(1, len(shifts))
    continual = not all(target.stream.begins(number) for number in later)
    same = metrics.equals_norm(traces, name, continual=continual)
    known = {k: v for k, v in figures.items() if v is not None}
    return Outcome(
        metrics=figures,
        artifacts=_artifacts(target, measured, run, names),
        input=_protocol(target),
        warnings=_warnings(target, measured, same=same),
        summary=[
            *protocols.summary(target.job.inputs.protocol),
            *terminal.lines(figures, shifts, names, same=same),
            *study.lines(chosen, known, shifts),
            *filter(None, [kept.KEPT.line()]),
        ],
        extra={"audit": findings.plain(target.findings)},
    )


def _warnings(target: "Target", measured: Measured, *, same: bool) -> list[str]:
    """Return what a reader of the figures must know: the audit's warnings, then alarms."""
    method, traces = target.job.method, measured.traces
    told = any(f.what == "source" and f.state == "warning" for f in target.findings)
    return [
        *findings.warnings(target.findings),
        *([alarms.ONLY_UPDATE.format(method.name)] if same else []),
        *alarms.warnings(
            traces[method.name],
            target.stream.shifts,
            method.name,
            updates="gradients" in method.description.needs,
            batch_norm=measured.batch_statistics,
            largest=largest_batch(target.stream, target.job.inputs.window),
            twin=metrics.twin(traces, method.name),
        ),
        *([] if told else alarms.chance(traces, target.num_classes)),
    ]


def _protocol(target: "Target") -> dict[str, Any]:
    """Return everything that decides what was measured."""
    stream = target.stream
    return {
        "batch_size": stream.batch_size,
        "order": stream.order,
        "shifts": [s.key for s in stream.shifts],
        "severity": severities_of(stream.shifts, target.job.inputs),
        "images_per_shift": [sum(map(len, stream.rows(s))) for s in stream.shifts],
        "image_shape": list(stream.shifts[0].input_shape),
        "num_classes": target.num_classes,
        "threads": torch.get_num_threads(),
        "model_digest": model_digest(target.model),
        **protocols.plain(target.job.inputs.protocol, target.departures),
        **_walk(stream.shifts),
    }


def _walk(shifts: "Sequence[Shift]") -> dict[str, Any]:
    """Return the way of a stream whose corruptions change, nothing of others."""
    changing = [s.walk for s in shifts if isinstance(s, Changing)]
    return {"walk": changing[0]} if changing else {}


def severities_of(shifts: "Sequence[Shift]", inputs: AdaptInputs) -> str:
    """Return the severities that are run, as the option says them where it does; '' without any."""
    parts = [p for s in shifts for p in getattr(s, "parts", (s,))]
    run = sorted({p.severity for p in parts if p.severity})
    given = sorted(parse_severities(inputs.severity))
    return inputs.severity if run == given else ",".join(map(str, run))


def _artifacts(target: "Target", measured: Measured, run: Run, names: list[str]) -> dict[str, str]:
    """Write curves and pictures; return their names and paths."""
    stream, trace = target.stream, measured.traces[target.job.method.name]
    curves = metrics.curves(measured.traces, stream.shifts, names)
    files: dict[str, str | bytes] = {
        "curves.json": json.dumps(curves),
        "inputs.png": pictures.inputs(stream.shifts),
        "correct.npz": pairing.pack(trace, stream),
    }
    samples = pictures.rows(trace.images)
    if samples is not None:
        files["samples.png"] = samples
        files["samples.json"] = json.dumps(list(trace.images))
    if target.job.inputs.study == "generation":
        files["generation.png"] = generation.grid(target.probe.found, stream.shifts[-1].key)
    for file, content in files.items():
        write_atomically(run.artifacts / file, content)
    return {file: f"artifacts/{file}" for file in files}
