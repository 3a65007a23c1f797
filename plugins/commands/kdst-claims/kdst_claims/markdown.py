"""The page of docs on claims, written from recorded verdicts.

`python -m kdst_claims.markdown docs/figures/claims.json` prints it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_claims import words
from kdst_claims.verdicts import WORDS, read

Row = Mapping[str, Any]
HEAD = Path(__file__).with_name("head.md")
"""What the page says before its figures."""


def page(content: Mapping[str, Any]) -> str:
    """Return the page as Markdown; content: of `claims.json`."""
    rows: Sequence[Row] = content["claims"]
    return "\n".join(
        [
            HEAD.read_text(encoding="utf-8"),
            *_counts(content, rows),
            *_verdicts(rows),
            *_known(rows),
            *_each(rows),
        ]
    )


def _counts(content: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines that say what was recorded."""
    found = [f"{content['counts'][w]} {w}" for w in WORDS if content["counts"].get(w)]
    known = sum(bool(row["known_to_fail"]) for row in rows)
    yield "## Recorded verdicts\n"
    yield (
        f"{len(rows)} claims of {len({row['method'] for row in rows})} methods, {content['size']}"
        f" settings: {', '.join(found)}; {known} are known to fail.\n"
    )


def _verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the table of verdicts."""
    yield "| claim | verdict | effect (interval) | counts when | p | over | cost |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        word = f"{row['verdict']}, known to fail" if row["known_to_fail"] else row["verdict"]
        cells = [words.effect(row), words.least(row), words.p(row), words.over(row)]
        line = [f"`{row['claim']}`", word, *cells, words.cost(row["seconds"])]
        yield f"| {' | '.join(line)} |"
    yield ""


def _known(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what is known against claims, those that fail first."""
    yield "## Known to fail, and known against\n"
    for row in sorted(rows, key=lambda r: not r["known_to_fail"]):
        if said := words.said(row):
            yield f"- `{row['claim']}`: {said}"
    yield ""


def _each(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what each claim says and where."""
    yield "## What each claim says\n"
    yield "| claim | what it says | source | measure |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        measure = f"`{row['measure']}`" + (", lower" if row["better"] == "lower" else "")
        yield f"| `{row['claim']}` | {row['sentence']} | {row['source']} | {measure} |"
    yield ""


def main() -> None:
    """Print the page of the verdicts in a file."""
    sys.stdout.write(page(read(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
