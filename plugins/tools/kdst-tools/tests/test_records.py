"""Streams of records: whole documents only, in order, whatever a kill left behind."""

import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from kdst_core.contracts import ToolCall
from kdst_tools.calls.records import FIELDS, CallStream, write_lines, write_parquet


def calls(doc: str, count: int) -> list[ToolCall]:
    return [ToolCall(doc, i, "Tool", f"é [{i}]", p=0.1 * i, gain=None) for i in range(count)]


COUNTS = {"a": 2, "b": 0, "c": 3}


def write_all(path) -> CallStream:
    stream = CallStream(path)
    for doc, count in COUNTS.items():
        if doc not in stream.done:
            stream.append([doc], calls(doc, count))
    return stream


def test_a_stream_gives_back_documents_with_their_calls(tmp_path):
    stream = write_all(tmp_path / "calls.jsonl")
    assert list(stream) == [(doc, calls(doc, n)) for doc, n in COUNTS.items()]
    assert CallStream(tmp_path / "calls.jsonl").done == set(COUNTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "calls.jsonl"
    write_all(path)
    return path.read_bytes()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_stream_cut_at_any_byte_is_completed_without_loss_or_doubles(
    whole, tmp_path_factory, data
):
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.mktemp("cut") / "calls.jsonl"
    path.write_bytes(whole[:cut])
    stream = write_all(path)
    assert path.read_bytes() == whole
    assert len(stream.dropped) <= 1


def test_a_damaged_line_is_named_and_its_document_done_again(tmp_path):
    path = tmp_path / "sampled.jsonl"
    write_all(path)
    lines = path.read_bytes().splitlines(keepends=True)
    whole = path.read_bytes()
    path.write_bytes(b"".join([*lines[:4], b'{"doc": "c", "posi\n', *lines[5:]]))
    stream = CallStream(path)
    assert stream.dropped == ["sampled.jsonl line 5"]
    assert stream.done == {"a", "b"}
    write_all(path)
    assert path.read_bytes() == whole


def test_parquet_holds_every_field_of_every_call(tmp_path):
    found = [*calls("a", 3), attrs.evolve(calls("b", 1)[0], result="4", gain=1.5, kept=True)]
    write_parquet(tmp_path / "calls.parquet", found, rows=2)
    table = parquet.read_table(tmp_path / "calls.parquet")
    assert tuple(table.column_names) == FIELDS
    assert [ToolCall(**row) for row in table.to_pylist()] == found


def test_lines_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.jsonl"
    write_lines(path, [{"a": 1}])

    def broken():
        yield {"a": 2}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_lines(path, broken())
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}]
