"""Pages cut into blocks of text and tables, with the marks that say where their figures come from.

    <!-- figures: FILE#NAME -->              a record of docs/figures/FILE.json
    <!-- not measured: KIND -->              settings, examples, reckoned
    <!-- not measured: published, SOURCE --> what a paper says
    <!-- not measured: bound, TEST -->       what a test holds

A mark stands on the line before a table, or behind the text that it is about: it covers what is before it
in its block, back to the mark before. A block ends at an empty line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = re.compile(r"[ \t]*<!-- (figures|not measured): ([^\n]+?) -->")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
ALONE = re.compile(r"(bound|published), \S.*")
KINDS = ("settings", "examples", "reckoned")
"""What a number that looks measured may be instead, besides a bound and a published value."""


@dataclass(frozen=True)
class Segment:
    """A text or a table of a page and the mark that covers it; `sort` is empty where there is none."""

    line: int
    text: str
    table: bool
    sort: str = ""
    argument: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the records that it is held to."""
        return [name.strip() for name in self.argument.split(",")] if self.sort == "figures" else []


def pages(root: Path) -> list[Path]:
    """Return the pages whose figures are held: README, docs, READMEs of packages."""
    written = root / "docs/claims.md"
    found = [
        root / "README.md",
        *(root / "docs").rglob("*.md"),
        *root.glob("plugins/*/*/README.md"),
    ]
    return sorted(p for p in found if p != written and "reference" not in p.parts)


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield first line and lines of what stands between empty lines, without fenced blocks and headings."""
    fence, start = "", 0
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        mark = FENCE.match(line)
        if fence or mark or not line.strip() or line.startswith("#"):
            if lines:
                yield start, lines
            lines = []
        if mark and not fence:
            fence = mark[1]
        elif fence:
            fence = "" if line.strip().startswith(fence) else fence
        elif line.strip() and not line.startswith("#"):
            start = start if lines else number
            lines.append(line)


def segments(text: str) -> Iterator[Segment]:
    """Yield the texts and tables of a page in order."""
    for start, lines in blocks(text):
        first = next((n for n, line in enumerate(lines) if line.startswith("|")), len(lines))
        last = next(
            (n for n in range(first, len(lines)) if not lines[n].startswith("|")), len(lines)
        )
        mark = MARK.fullmatch(lines[first - 1]) if 0 < first < len(lines) else None
        before = first - 1 if mark else first
        yield from texts(start, lines[:before])
        if first < len(lines):
            table = "\n".join(lines[first:last])
            sort, argument = (mark[1], mark[2]) if mark else ("", "")
            yield Segment(start + first, table, True, sort, argument)
        yield from texts(start + last, lines[last:])


def texts(start: int, lines: list[str]) -> Iterator[Segment]:
    """Yield the parts of a text, each with the mark behind it."""
    block, begin = "\n".join(lines), 0
    for mark in MARK.finditer(block):
        line = start + block.count("\n", 0, begin)
        yield Segment(line, block[begin : mark.start()], False, mark[1], mark[2])
        begin = mark.end()
    if block[begin:].strip():
        yield Segment(start + block.count("\n", 0, begin), block[begin:], False)


def of_options(table: str) -> bool:
    """Whether a table is one of options or departures, by its first heading: its numbers are settings."""
    return bool(re.match(r"\|\s*(option|here|`--)", table))
