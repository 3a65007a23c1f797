"""The day that the calendar answers with where a text has no date of its own."""

import datetime

from kdst_core.errors import KdstError


def day(given: str | None) -> datetime.date:
    """Return the day of `--date`, or today where none was given; KdstError for what is no date."""
    if given is None:
        return datetime.date.today()
    try:
        return datetime.date.fromisoformat(given.strip())
    except ValueError:
        raise KdstError(
            f"--date {given[:40]!r} is no date; write it as YYYY-MM-DD, for example 2024-03-15"
        ) from None
