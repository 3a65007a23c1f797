"""Stores of others: every kind gives its vectors, texts and columns, or one line that says why not."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdst_core.errors import KdstError
from kdst_invert.stores.open import open_store
from kdst_invert.stores.table import Choice

N, D = 24, 8
VECTORS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
TEXTS = [f"the text of row {i}, long enough to be one" for i in range(N)]
AUTHORS = [f"a{i % 3}" for i in range(N)]


def _parquet(folder: Path) -> Path:
    pq.write_table(
        pa.table({"body": TEXTS, "vec": VECTORS.tolist(), "author": AUTHORS}), folder / "s.parquet"
    )
    return folder / "s.parquet"


def _jsonl(folder: Path) -> Path:
    rows = [
        {
            "id": i,
            "vector": VECTORS[i].tolist(),
            "payload": {"text": TEXTS[i], "author": AUTHORS[i]},
        }
        for i in range(N)
    ]
    with gzip.open(folder / "s.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)) + "\n")
    return folder / "s.jsonl.gz"


def _csv(folder: Path) -> Path:
    lines = ["id,content,embedding,author"]
    for i in range(N):
        lines.append(f'{i},"{TEXTS[i]}","{json.dumps(VECTORS[i].tolist())}",{AUTHORS[i]}')
    (folder / "s.csv").write_text("\r\n".join(lines) + "\r\n")
    return folder / "s.csv"


def _chroma(folder: Path) -> Path:
    chromadb = pytest.importorskip("chromadb")
    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(folder / "chroma"), settings=settings)
    client.create_collection("docs").add(
        ids=[str(i) for i in range(N)],
        embeddings=VECTORS.tolist(),
        documents=TEXTS,
        metadatas=[{"author": a} for a in AUTHORS],
    )
    return folder / "chroma"


def _lance(folder: Path) -> Path:
    lancedb = pytest.importorskip("lancedb")
    rows = [
        {"vector": VECTORS[i].tolist(), "text": TEXTS[i], "author": AUTHORS[i]} for i in range(N)
    ]
    lancedb.connect(str(folder / "lance")).create_table("docs", rows)
    return folder / "lance"


@pytest.mark.parametrize("make", [_parquet, _jsonl, _csv, _chroma, _lance])
def test_vectors_texts_and_columns_are_read(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    found = open_store(path, Choice())
    np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-6)
    assert found.texts == TEXTS
    assert list(found.columns["author"]) == AUTHORS
    assert found.said == ()
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["json", "spaces", "numpy"])
def test_vectors_that_were_written_as_texts_are_read(kind: str, tmp_path: Path) -> None:
    def written(v: Any) -> str:
        if kind == "numpy":
            return str(v)
        return json.dumps(v.tolist()) if kind == "json" else f" [{' '.join(map(repr, v.tolist()))}]"

    table = pa.table({"body": TEXTS, "vec": [written(v) for v in VECTORS], "tag": ["[1, 2]"] * N})
    pq.write_table(table.drop(["tag"]) if kind == "numpy" else table, tmp_path / "s.parquet")
    choice = Choice(vector=None if kind == "numpy" else "vec")
    found = open_store(tmp_path / "s.parquet", choice)
    np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-5)
    assert found.texts == TEXTS


@pytest.mark.parametrize("cell", ["[0.1 0.2 ... 0.3]", "[1, two]", "[]", "(1, 2)", "[1]"])
def test_texts_that_are_no_vectors_stay_texts(cell: str, tmp_path: Path) -> None:
    rows = [{"text": TEXTS[i], "vec": cell} for i in range(N)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(KdstError, match="no column of vectors; its columns are text, vec"):
        open_store(tmp_path / "s.jsonl", Choice())


def test_a_store_without_rows_is_said_to_be_empty(tmp_path: Path) -> None:
    np.save(tmp_path / "s.NPY.npy", VECTORS[:0])
    pq.write_table(
        pa.table(
            {"text": pa.array([], pa.string()), "vector": pa.array([], pa.list_(pa.float32()))}
        ),
        tmp_path / "s.parquet",
    )
    for name in ("s.NPY.npy", "s.parquet"):
        with pytest.raises(KdstError, match="holds no rows"):
            open_store(tmp_path / name, Choice())
    np.save(tmp_path / "t.npy", VECTORS)
    (tmp_path / "t.npy").rename(tmp_path / "T.NPY")
    assert len(open_store(tmp_path / "T.NPY", Choice()).vectors) == N


def test_an_index_with_ids_gives_its_rows_as_they_were_added(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexIDMap(faiss.IndexFlatIP(D))
    index.add_with_ids(VECTORS, np.arange(N)[::-1].astype(np.int64) + 100)
    faiss.write_index(index, str(tmp_path / "s.faiss"))
    found = open_store(tmp_path / "s.faiss", Choice())
    np.testing.assert_allclose(found.vectors, VECTORS, atol=1e-6)
    assert "in the order in which they were added" in " ".join(found.said)


@pytest.mark.parametrize("factory", ["Flat", "IVF2,Flat", "HNSW8", "SQ8"])
def test_indexes_of_faiss_give_their_vectors_back(factory: str, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.index_factory(D, factory)
    index.train(VECTORS)
    index.add(VECTORS)
    faiss.write_index(index, str(tmp_path / "s.faiss"))
    found = open_store(tmp_path / "s.faiss", Choice())
    assert found.texts is None
    np.testing.assert_allclose(found.vectors, VECTORS, atol=0.02)
    assert bool(found.said) == (factory == "SQ8")


def test_an_array_has_no_texts(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", VECTORS)
    assert open_store(tmp_path / "s.npy", Choice()).texts is None


def test_rows_without_a_vector_or_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": t, "vector": v.tolist()} for t, v in zip(TEXTS, VECTORS, strict=True)
    ]
    rows[3]["text"], rows[5]["vector"], rows[7]["vector"] = "  ", None, [0.0] * D
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = open_store(tmp_path / "s.jsonl", Choice())
    assert found.texts == [t for i, t in enumerate(TEXTS) if i not in (3, 5, 7)]
    assert len(found.vectors) == N - 3
    assert found.said == (
        f"2 of {N} rows have no finite vector and are left out",
        f"1 of {N} rows have no text and are left out",
    )


def test_columns_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    table = pa.table({"question": TEXTS, "answer": TEXTS[::-1], "vec": VECTORS.tolist()})
    pq.write_table(table, tmp_path / "s.parquet")
    with pytest.raises(KdstError, match="question, answer may each be the text"):
        open_store(tmp_path / "s.parquet", Choice())
    found = open_store(tmp_path / "s.parquet", Choice(text="answer"))
    assert found.texts == TEXTS[::-1]
    with pytest.raises(
        KdstError, match=r"--vector-column nothing: .* columns question, answer, vec"
    ):
        open_store(tmp_path / "s.parquet", Choice(vector="nothing"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.jsonl", "{", "line 1 is not JSON"),
        ("s.jsonl", "[1]", "line 1 is not an object"),
        ("s.jsonl", "", "holds no rows"),
        ("s.jsonl", '{"text": "a"}', "no column of vectors"),
        ("s.jsonl", '{"vector": [1, 2]}\n{"vector": [1, 2, 3]}', "vectors of 2 lengths"),
        ("s.csv", "id,embedding\n1,none\n", "no column of vectors"),
        ("s.pkl", "", "is no store that is known"),
        ("s.parquet", "not parquet", "cannot read"),
        ("s.jsonl.gz", "not gzip", "cannot read"),
    ],
)
def test_what_is_no_store_is_refused_in_words(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(KdstError, match=said):
        open_store(tmp_path / name, Choice())


def test_pickled_points_and_unknown_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="is no store that is known"):
        open_store(tmp_path, Choice())
    (tmp_path / "collection").mkdir()
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(KdstError, match="keeps its points as pickles"):
        open_store(tmp_path, Choice())
    with pytest.raises(KdstError, match="there is no store"):
        open_store(tmp_path / "nothing", Choice())


def jsonl(path: Path, change: Any) -> Path:
    """A store of JSON lines, each changed."""
    rows = [
        {"id": i, "embedding": [float(i), 1.0, 2.0], "text": f"this is the text number {i}"}
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def test_vectors_with_names_are_columns(tmp_path: Path) -> None:
    def named(row: dict[str, Any], *names: str) -> dict[str, Any]:
        vector = row.pop("embedding")
        payload = {"text": row.pop("text")}
        return {**row, "vector": dict.fromkeys(names, vector), "payload": payload}

    found = open_store(jsonl(tmp_path / "a.jsonl", lambda row: named(row, "dense")), Choice())
    assert found.vectors.shape == (4, 3)
    assert found.texts is not None
    assert found.texts[3] == "this is the text number 3"
    several = jsonl(tmp_path / "b.jsonl", lambda row: named(row, "title", "body"))
    with pytest.raises(KdstError, match=r"several columns of vectors: vector\.title, vector\.body"):
        open_store(several, Choice())
    assert open_store(several, Choice(vector="vector.body")).vectors.shape == (4, 3)


def test_two_usual_columns_of_vectors_are_not_chosen_between(tmp_path: Path) -> None:
    store = jsonl(tmp_path / "a.jsonl", lambda row: {**row, "vector": row["embedding"]})
    with pytest.raises(KdstError, match="several columns of vectors: embedding, vector"):
        open_store(store, Choice())


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_cells_of_csv_may_be_parted_otherwise(tmp_path: Path, mark: str) -> None:
    lines = [["id", "text", "embedding"], ["1", "hello there, friend", "[1,2,3]"]]
    lines += [["2", "more; to read", "[1,2,4]"]]
    content = "\n".join(mark.join(f'"{cell}"' for cell in line) for line in lines)
    (tmp_path / "a.csv").write_text("\ufeff" + content + "\n", encoding="utf-8")
    found = open_store(tmp_path / "a.csv", Choice())
    assert found.texts == ["hello there, friend", "more; to read"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "has no header: its first row holds a vector"),
        ("text,text,embedding\n", "has the column text twice"),
    ],
)
def test_a_header_that_does_not_name_the_columns_is_refused(
    tmp_path: Path, header: str, said: str
) -> None:
    rows = 'a b c d,e f g h,"[1,2,3]"\ni j k l,m n o p,"[1,2,4]"\n'
    (tmp_path / "a.csv").write_text(header + rows, encoding="utf-8")
    with pytest.raises(KdstError, match=said):
        open_store(tmp_path / "a.csv", Choice())
