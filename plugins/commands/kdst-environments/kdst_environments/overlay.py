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
from collections.abc import Iterable
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import click
from filelock import FileLock

from kdst_core.cache import user_cache
from kdst_core.errors import KdstError
from kdst_core.files import whole_folder
from kdst_core.plugins.elsewhere import Place
from kdst_core.plugins.installed import said
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
    folder = user_cache("environments") / key(requirement)
    if not (folder / LOCK).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            _remove_left(folder)
            if not (folder / LOCK).is_file():
                click.echo(f"Making an environment for {requirement}, which is kept", err=True)
                with whole_folder(folder) as new:
                    _make(new, requirement)
    digest = hashlib.sha256((folder / LOCK).read_bytes()).hexdigest()
    return folder, Place(str(folder / "bin" / "python"), digest)


def _remove_left(folder: Path) -> None:
    """Remove what a process that was killed left of an environment; its lock is held."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left, ignore_errors=True)


def key(requirement: str) -> str:
    """Return the digest of what decides an environment."""
    path = Path(requirement)
    own = content(path) if path.exists() else requirement
    beside = _versions(None)
    text = json.dumps([sys.version, sys.prefix, beside, own])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _versions(places: list[str] | None) -> list[str]:
    """Return `name==version` of what is installed in places, beside this interpreter where None."""
    found = distributions() if places is None else distributions(path=places)
    return sorted(f"{said(d, 'Name')}=={said(d, 'Version')}" for d in found)


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
    without = ["--without-pip"] if find_spec("pip") else []
    done = installing.asked([sys.executable, "-P", "-m", "venv", *without, str(folder)])
    if done.returncode:
        why = installing.reason(done.stderr or done.stdout)
        raise KdstError(f"cannot make an environment: {why}")
    (packages,) = packages_in(folder)
    below = "; ".join(f"site.addsitedir({place!r})" for place in _places_below())
    Path(packages, BELOW).write_text(f"import site; {below}\n", encoding="utf-8")
    tool = installing.pip_of(str(folder / "bin" / "python"))
    done = installing.asked([*tool.command([requirement], None), "--quiet"])
    if done.returncode:
        raise KdstError(f"{requirement} cannot be installed: {installing.reason(done.stderr)}")
    own = "".join(f"{line}\n" for line in _versions([packages]))
    (folder / LOCK).write_text(own, encoding="utf-8")


def _places_below() -> Iterable[str]:
    """Return the places of installed packages of the running interpreter, in its own order."""
    known = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    known |= {p for p in sys.path if p.endswith(("site-packages", "dist-packages"))}
    return [p for p in dict.fromkeys([*sys.path, *known]) if p in known]
