"""Packages of `kdst new`, installed into a folder without pip, and watched in forks."""

import gc
import importlib
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from kdst_authors import probe, scaffold
from kdst_core.runs.setup import Setup, setup_of


def generate(capability: str, name: str, path: Path) -> Path:
    """Write a package and return its folder."""
    plan = scaffold.plan(capability, name, path, "Apache-2.0")
    scaffold.create(plan)
    return plan.folder


def install(package: Path, site: Path) -> None:
    """Put a package and its metadata into a folder of sys.path, as pip does with a wheel."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    module = project["name"].replace("-", "_")
    for source in sorted((package / module).glob("*.py")):
        target = site / module / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    info = site / f"{module}-{project['version']}.dist-info"
    info.mkdir()
    requirements = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head + requirements)
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


@cache
def warm(capability: str, site: Path) -> None:
    """Load what methods of a capability use, by a small run, so that forks find it loaded."""
    name = f"warm-{capability.replace('_', '-')}"
    with tempfile.TemporaryDirectory() as directory:
        install(generate(capability, name, Path(directory)), site)
        importlib.invalidate_caches()
        probe.small_run(setup_of(name), Path(directory) / "run", 0)
    gc.collect()
    gc.freeze()  # checks that collect garbage need not look at libraries again and again


def forked(chosen: Setup) -> list[probe.Answer]:
    """Carry out the small runs in two forks of this process, which has the libraries loaded.

    Unlike fresh processes they have one hash seed; all else that the checks look at is the same.
    """
    with tempfile.TemporaryDirectory() as directory:
        answers = []
        for number in range(len(probe.SEEDS)):
            folder = Path(directory) / str(number)
            folder.mkdir()
            answers.append(_fork(chosen, folder, number))
        return answers


def _fork(chosen: Setup, folder: Path, number: int) -> probe.Answer:
    """Watch in a fork, its output in files."""
    child = os.fork()
    if child == 0:
        _watch(chosen, folder, number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    printed = (folder / "stdout").read_text().strip()
    if status:
        return probe.Answer(printed=printed, error=(folder / "stderr").read_text()[-300:])
    return probe.read_answer(folder, printed)


def _watch(chosen: Setup, folder: Path, number: int) -> None:
    """Watch in this process, which ends here."""
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(
                os.open(folder / ("stdout", "stderr")[stream - 1], os.O_CREAT | os.O_WRONLY), stream
            )
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
        probe.watch(chosen.method.plugin.qualified, folder, number)
        code = 0
    except BaseException as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def change(package: Path, edits: Sequence[tuple[str, str, str]]) -> None:
    """Replace texts in files of a package: (file, old, new); an old text must be there once.

    A file is named as in the template: `hooks`, `method` or `project`.
    """
    (module,) = package.glob("kdst_*")
    files = {
        "hooks": module / "__init__.py",
        "method": module / "method.py",
        "project": package / "pyproject.toml",
    }
    for file, old, new in edits:
        text = files[file].read_text()
        assert len(re.findall(re.escape(old), text)) == 1, f"{old!r} is not once in {file}"
        files[file].write_text(text.replace(old, new))
