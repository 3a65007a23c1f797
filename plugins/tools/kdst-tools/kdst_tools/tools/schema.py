"""The input of a call as arguments by a JSON schema: `Convert(3.5, feet, to=m)`.

What stands between the brackets of a call is a list apart by commas, of values in the order of the
schema's properties or of `name=value`; values with a comma stand in quotes. A tool that takes one text
gets the whole input. An object in JSON is understood too.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from kdst_tools.tools.values import value_of

MAX_INPUT = 4000
"""Characters of an input."""
_NAMED = re.compile(r"(\w+)\s*[=:]\s*(.*)", re.DOTALL)
_OPEN, _CLOSED, _QUOTES = "([{", ")]}", "\"'"


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
        if isinstance(content, dict):
            unknown = [name for name in content if name not in known]
            if not unknown:
                return content
            if len(known) > 1:
                raise ValueError(f"takes no {str(unknown[0])[:40]}; it takes {', '.join(known)}")
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
    order, behind_name = list(known), False
    for place, part in enumerate(split(text)):
        named = _NAMED.fullmatch(part)
        name = named[1] if named and named[1] in known else None
        if name is None and place >= len(order):
            raise ValueError(f"takes {len(order)} values, not {len(split(text))}")
        if name is None and behind_name:
            raise ValueError(f"the value {part[:20]!r} has no name, and stands behind one that has")
        behind_name = behind_name or name is not None
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
