"""The files of a run, from which the report is made.

annotations.jsonl: one line a document of the last round, {doc, text, annotated, calls: [records]}.
calls.jsonl, calls.parquet: one record a call of the last round. counts.json: {round: {tool: {sampled,
executed, failed, kept}}}. reasons.json: {round: {why calls were not kept: how many}}. training.json:
[{round, step, loss}]. evaluation.json: {problems: [{prompt, answer, tool, NAME: {text, annotated,
calls, right}}], plain: [the same without right]}, NAME being no_tool, before, after, disabled, shipped
or rejection. cost.json: {stage: seconds}. model/: the last model.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from kdst_core.contracts import ToolAnnotation, ToolCall
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_tools.calls.records import write_lines, write_parquet

Counts = dict[str, dict[str, int]]
KINDS = ("sampled", "executed", "failed", "kept")


def annotated(run: Run, annotations: Iterable[ToolAnnotation]) -> list[str]:
    """Write annotations.jsonl; return the names of the files written."""
    write_lines(run.artifacts / "annotations.jsonl", map(_line, annotations))
    return ["annotations.jsonl"]


def _line(annotation: ToolAnnotation) -> dict[str, Any]:
    """One annotated document."""
    return {
        "doc": annotation.document.id,
        "text": annotation.document.text,
        "annotated": annotation.text,
        "calls": [attrs.asdict(call) for call in annotation.calls],
    }


def records(run: Run, calls: Iterable[tuple[str, list[ToolCall]]]) -> list[str]:
    """Write the calls of all documents as JSON lines and as Parquet; return the names."""
    path = run.artifacts / "calls.jsonl"
    write_lines(path, (attrs.asdict(call) for _, found in calls for call in found))
    with path.open(encoding="utf-8") as file:
        write_parquet(
            run.artifacts / "calls.parquet", (ToolCall(**json.loads(line)) for line in file)
        )
    return ["calls.jsonl", "calls.parquet"]


def count(calls: Iterable[ToolCall], tools: Sequence[str]) -> Counts:
    """Return how many calls of each tool came how far."""
    found = {tool: dict.fromkeys(KINDS, 0) for tool in tools}
    for call in calls:
        own = found[call.tool]
        own["sampled"] += 1
        own["executed"] += call.result is not None
        own["failed"] += call.result is None and bool(call.reason)
        own["kept"] += call.kept
    return found


def totals(rounds: Mapping[str, Counts]) -> dict[str, float]:
    """Return the counts over all rounds and tools as metrics."""
    return {
        f"count.{kind}": float(sum(own[kind] for c in rounds.values() for own in c.values()))
        for kind in KINDS
    }


def training(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the steps of finetuning from the run's events."""
    with (run.dir / "events.jsonl").open(encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            name, _, number = event["name"].partition(".")
            if name == "loss":
                yield {"round": int(number), "step": event["step"], "loss": event["value"]}


def dump(run: Run, name: str, content: Any) -> str:
    """Write one JSON artifact; return its name."""
    write_atomically(run.artifacts / name, json.dumps(content, ensure_ascii=False, indent=1))
    return name
