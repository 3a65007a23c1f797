"""Which runs try which claim: a trial for each claim, and runs that several share planned once."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import evolve, frozen

from kdst_batch.entrants import Entrant
from kdst_batch.plan import Case, of_comparison
from kdst_core.contracts import Claim
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import Given
from kdst_core.plugins import registry
from kdst_core.runs.setup import Setup, setup_of

Size = Literal["quick", "full"]
Values = Mapping[str, Any]
METHOD, SEEDS = "method", "seeds"
"""Keys of a claim's options that are none of a run: who else takes part, and how many seeds."""
OWN = frozenset({"--data", "--model", "--texts", "--embeddings"})
"""Options that put the user's data or model in the place of the embedded ones."""


@frozen
class Trial:
    """A claim with the runs that try it: the method's own, and those that it is set against.

    missing: why there are no runs, where what it is set against cannot be had here.
    """

    setup: Setup
    claim: Claim
    ours: tuple[Case, ...] = ()
    theirs: tuple[Case, ...] = ()
    missing: str = ""

    @property
    def name(self) -> str:
        """The claim as the command takes it, `METHOD.NAME`."""
        return f"{self.setup.method.name}.{self.claim.name}"

    @property
    def cases(self) -> tuple[Case, ...]:
        """All its runs."""
        return (*self.ours, *self.theirs)

    @property
    def by_input(self) -> bool:
        """Whether its two sides are fed differently, so that nothing of the bench pairs them."""
        inputs = {i.flag for i in self.setup.items if i.section is self.setup.sections[0]}
        arms = {*self.claim.run, *(self.claim.against or {})}
        return any(flag_of(name) in inputs for name in arms)


def flag_of(name: str) -> str:
    """Return the flag of an option that a claim names."""
    return "--" + name.replace("_", "-")


def everything() -> tuple[list[tuple[Setup, Claim]], list[str]]:
    """Return the claims of every installed method, and a line for each method that cannot be loaded."""
    found: list[tuple[Setup, Claim]] = []
    broken = []
    for plugin in registry.discover():
        try:
            setup = setup_of(plugin.qualified)
        except KdstError as e:
            broken.append(f"{plugin.qualified} is left out: {str(e).splitlines()[0]}")
            continue
        found += [(setup, claim) for claim in setup.method.description.claims]
    return found, broken


def chosen(words: Sequence[str]) -> list[tuple[Setup, Claim]]:
    """Return the claims that words name, `METHOD` or `METHOD.CLAIM`, each once.

    KdstError for a method that is unknown or has no claims, and for an unknown claim.
    """
    found: dict[tuple[str, str], tuple[Setup, Claim]] = {}
    for word in words:
        for setup, claim in _named(word):
            found[setup.method.plugin.qualified, claim.name] = setup, claim
    return list(found.values())


def _named(word: str) -> list[tuple[Setup, Claim]]:
    """Return the claims of one word."""
    name, _, wanted = word.partition(".")
    setup = setup_of(name)
    claims = setup.method.description.claims
    if not claims:
        raise KdstError(f"{name} has no claims; `kdst claims` alone tries those of every method")
    if not wanted:
        return [(setup, claim) for claim in claims]
    for claim in claims:
        if claim.name == wanted:
            return [(setup, claim)]
    names = [claim.name for claim in claims]
    raise KdstError(
        f"{name} has no claim {wanted!r}.{did_you_mean(wanted, names)} Known: {', '.join(names)}"
    )


def trials(
    claims: Sequence[tuple[Setup, Claim]], size: Size, given: Mapping[str, Given], runs: Path
) -> list[Trial]:
    """Return a trial for each claim; KdstError names the claim whose options do not fit.

    given: options of the user for every run that has them; what a claim is about stays its own. What
    methods know of their claims is about the embedded data, and is left out with the user's (`OWN`).
    """
    known = {setup.method.name: setup for setup, _ in claims}
    if OWN & given.keys():
        claims = [(s, evolve(c, known_against="", known_to_fail="")) for s, c in claims]
    return [_trial(setup, claim, size, given, runs, known) for setup, claim in claims]


def _trial(
    setup: Setup,
    claim: Claim,
    size: Size,
    given: Mapping[str, Given],
    runs: Path,
    known: dict[str, Setup],
) -> Trial:
    """Return the trial of one claim; known: methods that are loaded, to which its rival is added."""
    common = claim.quick if size == "quick" else claim.full
    name = f"{setup.method.name}.{claim.name}"
    against, rival = claim.against, setup
    try:
        if against and METHOD in against:
            other = against[METHOD]
            rival = known[other] = known.get(other) or setup_of(other)
    except KdstError as e:
        return Trial(setup, claim, missing=str(e).splitlines()[0])
    try:
        _refuse_unknown(setup, common)
        if against is None:
            return Trial(setup, claim, _side(setup, claim.run, common, given, runs, paired=False))
        ours = _side(setup, claim.run, common, given, runs)
        return Trial(setup, claim, ours, _side(rival, against, common, given, runs))
    except KdstError as e:
        raise KdstError(f"claim {name}: {e}") from e


def _side(
    setup: Setup,
    arm: Values,
    common: Values,
    given: Mapping[str, Given],
    runs: Path,
    paired: bool = True,
) -> tuple[Case, ...]:
    """Return the runs of one side, one a seed; paired: whether there is another side."""
    own = {flag_of(k): _given(k, v) for k, v in arm.items() if k != METHOD}
    shared = {flag_of(k): _given(k, v) for k, v in common.items() if k != SEEDS}
    who = Entrant(label(setup, arm), setup, own)
    _refuse_unknown(setup, arm)
    values = {f: [v] for f, v in {**shared, **given}.items() if f in who.flags and f not in own}
    seeds = range(int(common.get(SEEDS, 1)))
    return tuple(of_comparison([who], values, seeds, runs, paired=paired))


def _given(name: str, value: Any) -> Given:
    """Return a value of a claim as one of the command line."""
    return Given(value, f"claim's {name}", Path.cwd())


def _refuse_unknown(setup: Setup, values: Values) -> None:
    """Raise KdstError for an option that a method does not have."""
    known = [item.flag for item in setup.items]
    for flag in (flag_of(name) for name in values if name not in (METHOD, SEEDS)):
        if flag not in known:
            name = setup.method.name
            raise KdstError(f"{name} has no option {flag}.{did_you_mean(flag, known)}")


def label(setup: Setup, arm: Values) -> str:
    """Return what a side is called: the method, and the options that the claim is about."""
    options = ",".join(f"{k}={v}" for k, v in arm.items() if k != METHOD)
    return ":".join(filter(None, (setup.method.name, options)))


def command_line(name: str, size: Size, given: Mapping[str, Given]) -> str:
    """Return the shell command that repeats a trial."""
    words = ["kdst", "claims", name, f"--{size}"]
    for flag, one in given.items():
        if isinstance(one.value, bool):
            words.append(flag if one.value else "--no-" + flag[2:])
        else:
            words += [flag, str(one.value)]
    return shlex.join(words)
