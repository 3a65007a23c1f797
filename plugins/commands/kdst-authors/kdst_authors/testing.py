"""The conformance kit: named checks that every method is held to.

`kdst check METHOD` runs them; `check_plugin(name)` or `parametrize_checks(name)` do so in a method's
own tests. A check is usable without pytest: it returns, or raises AssertionError with one line that
says what is wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import evolve, frozen

from kdst_authors import probe
from kdst_authors.core_checks import WORKS, core_checks
from kdst_authors.probe import Prober
from kdst_core.bench.contract import Check
from kdst_core.errors import KdstError
from kdst_core.plugins import registry
from kdst_core.runs.codecs import Codec
from kdst_core.runs.rundir import Run
from kdst_core.runs.setup import Setup, setup_of

if TYPE_CHECKING:
    import pytest


def make_run(
    path: Path | str, *, seed: int = 0, device: str = "cpu", codec: Codec | None = None
) -> Run:
    """Return a run that writes under `path`, silent, for tests of a method's hook.

    codec: of checkpoints, for a method that keeps its own; plain values only when None.
    """
    directory = Path(path)
    (directory / "artifacts").mkdir(parents=True, exist_ok=True)
    return Run(directory, seed=seed, device=device, codec=codec, show="quiet")


def checks(name: str, prober: Prober = probe.in_processes) -> Iterator[Check]:
    """Yield the checks of an installed method: those of every plugin, then those of its capability.

    prober: carries out the small runs that some checks look at, by default in fresh processes.
    """
    plugin = registry.find(name)
    chosen, refused = _load(plugin.qualified)
    yield Check("hooks fit the specification", partial(_fits, chosen, refused))
    if chosen is not None:
        yield from core_checks(chosen, prober)
        for check in chosen.bench.checks(chosen.method):
            yield evolve(check, follows=(*check.follows, WORKS))


def _load(name: str) -> tuple[Setup | None, str]:
    """Return a method with its bench, or None and why it cannot be had."""
    try:
        return setup_of(name), ""
    except KdstError as e:
        return None, str(e)


def _fits(chosen: Setup | None, refused: str) -> None:
    """The method loads, and its hooks, their arguments and its options are what the core expects."""
    assert chosen is not None, refused
    options = chosen.method.description.options()
    for field in attrs.fields(type(options))[:1]:
        try:
            setattr(options, field.name, getattr(options, field.name))
        except attrs.exceptions.FrozenInstanceError:
            return
        raise AssertionError("the options class must be frozen: attrs.frozen")


def expected_failures(name: str) -> dict[str, str]:
    """Return the checks that a method says cannot hold for it, each with the reason."""
    chosen, _ = _load(name)
    return dict(chosen.method.description.expected_failures) if chosen is not None else {}


def run_check(check: Check) -> str | None:
    """Return None when a check passes, else why it failed."""
    try:
        check.run()
    except AssertionError as e:
        return str(e) or "failed"
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return None


def verdict(check: Check, excuse: str | None) -> str | None:
    """Return None when a check does what is expected of it, else what is wrong.

    excuse: why it is expected to fail, or None. One that passes after all is wrong too.
    """
    reason = run_check(check)
    if excuse is None:
        return reason
    if reason is None:
        return f"{check.name} passes, though it was expected to fail: {excuse}"
    return None


@frozen
class Verdict:
    """What became of one check: its name, what is wrong, why it may fail, and the failed check that it
    follows from, after which it was not tried; '' or None for none."""

    check: str
    problem: str | None = None
    excuse: str | None = None
    cause: str = ""


def verdicts(
    name: str, excuses: dict[str, str], prober: Prober = probe.in_processes
) -> Iterator[Verdict]:
    """Carry out the checks of a method one by one, without those that follow from one that failed.

    excuses: check name to the reason why it must fail; what is left in the end names no check.
    prober: as `checks` takes it.
    """
    failed: set[str] = set()
    for check in checks(name, prober):
        excuse = excuses.pop(check.name, None)
        if cause := next((c for c in check.follows if c in failed), ""):
            yield Verdict(check.name, cause=cause)
            continue
        problem = verdict(check, excuse)
        if problem is not None:
            failed.add(check.name)
        yield Verdict(check.name, problem, excuse)


def check_plugin(name: str, expected: Mapping[str, str] | None = None) -> None:
    """Run every check of a method; raise AssertionError that lists those which failed.

    expected: check name to the reason why it must fail, besides the `expected_failures` of the
    method's description. One that passes after all, or that does not exist, is an error too.
    """
    excuses = {**expected_failures(name), **(expected or {})}
    found = verdicts(name, excuses)
    problems = [f"{v.check}: {v.problem}" for v in found if v.problem is not None]
    problems += [f"{unknown} is not a check" for unknown in excuses]
    assert not problems, f"{name} does not conform:\n" + "\n".join(problems)


def parametrize_checks(
    name: str, expected: Mapping[str, str] | None = None
) -> "pytest.MarkDecorator":
    """Return the pytest mark that makes a test of each check, for `def test_conforms(check)`.

    The test calls `check.run()`. expected: as `check_plugin` takes it; such a test is an expected
    failure, and fails when the check passes.
    """
    import pytest

    excuses = {**expected_failures(name), **(expected or {})}
    every = list(checks(name))
    unknown = excuses.keys() - {check.name for check in every}
    if unknown:
        raise KdstError(f"{name} expects failures of {', '.join(sorted(unknown))}: no such check")
    parameters: list[Any] = [
        pytest.param(Check(c.name, partial(_judge, c, excuses.get(c.name))), id=c.name)
        for c in every
    ]
    return pytest.mark.parametrize("check", parameters)


def _judge(check: Check, excuse: str | None) -> None:
    """Run a check of a parametrised test."""
    import pytest

    problem = verdict(check, excuse)
    assert problem is None, problem
    if excuse is not None:
        pytest.xfail(excuse)


GIVEN = "reads only what it is given"
"""Name of the check that `given_only` is, in every bench."""


def given_only(carry_out: Callable[[int], str], what: str) -> None:
    """Hold that what a method returns changes by no bit with what it is judged by.

    carry_out: runs the method on the same inputs and returns a digest of all that it returned; it makes
    what the method is judged by from the number it gets, 0 or 1, and keeps that in frames and objects
    that lie open around the calls, so that a method that looks for it finds it. what: how that is
    called. Raises AssertionError.
    """
    first, second = carry_out(0), carry_out(1)
    assert first == second, (
        f"with other {what} it returns something else: it reads {what}, which it is judged by and not"
        " given"
    )
