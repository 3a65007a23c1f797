"""Who takes part: a method, a method with options of its own, or a finished run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import Given, build, plain
from kdst_core.plugins import registry
from kdst_core.runs.result import load_result
from kdst_core.runs.rundir import CONFIG
from kdst_core.runs.setup import Setup, setup_of

MOST_RUNS = 100_000
"""Seeds of a comparison, and cases of a sweep: more is a slip, and takes hours to plan."""


@frozen
class Entrant:
    """A method as it takes part: `tea`, or `tea:profile=fast,lr=.01` with options of its own.

    run: the directory of a finished run that takes part as it is, with its seed.
    """

    label: str
    setup: Setup
    own: Mapping[str, Given]
    run: Path | None = None
    seed: int = 0

    @property
    def flags(self) -> set[str]:
        """The flags of all its options."""
        return {item.flag for item in self.setup.items}


def entrant(word: str) -> Entrant:
    """Return the entrant that a word names; KdstError for an unknown method or option.

    The directory of a run is one, too, unless a method has that name.
    """
    if (Path(word) / CONFIG).is_file() and word not in {p.name for p in registry.discover()}:
        return finished(Path(word))
    name, _, options = word.partition(":")
    setup = setup_of(name)
    known = {item.flag for item in setup.items if item.section.table == setup.method.name}
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
    return Entrant(word, setup, own)


def finished(directory: Path) -> Entrant:
    """Return a finished run as an entrant, named by its method and the options that it changed."""
    result = load_result(directory).data
    setup = setup_of(f"{result['plugin']}/{result['method']}")
    defaults = plain(build(setup.sections[1], {}))
    changed = [f"{k}={v}" for k, v in result["options"].items() if defaults.get(k) != v]
    label = ":".join(filter(None, (result["method"], ",".join(changed))))
    return Entrant(label, setup, {}, directory, result["seed"])


def entrants(words: Sequence[str]) -> list[Entrant]:
    """Return all entrants; KdstError when they are of several capabilities or named twice."""
    if len(set(words)) < len(words):
        twice = next(w for w in words if words.count(w) > 1)
        raise KdstError(f"{twice} is named twice")
    named = [entrant(w) for w in words]
    runs = [(who.label, who.seed) for who in named if who.run is not None]
    if len(set(runs)) < len(runs):
        label, seed = next(r for r in runs if runs.count(r) > 1)
        raise KdstError(
            f"two of the runs are of the same method, options and seed: {label}, {seed}"
        )
    kinds = {who.setup.method.plugin.capability for who in named}
    if len(kinds) > 1:
        raise KdstError(f"methods of different capabilities cannot be compared: {', '.join(kinds)}")
    return named


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of '0', '0-2' or '1,5,7'; KdstError for anything else, and for too many."""
    seeds: list[int] = []
    quoted = text if len(text) <= 60 else f"{text[:60]}…"
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,40})(?:-([0-9]{1,40}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise KdstError(f"--seeds {quoted!r} is not understood; give 0, 0-2 or 1,5,7")
        several = range(int(match[1]), int(match[2] or match[1]) + 1)
        if several.stop - several.start + len(seeds) > MOST_RUNS:
            raise KdstError(f"--seeds {quoted!r} are too many; at most {MOST_RUNS:,}")
        seeds += several
    return list(dict.fromkeys(seeds))
