"""Installing packages into an environment: planned first, refused where another package would break.

Only names of the catalogue are asked of an index; anything else must lie on disk and be named as such.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from kdst_core.errors import KdstError, did_you_mean

BUILT = (".whl", ".gz", ".zip")
"""Endings of what a package is built into."""


@frozen
class Installer:
    """A program that installs packages into the environment of an interpreter.

    words: what its command begins with.
    reports: whether it can say as JSON what it would install.
    """

    words: tuple[str, ...]
    reports: bool

    def command(self, packages: Iterable[str], wheels: Path | None) -> list[str]:
        """Return the command that installs packages; with a folder of wheels, from it and no index."""
        alone = ["--no-index", "--find-links", str(wheels)] if wheels else []
        return [*self.words, "install", *alone, *packages]


def installer(python: str = sys.executable) -> Installer:
    """Return pip where the running interpreter has it, else uv; KdstError where there is neither."""
    if find_spec("pip"):
        here = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        return Installer((*here, *(("--python", python) if python != sys.executable else ())), True)
    if uv := shutil.which("uv"):
        return Installer((uv, "pip"), False)
    raise KdstError("neither pip nor uv is here.\nGet pip: python -m ensurepip")


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
            f"--from {path} holds no package; allowed: a folder with a pyproject.toml, or a wheel"
        )
    return str(path.resolve())


def planned(tool: Installer, command: list[str]) -> dict[str, str]:
    """Return what a command would install, normal name to version; KdstError where it cannot."""
    asked = [*command, "--dry-run", *(("--quiet", "--report", "-") if tool.reports else ())]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise KdstError(f"cannot be installed: {reason(answer.stderr)}\nNothing was changed")
    if not tool.reports:
        lines = re.findall(r"(?m)^ \+ (\S+?)==(\S+)", answer.stderr)
        return {canonicalize_name(name): version for name, version in lines}
    items = json.loads(answer.stdout)["install"]
    return {canonicalize_name(i["metadata"]["name"]): i["metadata"]["version"] for i in items}


def reason(text: str) -> str:
    """Return what an installer gives as its error: the first line that says so, else its last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("error:")]
    return next(iter(errors), lines[-1] if lines else "the installer said nothing")


def clashes(plan: Mapping[str, str], installed: Iterable[Distribution]) -> list[str]:
    """Return what a plan would break: a line for each requirement that holds now and would not then."""
    present: dict[str, Distribution] = {
        canonicalize_name(d.metadata["Name"] or ""): d for d in installed
    }
    lines = []
    for name, dist in present.items():
        if name in plan:
            continue
        for line in dist.requires or ():
            try:
                needed = Requirement(line)
                lines += _broken(name, needed, plan, present)
            except (InvalidRequirement, InvalidVersion):  # a fault of that package, not of the plan
                continue
    return lines


def _broken(
    name: str, needed: Requirement, plan: Mapping[str, str], present: Mapping[str, Distribution]
) -> list[str]:
    """Return the line for a requirement that a plan breaks, if it does."""
    other = canonicalize_name(needed.name)
    if other not in plan or other not in present:
        return []
    if needed.marker and not needed.marker.evaluate({"extra": ""}):
        return []
    held = needed.specifier.contains(present[other].version, prereleases=True)
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


def carry_out(command: list[str]) -> None:
    """Install; what the installer says goes to the terminal. KdstError where it fails."""
    if code := subprocess.run(command, check=False).returncode:
        raise KdstError(f"the installation failed (exit code {code}); its own lines above say why")


def here() -> list[Distribution]:
    """Return what is installed beside the running interpreter."""
    return list(distributions())
