"""What became of each claim: a verdict with its effect, interval, cost and command; as JSON and counts."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import asdict, frozen

from kdst_batch.results import finished
from kdst_claims.measure import Measured, measured
from kdst_claims.plan import Trial
from kdst_claims.statistics import adjusted, holm
from kdst_core.errors import KdstError
from kdst_core.regular import regular

Word = Literal["holds", "fails", "undecided", "no result", "not tried"]
WORDS: tuple[Word, ...] = ("holds", "fails", "undecided", "no result", "not tried")
SCHEMA = 1


@frozen(kw_only=True)
class Verdict:
    """What became of one claim; figures are above 0 for the better, None without a result.

    low, high: the interval at the level at which Holm's procedure judged it. p: adjusted by Holm, of an
    effect that is `least`. seconds: of its runs. commands: of its runs. why: there is no result.
    """

    claim: str
    method: str
    sentence: str
    source: str
    verdict: Word
    measure: str
    better: str
    least: float
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    p: float | None = None
    seeds: int = 0
    parts: int = 0
    pairing: str = ""
    runs: int = 0
    seconds: float = 0.0
    command: str = ""
    commands: Sequence[str] = ()
    known_against: str = ""
    known_to_fail: str = ""
    why: str = ""

    @property
    def surprises(self) -> bool:
        """Whether it is not what the method says: a claim that fails, or one that holds after all."""
        if self.known_to_fail:
            return self.verdict == "holds"
        return self.verdict in ("fails", "no result")


def judge(
    trials: Sequence[Trial], commands: Sequence[str], lost: Mapping[Path, str]
) -> list[Verdict]:
    """Return a verdict for each trial, corrected over all of them.

    commands: that repeat each. lost: why runs have no result, by their directories.
    """
    found = [_measured(trial, lost) for trial in trials]
    told = [n for n, one in enumerate(found) if isinstance(one, Measured)]
    ps = [_p(trials[n], found[n]) for n in told]
    levels, corrected = (
        dict(zip(told, holm(ps), strict=True)),
        dict(zip(told, adjusted(ps), strict=True)),
    )
    verdicts = []
    for number, (trial, one, command) in enumerate(zip(trials, found, commands, strict=True)):
        if isinstance(one, Measured):
            figures = _figures(trial, one, levels[number], corrected[number])
        else:
            figures = {"verdict": "not tried" if trial.missing else "no result", "why": one}
        verdicts.append(Verdict(**_about(trial), **figures, command=command))
    return verdicts


def _measured(trial: Trial, lost: Mapping[Path, str]) -> Measured | str:
    """Return what a trial measured, or why it did not."""
    if trial.missing:
        return trial.missing
    if why := next((lost[c.directory] for c in trial.cases if c.directory in lost), ""):
        return why
    try:
        one = measured(trial)
    except KdstError as e:
        return str(e)
    return one if math.isfinite(one.effect.value) else f"{trial.claim.measure} is not finite"


def _p(trial: Trial, one: Measured | str) -> float:
    """Return the p of an effect that is the smallest that counts."""
    assert isinstance(one, Measured)
    return one.effect.p(trial.claim.least)


def word(low: float, high: float, least: float) -> Word:
    """Return the verdict of an interval: above the smallest effect that counts, below it, or around it."""
    return "holds" if low > least else "fails" if high < least else "undecided"


def _figures(trial: Trial, one: Measured, level: float, p: float) -> dict[str, Any]:
    """Return verdict and figures of a trial."""
    low, high = one.effect.interval(level)
    return {
        "verdict": word(low, high, trial.claim.least),
        "effect": one.effect.value,
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "level": level,
        "p": p,
        "seeds": one.seeds,
        "parts": one.parts,
        "pairing": one.pairing,
    }


def _about(trial: Trial) -> dict[str, Any]:
    """Return what is known of a trial whatever it measured."""
    claim, done = trial.claim, {f.case.directory: f.result for f in finished(trial.cases)}
    return {
        "claim": trial.name,
        "method": trial.setup.method.name,
        "sentence": claim.sentence,
        "source": claim.source,
        "measure": claim.measure,
        "better": claim.better,
        "least": claim.least,
        "runs": len(done),
        "seconds": round(sum(result["seconds"] for result in done.values()), 1),
        "commands": [str(result["command"]) for result in done.values()],
        "known_against": claim.known_against,
        "known_to_fail": claim.known_to_fail,
    }


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many claims have which verdict."""
    return {w: sum(v.verdict == w for v in verdicts) for w in WORDS}


def to_json(verdicts: Sequence[Verdict], command: str, size: str) -> str:
    """Return verdicts as JSON."""
    content = {
        "schema": SCHEMA,
        "command": command,
        "size": size,
        "counts": counts(verdicts),
        "claims": [asdict(v) for v in verdicts],
    }
    return json.dumps(content, indent=2) + "\n"


def read(path: Path) -> dict[str, Any]:
    """Return what was recorded of claims; KdstError where a file holds none."""
    try:
        content: dict[str, Any] = json.loads(regular(path))
        if content["schema"] != SCHEMA or not all(v["verdict"] in WORDS for v in content["claims"]):
            raise ValueError
        return content
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise KdstError(f"{path} holds no verdicts; kdst claims writes them as claims.json") from e


def changes(verdicts: Sequence[Verdict], recorded: Mapping[str, Any]) -> list[str]:
    """Return a line for each claim whose verdict is another than the recorded one, and for those lost."""
    before = {v["claim"]: v["verdict"] for v in recorded["claims"]}
    found = []
    for one in verdicts:
        old = before.get(one.claim, "not recorded")
        if old != one.verdict:
            found.append(f"{one.claim}: {one.verdict}, recorded: {old}")
    return found
