"""Installing packages into an environment: planned first, refused where another package would break.

Only names of the catalogue are asked of an index; anything else must lie on disk and be named as such.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

import click
from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kdst_core.errors import KdstError, did_you_mean
from kdst_core.plugins.installed import package_of
from kdst_core.runs.received import visible

BUILT = (".whl", ".gz", ".zip")
"""Endings of what a package is built into."""
REPORT = ("--quiet", "--report", "-")
"""Options of pip that have it say as JSON what it would do."""


@frozen
class Installer:
    """A program that installs packages into the environment of an interpreter.

    words: what its command begins with. options: what follows `install`.
    reports: whether it can say as JSON what it would install.
    """

    words: tuple[str, ...]
    reports: bool
    options: tuple[str, ...] = ()

    def command(self, packages: Iterable[str], wheels: Path | None) -> list[str]:
        """Return the command that installs packages; with a folder of wheels, from it and no index."""
        alone = ["--no-index", "--find-links", str(wheels)] if wheels else []
        return [*self.words, "install", *self.options, *alone, *map(_as_taken, packages)]


def _as_taken(package: str) -> str:
    """Return a package as installers take it: a path with what a requirement gives a meaning to as a URI."""
    odd = os.path.isabs(package) and any(mark in package for mark in "[];#@%")
    return Path(package).as_uri() if odd else package


def installer(python: str = sys.executable) -> Installer:
    """Return pip where the running interpreter has it, else uv; KdstError where there is neither."""
    if find_spec("pip"):
        pip = pip_of(sys.executable)
        other = ("--python", python) if python != sys.executable else ()
        return Installer((*pip.words, *other), True)
    if uv := uv_of(python):
        return uv
    raise KdstError("neither pip nor uv is here.\nGet pip: python -m ensurepip")


def uv_of(python: str) -> Installer | None:
    """Return uv, told the interpreter, since it takes the active environment else; None without uv."""
    uv = shutil.which("uv")
    return Installer((uv, "pip"), False, ("--python", python)) if uv else None


def pip_of(python: str) -> Installer:
    """Return pip as an interpreter finds it; nothing of the current directory is imported."""
    return Installer((python, "-P", "-m", "pip", "--disable-pip-version-check"), True)


def asked(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Carry out a command and return what it says; what is not UTF-8 is replaced."""
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )


def packages_of(names: Sequence[str], catalogue: Mapping[str, str]) -> list[str]:
    """Return the packages of published names (methods, commands, packages); KdstError at any other."""
    published = {canonicalize_name(p) for p in catalogue.values()}
    packages = []
    for name in names:
        package = catalogue.get(name, canonicalize_name(name))
        if package not in published:
            known = did_you_mean(name, [*catalogue, *published])
            raise KdstError(
                f"{name!r} is no published method or package.{known}\n"
                "A package of your own: kdst install --from FOLDER_OR_WHEEL"
            )
        packages.append(package)
    return list(dict.fromkeys(packages))


def local(path: Path) -> str:
    """Return a package on disk as installers take it; KdstError where it is no project and not built."""
    if not ((path / "pyproject.toml").is_file() or (path.is_file() and path.suffix in BUILT)):
        raise KdstError(
            f"{path} holds no package; allowed: a folder with a pyproject.toml, or a wheel"
        )
    return str(path.resolve())


def planned(tool: Installer, command: list[str]) -> dict[str, str]:
    """Return what a command would install, normal name to version; KdstError where it cannot."""
    answer = asked([*command, "--dry-run", *(REPORT if tool.reports else ())])
    if answer.returncode:
        raise KdstError(f"cannot be installed: {reason(answer.stderr)}\nNothing was changed")
    if not tool.reports:
        lines = re.findall(r"(?m)^ \+ (\S+?)==(\S+)", answer.stderr)
        return {canonicalize_name(name): version for name, version in lines}
    try:
        items = json.loads(answer.stdout)["install"]
    except (ValueError, KeyError) as e:
        raise KdstError("the installer does not say what it would do.\nNothing was changed") from e
    return {canonicalize_name(i["metadata"]["name"]): i["metadata"]["version"] for i in items}


def reason(text: str) -> str:
    """Return what an installer gives as its error: the first line that says so, else its last one.

    What steers a terminal is escaped, since a package's own files may say it.
    """
    lines = [line.strip() for line in visible(text).splitlines() if line.strip()]
    errors = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("error:")]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    if raised and errors[:1] == ["subprocess-exited-with-error"]:  # a build that failed
        return raised[-1]
    return next(iter(errors), lines[-1] if lines else "the installer said nothing")


def clashes(plan: Mapping[str, str], installed: Iterable[Distribution]) -> list[str]:
    """Return what a plan would break: a line for each requirement that holds now and would not then."""
    present: dict[str, Distribution] = {canonicalize_name(package_of(d).name): d for d in installed}
    lines = []
    for name, dist in present.items():
        if name in plan:
            continue
        for line in _requires(dist):
            with suppress(Exception):  # a fault of that package, not of the plan
                lines += _broken(name, Requirement(line), plan, present)
    return lines


def _requires(dist: Distribution) -> list[str]:
    """Return the lines of a distribution's requirements, none where they cannot be read."""
    try:
        return package_of(dist).requires()
    except Exception:  # a fault of that package
        return []


def _broken(
    name: str, needed: Requirement, plan: Mapping[str, str], present: Mapping[str, Distribution]
) -> list[str]:
    """Return the line for a requirement that a plan breaks, if it does."""
    other = canonicalize_name(needed.name)
    if other not in plan or other not in present:
        return []
    if needed.marker and not needed.marker.evaluate({"extra": ""}):
        return []
    held = needed.specifier.contains(package_of(present[other]).version, prereleases=True)
    if not held or needed.specifier.contains(plan[other], prereleases=True):
        return []
    return [f"{name} needs {other}{needed.specifier}, and this would bring {other} {plan[other]}"]


def check(tool: Installer, command: list[str], installed: Iterable[Distribution]) -> dict[str, str]:
    """Return what a command would install; KdstError where that breaks a package that is here."""
    plan = planned(tool, command)
    if broken := clashes(plan, installed):
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise KdstError(
            f"{broken[0]}{more}.\nNothing was changed; an environment of its own can hold it"
        )
    return plan


def ask() -> None:
    """Ask whether to go on; KdstError where nobody can answer or the answer is no."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise KdstError("nobody can be asked here; nothing was changed.\nTo install: add --yes")
    if not click.confirm("Go on?"):
        raise KdstError("nothing was changed")


def carry_out(command: list[str]) -> None:
    """Install; what the installer says goes to the terminal. KdstError where it fails."""
    if code := subprocess.run(command, check=False).returncode:
        raise KdstError(f"the installation failed (exit code {code}); its own lines above say why")


def here() -> list[Distribution]:
    """Return what is installed beside the running interpreter."""
    return list(distributions())
