"""Bad input: every file that cannot be inverted is refused in a line that says what to do."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kdst_core.bench import sealed
from kdst_core.errors import KdstError
from kdst_invert.audit import checked_vectors
from kdst_invert.default.notes import notes
from kdst_invert.files import read_texts, read_vectors
from kdst_invert.texts import Originals


def test_object_arrays_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    # the bytes of an object array whose unpickling would make a folder
    payload = b"cos\nmkdir\n(V" + str(tmp_path / "exploded").encode() + b"\ntR."
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (2,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(payload)
    with pytest.raises(KdstError, match="Python objects"):
        read_vectors(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(4, np.float32), "shape"),
        (np.zeros((2, 2, 2), np.float32), "shape"),
        (np.zeros((2, 2), np.int64), "int64"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(KdstError, match=said):
        read_vectors(tmp_path / "v.npy")


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_bytes(b"not an array")
    with pytest.raises(KdstError, match=r"v\.npy"):
        read_vectors(tmp_path / "v.npy")
    with pytest.raises(KdstError, match="there is no file"):
        read_vectors(tmp_path / "missing.npy")
    (tmp_path / "v.csv").write_text("1,2")
    with pytest.raises(KdstError, match=r"takes \.npy or \.parquet"):
        read_vectors(tmp_path / "v.csv")


def test_vectors_of_npy_stay_on_disk(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.save(tmp_path / "v.npy", rows)
    found, originals = read_vectors(tmp_path / "v.npy")
    assert originals is None
    np.testing.assert_array_equal(found.numpy(), rows)


def test_parquet_holds_vectors_with_and_without_texts(tmp_path: Path) -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0]]
    pq.write_table(pa.table({"embedding": vectors}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"vector": vectors, "text": ["a", "b"]}), tmp_path / "b.parquet")
    assert read_vectors(tmp_path / "a.parquet")[1] is None
    found, originals = read_vectors(tmp_path / "b.parquet")
    assert originals is not None
    assert originals.texts == ["a", "b"]
    torch.testing.assert_close(found, torch.tensor(vectors))
    pq.write_table(pa.table({"other": vectors}), tmp_path / "c.parquet")
    with pytest.raises(KdstError, match="no column embedding"):
        read_vectors(tmp_path / "c.parquet")
    pq.write_table(pa.table({"embedding": [[1.0], [1.0, 2.0]]}), tmp_path / "d.parquet")
    with pytest.raises(KdstError, match="one length"):
        read_vectors(tmp_path / "d.parquet")


@pytest.mark.parametrize(
    ("row", "said"),
    [([float("nan"), 1.0], "row 1 holds NaN"), ([0.0, 0.0], "row 1 is all zero")],
)
def test_rows_that_hold_no_text_are_named(row: list[float], said: str) -> None:
    with pytest.raises(KdstError, match=said):
        checked_vectors(torch.tensor([[1.0, 0.0], row]), True, "v.npy")


def test_vectors_of_other_lengths_are_normalised_and_it_is_said() -> None:
    given = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    found, said = checked_vectors(given, True, "v.npy")
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert "divided by its length" in said[0]
    assert checked_vectors(given, False, "v.npy") == (given, [])
    assert given[0, 0] == 3


def test_empty_texts_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("one\n\ntwo\n")
    with pytest.raises(KdstError, match="line 2"):
        read_texts(path)
    path.write_text("")
    with pytest.raises(KdstError, match="no texts"):
        read_texts(path)


def test_json_lines_hold_text_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "Ann is 40", "fields": {"name": "Ann"}}\n{"text": "b"}\n')
    found = read_texts(path)
    assert found.texts == ["Ann is 40", "b"]
    assert found.fields_of(0) == {"name": "Ann"}
    path.write_text('{"txt": "a"}\n')
    with pytest.raises(KdstError, match="line 1"):
        read_texts(path)


def test_only_a_newline_ends_a_text(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffone\r\ntwo\u2028still two\x0b\n".encode())
    assert read_texts(tmp_path / "t.txt").texts == ["one", "two\u2028still two\x0b"]


def test_originals_are_out_of_reach_while_a_method_works() -> None:
    originals = Originals(["a", "b"], [{"name": "x"}, {"name": "y"}]).cut(range(1, 2))
    with sealed.closed() as tried:
        for read in (lambda: originals.texts, lambda: originals.fields_of(0), originals.opened):
            with pytest.raises(RuntimeError, match="judged by"):
                read()
        with pytest.raises(RuntimeError, match="held-out notes"):
            notes("held-out", 1)
        assert notes("train", 1)
    assert len(tried) == 4
    assert (originals.texts, originals.fields_of(0)) == (["b"], {"name": "y"})


def test_texts_under_an_unusual_name_are_found(tmp_path: Path) -> None:
    vectors = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]
    prose = [f"note {i} about a patient" for i in range(3)]
    ids = [f"0f{i}e-77aa-4b" for i in range(3)]
    table = pa.table(
        {"id": ids, "embedding": vectors, "befund": pa.array(prose).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    originals = read_vectors(tmp_path / "a.parquet")[1]
    assert originals is not None
    assert list(originals.texts) == prose
    pq.write_table(pa.table({"id": ids, "embedding": vectors}), tmp_path / "b.parquet")
    assert read_vectors(tmp_path / "b.parquet")[1] is None
    pq.write_table(table.append_column("plan", pa.array(prose[::-1])), tmp_path / "c.parquet")
    with pytest.raises(KdstError, match="befund and plan may each be the texts"):
        read_vectors(tmp_path / "c.parquet")


def test_two_columns_of_vectors_are_asked_about(tmp_path: Path) -> None:
    vectors = [[0.0, 1.0], [1.0, 0.0]]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0, 1.0, 0.0], pa.float32()), 2)
    pq.write_table(pa.table({"vector": vectors, "embedding": fixed}), tmp_path / "a.parquet")
    with pytest.raises(KdstError, match="has the columns embedding, vector; keep the one"):
        read_vectors(tmp_path / "a.parquet")
    named = pa.table({"embedding": ["minilm", "minilm"], "vector": fixed})
    pq.write_table(named, tmp_path / "b.parquet")
    assert read_vectors(tmp_path / "b.parquet")[0].tolist() == vectors


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "id,text\n1,hello\n", "not .csv"),
        ("a.TSV", "id\ttext\n", "not .tsv"),
        ("a.json", '["a"]', "not .json"),
        ("a.txt", "\u200b\nabc\n", "line 1 holds no text"),
        ("a.txt", "abc\n\x00\n", "line 2 holds no text"),
        ("a.jsonl", '{"text": "a\\ud800b"}\n', "half a character"),
        ("a.jsonl", '{"text": "a", "feilds": {"name": "x"}}\n', "under fields, not under feilds"),
        ("a.jsonl", '{"text": "a", "fields": {"name": {"x": 1}}}\n', "the field name must be"),
    ],
)
def test_what_is_no_text_a_line_is_refused(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(KdstError, match=said):
        read_texts(file)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_named_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("café\n".encode(encoding))
    with pytest.raises(KdstError, match=r"not UTF-8[\s\S]*Save it as UTF-8"):
        read_texts(file)


def test_a_field_without_a_value_is_none(tmp_path: Path) -> None:
    file = tmp_path / "a.JSONL"
    line = '{"text": "Ana, 5", "fields": {"name": null, "age": 5}}\n'
    file.write_text(line, encoding="utf-8")
    assert read_texts(file).fields == [{"age": "5"}]


def test_numbers_that_are_too_large_are_infinite_without_a_word(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    np.save(tmp_path / "v.npy", np.full((2, 3), 1e300))
    vectors, _ = read_vectors(tmp_path / "v.npy")
    assert bool(vectors.isinf().all())
    assert not recwarn.list
