"""The input of a call as arguments by a JSON schema: `Convert(3.5, feet, to=m)`.

What stands between the brackets of a call is a list apart by commas, of values in the order of the
schema's properties or of `name=value`; values with a comma stand in quotes. A tool that takes one text
gets the whole input. An object in JSON is understood too.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_INPUT = 4000
"""Characters of an input."""
_NAMED = re.compile(r"(\w+)\s*[=:]\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_OPEN, _CLOSED, _QUOTES = "([{", ")]}", "\"'"
_TRUE, _FALSE, _NOTHING = ("true", "yes"), ("false", "no"), ("null", "none")


def arguments(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that an input gives, by name; ValueError with a few words for a misfit."""
    if len(text) > MAX_INPUT:
        raise ValueError(f"longer than {MAX_INPUT} characters")
    known: dict[str, Any] = dict(schema.get("properties") or {})
    whole = _whole(text, known)
    given = _listed(text, known) if whole is None else whole
    found = {name: value_of(value, known[name], name) for name, value in given.items()}
    missing = [name for name in schema.get("required", ()) if name not in found]
    if missing:
        raise ValueError(f"needs {', '.join(missing)}")
    return found


def _whole(text: str, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of an object in JSON, or of a tool that takes one text; None for a list."""
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and content.keys() <= known.keys():
            return content
    if len(known) != 1 or not text.strip():
        return None
    (name,) = known
    named = _NAMED.fullmatch(text.strip())
    if named and named[1] == name:
        return {name: _unquoted(named[2])}
    return {name: _unquoted(text)}


def _listed(text: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a list of values and of names with values."""
    found: dict[str, Any] = {}
    order = list(known)
    for place, part in enumerate(split(text)):
        named = _NAMED.fullmatch(part)
        name = named[1] if named and named[1] in known else None
        if name is None and place >= len(order):
            raise ValueError(f"takes {len(order)} values, not {len(split(text))}")
        key = name or order[place]
        if key in found:
            raise ValueError(f"gives {key} twice")
        found[key] = _unquoted(named[2] if named and name else part)
    return found


def split(text: str) -> list[str]:
    """Return the parts of a list apart by commas, those in quotes and brackets left whole."""
    parts, depth, quote, start = list[str](), 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and not re.split("[=:]", text[start:place])[-1].strip():
            quote = character
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSED:
            depth = max(0, depth - 1)
        elif character == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    return [] if parts == [""] else parts


def _unquoted(text: str) -> str:
    """Return a value without the quotes around it."""
    text = text.strip()
    quoted = len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]
    return text[1:-1] if quoted else text


def value_of(given: Any, schema: Mapping[str, Any], name: str) -> Any:
    """Return a value as a schema wants it; ValueError that names the argument where it is none."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _any_of(given, choices, name)
    kinds = schema.get("type", "string")
    if isinstance(kinds, list):
        return _any_of(given, [{**schema, "type": kind} for kind in kinds], name)
    value = _READERS.get(kinds, _string)(given, name)
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        shown = ", ".join(str(v) for v in list(allowed)[:5])
        raise ValueError(f"{name} must be one of {shown}")
    _in_range(value, schema, name)
    return value


def _any_of(given: Any, choices: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The value of the first choice that takes it, texts last."""
    reasons = []
    for choice in sorted(choices, key=lambda c: c.get("type") == "string"):
        try:
            return value_of(given, choice, name)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(reasons[-1] if reasons else f"{name} cannot be read")


def _in_range(value: Any, schema: Mapping[str, Any], name: str) -> None:
    """Raise ValueError for a number below the least or above the most that a schema allows."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if "minimum" in schema and value < schema["minimum"]:
        raise ValueError(f"{name} must be at least {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        raise ValueError(f"{name} must be at most {schema['maximum']}")


def _string(given: Any, name: str) -> str:
    if isinstance(given, dict | list):
        raise ValueError(f"{name} must be a text")
    return given if isinstance(given, str) else json.dumps(given)


def _number(given: Any, name: str, wanted: str = "a number") -> float:
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
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


def described(schema: Mapping[str, Any]) -> str:
    """Return in words what an input is: `The input is amount (number), unit (text, may be left out).`"""
    known: Mapping[str, Any] = schema.get("properties") or {}
    if not known:
        return "The input is empty."
    required = schema.get("required", ())
    parts = [
        f"{name} ({_kind(own)}{_default(own, name in required)})" for name, own in known.items()
    ]
    return f"The input is {', '.join(parts)}{', apart by commas' if len(parts) > 1 else ''}."


def _kind(schema: Mapping[str, Any]) -> str:
    """The type of a value in a reader's words."""
    if "enum" in schema:
        return " or ".join(str(value) for value in list(schema["enum"])[:5])
    words = {
        "string": "text",
        "array": "list",
        "boolean": "true or false",
        "integer": "whole number",
    }
    kind = schema.get("type", "string")
    if isinstance(kind, list) or "anyOf" in schema:
        return "value"
    return words.get(kind, str(kind))


def _default(schema: Mapping[str, Any], required: bool) -> str:
    """What stands where a value is left out."""
    if required:
        return ""
    value = schema.get("default")
    return ", may be left out" if value is None else f", {value} where left out"
