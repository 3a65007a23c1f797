"""Take the unmarked figures of a page into its file, recorded by hand, and mark them in the page.

What can be read from the page is: the command that its section names, seed and n. The origin is the commit
that last changed the line. Look through what was written; what the page does not say is `not recorded`.
A text whose first part alone is measured has `<!-- figures: ? -->` behind that part. Where the figures of a
mark were changed in the page, its record gets them, with the page as their new origin.
"""

import re
from pathlib import Path
from typing import Any

from figures import tables
from figures.holding import digits, unmarked, wrong
from figures.origins import origin, provenance
from figures.pages import Segment, segments
from figures.reading import Number, bounds, measured, numbers
from figures.records import FOLDER, Record, files, records, save, values

SHARED = {
    "versions": "those that constraints.txt pins at the commit of the origin, Python 3.11",
    "machine": "2 cores shared with other work, x86-64, no GPU",
    "by_hand": True,
}
OPEN = "?"
"""Name in a mark whose record is to be made."""


def record(root: Path, page: Path, command: str | None = None) -> None:
    """Write the unmarked figures of a page into its file of figures, and marks into the page."""
    text = page.read_text(encoding="utf-8")
    file = page.parent.name if page.parent.parent.parent.name == "plugins" else page.stem.lower()
    content = files(root)
    own = content.setdefault(file, {"shared": dict(SHARED), "records": {}})
    (root / FOLDER).mkdir(exist_ok=True)
    adopt(root, page, text, content)
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
    if own["records"]:
        save(root, file, own)
    page.write_text(text, encoding="utf-8")


def adopt(root: Path, page: Path, text: str, content: dict[str, dict[str, Any]]) -> None:
    """Give records the figures of the page's tables and texts that differ from them."""
    held = records(content)
    for part in segments(text):
        name = part.argument
        if part.sort != "figures" or name not in held or not [*wrong(part, held)]:
            continue
        file, _, label = name.partition("#")
        own = content[file]["records"][label]
        if "of" in own:
            raise ValueError(f"line {part.line}: {name} is part of {own['of']}; change that")
        commit, date = origin(root, page, part)
        where = {"date": date, "origin": f"{page.relative_to(root)} at {commit}", "by_hand": True}
        own |= where | (of_table(part) if part.table else {"rows": rows(part.text)})
        save(root, file, content[file])


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
