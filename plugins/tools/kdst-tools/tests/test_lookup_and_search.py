"""Look-ups in a user's files and search in a user's corpus."""

import json
import sqlite3
from pathlib import Path

import pytest

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.tools import lookup, search

HERE = Document("")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "metals.csv"
    path.write_text("metal,symbol,number\ntungsten,W,74\nIron,Fe,26\n", encoding="utf-8")
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "metals.db"
    with sqlite3.connect(path) as made:
        made.execute('CREATE TABLE "odd "" name" ("the key" TEXT, symbol TEXT)')
        made.execute("INSERT INTO \"odd \"\" name\" VALUES ('tungsten', 'W'), ('nothing', NULL)")
    made.close()
    return path


def test_a_csv_file_answers_without_regard_to_case(table: Path) -> None:
    find = lookup.make(str(table))
    assert find(" TUNGSTEN ", HERE) == "symbol: W, number: 74"
    assert find("iron", HERE) == "symbol: Fe, number: 26"
    with pytest.raises(ValueError, match="no entry for 'gold'"):
        find("gold", HERE)


def test_a_database_answers_by_its_only_table(database: Path) -> None:
    find = lookup.make(str(database))
    assert find("Tungsten", HERE) == "W"
    with pytest.raises(ValueError, match="no entry"):
        find("nothing", HERE)


@pytest.mark.parametrize("asked", ["' OR '1'='1", "x'; DROP TABLE metals; --", '"', "%", "*"])
def test_no_input_becomes_sql(database: Path, asked: str) -> None:
    before = database.read_bytes()
    with pytest.raises(ValueError, match="no entry"):
        lookup.make(str(database))(asked, HERE)
    assert database.read_bytes() == before


def test_a_table_is_chosen_by_name_where_there_are_several(database: Path) -> None:
    with sqlite3.connect(database) as made:
        made.execute("CREATE TABLE towns (town TEXT, code TEXT)")
        made.execute("INSERT INTO towns VALUES ('Lisbon', 'LIS')")
    made.close()
    assert lookup.make(f"{database}#towns")("lisbon", HERE) == "LIS"
    with pytest.raises(KdstError, match="choose one"):
        lookup.make(str(database))
    with pytest.raises(KdstError, match="Did you mean 'towns'"):
        lookup.make(f"{database}#town")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"only\none\n", "at least two columns"),
        ("a.csv", b"a,b\n1\n", "row 2: 1 columns, not 2"),
        ("a.csv", b"a,b\n\xff,1\n", "UTF-8"),
        ("a.db", b"no database at all, but a text that is long enough", "no SQLite database"),
        ("a.txt", b"a", "reads .csv"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(KdstError, match=said):
        lookup.make(str(path))


def test_a_missing_file_says_how_to_name_one() -> None:
    with pytest.raises(KdstError, match="--tools lookup=PATH"):
        lookup.make(None)
    with pytest.raises(KdstError, match="no such file"):
        lookup.make("nowhere.csv")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "birds.txt").write_text(
        "The swift sleeps in flight.\n\nThe owl hunts at night\nand hears well.\n", encoding="utf-8"
    )
    records = [
        {"title": "Fish", "text": "The eel swims to the sea."},
        {"text": "Salt is a mineral."},
    ]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_search_returns_the_best_passage_with_its_title(corpus: Path) -> None:
    find = search.make(str(corpus))
    assert (
        find("which bird hunts at night", HERE) == "birds > The owl hunts at night and hears well."
    )
    assert find("eel sea", HERE) == "Fish > The eel swims to the sea."


@pytest.mark.parametrize("asked", ["", "zebra", "the of and", "???"])
def test_search_without_a_match_is_a_value_error(corpus: Path, asked: str) -> None:
    with pytest.raises(ValueError, match="nothing found"):
        search.make(str(corpus))(asked, HERE)


def test_a_directory_without_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="holds no text"):
        search.make(str(tmp_path))
    (tmp_path / "bad.jsonl").write_text('{"text": "ok"}\n{"tex', encoding="utf-8")
    with pytest.raises(KdstError, match=r"bad\.jsonl, line 2"):
        search.make(str(tmp_path))


def test_search_reads_one_file_as_well_as_a_folder(corpus: Path, tmp_path: Path) -> None:
    assert (
        search.make(str(corpus / "more.jsonl"))("eel", HERE) == "Fish > The eel swims to the sea."
    )
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(KdstError, match="no text"):
        search.make(str(tmp_path / "a.pdf"))
    with pytest.raises(KdstError, match="there is none"):
        search.make(str(tmp_path / "missing.jsonl"))
