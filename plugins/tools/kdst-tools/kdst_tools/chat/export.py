"""The annotated texts of a run as conversations: the text up to a call, the call, its result, the rest."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError
from kdst_core.files import whole_file
from kdst_tools.calls import WrittenCall, between
from kdst_tools.chat.conversations import Message, Row

ID_DIGITS = 9
"""Characters of a call's id; some templates take no other number."""


def conversations(run: Path) -> Iterator[Row]:
    """Yield a conversation for each annotated text of a run that has a call.

    KdstError where the folder holds no annotated texts.
    """
    annotated = run / "artifacts" / "annotations.jsonl"
    if not annotated.is_file():
        raise KdstError(
            f"{run} holds no annotated texts; give the folder of a run that came to the stage filter"
        )
    descriptions = _descriptions(run / "artifacts" / "tools.json")
    with annotated.open("rb") as file:
        for number, line in enumerate(file, 1):
            found = conversation(_annotated(line, f"{annotated}, line {number}"), descriptions)
            if found is not None:
                yield found


def _descriptions(path: Path) -> dict[str, str]:
    """What the tools of a run say of themselves, by name; KdstError for a damaged file."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else {}
        return {str(name): str(said) for name, said in content.items()}
    except (ValueError, AttributeError, RecursionError):
        raise KdstError(f"{path} is damaged") from None


def _annotated(line: bytes, where: str) -> str:
    """The annotated text of a line; KdstError where it holds none."""
    try:
        text = json.loads(line)["annotated"]
    except (ValueError, TypeError, KeyError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise KdstError(f"{where} is damaged")
    return text


def conversation(annotated: str, descriptions: Mapping[str, str]) -> Row | None:
    """Return the conversation of an annotated text, None for one without a call.

    The user gives the text up to the first call and the assistant goes on, so that the contents of both
    together are the plain text.
    """
    (first, *texts), calls = between(annotated)
    if not calls:
        return None
    messages: list[Message] = [{"role": "user", "content": first}]
    said = ""
    for number, (call, text) in enumerate(zip(calls, texts, strict=True)):
        messages += _called(call, said, f"{number:0{ID_DIGITS}d}")
        said = text
    if said:
        messages.append({"role": "assistant", "content": said})
    used = dict.fromkeys(call.tool for call in calls)
    return {"messages": messages, "tools": [schema(n, descriptions.get(n, "")) for n in used]}


def _called(call: WrittenCall, said: str, name: str) -> list[Message]:
    """What the assistant says up to a call, with the call, and the tool's answer."""
    function = {"name": call.tool, "arguments": {"input": call.input}}
    asked = [{"id": name, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": said, "tool_calls": asked},
        {"role": "tool", "tool_call_id": name, "name": call.tool, "content": call.result or ""},
    ]


def schema(name: str, description: str) -> dict[str, Any]:
    """Return a tool as chat templates are given it; every tool takes one text."""
    parameters = {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def write(rows: Iterator[Row], path: Path) -> int:
    """Write conversations to a .jsonl or .parquet file; return how many.

    KdstError for another format, and where there is none to write.
    """
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".parquet"):
        raise KdstError(f"{path}: give a .jsonl or .parquet file")
    if path.exists():
        raise KdstError(f"{path} is there already; give another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        count = _lines(rows, unfinished) if suffix == ".jsonl" else _parquet(rows, unfinished)
        if count == 0:
            raise KdstError("there is no conversation to write: no call was kept")
    return count


def _lines(rows: Iterator[Row], path: Path) -> int:
    """Write JSON lines."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _parquet(rows: Iterator[Row], path: Path, size: int = 1024) -> int:
    """Write Parquet, so many rows at a time, in columns that do not depend on what they hold."""
    import pyarrow as pa
    from pyarrow import parquet

    columns, count = parquet_schema(), 0
    with parquet.ParquetWriter(path, columns) as writer:
        batch: list[Row] = []
        for row in rows:
            batch.append(row)
            count += 1
            if len(batch) == size:
                writer.write_table(pa.Table.from_pylist(batch, columns))
                batch = []
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, columns))
    return count


def parquet_schema() -> Any:
    """Return the columns of an export as Parquet."""
    import pyarrow as pa

    text = pa.string()
    called = pa.struct([("name", text), ("arguments", pa.struct([("input", text)]))])
    call = pa.struct([("id", text), ("type", text), ("function", called)])
    message = pa.struct([
        ("role", text), ("content", text), ("tool_calls", pa.list_(call)),
        ("tool_call_id", text), ("name", text),
    ])  # fmt: skip
    given = pa.struct([("input", pa.struct([("type", text)]))])
    parameters = pa.struct([("type", text), ("properties", given), ("required", pa.list_(text))])
    described = pa.struct([("name", text), ("description", text), ("parameters", parameters)])
    tool = pa.struct([("type", text), ("function", described)])
    return pa.schema([("messages", pa.list_(message)), ("tools", pa.list_(tool))])
