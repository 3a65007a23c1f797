"""The value of one argument as a JSON schema wants it, from JSON or from what a model wrote."""

import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_TRUE, _FALSE, _NOTHING = ("true", "yes"), ("false", "no"), ("null", "none")
_MOST = 10**30
"""Whole numbers are smaller than this."""
_EXACT = 2**53
"""Up to here every whole number is one of floating point."""
_BOUNDS = (
    ("minimum", operator.ge, "be at least"),
    ("maximum", operator.le, "be at most"),
    ("exclusiveMinimum", operator.gt, "be above"),
    ("exclusiveMaximum", operator.lt, "be below"),
)
_LENGTHS = (
    ("minLength", operator.ge, "have a length of at least"),
    ("maxLength", operator.le, "have a length of at most"),
)


def value_of(given: Any, schema: Mapping[str, Any], name: str) -> Any:
    """Return a value as a schema wants it; ValueError that names the argument where it is none."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _any_of(given, choices, name)
    if "enum" in schema or "const" in schema:
        return _chosen(given, list(schema["enum"] if "enum" in schema else [schema["const"]]), name)
    if "type" not in schema and isinstance(schema.get("allOf"), list) and schema["allOf"]:
        first, *_ = [value_of(given, part, name) for part in schema["allOf"]]
        return first
    kinds = schema.get("type", "string")
    if isinstance(kinds, list):
        return _any_of(given, [{**schema, "type": kind} for kind in kinds], name)
    value = _READERS.get(kinds, _string)(given, name)
    _in_bounds(value, schema, name)
    return _inside(value, schema, name)


def _chosen(given: Any, allowed: Sequence[Any], name: str) -> Any:
    """The allowed value that a call spells, of whatever type; ValueError that lists some for another."""
    for value in allowed:
        if type(value) is type(given) and value == given:
            return value
    said = given.strip() if isinstance(given, str) else json.dumps(given)
    for value in allowed:
        if not isinstance(value, str) and json.dumps(value) == said:
            return value
    if isinstance(given, str) and _NUMBER.fullmatch(said):
        numbers = [v for v in allowed if isinstance(v, int | float) and not isinstance(v, bool)]
        for value in numbers:
            if value == float(said):
                return value
    shown = ", ".join(v if isinstance(v, str) else json.dumps(v) for v in allowed[:5])
    raise ValueError(f"{name} must be one of {shown}")


def _inside(value: Any, schema: Mapping[str, Any], name: str) -> Any:
    """A list or an object with its parts as the schema wants them."""
    items, known = schema.get("items"), schema.get("properties")
    if isinstance(value, list) and isinstance(items, dict):
        return [value_of(part, items, f"{name}[{i}]") for i, part in enumerate(value)]
    if not isinstance(value, dict) or not isinstance(known, dict):
        return value
    missing = [key for key in schema.get("required", ()) if key not in value]
    if missing:
        raise ValueError(f"{name} needs {', '.join(map(str, missing))}")
    return {
        key: value_of(part, known[key], f"{name}.{key}") if key in known else part
        for key, part in value.items()
    }


def _any_of(given: Any, choices: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The value of the first choice that takes it, texts last; ValueError of one that is not null."""
    reasons = list[str]()
    for choice in sorted(choices, key=lambda c: c.get("type") == "string"):
        try:
            return value_of(given, choice, name)
        except ValueError as error:
            reasons.insert(0 if choice.get("type") == "null" else len(reasons), str(error))
    raise ValueError(reasons[-1] if reasons else f"{name} cannot be read")


def _in_bounds(value: Any, schema: Mapping[str, Any], name: str) -> None:
    """Raise ValueError for a number outside the bounds of a schema, and for a text of another length."""
    size = len(value) if isinstance(value, str) else value
    if isinstance(size, bool) or not isinstance(size, int | float):
        return
    for key, holds, words in _LENGTHS if isinstance(value, str) else _BOUNDS:
        bound = schema.get(key)
        if (
            isinstance(bound, int | float)
            and not isinstance(bound, bool)
            and not holds(size, bound)
        ):
            raise ValueError(f"{name} must {words} {bound}")


def _string(given: Any, name: str) -> str:
    if given is None or isinstance(given, dict | list):
        raise ValueError(f"{name} must be a text")
    return given if isinstance(given, str) else json.dumps(given)


def _number(given: Any, name: str, wanted: str = "a number") -> int | float:
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < _MOST:
        return given
    if isinstance(given, float) and math.isfinite(given):
        return given
    if not isinstance(given, str) or not _NUMBER.fullmatch(given.strip()):
        raise ValueError(f"{name} must be {wanted}")
    value = float(given)
    if not math.isfinite(value):
        raise ValueError(f"{name} is too large")
    return value


def _integer(given: Any, name: str) -> int:
    if isinstance(given, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,30}\s*", given):
        return int(given)
    value = _number(given, name, "a whole number")
    if abs(value) > _EXACT and not isinstance(value, int):
        raise ValueError(f"{name} is too large")
    if value != int(value):
        raise ValueError(f"{name} must be a whole number")
    return int(value)


def _boolean(given: Any, name: str) -> bool:
    said = str(given).strip().lower()
    if said not in (*_TRUE, *_FALSE):
        raise ValueError(f"{name} must be true or false")
    return said in _TRUE


def _null(given: Any, name: str) -> None:
    if given is not None and str(given).strip().lower() not in _NOTHING:
        raise ValueError(f"{name} must be null")


def _array(given: Any, name: str) -> list[Any]:
    return _json(given, name, list, "a list in JSON")


def _object(given: Any, name: str) -> dict[str, Any]:
    return _json(given, name, dict, "an object in JSON")


def _json(given: Any, name: str, kind: type, wanted: str) -> Any:
    """A value in JSON of one kind."""
    try:
        value = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be {wanted}")
    return value


_READERS: dict[str, Any] = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "null": _null,
    "array": _array,
    "object": _object,
}
