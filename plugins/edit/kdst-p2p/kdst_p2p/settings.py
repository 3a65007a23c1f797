"""Options as text become what the method computes with; KdstError says what does not fit."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from attrs import frozen

from kdst_core.errors import KdstError, did_you_mean
from kdst_edit.words import bare, find, split
from kdst_p2p.options import TAU, Options
from kdst_p2p.schedule import DEFAULT, Window

Kind = Literal["swap", "refine"]
LOWEST, HIGHEST = -2.0, 2.0


@frozen
class Setting:
    """One edit: its prompt, how its tokens are aligned, tau by word, and weights c by word."""

    prompt: str
    kind: Kind
    tau: Mapping[str, Window]
    self_tau: float
    weights: Mapping[str, float]


def settings_of(source: str, targets: Sequence[str], options: Options) -> list[Setting]:
    """The setting of each target; raises KdstError for options that do not fit the prompts."""
    tau, weights = parse_tau(options.tau), parse_weights(options.reweight, wide=options.wide)
    for flag, words in (("--tau", tau), ("--reweight", weights)):
        check_words(flag, (w for w in words if w != DEFAULT), targets)
    return [
        Setting(target, kind_of(source, target, options.kind), tau, options.self_tau, weights)
        for target in targets
    ]


def kind_of(source: str, target: str, wanted: str) -> Kind:
    """How a target's tokens are aligned with the source's."""
    old, new = split(source), split(target)
    if wanted == "auto":
        return "swap" if _in_place(old, new) else "refine"
    if wanted == "swap" and len(old) != len(new):
        raise KdstError(
            f"a swap needs prompts with the same number of words, not {len(old)} and {len(new)}"
            f" ({source!r}, {target!r}).\nUse --kind refine to add or remove words"
        )
    return "swap" if wanted == "swap" else "refine"


def _in_place(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether a swap pairs every word that both prompts have with itself."""
    before, after = [bare(word) for word in old], [bare(word) for word in new]
    paired = Counter(a for a, b in zip(before, after, strict=False) if a == b)
    return len(old) == len(new) and paired == Counter(before) & Counter(after)


def parse_tau(entries: Iterable[str]) -> dict[str, Window]:
    """Read `.8`, `lion=.4` and `lion=.1:.4`; the entry without a word is for all others."""
    found: dict[str, Window] = {}
    for entry in entries:
        word, _, value = entry.rpartition("=")
        ends = [_number("--tau", entry, part) for part in value.split(":")]
        if len(ends) > 2 or any(not 0 <= end <= 1 for end in ends) or ends != sorted(ends):
            raise KdstError(
                f"--tau {entry}: a share of the steps is in [0, 1], as in .8, WORD=.4 or WORD=.1:.4"
            )
        found[word or DEFAULT] = ends[0] if len(ends) == 1 else (ends[0], ends[1])
    found.setdefault(DEFAULT, TAU)
    return found


def parse_weights(entries: Iterable[str], *, wide: bool = False) -> dict[str, float]:
    """Read `smiling=2`; weights outside [-2, 2] are refused unless `wide`."""
    found: dict[str, float] = {}
    for entry in entries:
        word, given, value = entry.rpartition("=")
        if not given or not word:
            raise KdstError(f"--reweight {entry}: give a word and its weight, as in smiling=2")
        weight = _number("--reweight", entry, value)
        if not wide and not LOWEST <= weight <= HIGHEST:
            raise KdstError(
                f"--reweight {entry}: weights are in [{LOWEST:g}, {HIGHEST:g}], where the paper has"
                " them.\nAdd --wide to go further"
            )
        found[word] = weight
    return found


def _number(flag: str, entry: str, text: str) -> float:
    """Read a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise KdstError(f"{flag} {entry}: {text!r} is not a number")
    return value


def check_words(flag: str, words: Iterable[str], prompts: Sequence[str]) -> None:
    """Raise KdstError for a word that is in none of the prompts."""
    known = dict.fromkeys(bare(word) for prompt in prompts for word in split(prompt))
    for word in words:
        if not any(find(prompt, word) for prompt in prompts):
            raise KdstError(
                f"{flag}: {word!r} is not a word of {' or '.join(map(repr, prompts))}."
                f"{did_you_mean(word, known)}"
            )
