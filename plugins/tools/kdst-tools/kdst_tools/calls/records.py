"""Streams of calls as JSON lines: a process that is killed loses no document that was written.

After the calls of a document stands one line that closes it, {"doc": id, "calls": number}. What is
not closed when a stream is opened again is dropped, and its document is done again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from kdst_core.contracts import ToolCall
from kdst_core.files import whole_file

FIELDS = tuple(f.name for f in attrs.fields(ToolCall))


class CallStream:
    """A file of calls that grows by whole documents, in corpus order.

    done: ids of the documents in it. dropped: lines that were cut off or damaged, named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: set[str] = set()
        self.dropped: list[str] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._recover()

    def _recover(self) -> None:
        """Cut the file behind its last document that is whole."""
        good = position = open_calls = 0
        with self.path.open("rb+") as file:
            for number, line in enumerate(file, 1):
                record = _parse(line)
                position += len(line)
                if record is None or record.get("calls", open_calls) != open_calls:
                    self.dropped.append(f"{self.path.name} line {number}")
                    break
                if "calls" in record:
                    self.done.add(record["doc"])
                    good, open_calls = position, 0
                else:
                    open_calls += 1
            file.truncate(good)

    def append(self, documents: Sequence[str], calls: Iterable[ToolCall]) -> None:
        """Write the calls of documents that are not in the stream yet, and force them to the disk."""
        by_document: dict[str, list[ToolCall]] = {doc: [] for doc in documents}
        for call in calls:
            by_document[call.doc].append(call)
        lines = []
        for doc, found in by_document.items():
            if doc not in self.done:
                lines += [json.dumps(attrs.asdict(call)) for call in found]
                lines.append(json.dumps({"doc": doc, "calls": len(found)}))
        with self.path.open("ab") as file:
            file.write("".join(line + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self.done.update(by_document)

    def __iter__(self) -> Iterator[tuple[str, list[ToolCall]]]:
        """Yield (document, its calls) in the order in which they were written."""
        calls: list[ToolCall] = []
        with self.path.open("rb") as file:
            for line in file:
                record = _parse(line)
                if record is None:
                    return
                if "calls" in record:
                    yield record["doc"], calls
                    calls = []
                else:
                    calls.append(ToolCall(**record))


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line, or None where it is cut off, damaged or no record of calls."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not line.endswith(b"\n") or not isinstance(record, dict) or "doc" not in record:
        return None
    return record if "calls" in record or record.keys() <= set(FIELDS) else None


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as JSON lines, whole or not at all."""
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_parquet(path: Path, calls: Iterable[ToolCall], rows: int = 4096) -> None:
    """Write calls as Parquet, `rows` at a time, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {"position": pa.int64(), "window": pa.int64(), "offset": pa.int64(), "kept": pa.bool_()}
    numbers = {"p", "L_empty", "L_call", "L_full", "gain"}
    schema = pa.schema(
        [
            (name, pa.float64() if name in numbers else types.get(name, pa.string()))
            for name in FIELDS
        ]
    )
    batch = []
    with whole_file(path) as unfinished, parquet.ParquetWriter(unfinished, schema) as writer:
        for call in calls:
            batch.append(attrs.asdict(call))
            if len(batch) == rows:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))
