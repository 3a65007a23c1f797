"""What a sweep's TOML file says: methods, seeds, options of all, grids, lists, named cases."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from attrs import field, frozen

from kdst_batch.entrants import parse_seeds
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import read_toml

KEYS = ("methods", "seeds", "options", "grid", "list", "case")
CASE_KEYS = ("name", "method", "seeds")

Values = Mapping[str, Any]


@frozen
class Setting:
    """Values of one option: of the methods that have it, or of the one that is named."""

    flag: str
    method: str
    values: tuple[Any, ...]
    origin: str

    def fits(self, method: str, flags: set[str]) -> bool:
        """Return whether a method takes it."""
        return self.flag in flags and self.method in ("", method)


@frozen
class Block:
    """Cases that are planned together: every method with every combination and every seed.

    name: of a named case, else empty. fixed: one value each. grid: every value with every other.
    steps: the first values together, then the second.
    """

    name: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    fixed: tuple[Setting, ...]
    grid: tuple[Setting, ...] = ()
    steps: tuple[Setting, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All of them."""
        return (*self.fixed, *self.grid, *self.steps)

    def count(self, method: str, flags: set[str]) -> int:
        """Return how many cases a method makes, which may be more than can be listed."""
        grid = [len(s.values) for s in self.grid if s.fits(method, flags)]
        steps = [len(s.values) for s in self.steps if s.fits(method, flags)]
        return math.prod(grid) * max(steps, default=1) * len(self.seeds)

    def combinations(self, method: str, flags: set[str]) -> Iterator[dict[str, tuple[Any, str]]]:
        """Yield what varies for a method: option by flag, with the place that gave it."""
        grid = [s for s in self.grid if s.fits(method, flags)]
        steps = [s for s in self.steps if s.fits(method, flags)]
        rows = list(zip(*(s.values for s in steps), strict=True)) or [()]
        for values in product(*(s.values for s in grid), rows):
            *single, row = values
            chosen = [*zip(grid, single, strict=True), *zip(steps, row, strict=True)]
            yield {s.flag: (value, s.origin) for s, value in chosen}


@frozen
class SweepFile:
    """A sweep as its file describes it."""

    path: Path
    blocks: tuple[Block, ...] = field(repr=False)


def read(path: Path) -> SweepFile:
    """Return what a file says; KdstError names the key that is wrong."""
    content = read_toml(path)
    for key in content:
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise KdstError(f"{path}: unknown key {key!r}.{did_you_mean(key, KEYS)} Known: {known}")
    named = content.get("case", [])
    if not isinstance(named, list) or not all(isinstance(c, dict) for c in named):
        raise KdstError(f"{path}: write each named case as a table [[case]]")
    methods = _methods(path, content.get("methods", []))
    seeds = _seeds(path, content.get("seeds", 0))
    scopes = {_plain(m) for m in [*methods, *(str(c.get("method", "")) for c in named)]}
    fixed = _settings(path, "options", content.get("options", {}), scopes, several=False)
    blocks = []
    if methods:
        grid = _settings(path, "grid", content.get("grid", {}), scopes, several=True)
        steps = _settings(path, "list", content.get("list", {}), scopes, several=True)
        _refuse_uneven(path, steps)
        blocks.append(Block("", methods, seeds, fixed, grid, steps))
    blocks += [_named(path, case, seeds, fixed, scopes) for case in named]
    if not blocks:
        raise KdstError(f"{path} names no methods; write methods = ['tea', 'tent'] or a [[case]]")
    names = [b.name for b in blocks if b.name]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise KdstError(f"{path}: two cases are named {twice!r}")
    return SweepFile(path, tuple(blocks))


def _named(
    path: Path, case: Values, seeds: tuple[int, ...], fixed: tuple[Setting, ...], scopes: set[str]
) -> Block:
    """Return one named case; its options beat those of all cases."""
    name, method = case.get("name"), case.get("method")
    if not isinstance(name, str) or not isinstance(method, str):
        raise KdstError(f"{path}: every [[case]] needs a name and a method, as texts")
    own = {k: v for k, v in case.items() if k not in CASE_KEYS}
    settings = _settings(path, f"case {name}", own, scopes, several=False)
    mine = {s.flag for s in settings}
    kept = tuple(s for s in fixed if s.flag not in mine)
    chosen = _seeds(path, case["seeds"]) if "seeds" in case else seeds
    return Block(name, (method,), chosen, (*kept, *settings))


def _plain(word: str) -> str:
    """Return the name of a method without its own options and its package."""
    return word.partition(":")[0].rpartition("/")[2]


def _methods(path: Path, value: Any) -> tuple[str, ...]:
    """Return the methods as `kdst compare` takes them."""
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise KdstError(f"{path}: methods must be a list of names, such as ['tea', 'tent']")
    return tuple(dict.fromkeys(value))


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    """Return the seeds of 0, '0-2' or [0, 1]."""
    words = value if isinstance(value, list) else [value]
    try:
        seeds = parse_seeds(",".join(map(str, words))) if words else []
    except KdstError as e:
        reason = str(e).removeprefix("--seeds ").replace("0, 0-2 or 1,5,7", "0, '0-2' or [0, 1]")
        raise KdstError(f"{path}: seeds = {reason}") from e
    if not seeds:
        raise KdstError(f"{path}: seeds is empty")
    return tuple(dict.fromkeys(seeds))


def _settings(
    path: Path, table: str, content: Any, scopes: set[str], *, several: bool
) -> tuple[Setting, ...]:
    """Return the settings of a table; a table in it that is named after a method is that method's."""
    if not isinstance(content, dict):
        raise KdstError(f"{path}: {table} must be a table, [{table}], not a value")
    settings = []
    for name, value in _leaves(content):
        scope, _, rest = name.partition(".")
        method, option = (scope, rest) if rest and scope in scopes else ("", name)
        origin = f"{path} [{table}] {name}"
        if several and (not isinstance(value, list) or not value):
            raise KdstError(f"{origin}: give a list of values, not {value!r}")
        flag = "--" + option.replace(".", "-").replace("_", "-")
        if flag == "--seed":
            raise KdstError(f"{origin}: write seeds = [0, 1] at the top of the file instead")
        settings.append(Setting(flag, method, tuple(value) if several else (value,), origin))
    return tuple(settings)


def _leaves(content: Values, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of nested tables."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}".replace("-", "_"), value


def _refuse_uneven(path: Path, steps: Sequence[Setting]) -> None:
    """Raise KdstError when lists that go in step are of different lengths."""
    if len({len(s.values) for s in steps}) > 1:
        lengths = ", ".join(f"{s.flag[2:]} {len(s.values)}" for s in steps)
        raise KdstError(f"{path} [list]: values go in step, so give as many of each ({lengths})")
