"""Environments of packages that clash: each lies over the running one and holds what differs from it.

An environment is kept in the user's cache under a digest of what decides it: the interpreter, what is
installed beside it, and the package's own files or version.
"""

import hashlib
import json
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import click
from filelock import FileLock

from kdst_core.cache import user_cache
from kdst_core.errors import KdstError
from kdst_core.files import whole_folder
from kdst_core.plugins.elsewhere import Place
from kdst_core.plugins.installed import package_of
from kdst_environments import installing

BELOW = "zz_below.pth"
"""The file by which an environment finds what lies under it; its name makes it the last one read."""
LOCK = "lock.txt"
"""What is installed in an environment itself, a line `name==version` each."""


def environment(requirement: str) -> tuple[Path, Place]:
    """Return the environment of a package, made where it is not kept yet, and its place.

    requirement: a name of an index, or a folder or wheel on disk. KdstError where it cannot be installed;
    nothing is left behind then. One that is kept is only read.
    """
    return _kept(key(requirement), requirement, lambda folder: _make(folder, requirement))


def of_pins(pins: Sequence[str], wheels: Path | None) -> tuple[Path, Place]:
    """Return the environment that holds certain versions of packages and nothing that they need.

    pins: `name==version` each. wheels: a folder to take them from instead of an index. It is made and
    kept, and fails, as that of `environment`.
    """
    named = "the packages of the run"
    name = _digest([*pins, str(wheels)])
    return _kept(name, named, lambda folder: _make_of_pins(folder, pins, wheels))


def _kept(name: str, what: str, make: Callable[[Path], None]) -> tuple[Path, Place]:
    """Return the environment of a name, made where it is not kept yet, and its place."""
    folder = user_cache("environments") / name
    if not (folder / LOCK).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            _remove_left(folder)
            if not (folder / LOCK).is_file():
                click.echo(f"Making an environment for {what}, which is kept", err=True)
                with whole_folder(folder) as new:
                    make(new)
    digest = hashlib.sha256((folder / LOCK).read_bytes()).hexdigest()
    return folder, Place(_python(folder), digest)


def _remove_left(folder: Path) -> None:
    """Remove what a process that was killed left of an environment; its lock is held."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left, ignore_errors=True)


def key(requirement: str) -> str:
    """Return the digest of what decides an environment."""
    path = Path(requirement)
    return _digest(content(path) if path.exists() else requirement)


def _digest(own: str | list[str]) -> str:
    """Return the digest of an environment's own packages, the interpreter, and what lies below."""
    text = json.dumps([sys.version, sys.prefix, _versions(None), own])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _versions(places: list[str] | None) -> list[str]:
    """Return `name==version` of what is installed in places, beside this interpreter where None."""
    found = distributions() if places is None else distributions(path=places)
    return sorted(f"{p.name}=={p.version}" for p in map(package_of, found))


def content(path: Path) -> str:
    """Return a digest of a wheel, or of the files of a project's folder that are no hidden ones."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    hasher = hashlib.sha256()
    for file in files:
        parts = file.relative_to(path).parts
        if any(p.startswith(".") or p == "__pycache__" for p in parts):
            continue
        hasher.update(os.fsencode("/".join(parts)) + hashlib.sha256(file.read_bytes()).digest())
    return hasher.hexdigest()


def packages_in(folder: Path) -> list[str]:
    """Return the places in an environment where Python looks for packages."""
    return [str(p) for p in folder.glob("lib/python*/site-packages")]


def _make(folder: Path, requirement: str) -> None:
    """Make an environment over the running one, and install a package into it.

    pip is that of the running one, which lies below, else one of its own; uv sees nothing of what lies
    below. It is called directly, so that it ends with this process.
    """
    _lay(folder)
    tool = installing.pip_of(_python(folder))
    _install(folder, [*tool.command([requirement], None), "--quiet"], requirement)


def _make_of_pins(folder: Path, pins: Sequence[str], wheels: Path | None) -> None:
    """Make an environment over the running one, and install packages into it, by uv where it is here."""
    _lay(folder)
    tool = installing.uv_of(_python(folder)) or installing.pip_of(_python(folder))
    words = [*tool.command(pins, wheels), "--no-deps", "--quiet"]
    _install(folder, words, "what the run was made with")


def _python(folder: Path) -> str:
    """Return the interpreter of an environment."""
    return str(folder / "bin" / "python")


def _lay(folder: Path) -> None:
    """Make an empty environment over the running one."""
    without = ["--without-pip"] if find_spec("pip") else []
    done = installing.asked([sys.executable, "-P", "-m", "venv", *without, str(folder)])
    if done.returncode:
        why = installing.reason(done.stderr or done.stdout)
        raise KdstError(f"cannot make an environment: {why}")
    (packages,) = packages_in(folder)
    below = "; ".join(f"site.addsitedir({place!r})" for place in _places_below())
    Path(packages, BELOW).write_text(f"import site; {below}\n", encoding="utf-8")


def _install(folder: Path, command: list[str], what: str) -> None:
    """Install into an environment, and write its list; KdstError where it cannot be done."""
    done = installing.asked(command)
    if done.returncode:
        raise KdstError(f"{what} cannot be installed: {installing.reason(done.stderr)}")
    own = "".join(f"{line}\n" for line in _versions(packages_in(folder)))
    (folder / LOCK).write_text(own, encoding="utf-8")


def _places_below() -> Iterable[str]:
    """Return the places of installed packages of the running interpreter, in its own order."""
    known = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    known |= {p for p in sys.path if p.endswith(("site-packages", "dist-packages"))}
    return [p for p in dict.fromkeys([*sys.path, *known]) if p in known]
