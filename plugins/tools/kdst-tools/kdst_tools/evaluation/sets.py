"""The sets of problems that `--problems` names."""

from pathlib import Path

from kdst_core.errors import KdstError, did_you_mean
from kdst_tools import default
from kdst_tools.evaluation import readers
from kdst_tools.evaluation.problems import Problem

GENERATED = 1000
"""Problems that are generated where no number is asked for."""


def load(name: str, count: int | None, flag: str = "--problems", seed: int = 0) -> list[Problem]:
    """Return at most so many problems of `tiny`, `none`, or NAME:FILE of svamp, asdiv, mawps, gsm8k.

    count: None for all of a file. flag: that named them. seed: of generated ones. KdstError for another
    name, or a file that is not of the kind.
    """
    kind, _, file = name.partition(":")
    if kind == "none":
        return []
    if kind == "tiny":
        return default.problems(count or GENERATED, seed)
    known = {
        "svamp": readers.svamp,
        "asdiv": readers.masked,
        "mawps": readers.masked,
        "gsm8k": readers.gsm8k,
    }
    if kind not in known:
        allowed = [*known, "tiny", "none"]
        hint = (
            did_you_mean(kind, allowed)
            or " Allowed: svamp:FILE, asdiv:FILE, mawps:FILE, gsm8k:FILE, tiny, none"
        )
        raise KdstError(f"{flag} {name}: there is no set {kind!r}.{hint}")
    if not Path(file).is_file():
        raise KdstError(f"{flag} {name}: no such file; write {kind}:FILE")
    return known[kind](Path(file))[:count]
