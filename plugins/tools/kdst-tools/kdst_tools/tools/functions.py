"""Tools as others define them: a Python function with type hints, or a JSON schema with a function."""

import datetime
import importlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from kdst_core.contracts import Document
from kdst_core.errors import KdstError, did_you_mean
from kdst_tools.tools.kit import Example, FunctionTool
from kdst_tools.tools.schema import arguments, described
from kdst_tools.tools.shown import written

TIMEOUT = 5.0
_TYPES: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    dict: {"type": "object"},
    list: {"type": "array"},
    type(None): {"type": "null"},
    datetime.date: {"type": "string", "format": "date"},
}


def from_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    examples: Sequence[Example] = (),
    timeout: float = TIMEOUT,
    deterministic: bool = True,
) -> FunctionTool:
    """Return a tool of a function whose parameters have type hints; its docstring says what it does.

    The function raises ValueError for what it cannot answer. Calls give its arguments in order or by
    name (`kdst_tools.tools.schema`). name: as the model writes it, by default the function's. examples:
    pairs of a plain text and the same text with calls. Raises KdstError for a hint that no call can
    spell.
    """
    if not callable(function):
        raise KdstError(f"a tool is a name, a function or a tool, not {type(function).__name__}")
    schema = schema_of(function)
    hints = _hints(function)

    def carry_out(given: dict[str, Any]) -> Any:
        return function(**{key: _python(value, hints.get(key)) for key, value in given.items()})

    said = inspect.getdoc(function) or ""
    return from_schema(
        {
            "name": name or _called(function),
            "description": description or said.partition("\n\n")[0],
            "parameters": schema,
        },
        carry_out,
        examples=examples,
        timeout=timeout,
        deterministic=deterministic,
    )


def from_schema(
    definition: Mapping[str, Any],
    function: Callable[[dict[str, Any]], Any],
    *,
    examples: Sequence[Example] = (),
    timeout: float = TIMEOUT,
    deterministic: bool = True,
) -> FunctionTool:
    """Return a tool of a JSON schema, as chat models are given tools, and a function of its arguments.

    definition: {name, description, parameters: JSON schema of an object}, or that under `function`.
    """
    inner: Mapping[str, Any] = definition.get("function") or definition
    schema: Mapping[str, Any] = inner.get("parameters") or {}
    said = " ".join(str(inner.get("description", "")).split())

    def answer(text: str, _document: Document) -> str:
        return written(function(arguments(text, schema)))

    return FunctionTool(
        str(inner["name"]),
        f"{said} {described(schema)}".strip(),
        answer,
        examples,
        timeout=timeout,
        deterministic=deterministic,
    )


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a function's parameters; KdstError where no call can give them."""
    hints = _hints(function)
    properties: dict[str, Any] = {}
    required = []
    parameters = _parameters(function)
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise KdstError(
                f"{_called(function)}: the parameter {name} cannot be given by its name"
            )
        properties[name] = dict(_schema(hints.get(name, str), _called(function), name))
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, str | int | float | bool):
            properties[name]["default"] = parameter.default
    if parameters and not properties:
        raise KdstError(f"{_called(function)} names no parameter that a call can give")
    return {"type": "object", "properties": properties, "required": required}


def _called(function: Callable[..., Any]) -> str:
    """The name of a function, or of the class of what is called like one."""
    return str(getattr(function, "__name__", type(function).__name__))


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function; KdstError for one that is awaited, or that does not say them."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise KdstError(f"{_called(function)} is asynchronous; give a plain function")
    try:
        return inspect.signature(function).parameters
    except ValueError as error:
        raise KdstError(f"{_called(function)} does not say its parameters: {error}") from error


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of a function, those written as text included."""
    try:
        return typing.get_type_hints(function)
    except Exception as error:
        raise KdstError(f"the type hints of {_called(function)} cannot be read: {error}") from error


def _schema(hint: Any, function: str, name: str) -> dict[str, Any]:
    """The JSON schema of one type hint."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        kinds = {type(value) for value in inner}
        kind = _TYPES.get(type(inner[0]), {}) if len(kinds) == 1 else {}
        return {**kind, "enum": list(inner)}
    if origin in (list, Sequence) and inner:
        return {"type": "array", "items": _schema(inner[0], function, name)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(part, function, name) for part in inner]}
    found = _TYPES.get(list if origin in (list, Sequence) else dict if origin is dict else hint)
    if found is None:
        raise KdstError(
            f"{function}: no call can give {name} as {hint}; use str, int, float, bool, list, dict,"
            " datetime.date, Literal or a union of them"
        )
    return found


def _python(value: Any, hint: Any) -> Any:
    """A value of JSON as a function's hint wants it: dates, also those in lists."""
    inner = typing.get_args(hint)
    if isinstance(value, list):
        lists = [h for h in (hint, *inner) if typing.get_origin(h) in (list, Sequence)]
        parts = typing.get_args(lists[0]) if lists else ()
        return [_python(part, parts[0]) for part in value] if parts else value
    if isinstance(value, str) and datetime.date in (hint, *inner):
        return datetime.date.fromisoformat(value.strip())
    return value


def from_source(source: str) -> FunctionTool:
    """Return the tool of FILE.py:FUNCTION or MODULE:FUNCTION; KdstError where there is none.

    What stands there may be a function, or a FunctionTool that was made of one.
    """
    where, _, name = source.rpartition(":")
    if not where or not name:
        raise KdstError(f"--tools python:{source}: write python:FILE.py:FUNCTION")
    module = _module(where, source)
    found = getattr(module, name, None)
    if isinstance(found, FunctionTool):
        return found
    if not callable(found):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise KdstError(
            f"--tools python:{source}: no function {name!r}.{did_you_mean(name, names)}"
        )
    return from_function(found)


def _module(where: str, source: str) -> types.ModuleType:
    """Import a file or a module."""
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        path = Path(where).expanduser()
        if not path.is_file():
            raise KdstError(f"--tools python:{source}: no such file")
        name = f"kdst_tool_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        sys.path.insert(0, str(path.resolve().parent))
        spec.loader.exec_module(module)
    except KdstError:
        raise
    except BaseException as error:
        raise KdstError(
            f"--tools python:{source}: importing it raised {type(error).__name__}: {error}"
        ) from error
    return module
