"""The user's folder for what can be made again: found by variables, the same for every plugin."""

import os
from pathlib import Path

from kdst_core.errors import KdstError


def user_cache(name: str) -> Path:
    """Return the folder `name` of kdst's cache; it need not exist.

    It lies in `$KDST_CACHE`, else in `kdst` below `$XDG_CACHE_HOME`, which counts only where it is
    absolute, else below `~/.cache`. KdstError where there is no such home.
    """
    if given := os.environ.get("KDST_CACHE"):
        try:
            return Path(given).expanduser().absolute() / name
        except RuntimeError as e:
            raise KdstError(f"KDST_CACHE is {given!r}: {e}") from e
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return home / "kdst" / name
