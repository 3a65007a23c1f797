"""What a comparison consists of: a run for each method, variant of the inputs and seed, named by digest."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from attrs import frozen

from kdst_batch.compare.digest import digest
from kdst_core.bench.compare import Refusing
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import Given, build, plain
from kdst_core.plugins import registry
from kdst_core.runs.result import load_result
from kdst_core.runs.rundir import CONFIG, slug
from kdst_core.runs.setup import Setup, merge, setup_of

Values = Mapping[str, Given]
MOST_RUNS = 100_000
"""Seeds of a comparison, and cases of a sweep: more is a slip, and takes hours to plan."""
DIGITS = 12
"""Hexadecimal digits of a digest in the name of a run's directory."""


@frozen
class Contestant:
    """A method as it takes part: `tea`, or `tea:profile=fast,lr=.01` with options of its own.

    run: the directory of a finished run that takes part as it is, with its seed.
    """

    label: str
    chosen: Setup
    own: Values
    run: Path | None = None
    seed: int = 0


@frozen
class Cell:
    """One run of a comparison: who, on what, with which seed, in which directory.

    random: whether another seed could give another result.
    """

    label: str
    variant: str
    seed: int
    chosen: Setup
    given: Values
    directory: Path
    random: bool


def contestant(word: str) -> Contestant:
    """Return the contestant that a word names; KdstError for an unknown method or option.

    The directory of a run is one, too, unless a method has that name.
    """
    if (Path(word) / CONFIG).is_file() and word not in {p.name for p in registry.discover()}:
        return finished(Path(word))
    name, _, options = word.partition(":")
    chosen = setup_of(name)
    known = {item.flag for item in chosen.items if item.section.table == chosen.method.name}
    own: dict[str, Given] = {}
    for part in filter(None, options.split(",")):
        key, equals, value = part.partition("=")
        flag = "--" + key.strip().replace("_", "-")
        if not equals:
            raise KdstError(f"{word}: {part!r} is not option=value")
        if flag not in known:
            raise KdstError(f"{word}: {name} has no option {key!r}.{did_you_mean(flag, known)}")
        if flag in own:
            raise KdstError(f"{word}: {flag} is given twice")
        own[flag] = Given(value, word, Path.cwd())
    return Contestant(word, chosen, own)


def finished(directory: Path) -> Contestant:
    """Return a finished run as a contestant, named by its method and the options that it changed."""
    result = load_result(directory).data
    chosen = setup_of(f"{result['plugin']}/{result['method']}")
    defaults = plain(build(chosen.sections[1], {}))
    changed = [f"{k}={v}" for k, v in result["options"].items() if defaults.get(k) != v]
    label = ":".join(filter(None, (result["method"], ",".join(changed))))
    return Contestant(label, chosen, {}, directory, result["seed"])


def contestants(words: Sequence[str]) -> list[Contestant]:
    """Return all contestants; KdstError when they are of several capabilities or named twice."""
    if len(set(words)) < len(words):
        twice = next(w for w in words if words.count(w) > 1)
        raise KdstError(f"{twice} is named twice")
    found = [contestant(w) for w in words]
    runs = [(c.label, c.seed) for c in found if c.run is not None]
    if len(set(runs)) < len(runs):
        label, seed = next(r for r in runs if runs.count(r) > 1)
        raise KdstError(
            f"two of the runs are of the same method, options and seed: {label}, {seed}"
        )
    kinds = {c.chosen.method.plugin.capability for c in found}
    if len(kinds) > 1:
        raise KdstError(f"methods of different capabilities cannot be compared: {', '.join(kinds)}")
    return found


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of '0', '0-2' or '1,5,7'; KdstError for anything else, and for too many."""
    found: list[int] = []
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,40})(?:-([0-9]{1,40}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise KdstError(f"--seeds {shown!r} is not understood; give 0, 0-2 or 1,5,7")
        several = range(int(match[1]), int(match[2] or match[1]) + 1)
        if several.stop - several.start + len(found) > MOST_RUNS:
            raise KdstError(f"--seeds {shown!r} are too many; at most {MOST_RUNS:,}")
        found += several
    return list(dict.fromkeys(found))


def variants(given: Mapping[str, Sequence[Given]]) -> dict[str, Values]:
    """Return every combination of inputs that were given several times, by a name ('' when one)."""
    several = [flag for flag, values in given.items() if len(values) > 1]
    combinations = product(*given.values())
    return {
        " ".join(f"{f} {v.value}" for f, v in zip(given, c, strict=True) if f in several): dict(
            zip(given, c, strict=True)
        )
        for c in combinations
    }


def cells(
    found: Sequence[Contestant],
    given: Mapping[str, Sequence[Given]],
    seeds: Sequence[int],
    runs: Path,
    config: Path | None = None,
) -> list[Cell]:
    """Return every run of a comparison; a method that draws nothing gets the first seed only.

    given: values by flag, several for an input that varies. Raises KdstError for a value that does
    not fit, before anything is run.
    """
    common = {item.flag for c in found for item in c.chosen.items}
    several = variants(given)
    fixed = [c.run for c in found if c.run is not None]
    if fixed and len(several) > 1:
        raise KdstError(f"{fixed[0]} is a finished run; it cannot be compared on inputs that vary")
    unknown = [flag for flag in given if flag not in common]
    if unknown:
        raise KdstError(f"no method has the option {unknown[0]}.{did_you_mean(unknown[0], common)}")
    return [
        _cell(c, variant, values, seed, runs, config)
        for variant, values in several.items()
        for c in found
        for seed in _seeds(c, values, seeds, config)
    ]


def _values(c: Contestant, values: Values, seed: int, config: Path | None) -> dict[str, Given]:
    """Return what a contestant takes of the values given, with its own and the seed."""
    flags = {item.flag for item in c.chosen.items}
    taken = {flag: value for flag, value in values.items() if flag in flags}
    seeded = {"--seed": Given(seed, "--seeds", Path.cwd())}
    return merge(c.chosen, {**taken, **c.own, **seeded}, config)


def _seeds(
    c: Contestant, values: Values, seeds: Sequence[int], config: Path | None
) -> Sequence[int]:
    """Return the seeds that can differ for a contestant."""
    if c.run is not None:
        return [c.seed]
    merged = _values(c, values, seeds[0], config)
    return seeds if _is_random(c.chosen, merged) else seeds[:1]


def _is_random(chosen: Setup, merged: Values) -> bool:
    """Return whether method or inputs draw random numbers."""
    inputs = build(chosen.sections[0], merged)
    seeded = getattr(chosen.bench, "seeded", None)
    return chosen.method.description.random or seeded is None or bool(seeded(inputs))


def _cell(
    c: Contestant, variant: str, values: Values, seed: int, runs: Path, config: Path | None
) -> Cell:
    """Return one run with its directory."""
    if c.run is not None:
        return Cell(c.label, variant, seed, c.chosen, {}, c.run, True)
    merged = _values(c, values, seed, config)
    if isinstance(c.chosen.bench, Refusing):
        c.chosen.bench.refuse(c.chosen.method, build(c.chosen.sections[0], merged))
    name = f"{slug(c.chosen.method.name)}-{digest(c.chosen, merged)[:DIGITS]}"
    random = _is_random(c.chosen, merged)
    return Cell(c.label, variant, seed, c.chosen, merged, runs / name, random)


def without_duplicates(found: Sequence[Cell]) -> list[Cell]:
    """Return one cell for each directory: two labels may name the same run."""
    return list({cell.directory: cell for cell in reversed(found)}.values())[::-1]
