"""Texts from files: three formats, and one clear line for what cannot be used."""

import datetime
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.documents import from_file


def test_json_lines_hold_text_id_and_date(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"text": "One."}, {"text": "Two.", "id": 7, "date": "2031-03-03"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = from_file(path)
    day = datetime.date(2031, 3, 3)
    assert list(corpus) == [Document("One."), Document("Two.", "7", day)]
    assert corpus.count == 2
    assert corpus.warnings == []


def test_damaged_lines_are_skipped_counted_and_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "One."}\n[1]\n{"text": " "}\n{"text": "Two."}\n{"text": "Thr')
    corpus = from_file(path)
    assert [d.text for d in corpus] == ["One.", "Two."]
    assert corpus.warnings == [f"3 lines of {path} were skipped: line 2, line 3, line 5"]


def test_a_text_that_occurs_twice_is_used_once(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("One.\n\nTwo,\nlonger.\n\n\nOne.\n")
    corpus = from_file(path)
    assert [d.text for d in corpus] == ["One.", "Two,\nlonger."]
    assert corpus.warnings == [f"1 texts of {path} occur twice; each was used once"]


def test_parquet_is_read_by_its_column_text(tmp_path):
    path = tmp_path / "x.parquet"
    day = datetime.date(2031, 3, 3)
    table = pa.table({"text": ["One.", None, "Two."], "date": [None, None, day], "n": [1, 2, 3]})
    parquet.write_table(table, path)
    corpus = from_file(path)
    assert list(corpus) == [Document("One."), Document("Two.", date=day)]
    assert corpus.skipped == ["row 2"]
    parquet.write_table(pa.table({"body": ["One."]}), path)
    with pytest.raises(KdstError, match="no column text; it has body"):
        from_file(path)
    path.write_text("no parquet")
    with pytest.raises(KdstError, match="is not a Parquet file"):
        from_file(path)


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_files_that_are_not_utf8_are_named_with_line_and_byte(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"text": "One."}\n{"text": "caf\xe9"}\n')
    with pytest.raises(KdstError, match=r"not UTF-8: line 2 holds byte 0xe9"):
        from_file(path)


def test_empty_missing_and_unknown_files_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("\n \n")
    (tmp_path / "x.jsonl").write_text("{}\n")
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(KdstError, match="holds no text; give at least one document"):
        from_file(tmp_path / "x.txt")
    with pytest.raises(KdstError, match="1 lines were skipped"):
        from_file(tmp_path / "x.jsonl")
    with pytest.raises(KdstError, match=r"\.csv is not known"):
        from_file(tmp_path / "x.csv")
    with pytest.raises(KdstError, match="no such file"):
        from_file(tmp_path / "no.txt")


def test_shards_are_runs_of_the_corpus_in_order(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("\n\n".join(f"Text {i}." for i in range(7)))
    corpus = from_file(path)
    shards = list(corpus.shards(3))
    assert [len(s) for s in shards] == [3, 3, 1]
    assert [d for s in shards for d in s] == list(corpus)
