"""What is to be run: a case for each entrant, combination of values and seed, in a directory of its own."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from attrs import field, frozen

from kdst_batch.comparable import Refusing
from kdst_batch.digest import digest, of_inputs
from kdst_batch.entrants import MOST_RUNS, Entrant, entrant
from kdst_batch.file import Block, Setting, SweepFile
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import Given, build
from kdst_core.runs.rundir import RESULT, slug
from kdst_core.runs.setup import Setup, merge

Values = Mapping[str, Given]
SHARED = "shared"
"""Folder beside the runs for what several of them use."""
DIGITS = 12
"""Hexadecimal digits of a digest in the name of a run's directory."""


@frozen
class Case:
    """One run: who, with which values and seed, in which directory.

    varied: options that differ between cases, by name. variant: inputs of a comparison that vary, as
    text. name: of a named case of a file, else empty.
    """

    entrant: Entrant
    seed: int
    given: Values
    directory: Path
    varied: Mapping[str, Any] = field(factory=dict)
    variant: str = ""
    name: str = ""

    @property
    def method(self) -> str:
        """The method as it was named."""
        return self.entrant.label

    @property
    def row(self) -> str:
        """What cases of one row and several seeds share."""
        options = [f"{k}={_text(v)}" for k, v in self.varied.items()]
        return " ".join([self.name or self.method, *options])

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"{self.row} seed={self.seed}"

    @property
    def is_done(self) -> bool:
        """Whether it has its result."""
        return (self.directory / RESULT).exists()


def _text(value: Any) -> str:
    """Return a value as one word."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def place(setup: Setup, values: Values, runs: Path) -> Path:
    """Return the directory of a run, whose name says all that decides its result."""
    return runs / f"{slug(setup.method.name)}-{digest(setup, values)[:DIGITS]}"


def one_a_directory(cases: Sequence[Case]) -> list[Case]:
    """Return one case for each directory: two labels may name the same run."""
    return list({case.directory: case for case in reversed(cases)}.values())[::-1]


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


def of_comparison(
    everyone: Sequence[Entrant],
    given: Mapping[str, Sequence[Given]],
    seeds: Sequence[int],
    runs: Path,
    config: Path | None = None,
    *,
    paired: bool = True,
) -> list[Case]:
    """Return every case of a comparison; a method that draws nothing gets the first seed only.

    given: values by flag, several for an input that varies. paired: whether runs are compared with each
    other; else the bench does not refuse what it cannot pair. Raises KdstError for a value that does not
    fit, before anything is run.
    """
    several = variants(given)
    fixed = [who.run for who in everyone if who.run is not None]
    if fixed and len(several) > 1:
        raise KdstError(f"{fixed[0]} is a finished run; it cannot be compared on inputs that vary")
    common = set().union(*(who.flags for who in everyone))
    unknown = [flag for flag in given if flag not in common]
    if unknown:
        raise KdstError(f"no method has the option {unknown[0]}.{did_you_mean(unknown[0], common)}")
    return [
        case
        for variant, values in several.items()
        for who in everyone
        for case in _compared(who, variant, values, seeds, runs, config, paired)
    ]


def _compared(
    who: Entrant,
    variant: str,
    values: Values,
    seeds: Sequence[int],
    runs: Path,
    config: Path | None,
    paired: bool,
) -> Iterator[Case]:
    """Yield the cases of one entrant: one a seed that can differ, or the finished run that it is."""
    if who.run is not None:
        yield Case(who, who.seed, {}, who.run, variant=variant)
        return
    setup = who.setup
    taken = {flag: value for flag, value in values.items() if flag in who.flags}
    for seed in seeds:
        seeded = {"--seed": Given(seed, "--seeds", Path.cwd())}
        merged = merge(setup, {**taken, **who.own, **seeded}, config)
        inputs = build(setup.sections[0], merged)
        if paired and isinstance(setup.bench, Refusing):
            setup.bench.refuse(setup.method, inputs)
        where = place(setup, merged, runs)
        yield Case(who, seed, {**merged, **_sharing(setup, merged, runs)}, where, variant=variant)
        if not _is_random(setup, inputs):
            return


def _sharing(setup: Setup, values: Values, runs: Path) -> Values:
    """Return the folder in which runs on the same inputs keep what they share, where a bench has one."""
    flag = getattr(setup.bench, "shared", "")
    if not flag or flag in values:
        return {}
    where = runs.resolve() / SHARED / of_inputs(setup, values)[:DIGITS]
    return {flag: Given(str(where), flag, Path.cwd())}


def sharing_first(cases: Sequence[Case]) -> list[Case]:
    """Return cases with the first on each inputs at the head: the others find what it has kept."""
    seen: set[str] = set()
    first: list[Case] = []
    rest: list[Case] = []
    for case in cases:
        where = case.given.get(getattr(case.entrant.setup.bench, "shared", ""))
        leads = where is not None and str(where.value) not in seen
        (first if leads else rest).append(case)
        if where is not None:
            seen.add(str(where.value))
    return [*first, *rest]


def _is_random(setup: Setup, inputs: Any) -> bool:
    """Return whether method or inputs draw random numbers."""
    seeded = getattr(setup.bench, "seeded", None)
    return setup.method.description.random or seeded is None or bool(seeded(inputs))


def of_file(file: SweepFile, runs: Path) -> list[Case]:
    """Return every case of a sweep, in the order of its file; one for each run directory.

    Raises KdstError for an unknown method or option and for a value that does not fit, before
    anything is run.
    """
    return one_a_directory(
        [case for block in file.blocks for case in _of_block(block, file.path, runs)]
    )


def _of_block(block: Block, path: Path, runs: Path) -> Iterator[Case]:
    """Yield the cases of one block."""
    everyone = [entrant(word) for word in block.methods]
    if finished := next((who for who in everyone if who.run is not None), None):
        raise KdstError(
            f"{path}: {finished.label} is a run, not a method; a sweep makes its own runs"
        )
    _refuse_unknown(block, everyone)
    _refuse_too_many(block, everyone, path)
    base = path.resolve().parent
    for who in everyone:
        name = who.setup.method.name
        fits = [s for s in block.fixed if s.fits(name, who.flags)]
        fixed = merge(who.setup, {s.flag: Given(s.values[0], s.origin, base) for s in fits}, None)
        for varied in block.combinations(name, who.flags):
            values = {f: Given(v, origin, base) for f, (v, origin) in varied.items()}
            shown = {f[2:].replace("-", "_"): v for f, (v, _) in varied.items()}
            for seed in block.seeds:
                seeded = {"--seed": Given(seed, f"{path} seeds", base)}
                given = {**fixed, **values, **who.own, **seeded}
                where = place(who.setup, given, runs)
                yield Case(who, seed, given, where, shown, name=block.name)


def _refuse_too_many(block: Block, everyone: Sequence[Entrant], path: Path) -> None:
    """Raise KdstError where values and seeds make more cases than anybody means."""
    count = sum(block.count(who.setup.method.name, who.flags) for who in everyone)
    if count > MOST_RUNS:
        raise KdstError(f"{path} plans {count:,} cases; at most {MOST_RUNS:,}. Give fewer values")


def _refuse_unknown(block: Block, everyone: Sequence[Entrant]) -> None:
    """Raise KdstError for an option that no method of a block has, unless it is for another block."""
    flags = {who.setup.method.name: who.flags for who in everyone}
    everything = set().union(*flags.values())
    for setting in block.settings:
        known = flags.get(setting.method, set()) if setting.method else everything
        if setting.flag not in known and not _for_another(setting, block, flags):
            who = setting.method or "no method of the sweep"
            verb = "has no option" if setting.method else "has an option"
            raise KdstError(
                f"{setting.origin}: {who} {verb} {setting.flag[2:]!r}."
                + did_you_mean(setting.flag, known)
            )


def _for_another(setting: Setting, block: Block, flags: Mapping[str, set[str]]) -> bool:
    """Return whether an option of all cases is there for methods of another block."""
    if setting not in block.fixed or "[options]" not in setting.origin:
        return False
    return bool(block.name) or setting.method not in ("", *flags)
