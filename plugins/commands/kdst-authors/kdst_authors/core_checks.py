"""The conformance checks that every method is held to, whatever its capability."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import tomli_w
from packaging.requirements import InvalidRequirement, Requirement

from kdst_authors.claimed import well_formed
from kdst_authors.probe import Answer, Prober
from kdst_authors.used_options import unused
from kdst_core.bench.contract import Check
from kdst_core.errors import KdstError
from kdst_core.options import (
    Given,
    Item,
    Section,
    build,
    env_prefix,
    from_environment,
    from_toml,
    items,
    plain,
)
from kdst_core.plugins.installed import normal, package_of
from kdst_core.runs.setup import Setup

HEAVY = ("torch", "numpy", "scipy", "transformers", "diffusers", "gsplat", "matplotlib", "sklearn")
OFFLINE, WORKS = "reaches no network", "a small run works"
SETTINGS = "global settings are left alone"
"""Names of checks that others follow from."""
BAD_VALUES = ("no such value", "", "nan", "-1e9", "1e9", "-1", "0", "[1, 2]")


def core_checks(chosen: Setup, prober: Prober) -> Iterator[Check]:
    """Yield the checks; those that need small runs share them."""

    @cache
    def answers() -> list[Answer]:
        return list(prober(chosen))

    yield Check("entry module imports nothing heavy", partial(_light_import, chosen))
    yield Check("core version is bounded", partial(_bounded_core, chosen))
    yield Check("description is complete", partial(_description, chosen))
    yield Check("options survive flags, environment and TOML", partial(_round_trip, chosen))
    yield Check("bad options are refused in two lines", partial(_bad_options, chosen))
    yield Check("every option is used", partial(_options_used, chosen))
    yield Check("claims are well-formed", partial(well_formed, chosen))
    yield Check(OFFLINE, lambda: _no_network(answers()))
    yield Check(WORKS, lambda: _works(answers()), [OFFLINE])
    worked = (OFFLINE, WORKS)
    yield Check("prints nothing", lambda: _prints_nothing(answers()), worked)
    yield Check("writes only in the run directory", lambda: _writes_inside(answers()), worked)
    yield Check("nothing is left running", lambda: _nothing_left(answers()), worked)
    yield Check(SETTINGS, lambda: _settings(answers()), worked)
    alone = (*worked, SETTINGS)
    yield Check("same seed, same result", lambda: _repeatable(answers()), alone)
    yield Check("seed matters only to random methods", lambda: _seed(chosen, answers()), alone)


def _light_import(chosen: Setup) -> None:
    """The entry module and `describe` load in a fresh process without the heavy libraries."""
    module = chosen.method.plugin.entry.module
    code = (
        "import importlib, json, sys; "
        "m = importlib.import_module(sys.argv[1]); m.describe(); "
        "print(json.dumps([h for h in sys.argv[2:] if h in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module, *HEAVY],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"importing {module} alone fails: {done.stderr.strip()[-300:]}"
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, f"importing {module} prints: {lines[0]!r}"
    heavy = json.loads(lines[0])
    assert not heavy, f"importing {module} imports {', '.join(heavy)}; import them inside the hook"


def _bounded_core(chosen: Setup) -> None:
    """The package asks for a range of kdst-core with a lower and an upper bound."""
    dist = chosen.method.plugin.entry.dist
    requirement = _core_requirement(dist) if dist else None
    assert requirement, f"{chosen.method.plugin.package} must depend on kdst-core>=X,<Y"
    operators = {s.operator for s in requirement.specifier}
    bounded = operators & {">=", ">", "~=", "=="} and operators & {"<", "<=", "~=", "=="}
    assert bounded, f"bound kdst-core on both sides, not {str(requirement)!r}"


def _core_requirement(dist: Distribution) -> Requirement | None:
    """Return the requirement on kdst-core of a distribution, None where there is none that can be read."""
    try:
        lines = [line for line in package_of(dist).requires() if "kdst" in line and "core" in line]
        parsed = [Requirement(line) for line in lines]
    except (InvalidRequirement, OSError, UnicodeDecodeError):
        return None
    return next((r for r in parsed if normal(r.name) == "kdst-core"), None)


def _description(chosen: Setup) -> None:
    """The description has a summary of one line and a licence, every option a help text and a type."""
    description = chosen.method.description
    assert description.summary.strip(), "describe() has no summary"
    assert "\n" not in description.summary, "the summary must be one line"
    assert description.licence, "describe() has no licence"
    assert attrs.has(description.options), "options must be an attrs class"
    own = items(chosen.sections[1])
    silent = [i.flag for i in own if not i.help]
    assert not silent, f"options without help: {', '.join(silent)}"
    untyped = [i.flag for i in own if i.type in (None, Any, object)]
    assert not untyped, f"options without a type: {', '.join(untyped)}"


def _round_trip(chosen: Setup) -> None:
    """Every value, given as a flag, a variable or in TOML, arrives, and changes nothing else."""
    section = chosen.sections[1]
    for item in items(section):
        for value in (item.default, *_other_values(item)):
            if value is None:
                continue
            try:
                wanted = plain(build(section, _given(item, value)))
            except KdstError:
                assert value != item.default, f"{item.flag}: the default {value!r} is refused"
                continue
            for source, given in _sources(chosen, item, value).items():
                got = plain(build(section, given))
                assert got == wanted, f"{item.flag} {value!r} in {source} gives other options"
            assert _at(wanted, item) == _plain(value), (
                f"{item.flag} {value!r} arrives as {_at(wanted, item)!r}"
            )


def _given(item: Item, value: Any) -> dict[str, Given]:
    """Return a value as it comes from Python."""
    return {item.flag: Given(value, item.flag, Path.cwd())}


def _sources(chosen: Setup, item: Item, value: Any) -> dict[str, dict[str, Given]]:
    """Return a value as it comes from a flag, a variable and a TOML file."""
    name = chosen.method.name
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    variable = item.variable(env_prefix(name))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "options.toml"
        nested: Any = _plain(value)
        for part in reversed(item.path.split(".")):
            nested = {part: nested}
        path.write_text(tomli_w.dumps({item.section.table: nested}), encoding="utf-8")
        toml = from_toml(path, chosen.items)
    base = {flag: Given(g.value, g.origin, Path.cwd()) for flag, g in toml.items()}
    environment = from_environment(chosen.items, name, environ={variable: text})
    return {"flags": _given(item, text), "the environment": environment, "TOML": base}


def _plain(value: Any) -> Any:
    """Return a value as TOML and JSON hold it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _at(options: dict[str, Any], item: Item) -> Any:
    """Return an option of plain options."""
    found: Any = options
    for part in item.path.split("."):
        found = found[part]
    return _plain(found)


def _other_values(item: Item) -> list[Any]:
    """Return values that are not the default and that an option of this type may take."""
    default, kinds = item.default, [a for a in get_args(item.type) if a is not type(None)]
    if get_origin(item.type) in (list, tuple):
        return []
    if get_origin(item.type) is Literal:
        return [v for v in get_args(item.type) if v != default]
    kind = item.type if not kinds else kinds[0]
    if kind is bool:
        return [not default]
    if kind is int:
        return [default + 1, default - 1] if default is not None else [1]
    if kind is float:
        return [0.5 * default, 0.25, 1.5 * default] if default is not None else [0.25]
    return []


def _bad_options(chosen: Setup) -> None:
    """Any text, for any option, is taken or refused in at most two lines that name the flag."""
    section = chosen.sections[1]
    for item in items(section):
        for text in BAD_VALUES:
            told = _refusal(section, item, text)
            lines = str(told).splitlines() if told else []
            assert len(lines) <= 2, f"{item.flag} {text!r} is refused in {len(lines)} lines"
            if lines:
                assert item.flag in lines[0], f"{item.flag} {text!r} is refused without its name"


def _refusal(section: Section, item: Item, text: str) -> KdstError | None:
    """Return the error that a value causes, or None when it is taken."""
    try:
        build(section, _given(item, text))
    except KdstError as e:
        return e
    return None


def _options_used(chosen: Setup) -> None:
    """Every option that the package adds is read somewhere in it."""
    left = unused(chosen.method.plugin.entry.module, chosen.method.description.options)
    assert not left, f"options that the code never reads: {', '.join(left)}"


def _results(answers: list[Answer]) -> list[Answer]:
    """Return the answers; a small run that failed fails the check."""
    for answer in answers:
        assert not answer.error, f"a small run fails: {answer.error}"
    return answers


def _works(answers: list[Answer]) -> None:
    """Small runs come to their end."""
    _results(answers)


def _nothing_left(answers: list[Answer]) -> None:
    """Small runs leave no thread and no process behind."""
    left = [name for answer in _results(answers) for name in answer.left]
    assert not left, f"leaves {', '.join(left[:2])} running; end it before the call returns"


def _prints_nothing(answers: list[Answer]) -> None:
    """Small runs print nothing."""
    for answer in _results(answers):
        assert not answer.printed, f"prints {answer.printed[:80]!r}; use run.log"


def _writes_inside(answers: list[Answer]) -> None:
    """Small runs open no file for writing elsewhere."""
    stray = [path for answer in _results(answers) for path in answer.written]
    assert not stray, f"writes outside the run: {', '.join(stray[:3])}"


def _no_network(answers: list[Answer]) -> None:
    """Small runs connect to nothing."""
    tried = [place for answer in answers for place in answer.connections]
    assert not tried, f"tries to connect to {', '.join(tried[:3])}"


def _repeatable(answers: list[Answer]) -> None:
    """Runs with one seed return the same bits, in one process and in two."""
    first, second = _results(answers)
    assert first.digests[0] == first.digests[1], (
        "a second run in one process gives another result: something is kept between runs"
    )
    assert first.digests[0] == second.digests[0], (
        "the same seed gives another result in another process: take random numbers from the"
        " request's generator only, and iterate over no set"
    )


def _seed(chosen: Setup, answers: list[Answer]) -> None:
    """Other seeds give another result where a method says it is random, the same where not."""
    _, second = _results(answers)
    if not chosen.method.description.random:
        assert second.digests[0] == second.digests[1], (
            "the seed changes the result, though describe() says random=False"
        )
    else:
        assert second.digests[0] != second.digests[1], (
            "the seed is ignored: other seeds give the same result, though describe() says random=True"
        )


def _settings(answers: list[Answer]) -> None:
    """A small run leaves the settings of the process as they are."""
    changed = [*dict.fromkeys(key for answer in _results(answers) for key in answer.changed)]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    assert not changed, f"changes {', '.join(changed[:3])}{more}; put back what a call changes"
