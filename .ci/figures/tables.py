"""Tables as pages show them, written from records and read into them.

A column has a heading and, where it shows numbers, a form: text with `{}` for each number, or `{estimate}`,
`{low}` and `{high}`. Behind a colon stands how numbers are written: `+` with their sign, `.` without the
zero before the point, `,` with commas, `-` with the sign of keyboards. The digits are those of the file.
"""

import re
from collections import Counter
from decimal import Decimal
from typing import Any

from figures.reading import NUMBER, value_of

PLACE = re.compile(r"\{(\w*)(?::([+.,-]+))?\}")
INTERVAL = re.compile(r"(?:\{\}[^{}]*(?:\(\{\} to \{\}[^{}]*\)|\[\{\}, \{\}\])|\{\} to \{\})[^{}]*")
PARTS = ("estimate", "low", "high")


def shown(value: Decimal | int, flags: str) -> str:
    """Return a number as a page writes it."""
    number = Decimal(value)
    digits = f"{abs(number):,f}" if "," in flags else f"{abs(number):f}"
    if "." in flags and abs(number) < 1:
        digits = digits.removeprefix("0") or "0"
    if number.is_signed():
        return ("-" if "-" in flags else "−") + digits
    return digits if "+" not in flags or digits == "0" else f"+{digits}"


def cell(content: Any, form: str) -> str:
    """Return what a cell of a record shows in a column of that form."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, dict):
        form = content.get("form", form)
        values = (
            content["values"]
            if "values" in content
            else [content[p] for p in PARTS if p in content]
        )
    else:
        values = content if isinstance(content, list) else [content]
    places = iter(values)
    return PLACE.sub(lambda found: shown(next(places), found[2] or ""), form)


def written(record: dict[str, Any]) -> str:
    """Return a record as a table in Markdown."""
    columns = record["columns"]
    rows = [
        [
            cell(content, column.get("form", "{}"))
            for content, column in zip(row, columns, strict=True)
        ]
        for row in record["rows"]
    ]
    rule = "|" + " --- |" * len(columns)
    return "\n".join([line([c["head"] for c in columns]), rule, *map(line, rows)])


def line(cells: list[str]) -> str:
    """Return a line of a table."""
    return "|" + "|".join(f" {c} " if c else " " for c in cells) + "|"


def cells_of(text: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [c.strip() for c in re.split(r"(?<!\\)\|", text.strip())[1:-1]]


def read(table: str) -> dict[str, Any]:
    """Return columns and rows of a table in Markdown, so that they are written as it was."""
    head, _, *body = [cells_of(text) for text in table.splitlines()]
    forms = [""] + [form_of([row[n] for row in body]) for n in range(1, len(head))]
    columns = [
        {"head": h} | ({"form": f} if f not in ("", "{}") else {})
        for h, f in zip(head, forms, strict=True)
    ]
    rows = [
        [row[0], *(content(c, f) for c, f in zip(row[1:], forms[1:], strict=True))] for row in body
    ]
    return {"columns": columns, "rows": rows}


def parts(text: str) -> tuple[str, list[str], list[Decimal]]:
    """Return a cell's text with `{}` for its numbers, how these are written, and their values."""
    found = list(NUMBER.finditer(re.sub(r"`[^`]*`", lambda m: "z" * len(m[0]), text)))
    skeleton, flags, end = "", [], 0
    for number in found:
        skeleton += text[end : number.start()] + "{}"
        end = number.end()
        flags.append(
            "".join(f for f in "+,-" if f in number[0])
            + "." * bool(re.match(r"[+−-]?\.", number[0]))
        )
    return skeleton + text[end:], flags, [value_of(m[0]) for m in found]


def formed(skeleton: str, flags: list[str]) -> str:
    """Return the form of a skeleton whose numbers are written by these flags."""
    interval = INTERVAL.fullmatch(skeleton.strip())
    names = iter(PARTS[-len(flags) :] if interval else [""] * len(flags))
    styles = iter(flags)

    def place(_: Any) -> str:
        name, style = next(names), next(styles)
        return "{" + name + (f":{style}" if style else "") + "}"

    return re.sub(r"\{\}", place, skeleton)


def form_of(cells: list[str]) -> str:
    """Return the form that most cells of a column have; none where none has a number."""
    read_cells = [parts(c) for c in cells]
    usual = Counter(skeleton for skeleton, _, values in read_cells if values).most_common(1)
    if not usual:
        return ""
    alike = [flags for skeleton, flags, _ in read_cells if skeleton == usual[0][0]]
    joined = ["".join(sorted(set("".join(each)))) for each in zip(*alike, strict=True)]
    return formed(usual[0][0], joined)


def content(text: str, form: str) -> Any:
    """Return what a record holds for a cell of a column of that form."""
    skeleton, flags, values = parts(text)
    if not values:
        return text or None
    for own in (form, formed(skeleton, flags)):
        named = "{low" in own and len(values) in (2, 3)
        names = PARTS[-len(values) :]
        held: Any = (
            dict(zip(names, values, strict=True))
            if named
            else values
            if len(values) > 1
            else values[0]
        )
        if PLACE.sub("{}", own) != skeleton:
            continue
        if own != form:
            held = {"form": own} | (held if named else {"values": values})
        if cell(held, form) == text:
            return held
    return text
