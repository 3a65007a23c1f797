"""Files of measured figures: `docs/figures/FILE.json`, each with records by name.

A record says the command that gives its figures, seed, versions, date, machine and n (`FIELDS`), and has
rows: with `columns` those of a table, else of a text, in the order in which it tells them (`says`, and of
`estimate`, `low` and `high` what it has). What all records of a file share stands once, under `shared`.
A figure that was recorded by hand says so, and where from (`by_hand`, `origin`); then alone the command may
be null. The digits of a number are those that pages show. A table that is part of another names it (`of`).
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

FIELDS = ("command", "seed", "versions", "date", "machine", "n")
FOLDER = "docs/figures"
OTHERS = ("claims.json",)
"""Files of that folder that another command writes."""

Record = dict[str, Any]


def files(root: Path) -> dict[str, dict[str, Any]]:
    """Return the content of every file of records, by its name."""
    found = sorted(p for p in (root / FOLDER).glob("*.json") if p.name not in OTHERS)
    return {p.stem: json.loads(p.read_text(encoding="utf-8"), parse_float=Decimal) for p in found}


def records(content: dict[str, dict[str, Any]]) -> dict[str, Record]:
    """Return all records as `FILE#NAME`, each with what its file's records share."""
    found = {
        f"{file}#{name}": {**held["shared"], **record}
        for file, held in content.items()
        for name, record in held["records"].items()
    }
    return {name: chosen(record, found) for name, record in found.items()}


def chosen(record: Record, held: dict[str, Record]) -> Record:
    """Return a record; one `of` another with that one's rows `only`, and its columns by their `heads`."""
    if "of" not in record:
        return record
    base = held[record["of"]]
    places = [
        0,
        *([c["head"] for c in base["columns"]].index(head) for head in record["heads"][1:]),
    ]
    columns = [
        base["columns"][n] | {"head": h} for n, h in zip(places, record["heads"], strict=True)
    ]
    rows = [[row[n] for n in places] for row in base["rows"] if row[0] in record["only"]]
    return base | {"columns": columns, "rows": rows}


def values(record: Record) -> list[Decimal]:
    """Return the numbers of a text's record in the order in which it tells them."""
    parts = ("estimate", "low", "high")
    return [Decimal(row[part]) for row in record["rows"] for part in parts if part in row]


def lacks(record: Record) -> list[str]:
    """Return what a record does not say and has to."""
    by_hand = bool(record.get("by_hand"))
    missing = [
        f for f in FIELDS if not record.get(f) and not (f == "command" and by_hand and f in record)
    ]
    if by_hand and not record.get("origin"):
        missing.append("origin")
    return missing + ([] if record.get("rows") else ["rows"])


def dumped(value: Any, depth: int = 0) -> str:
    """Return JSON with the digits of its numbers kept, and a row of a record a line."""
    inner, outer = "\n" + "  " * (depth + 1), "\n" + "  " * depth
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict) and value and depth < 3:
        items = [
            f"{json.dumps(k, ensure_ascii=False)}: {dumped(v, depth + 1)}" for k, v in value.items()
        ]
        return "{" + inner + ("," + inner).join(items) + outer + "}"
    if isinstance(value, list) and depth == 3 and isinstance(value[0], (list, dict)):
        return "[" + inner + ("," + inner).join(dumped(v, depth + 1) for v in value) + outer + "]"
    if isinstance(value, dict):
        items = [
            f"{json.dumps(k, ensure_ascii=False)}: {dumped(v, depth + 1)}" for k, v in value.items()
        ]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(dumped(v, depth + 1) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def save(root: Path, file: str, content: dict[str, Any]) -> None:
    """Write a file of records."""
    path = root / FOLDER / f"{file}.json"
    path.write_text(dumped(content) + "\n", encoding="utf-8")
