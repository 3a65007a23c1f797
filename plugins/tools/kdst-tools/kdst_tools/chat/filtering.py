"""A file of conversations to a file of those with the calls that help, and a record of every call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from attrs import field, mutable

from kdst_core.errors import KdstError
from kdst_core.files import whole_file
from kdst_core.progress import progress
from kdst_tools.chat import conversations
from kdst_tools.chat.conversations import Row, read
from kdst_tools.chat.usefulness import Judged, Usefulness

GROUP = 64
"""Conversations that are judged together."""


@mutable
class Counts:
    """What became of the calls: kept, dropped, not judged; conversations, and lines that are none."""

    conversations: int = 0
    kept: int = 0
    dropped: int = 0
    not_judged: int = 0
    reasons: dict[str, int] = field(factory=dict)
    skipped: list[str] = field(factory=list)

    def add(self, judged: Judged) -> None:
        """Count a call."""
        if judged.gain is None:
            self.not_judged += 1
            self.reasons[judged.reason] = self.reasons.get(judged.reason, 0) + 1
        elif judged.kept:
            self.kept += 1
        else:
            self.dropped += 1


def records_of(target: Path) -> Path:
    """Return the file of records beside a file of conversations."""
    return target.with_name(f"{target.stem}.calls.jsonl")


def check(source: Path, target: Path) -> None:
    """Raise KdstError where the files cannot be what they should."""
    conversations.check(source)
    if target.suffix.lower() != ".jsonl":
        raise KdstError(f"{target}: the conversations that are left are written as .jsonl")
    for path in (target, records_of(target)):
        if path.exists():
            raise KdstError(f"{path} is there already; give another file")


def filter_file(source: Path, target: Path, judge: Usefulness) -> Counts:
    """Write the conversations of a file without the calls that do not help; return what came of it.

    KdstError where the file holds no conversation. Both files are there whole or not at all.
    """
    counts = Counts()
    total = sum(1 for _ in read(source, counts.skipped))
    if total == 0:
        raise KdstError(
            f"{source} holds no conversation ({', '.join(counts.skipped[:3]) or 'empty'})"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(target) as whole,
        whole_file(records_of(target)) as judged_in,
        whole.open("w", encoding="utf-8") as kept,
        judged_in.open("w", encoding="utf-8") as records,
        progress(total, "conversations", "auto") as advance,
    ):
        for group in _groups(read(source, [])):
            for row, judged in judge(group):
                kept.write(json.dumps(row, ensure_ascii=False) + "\n")
                for one in judged:
                    counts.add(one)
                    line = record(counts.conversations, one)
                    records.write(json.dumps(line, ensure_ascii=False) + "\n")
                counts.conversations += 1
            advance(len(group))
    return counts


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows, so many at a time."""
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def record(conversation: int, judged: Judged) -> dict[str, Any]:
    """Return a judged call as a line: which it is, its losses and its gain in nats, what came of it."""
    call = judged.call
    rest = attrs.asdict(judged, filter=lambda a, _: a.name != "call")
    return {
        "conversation": conversation,
        "message": call.message,
        "place": call.place,
        "tool": call.tool,
        "arguments": call.arguments,
        **rest,
    }
