"""What a page says of how a figure was measured, and the commit that brought it into the page."""

import datetime
import re
import subprocess
from pathlib import Path

from figures.pages import Segment
from figures.reading import measured
from figures.records import Record

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
UNKNOWN = "not recorded"


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
    newest = [t.stdout.strip() for t in told]
    if not all(newest):
        return "a change of today", datetime.date.today().isoformat()
    date, _, commit = max(newest).partition(" ")
    return commit, date
