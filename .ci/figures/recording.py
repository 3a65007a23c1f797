"""Take the unmarked figures of a page into its file, recorded by hand, and mark them in the page.

What can be read from the page is: the command that its section names, seed and n. The origin is the commit
that last changed the line. Look through what was written; what the page does not say is `not recorded`.
A text whose first part alone is measured has `<!-- figures: ? -->` behind that part.
"""

import datetime
import re
import subprocess
from pathlib import Path
from typing import Any

from figures import tables
from figures.holding import digits, unmarked
from figures.pages import Segment, segments
from figures.reading import Number, bounds, measured, numbers
from figures.records import FOLDER, Record, files, records, save, values

COMMAND = re.compile(
    r"`((?:kdst (?:run|compare|sweep|claims|audit|tools|render)|python |nox |benchmarks/)[^`]*)`"
)
SHOWN = re.compile(r"^(?:kdst (?:run|compare)|python ) ?.*$", re.MULTILINE)
SEED = re.compile(
    r"--seeds? ([\d,-]+)|\bseeds? (\d+(?:(?:,| to| and)? \d+)*)|\b((?:\d+|two|three) seeds)\b"
)
COUNTED = re.compile(
    r"(?<![\d,])((?:\d{1,3}(?:,\d{3})+|\d+|all) (?:\w+ )?(?:images|texts|notes|problems|photographs|sentences"
    r"|conversations|seeds|documents|swaps|renders|cases|kills|people|vectors))\b"
)
SHARED = {
    "versions": "those that constraints.txt pins at the commit of the origin, Python 3.11",
    "machine": "2 cores shared with other work, x86-64, no GPU",
    "by_hand": True,
}
UNKNOWN = "not recorded"
OPEN = "?"
"""Name in a mark whose record is to be made."""


def record(root: Path, page: Path, command: str | None = None) -> None:
    """Write the unmarked figures of a page into its file of figures, and marks into the page."""
    text = page.read_text(encoding="utf-8")
    file = page.parent.name if page.parent.parent.parent.name == "plugins" else page.stem.lower()
    content = files(root)
    own = content.setdefault(file, {"shared": dict(SHARED), "records": {}})
    named = []
    for part in [p for p in segments(text) if p.argument in ("", OPEN) and unmarked(p)]:
        made = of_table(part) if part.table else {"rows": rows(part.text)}
        name = same(made, records(content))
        if not name:
            label = free(heading(text, part.line), own["records"])
            about = provenance(root, page, text, part)
            own["records"][label] = about | ({"command": command} if command else {}) | made
            name = f"{file}#{label}"
        named.append((part, name))
    for part, name in reversed(named):
        text = marked(text, part, name)
    (root / FOLDER).mkdir(exist_ok=True)
    if own["records"]:
        save(root, file, own)
    page.write_text(text, encoding="utf-8")


def of_table(part: Segment) -> Record:
    """Return columns and rows of a table; ValueError where they would not be written as they were."""
    made = tables.read(part.text)
    if tables.written(made) != part.text:
        raise ValueError(
            f"line {part.line}: write the table as `write` would:\n{tables.written(made)}"
        )
    return made


def same(made: Record, held: dict[str, Record]) -> str:
    """Return the record that shows the same, if there is one."""
    for name, other in held.items():
        if ("columns" in made) != ("columns" in other):
            continue
        if "columns" in made:
            alike = (made["columns"], made["rows"]) == (other["columns"], other["rows"])
        else:
            alike = len(values(made)) > 1 and digits(values(made)) == digits(values(other))
        if alike:
            return name
    return ""


def rows(text: str) -> list[dict[str, Any]]:
    """Return the figures that a text tells, each with the words around it."""
    found, everything = measured(text), numbers(text)
    made: list[dict[str, Any]] = []
    place = 0
    while place < len(found):
        here = everything.index(found[place])
        width = (
            3
            if bounds(text, everything, here)
            else 2
            if ranged(text, found[place : place + 2])
            else 1
        )
        names = {1: ("estimate",), 2: ("low", "high"), 3: ("estimate", "low", "high")}[width]
        these = found[place : place + width]
        words = around(text, these[0].start, these[-1].end)
        made.append({"says": words} | dict(zip(names, (n.value for n in these), strict=True)))
        place += width
    return made


def ranged(text: str, pair: list[Number]) -> bool:
    """Whether two numbers are the ends of a range."""
    if len(pair) < 2 or text[: pair[0].start].endswith("from "):
        return False
    return text[pair[0].end : pair[1].start] == " to "


def around(text: str, start: int, end: int) -> str:
    """Return the words of a sentence around a figure, with … in its place."""
    before = re.split(r"[.;:] |\n", text[:start])[-1]
    rest = re.sub(r"^[)\]]+ ?", " ", text[end:])
    behind = re.split(r"[.;:,)\]](?:\s|$)|\n", rest, maxsplit=1)[0]
    words = " ".join(before.split(" ")[-14:]) + "…" + " ".join(behind.split(" ")[:8])
    return words.replace("**", "").strip()


def heading(text: str, line: int) -> str:
    """Return the heading above a line, as part of a name."""
    above = [t for t in text.split("\n")[:line] if re.match(r"#+ ", t)]
    return re.sub(r"[^a-z0-9]+", "-", above[-1].lower()).strip("-") if above else "figures"


def free(name: str, taken: dict[str, Any]) -> str:
    """Return a name that no record of the file has."""
    tried, number = name, 1
    while tried in taken:
        number += 1
        tried = f"{name}-{number}"
    return tried


def provenance(root: Path, page: Path, text: str, part: Segment) -> Record:
    """Return what the page says of how a figure was measured, and where the line is from."""
    above = text.split("\n")[: part.line - 1]
    begin = max((n for n, line in enumerate(above) if re.match(r"#+ ", line)), default=0)
    told = [line for line in above[begin:] if line.strip() and not line.startswith(("|", "<!--"))]
    near = [part.text, *reversed(told)]
    shown = SHOWN.findall(text) if page.parent.name == "methods" else []
    command = first(COMMAND, near) or (shown[-1] if shown else None)
    commit, date = origin(root, page, part)
    return {
        "command": command,
        "seed": first(SEED, near) or UNKNOWN,
        "date": date,
        "n": first(COUNTED, near[:2] if part.table else near[:1]) or UNKNOWN,
        "origin": f"{page.relative_to(root)} at {commit}",
    }


def first(pattern: re.Pattern[str], lines: list[str]) -> str:
    """Return what a pattern finds in the first line where it does."""
    found = (pattern.search(line) for line in lines)
    return next((next(g for g in m.groups() if g) for m in found if m), "")


def origin(root: Path, page: Path, part: Segment) -> tuple[str, str]:
    """Return the newest commit that brought words around a figure of a part into the page, and its date."""
    places = measured(part.text)
    if part.table:
        pieces = {line for line in part.text.split("\n") if measured(line)}
    else:
        pieces = {part.text[max(n.start - 30, 0) : n.end + 10] for n in places}
    asked = ("git", "log", "-1", "--date=short", "--format=%ad %h", "-S")
    told = [
        subprocess.run(
            [*asked, piece, "--", str(page)], cwd=root, capture_output=True, text=True, check=True
        )
        for piece in sorted(pieces)
    ]
    date, _, commit = max(t.stdout.strip() for t in told).partition(" ")
    return commit or "a change of today", date or datetime.date.today().isoformat()


def marked(text: str, part: Segment, name: str) -> str:
    """Return the page with a mark at that part."""
    lines = text.split("\n")
    if part.table:
        lines.insert(part.line - 1, f"<!-- figures: {name} -->")
        return "\n".join(lines)
    if part.argument == OPEN:
        return text.replace(
            f"{part.text} <!-- figures: {OPEN} -->", f"{part.text} <!-- figures: {name} -->", 1
        )
    last = part.line - 1 + part.text.rstrip("\n").count("\n")
    lines[last] += f" <!-- figures: {name} -->"
    return "\n".join(lines)
