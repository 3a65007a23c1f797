"""Pages held against the files of figures: what is wrong with a page, and the page as it should be."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from figures import tables
from figures.pages import ALONE, KINDS, Segment, of_options, segments
from figures.reading import measured
from figures.records import Record, files, lacks, records, values


def complaints(text: str, held: dict[str, Record]) -> Iterator[str]:
    """Yield what is wrong with the figures of a page, each with its line."""
    for part in segments(text):
        for words in wrong(part, held):
            yield f"{part.line}: {words}"


def wrong(part: Segment, held: dict[str, Record]) -> Iterator[str]:
    """Yield what is wrong with one text or table."""
    unknown = [name for name in part.names if name not in held]
    if unknown:
        yield f"no record {', '.join(unknown)} in docs/figures"
    elif part.sort == "not measured":
        if part.argument not in KINDS and not ALONE.fullmatch(part.argument):
            yield f"'{part.argument}': say {', '.join(KINDS)}, 'bound, TEST' or 'published, SOURCE'"
    elif part.names and part.table:
        if "columns" not in held[part.names[0]] or len(part.names) > 1:
            yield f"{part.argument} is not one table"
        elif part.text != tables.written(held[part.argument]):
            yield f"not the table of {part.argument}; `write` takes the file's figures, `record` the page's"
    elif part.names:
        yield from differences(part, held)
    elif found := unmarked(part):
        yield f"look measured and have no mark: {', '.join(found)}"


def differences(part: Segment, held: dict[str, Record]) -> Iterator[str]:
    """Yield where the numbers of a text are not those of its records, in their order."""
    told = digits(number.value for number in measured(part.text))
    recorded = digits(value for name in part.names for value in values(held[name]))
    pairs = [(a, b) for a, b in zip(told, recorded, strict=False) if a != b]
    if pairs:
        yield f"{pairs[0][0]} here, {pairs[0][1]} in {part.argument}"
    elif len(told) != len(recorded):
        yield f"{len(told)} figures here, {len(recorded)} in {part.argument}"


def digits(found: Iterable[Decimal]) -> list[str]:
    """Return numbers by their digits, however their signs and thousands are written."""
    return [f"{value:f}" for value in found]


def unmarked(part: Segment) -> list[str]:
    """Return the numbers of a text or table without a mark that look measured."""
    if part.table and of_options(part.text):
        return []
    return [part.text[n.start : n.end] for n in measured(part.text)]


def as_written(text: str, held: dict[str, Record]) -> str:
    """Return a page with its tables of figures as their records have them."""
    for part in segments(text):
        if part.table and part.argument in held:
            text = text.replace(
                f"{part.argument} -->\n{part.text}",
                f"{part.argument} -->\n{tables.written(held[part.argument])}",
            )
    return text


def of_files(root: Path) -> Iterator[str]:
    """Yield what the records do not say."""
    for name, record in records(files(root)).items():
        if missing := lacks(record):
            yield f"{name}: {', '.join(missing)} missing"


def unused(root: Path, texts: list[str]) -> Iterator[str]:
    """Yield the records that no page shows, by themselves or in part."""
    shown = {name for text in texts for part in segments(text) for name in part.names}
    content = files(root)
    shown |= {r["of"] for held in content.values() for r in held["records"].values() if "of" in r}
    yield from sorted(set(records(content)) - shown)
