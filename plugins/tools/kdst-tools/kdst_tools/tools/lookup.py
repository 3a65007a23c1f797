"""A dictionary: look-ups in a CSV file or a SQLite table of the user's."""

from kdst_core.contracts import Tool
from kdst_core.errors import KdstError
from kdst_tools.tools.kit import FunctionTool, needed_path
from kdst_tools.tools.tables import from_csv, from_sqlite

DATABASES = (".db", ".sqlite", ".sqlite3")

EXAMPLES = (
    (
        "The chemical symbol of tungsten is W, after its German name.",
        "The chemical symbol of tungsten is [Lookup(tungsten)] W, after its German name.",
    ),
    (
        "Flights to Lisbon carry the code LIS on the luggage tag.",
        "Flights to Lisbon carry the code [Lookup(Lisbon)] LIS on the luggage tag.",
    ),
    (
        "A standard A4 sheet measures 210 by 297 millimetres.",
        "A standard A4 sheet measures [Lookup(A4)] 210 by 297 millimetres.",
    ),
)


def make(argument: str | None) -> Tool:
    """Return the look-up of FILE.csv, FILE.db or FILE.db#TABLE as a tool."""
    name, _, table = (argument or "").partition("#")
    path = needed_path("lookup", name, "a .csv, .db or .sqlite file", directory=False)
    suffix = path.suffix.lower()
    if suffix not in (".csv", *DATABASES):
        raise KdstError(
            f"the tool lookup reads .csv, {', '.join(DATABASES)} files, not {path.name}"
        )
    find = from_csv(path) if suffix == ".csv" else from_sqlite(path, table or None)
    return FunctionTool(
        "Lookup",
        "The input is a name; the result is what the dictionary says about it.",
        lambda asked, _document: find(asked),
        EXAMPLES,
    )
