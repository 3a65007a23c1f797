"""What a sweep consists of: one run for every case, in a directory named by its digest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch.compare.digest import digest
from kdst_batch.compare.plan import DIGITS, MOST_RUNS, Contestant, contestant
from kdst_batch.sweep.file import Block, Setting, SweepFile
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import Given, from_environment
from kdst_core.plugins import registry
from kdst_core.runs.rundir import slug
from kdst_core.runs.setup import Setup


@frozen
class Case:
    """One run of a sweep.

    name: of a named case, else empty. method: as the file names it. varied: options that differ
    between cases, by name. directory: where the run is kept.
    """

    name: str
    method: str
    seed: int
    varied: Mapping[str, Any]
    chosen: Setup
    given: Mapping[str, Given]
    directory: Path

    @property
    def label(self) -> str:
        """What tables call it."""
        options = [f"{k}={_text(v)}" for k, v in self.varied.items()]
        return " ".join([self.name or self.method, *options, f"seed={self.seed}"])


def _text(value: Any) -> str:
    """Return a value as one word."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def cases(file: SweepFile, runs: Path) -> list[Case]:
    """Return every case of a sweep, in the order of its file; one for each run directory.

    Raises KdstError for an unknown method or option and for a value that does not fit, before
    anything is run.
    """
    found = [case for block in file.blocks for case in _of_block(block, file.path, runs)]
    return list({case.directory: case for case in reversed(found)}.values())[::-1]


def _of_block(block: Block, path: Path, runs: Path) -> list[Case]:
    """Return the cases of one block."""
    found = [contestant(word) for word in block.methods]
    if finished := next((who for who in found if who.run is not None), None):
        raise KdstError(
            f"{path}: {finished.label} is a run, not a method; a sweep makes its own runs"
        )
    _refuse_unknown(block, found)
    _refuse_too_many(block, found, path)
    base = path.resolve().parent
    cases = []
    for who in found:
        name, flags = who.chosen.method.name, {item.flag for item in who.chosen.items}
        fixed = {s.flag: _given(s, base) for s in block.fixed if s.fits(name, flags)}
        common = {**_environment(who), **fixed}
        for varied in block.combinations(name, flags):
            values = {f: Given(v, origin, base) for f, (v, origin) in varied.items()}
            for seed in block.seeds:
                seeded = {"--seed": Given(seed, f"{path} seeds", base)}
                given = {**common, **values, **who.own, **seeded}
                shown = {f[2:].replace("-", "_"): v for f, (v, _) in varied.items()}
                cases.append(_case(block.name, who, seed, shown, given, runs))
    return cases


def _refuse_too_many(block: Block, found: Sequence[Contestant], path: Path) -> None:
    """Raise KdstError where values and seeds make more cases than anybody means."""
    flags = ((who.chosen.method.name, {item.flag for item in who.chosen.items}) for who in found)
    count = sum(block.count(name, known) for name, known in flags)
    if count > MOST_RUNS:
        raise KdstError(f"{path} plans {count:,} cases; at most {MOST_RUNS:,}. Give fewer values")


def _given(setting: Setting, base: Path) -> Given:
    """Return the value of an option that is the same for all."""
    return Given(setting.values[0], setting.origin, base)


def _environment(who: Contestant) -> dict[str, Given]:
    """Return what environment variables say of a method."""
    name = who.chosen.method.name
    others = [p.name for p in registry.discover() if p.name != name]
    return from_environment(who.chosen.items, name, others)


def _case(
    name: str,
    who: Contestant,
    seed: int,
    varied: Mapping[str, Any],
    given: Mapping[str, Given],
    runs: Path,
) -> Case:
    """Return one case with its directory."""
    place = f"{slug(who.chosen.method.name)}-{digest(who.chosen, given)[:DIGITS]}"
    return Case(name, who.label, seed, varied, who.chosen, given, runs / place)


def _refuse_unknown(block: Block, found: Sequence[Contestant]) -> None:
    """Raise KdstError for an option that no method of a block has, unless it is for another block."""
    flags = {c.chosen.method.name: {item.flag for item in c.chosen.items} for c in found}
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
