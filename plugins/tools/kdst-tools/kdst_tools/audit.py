"""Whether the files of a model hold all of its weights; transformers makes up those that are missing."""

from collections.abc import Mapping
from typing import Any

from kdst_core.errors import KdstError


def require_whole(loading: Mapping[str, Any], name: str) -> None:
    """Raise KdstError where weights were made up, since the files lack them or have them in another shape.

    loading: what `from_pretrained(…, output_loading_info=True)` says besides the model. name: as the user
    gave it.
    """
    missing = sorted(map(str, loading.get("missing_keys") or ()))
    other = sorted(str(key[0]) for key in loading.get("mismatched_keys") or ())
    if not missing and not other:
        return
    what, which = ("lack", missing) if missing else ("have in another shape", other)
    more = f" and {len(which) - 1} more" if len(which) > 1 else ""
    raise KdstError(
        f"{name} is not whole: its files {what} the weight {which[0]}{more}.\n"
        "transformers would put random numbers there; get the files again, or the model they belong to"
    )
