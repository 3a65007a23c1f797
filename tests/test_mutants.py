"""The kit is tested by wrong methods: each is caught by the check that is meant for it."""

import importlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from kdst_authors import probe
from kdst_authors.testing import checks, run_check, verdicts
from kdst_core.plugins import registry
from kdst_core.plugins.capabilities import OWN
from tests import packages, warm
from tests.cheats import CHEATS
from tests.mutants import MUTANTS, Mutant

QUICK = ("adapt", "reconstruct")
"""Capabilities whose small runs load no model."""
EVERY_CAPABILITY = pytest.mark.parametrize(
    "capability",
    [pytest.param(c, marks=[] if c in QUICK else [pytest.mark.slow]) for c in OWN],
)


def needs_bench(capability: str) -> None:
    """Skip where the bench of a capability is not installed."""
    pytest.importorskip(registry.bench_package(capability).replace("-", "_"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path of this process and its children, for generated packages."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


def made(mutant: Mutant, site: Path, tmp_path: Path, prefix: str = "mutant") -> str:
    """Generate a mutant, install it and return its name, which no other test may have taken."""
    packages.warm(mutant.capability, site)
    name = f"{prefix}-{mutant.name}"
    package = packages.generate(mutant.capability, name, tmp_path)
    packages.change(package, mutant.edits)
    packages.install(package, site)
    importlib.invalidate_caches()
    return name


def failed(name: str, *, only: str | None = None, processes: bool = False) -> dict[str, str | None]:
    """Return the checks of a method that were run, each with its reason or None."""
    found = checks(name) if processes else checks(name, packages.forked)
    return {c.name: run_check(c) for c in found if only is None or c.name == only}


def parameter(mutant: Mutant) -> Any:
    """A mutant as a parameter; one that needs fresh processes or a model takes longer."""
    quick = mutant.capability in QUICK and not mutant.processes
    return pytest.param(mutant, id=mutant.name, marks=[] if quick else [pytest.mark.slow])


@pytest.mark.parametrize("mutant", [parameter(m) for m in MUTANTS])
def test_a_wrong_method_is_caught_by_the_check_meant_for_it(
    mutant: Mutant, site: Path, tmp_path: Path
) -> None:
    needs_bench(mutant.capability)
    name = made(mutant, site, tmp_path)
    reasons = failed(name, only=mutant.check, processes=mutant.processes)
    assert list(reasons) == [mutant.check]
    assert reasons[mutant.check], f"{mutant.name} passes {mutant.check!r}"
    assert len(str(reasons[mutant.check]).splitlines()) <= 2


@pytest.mark.parametrize("cheat", [parameter(c) for c in CHEATS])
def test_what_a_cheat_does_is_the_first_thing_reported(
    cheat: Mutant, site: Path, tmp_path: Path
) -> None:
    needs_bench(cheat.capability)
    name = made(cheat, site, tmp_path)
    prober = probe.in_processes if cheat.processes else packages.forked
    first = next((v for v in verdicts(name, {}, prober) if v.problem is not None), None)
    assert first is not None, f"{cheat.name} passes every check"
    assert first.check == cheat.check, (first.check, first.problem)
    assert len(str(first.problem).splitlines()) <= 2


@EVERY_CAPABILITY
def test_the_method_of_kdst_new_passes_every_check(
    capability: str, site: Path, tmp_path: Path
) -> None:
    needs_bench(capability)
    packages.warm(capability, site)
    name = f"minimal-{capability.replace('_', '-')}"
    packages.install(packages.generate(capability, name, tmp_path), site)
    importlib.invalidate_caches()
    reasons = failed(name)
    assert len(reasons) > 15
    assert not {name: reason for name, reason in reasons.items() if reason}


@EVERY_CAPABILITY
def test_what_a_generated_package_claims_holds(capability: str, site: Path, tmp_path: Path) -> None:
    needs_bench(capability)
    package = packages.generate(capability, f"claims-{capability.replace('_', '-')}", tmp_path)
    packages.install(package, site)
    words = ["-q", "-p", "no:cacheprovider", "-k", "not conforms", str(package / "tests")]
    done = warm.completed("-m", "pytest", *words, path=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_every_mutant_is_caught_in_fresh_processes_and_the_table_says_by_what(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, missed = [], []
    for mutant in MUTANTS:
        name = made(mutant, site, tmp_path, "all")
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as apart:
            reasons = apart.submit(failed, name, processes=mutant.processes).result()
        caught = [name for name, reason in reasons.items() if reason]
        others = [name for name in caught if name != mutant.check]
        rows.append(f"| {mutant.name} | {mutant.check} | {'; '.join(others) or '–'} |")
        if mutant.check not in caught:
            missed.append(mutant.name)
    with capsys.disabled():
        print("\n| mutant | meant for | caught by these too |\n| --- | --- | --- |")
        print("\n".join(rows))
    assert not missed
