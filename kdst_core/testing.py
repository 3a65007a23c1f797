"""The conformance kit: named checks that every method is held to.

`kdst check METHOD` runs them; `check_plugin(name)` does so in a method's own tests. A check is
usable without pytest: it returns, or raises AssertionError with one line that says what is wrong.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from kdst_core import registry
from kdst_core.api import Command, command
from kdst_core.bench import Check
from kdst_core.codecs import Codec
from kdst_core.errors import KdstError
from kdst_core.options import Given, build, items, plain
from kdst_core.rundir import Run

HEAVY = ("torch", "numpy", "scipy", "transformers", "diffusers", "gsplat", "matplotlib", "sklearn")


def make_run(
    path: Path | str, *, seed: int = 0, device: str = "cpu", codec: Codec | None = None
) -> Run:
    """Return a run that writes under `path`, silent, for tests of a method's hook.

    codec: of checkpoints, for a method that keeps its own; plain values only when None.
    """
    directory = Path(path)
    (directory / "artifacts").mkdir(parents=True, exist_ok=True)
    return Run(directory, seed=seed, device=device, codec=codec, show="quiet")


def check_plugin(name: str, expected_failures: Mapping[str, str] | None = None) -> None:
    """Run every check of a method; raise AssertionError that lists those which failed.

    expected_failures: check name to the reason why it may fail. One that passes after all, or that
    does not exist, is an error too.
    """
    expected = dict(expected_failures or {})
    problems = []
    for check in checks(name):
        reason, excuse = run_check(check), expected.pop(check.name, None)
        if reason is not None and excuse is None:
            problems.append(f"{check.name}: {reason}")
        if reason is None and excuse is not None:
            problems.append(f"{check.name} passes, though it was expected to fail: {excuse}")
    problems += [f"{unknown} is not a check" for unknown in expected]
    assert not problems, f"{name} does not conform:\n" + "\n".join(problems)


def run_check(check: Check) -> str | None:
    """Return None when a check passes, else why it failed."""
    try:
        check.run()
    except AssertionError as e:
        return str(e) or "failed"
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return None


def checks(name: str) -> Iterator[Check]:
    """Yield the checks of a method: those of every plugin, then those of its capability."""
    chosen = command(name)
    yield Check("entry module imports nothing heavy", lambda: _light_import(chosen))
    yield Check("core version is bounded", lambda: _bounded_core(chosen))
    yield Check("description is complete", lambda: _description(chosen))
    yield Check("options survive text", lambda: _options_round_trip(chosen))
    yield Check("prints nothing and writes only in the run directory", lambda: _quiet(chosen))
    yield Check("same seed, same result", lambda: _repeatable(chosen))
    yield from chosen.bench.checks(chosen.method)


def _light_import(chosen: Command) -> None:
    """The entry module and `describe` load in a fresh process without the heavy libraries."""
    module = chosen.method.plugin.entry.module
    code = (
        "import importlib, json, sys; "
        "m = importlib.import_module(sys.argv[1]); m.describe(); "
        "print(json.dumps([h for h in sys.argv[2:] if h in sys.modules]))"
    )
    done = _python("-c", code, module, *HEAVY)
    assert done.returncode == 0, f"importing {module} alone fails: {done.stderr.strip()[-300:]}"
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, f"importing {module} prints: {lines[0]!r}"
    heavy = json.loads(lines[0])
    assert not heavy, f"importing {module} imports {', '.join(heavy)}; import them inside the hook"


def _bounded_core(chosen: Command) -> None:
    """The package asks for a range of kdst-core with a lower and an upper bound."""
    dist = chosen.method.plugin.entry.dist
    requirement = registry.core_requirement(dist) if dist else None
    assert requirement, f"{chosen.method.plugin.package} must depend on kdst-core>=X,<Y"
    operators = {s.operator for s in requirement.specifier}
    bounded = operators & {">=", ">", "~=", "=="} and operators & {"<", "<=", "~=", "=="}
    assert bounded, f"bound kdst-core on both sides, not {str(requirement)!r}"


def _description(chosen: Command) -> None:
    """The description has a summary and every option a help text and a default."""
    description = chosen.method.description
    assert description.summary.strip(), "describe() has no summary"
    assert attrs.has(description.options), "options must be an attrs class"
    silent = [i.flag for i in items(chosen.sections[1]) if not i.help]
    assert not silent, f"options without help: {', '.join(silent)}"


def _options_round_trip(chosen: Command) -> None:
    """Every default, written as text and read again, is the same value."""
    section = chosen.sections[1]
    given = {}
    for item in items(section):
        if item.default is None:
            continue
        value = item.default
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        given[item.flag] = Given(text, item.flag, Path.cwd())
    assert plain(build(section, given)) == plain(section.cls()), "defaults change when read as text"


def _quiet(chosen: Command) -> None:
    """A small run in a fresh process prints nothing and opens no file for writing elsewhere."""
    with tempfile.TemporaryDirectory() as directory:
        done = _probe(chosen, Path(directory) / "run")
        assert done.returncode == 0, f"a small run fails: {done.stderr.strip()[-300:]}"
        answer = json.loads((Path(directory) / "answer.json").read_text())
        assert not done.stdout.strip(), f"prints {done.stdout.strip()[:80]!r}; use run.log"
        assert not answer["written"], f"writes outside the run: {', '.join(answer['written'][:3])}"


def _repeatable(chosen: Command) -> None:
    """Two small runs with one seed, in two processes, return the same bits."""
    digests = set()
    for _ in range(2):
        with tempfile.TemporaryDirectory() as directory:
            done = _probe(chosen, Path(directory) / "run")
            assert done.returncode == 0, f"a small run fails: {done.stderr.strip()[-300:]}"
            digests.add(json.loads((Path(directory) / "answer.json").read_text())["digest"])
    assert len(digests) == 1, "the same seed gives different results"


def _probe(chosen: Command, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Carry out the bench's small run in a fresh process; its answer lies beside `directory`."""
    return _python("-m", "kdst_core.testing", chosen.method.plugin.qualified, str(directory))


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with warnings silenced and return what it printed."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )


def _small_run(name: str, directory: Path) -> None:
    """Carry out a small run under an audit hook, and write its digest and stray files."""
    written: list[str] = []
    inside = str(directory.resolve())

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str):
            return
        mode, flags = arguments[1], arguments[2]
        writes = isinstance(mode, str) and any(m in mode for m in "wax+")
        creates = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        path = str(Path(arguments[0]).resolve())
        harmless = path == os.devnull or "__pycache__" in path
        if (writes or creates) and not path.startswith(inside) and not harmless:
            written.append(path)

    chosen = command(name)
    run = make_run(directory, codec=chosen.bench.codec)
    tempfile.gettempdir()  # its first call probes folders with a file; torch's import may make it
    sys.addaudithook(audit)
    result = chosen.bench.smoke(chosen.method, chosen.method.description.options(), run)
    stray = list(written)
    digest = hashlib.sha256(result.encode()).hexdigest()
    answer = json.dumps({"digest": digest, "written": stray})
    (directory.parent / "answer.json").write_text(answer, encoding="utf-8")


if __name__ == "__main__":
    try:
        _small_run(sys.argv[1], Path(sys.argv[2]))
    except KdstError as error:
        sys.exit(str(error))
