"""Texts from files: three formats, and one clear line for what cannot be used."""

import bz2
import datetime
import gzip
import json
import lzma

import pyarrow as pa
import pytest
from pyarrow import parquet

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.corpora.documents import from_file


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


@pytest.mark.parametrize("separator", [b"\n\n", b"\n"])
def test_a_line_that_is_not_utf8_costs_its_text_only(tmp_path, separator):
    lines = [b"One.", b"caf\xe9", b"Two."]
    if separator == b"\n":
        path = tmp_path / "x.jsonl"
        path.write_bytes(separator.join(b'{"text": "%s"}' % line for line in lines))
    else:
        path = tmp_path / "x.txt"
        path.write_bytes(separator.join([lines[0], lines[1] + b"\nmore of it", lines[2]]))
    corpus = from_file(path)
    number = 2 if path.suffix == ".jsonl" else 3
    assert [d.text for d in corpus] == ["One.", "Two."]
    assert corpus.skipped == [f"line {number} (not UTF-8: byte 0xe9)"]


def test_half_a_surrogate_pair_costs_its_text_only(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"text": "One."}, {"text": "cut \ud83d"}, {"text": "Two.", "id": "\udc00"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = from_file(path)
    assert [d.text for d in corpus] == ["One."]
    assert corpus.skipped == ["line 2", "line 3"]


def test_other_texts_under_an_id_that_was_given_get_one_of_their_own(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"text": text, "id": "a"} for text in ("One.", "Two.", "One.", "Three.")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = from_file(path)
    assert [(d.text, d.id) for d in corpus] == [("One.", "a"), ("Two.", "a'"), ("Three.", "a''")]
    assert corpus.duplicates == 1


def test_csv_is_read_by_its_named_column(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('id,body,date\n7,"One, or\ntwo.",2031-03-03\n,"",\n,"Said ""no"".",\n')
    corpus = from_file(path, "body")
    day = datetime.date(2031, 3, 3)
    assert list(corpus) == [Document("One, or\ntwo.", "7", day), Document('Said "no".')]
    assert corpus.skipped == ["line 4"]
    with pytest.raises(KdstError, match="no column text; it has id, body, date"):
        from_file(path)


CONTENT = {"x.jsonl": '{"text": "One."}\n', "x.csv": "text\nOne.\n", "x.txt": "One.\n"}
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("end", PACKERS)
def test_compressed_files_are_read_and_those_that_are_none_refused(tmp_path, name, end):
    path = tmp_path / f"{name}{end}"
    packed = PACKERS[end](CONTENT[name].encode())
    path.write_bytes(packed)
    assert [d.text for d in from_file(path)] == ["One."]
    for damaged in (b"no archive", packed[:12] + b"\xff" * 8):
        path.write_bytes(damaged)
        with pytest.raises(KdstError, match="cannot be read"):
            from_file(path)


def test_a_compressed_file_that_is_cut_off_gives_what_it_has(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    rows = "".join(json.dumps({"text": f"Text {i}."}) + "\n" for i in range(3))
    path.write_bytes(gzip.compress(rows.encode())[:-6])
    corpus = from_file(path)
    assert [d.text for d in corpus][:2] == ["Text 0.", "Text 1."]
    assert corpus.skipped[0].startswith(f"lines after {corpus.count} (")
    assert corpus.warnings


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_tables_may_have_other_separators(tmp_path, separator):
    path = tmp_path / "x.tsv"
    path.write_text(f'\ufeffid{separator} text \n1{separator}"One{separator} or\ntwo."\n')
    assert [(d.id, d.text) for d in from_file(path)] == [("1", f"One{separator} or\ntwo.")]


def test_a_quote_that_is_never_closed_hides_nothing_silently(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text\nOne.\n"Two\nlines."\n"never closed\nThree.\n')
    corpus = from_file(path)
    assert [d.text for d in corpus] == ["One.", "Two\nlines."]
    assert corpus.skipped == ["lines up to 6 (a quote is never closed)"]


def test_files_that_are_not_utf8_as_a_whole_say_so(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("text\nOne.\n".encode("utf-16"))
    with pytest.raises(KdstError, match="it is UTF-16; convert it to UTF-8"):
        from_file(path)


def test_a_damaged_file_costs_a_folder_itself_only(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(b"no archive")
    (tmp_path / "c.parquet").write_bytes(b"no table")
    (tmp_path / "d.csv").write_text("body\nx\n")
    corpus = from_file(tmp_path)
    assert [d.text for d in corpus] == ["One."]
    named = [s.partition(" (")[0] for s in corpus.skipped]
    assert named == ["the file b.jsonl.gz", "the file c.parquet", "the file d.csv"]


def test_a_folder_is_read_in_order_and_other_files_are_named(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "b.txt").write_text("Two.")
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\nno\n')
    (tmp_path / "deeper" / "c.csv").write_text("text\nThree.\n")
    (tmp_path / "notes.pdf").write_text("x")
    (tmp_path / ".hidden.txt").write_text("x")
    corpus = from_file(tmp_path)
    assert [d.text for d in corpus] == ["One.", "Two.", "Three."]
    assert corpus.skipped == ["a.jsonl line 2", "the file notes.pdf"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(KdstError, match="holds no text"):
        from_file(tmp_path / "empty")


def test_empty_missing_and_unknown_files_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("\n \n")
    (tmp_path / "x.jsonl").write_text("{}\n")
    (tmp_path / "x.xlsx").write_text("a")
    with pytest.raises(KdstError, match="holds no text; give at least one document"):
        from_file(tmp_path / "x.txt")
    with pytest.raises(KdstError, match="1 lines were skipped"):
        from_file(tmp_path / "x.jsonl")
    with pytest.raises(KdstError, match=r"\.xlsx is not known"):
        from_file(tmp_path / "x.xlsx")
    with pytest.raises(KdstError, match="no such file"):
        from_file(tmp_path / "no.txt")


def test_shards_are_runs_of_the_corpus_in_order(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("\n\n".join(f"Text {i}." for i in range(7)))
    corpus = from_file(path)
    shards = list(corpus.shards(3))
    assert [len(s) for s in shards] == [3, 3, 1]
    assert [d for s in shards for d in s] == list(corpus)


def test_dates_and_ids_as_tables_write_them_are_read_and_others_are_named(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [
        '{"text": "a", "date": 20240305}',
        '{"text": "b", "date": NaN, "id": NaN}',
        '{"text": "c", "date": 1709596800}',
        '{"text": "d", "date": {"year": 2024}}',
        '{"text": "e", "date": " ", "id": 7}',
        '{"text": "f", "date": true}',
    ]
    path.write_text("\n".join(rows))
    corpus = from_file(path)
    found = [(d.text, d.date) for d in corpus]
    assert found == [("a", datetime.date(2024, 3, 5)), ("b", None), ("e", None)]
    assert [d.id for d in corpus][1:] == [Document("b").id, "7"]
    assert corpus.skipped == [
        "line 3 (its date is '1709596800', not YYYY-MM-DD)",
        "line 4 (its date is \"{'year': 2024}\", not YYYY-MM-DD)",
        "line 6 (its date is 'True', not YYYY-MM-DD)",
    ]


def test_a_file_whose_dates_are_of_another_form_says_so(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,date\na,3/5/2024\nb,March 2024\n")
    with pytest.raises(KdstError, match=r"2 lines were skipped: line 2 \(its date is '3/5/2024'"):
        from_file(path)


def test_json_lines_without_the_field_of_texts_name_those_that_they_have(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"body": "a", "id": 1}\n{"body": "b"}\n')
    with pytest.raises(KdstError, match=r"has no field text; it has body, id\.\n.*--text-field"):
        from_file(path)
    assert [d.text for d in from_file(path, "body")] == ["a", "b"]


def test_one_row_with_the_field_of_texts_is_enough(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"body": "a"}\n{"text": "b"}\n')
    found = from_file(path)
    assert [d.text for d in found] == ["b"]
    assert found.skipped == ["line 1"]
