"""What a function returned, as the text of a result."""

import datetime
import json
import math
import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def written(result: Any) -> str:
    """Return what a function returned as text; ValueError for nothing and for what no text shows."""
    if isinstance(result, str):
        return result
    if result is None:
        raise ValueError("returned nothing")
    if isinstance(result, Decimal) and result.is_finite():
        return format(result, "f")
    found = _plain(result)
    if isinstance(found, str):
        return found
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float):
        return f"{found or 0.0:.12g}"
    return json.dumps(found, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value in the types of JSON; numbers of other libraries and dates as they are written."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, numbers.Rational):
        return int(value.numerator) if value.denominator == 1 else str(value)
    if isinstance(value, numbers.Real | Decimal):
        if not math.isfinite(value):
            raise ValueError("not a finite number")
        return float(value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise ValueError(f"returned {type(value).__name__}, not text")


def _key(key: Any) -> str:
    """The name of a value in an object."""
    return key if isinstance(key, str) else written(key)
