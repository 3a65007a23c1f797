"""One attrs class becomes flags, environment variables and TOML keys.

typed-settings reads the class and converts the values; this module decides where values come from
(flags beat environment beats TOML) and says in one line what is wrong with one.
"""

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
from attrs import frozen

from kdst_core.errors import KdstError, did_you_mean

METADATA_KEY, WHERE, INFINITE, GROWS = "typed-settings", "where", "infinite", "grows"
RESERVED = frozenset(
    {"KDST_DISABLE", "KDST_ONLY", "KDST_OBSERVE", "KDST_TRACE", "KDST_CACHE", "KDST_TEST_DATA"}
)
LARGEST = 2**63 - 1
"""The largest whole number that every generator, array and file format takes."""
DEEPEST = 20
"""Tables within tables of one option, from which on nothing can be meant."""
SHOWN = 60
"""Characters of a wrong value that a message repeats."""

Validator = Callable[[Any, Any, Any], None]


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    where: bool = False,
    infinite: bool = False,
    grows: bool = False,
) -> Any:
    """Return an attrs field for an options class: default, help text and the range that is allowed.

    `min` and `max` are inclusive, `above` is exclusive. A list or dict default is copied. where: the
    option says where work is done and never what comes of it, so that it is no part of a run's
    configuration and a run may go on elsewhere. infinite: `inf` is a value too; elsewhere it is an error.
    grows: a limit that only decides how far a run gets, never what it finds on its way, so that a run may
    be resumed with a higher one.
    """
    metadata = {METADATA_KEY: {"help": help, WHERE: where, INFINITE: infinite, GROWS: grows}}
    validator = _in_range(min, max, above)
    if isinstance(default, list | dict):
        return attrs.field(factory=default.copy, metadata=metadata, validator=validator)
    return attrs.field(default=default, metadata=metadata, validator=validator)


def _in_range(low: float | None, high: float | None, above: float | None) -> Validator:
    """Return a validator that names the allowed range."""

    def check(instance: Any, attribute: Any, value: Any) -> None:
        for v in value if isinstance(value, list | tuple) else [value]:
            if v is None or isinstance(v, str):
                continue
            name = attribute.name
            if v != v:
                raise ValueError(f"{name} must be a number, not {v}")
            if low is not None and v < low:
                raise ValueError(f"{name} must be at least {low:g}, not {v:g}")
            if above is not None and v <= above:
                raise ValueError(f"{name} must be above {above:g}, not {v:g}")
            if high is not None and v > high:
                raise ValueError(f"{name} must be at most {high:g}, not {v:g}")

    return check


@frozen
class Section:
    """One options class as a part of a command: its title in the help and its table in TOML."""

    title: str
    table: str
    cls: type


@frozen
class Item:
    """One option of a section, as every source of values names it."""

    section: Section
    path: str
    type: Any
    default: Any
    help: str
    where: bool = False
    infinite: bool = False
    grows: bool = False

    @property
    def flag(self) -> str:
        """The long flag, `--sgld-steps`."""
        return "--" + self.path.replace(".", "-").replace("_", "-")

    def variable(self, prefix: str) -> str:
        """The environment variable, `KDST_TEA_SGLD_STEPS`."""
        return prefix + self.path.replace(".", "_").upper()


@frozen
class Given:
    """A value as it was given and where, for the message when it is wrong."""

    value: Any
    origin: str
    base_dir: Path


def items(section: Section) -> list[Item]:
    """Return the options of a section, nested classes included, in the order of the class."""
    return [
        Item(
            section,
            info.path,
            info.cls,
            _default(info),
            str(info.metadata.get("help", "")),
            *(bool(info.metadata.get(key, False)) for key in (WHERE, INFINITE, GROWS)),
        )
        for info in _infos(section.cls)
    ]


@lru_cache(maxsize=64)
def _infos(cls: type) -> tuple[Any, ...]:
    """Return what typed-settings knows of the options of a class, for which it reads its source."""
    from typed_settings import cls_utils

    return tuple(cls_utils.deep_options(cls))


def _default(info: Any) -> Any:
    """Return an option's default; factories are called, since their results are cheap and plain."""
    if info.has_no_default:
        raise KdstError(f"option {info.path!r} of {info.parent_cls.__name__} needs a default value")
    return info.default.factory() if info.default_is_factory else info.default


def env_prefix(method: str) -> str:
    """Return the prefix of a method's environment variables."""
    return f"KDST_{method.upper().replace('-', '_')}_"


def from_environment(
    all_items: Iterable[Item],
    method: str,
    other_methods: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Given]:
    """Return the options given by `KDST_<METHOD>_…` variables, by flag.

    Raises KdstError for a variable with the method's prefix that names no option. Variables that
    belong to another method with a longer name are left to it; those of two methods whose names differ
    in case or dashes alone are refused.
    """
    prefix = env_prefix(method)
    if not any(name.startswith(prefix) for name in environ):
        return {}
    other_methods = list(other_methods)
    twin = next((other for other in other_methods if env_prefix(other) == prefix), "")
    by_name = {item.variable(prefix): item for item in all_items}
    longer = [p for p in map(env_prefix, other_methods) if p != prefix and p.startswith(prefix)]
    found: dict[str, Given] = {}
    for name, value in environ.items():
        if not name.startswith(prefix) or name in RESERVED or name.startswith(tuple(longer)):
            continue
        if twin:
            raise KdstError(
                f"environment variable {name} is of {method} and of {twin}.\nGive the option as a flag or"
                " in a file, and unset the variable"
            )
        if name not in by_name:
            hint = did_you_mean(name, by_name)
            raise KdstError(f"environment variable {name} names no option of {method}.{hint}")
        found[by_name[name].flag] = Given(value, f"environment variable {name}", Path.cwd())
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; KdstError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise KdstError(f"cannot read configuration {path}: {e.strerror}") from e
    except ValueError as e:
        raise KdstError(f"configuration {path} is not valid TOML: {e}") from e
    except RecursionError:
        raise KdstError(f"configuration {path} is nested too deeply") from None


def from_toml(
    path: Path, all_items: list[Item], other_tables: Iterable[str] = ()
) -> dict[str, Given]:
    """Return the options given by a TOML file, by flag.

    Tables of other installed methods are skipped, so that one file can serve several. Raises
    KdstError for an unknown table or key. Relative paths are taken from the file's directory.
    """
    by_table: dict[str, dict[str, Item]] = {}
    for item in all_items:
        by_table.setdefault(item.section.table, {})[item.path] = item
    known = {*by_table, *other_tables}
    found: dict[str, Given] = {}
    for table, content in read_toml(path).items():
        if table not in known:
            raise KdstError(f"{path}: unknown table [{table}]." + did_you_mean(table, known))
        if not isinstance(content, dict):
            raise KdstError(f"{path}: {table} must be a table, [{table}], not a value")
        if table not in by_table:
            continue
        for key, value in _leaves(content, by_table[table]):
            if key not in by_table[table]:
                hint = did_you_mean(key, by_table[table])
                raise KdstError(f"{path}: [{table}] has no option {key!r}.{hint}")
            origin = f"{path} [{table}] {key}"
            if by_table[table][key].flag in found:
                raise KdstError(f"{path}: [{table}] has {key!r} twice, with '-' and with '_'")
            found[by_table[table][key].flag] = Given(value, origin, path.resolve().parent)
    return found


def _leaves(
    content: Mapping[str, Any], known: Mapping[str, Item], prefix: str = ""
) -> Iterable[tuple[str, Any]]:
    """Flatten nested tables to dotted keys; a table that is an option's own value stays whole."""
    if prefix.count(".") > DEEPEST:
        raise KdstError(f"option {prefix[:SHOWN]}… is nested too deeply; no option is")
    for key, value in content.items():
        path = prefix + key.replace("-", "_")
        if isinstance(value, dict) and path not in known:
            yield from _leaves(value, known, path + ".")
        else:
            yield path, value


def build(section: Section, given: Mapping[str, Given]) -> Any:
    """Return an instance of the section's class from the values given, by flag.

    Its class method `complete`, if any, gets them by path and returns those that it is made of.
    Raises KdstError that names the origin of the value which does not fit.
    """
    converter = _converter()
    nested: dict[str, Any] = {}
    for item in items(section):
        if item.flag in given:
            _set(nested, item.path, _convert(item, given[item.flag], converter))
    nested = getattr(section.cls, "complete", dict)(nested)
    try:
        converter.scalar_converters[float] = _already_float
        return converter.structure(nested, section.cls)
    except Exception as e:
        raise KdstError(_structure_message(section, given, e)) from e


def _structure_message(section: Section, given: Mapping[str, Given], error: Exception) -> str:
    """Name the source of an option that its class refused."""
    for item in items(section):
        name = item.path.rpartition(".")[2]
        if item.flag in given and re.search(rf"\b{name}\b", str(error)):
            return f"{given[item.flag].origin}: {error}"
    return f"options of {section.table}: {error}"


def _convert(item: Item, given: Given, converter: Any) -> Any:
    """Convert one value, or say what was given and what is allowed."""
    from typed_settings.converters import get_path_converter_from

    if any("\ud800" <= c <= "\udfff" for c in str(given.value)):
        raise KdstError(f"{given.origin}: {given.value!r} has bytes that are no text in UTF-8")
    if item.infinite and str(given.value).strip().lower() in ("inf", "+inf", "infinity"):
        return math.inf
    try:
        with get_path_converter_from(converter).chdir(given.base_dir):
            value = converter.structure(given.value, item.type)
        if isinstance(value, float) and math.isinf(value):  # where None is a value, any is taken
            raise OverflowError("it must be finite")
        return value
    except Exception as e:
        allowed = type_name(item.type)
        shown = repr(given.value)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        raise KdstError(f"{given.origin}: {shown} is not {allowed}{_limit(e)}") from e


def _limit(error: BaseException | None) -> str:
    """Return which limit a number broke, '' where it is none of size; a list's items are causes."""
    while error is not None:
        if isinstance(error, OverflowError):
            return f" that can be computed with: {error}"
        inner = getattr(error, "exceptions", ())
        error = inner[0] if inner else error.__cause__ or error.__context__
    return ""


def _converter() -> Any:
    """Return typed-settings' converter with commas in lists and no silent truncation of numbers."""
    from typed_settings.converters import TSConverter

    converter = TSConverter(
        strlist_sep=lambda text: [part.strip() for part in text.split(",") if part.strip()]
    )
    converter.scalar_converters.update({int: _to_int, float: _to_float, str: _to_str})
    return converter


def _to_int(value: Any, _cls: type) -> int:
    """Convert to int; a bool, a fraction or more than 63 bits is an error."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    number = int(value)
    if abs(number) > LARGEST:
        raise OverflowError(f"whole numbers go up to {LARGEST}")
    return number


def _to_float(value: Any, _cls: type) -> float:
    """Convert to float; a bool, NaN or infinity is an error."""
    if isinstance(value, bool):
        raise ValueError(value)
    number = float(value)
    if not math.isfinite(number):
        raise OverflowError("it must be finite")
    return number


def _already_float(value: Any, _cls: type) -> float:
    """Return a number that `_convert` has let through, infinity where the option takes it."""
    return float(value)


def _to_str(value: Any, _cls: type) -> str:
    """Convert a scalar to text; a list or a table is an error."""
    if isinstance(value, list | tuple | dict):
        raise ValueError(value)
    return str(value)


def _set(nested: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested dicts."""
    *parents, leaf = path.split(".")
    for parent in parents:
        nested = nested.setdefault(parent, {})
    nested[leaf] = value


def type_name(tp: Any) -> str:
    """Return a type in a user's words: 'a whole number', 'one of a, b', 'a list of numbers'."""
    origin, args = get_origin(tp), get_args(tp)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (list, tuple, set, frozenset):
        return f"a list, each {type_name(args[0])}"
    rest = [a for a in args if a is not type(None)]
    if rest and len(rest) < len(args):
        return type_name(rest[0])
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(tp, "a text")


def plain(instance: Any) -> dict[str, Any]:
    """Return what options decide as plain values for TOML and JSON; paths become text."""

    def serialise(_instance: Any, _field: Any, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    def decides(field: Any, _value: Any) -> bool:
        return not field.metadata.get(METADATA_KEY, {}).get(WHERE, False)

    return attrs.asdict(instance, filter=decides, value_serializer=serialise)
