"""Fake installed packages: metadata and modules written into a folder that goes on sys.path."""

import os
import subprocess
import sys
from pathlib import Path

GOOD = '''
"""A method for tests."""
from attrs import frozen
from kdst_core import Description, hookimpl, option

@frozen
class Options:
    level: int = option(3, "A level.", min=0)

@hookimpl
def describe():
    return Description(summary="A method for tests.", options=Options)

@hookimpl
def {hook}(request, options, run):
    {body}
'''


def install(
    folder: Path,
    package: str,
    *,
    name: str,
    module: str,
    code: str | None,
    requires: str = "kdst-core>=0.1,<0.2",
) -> None:
    """Write a package's metadata with one `kdst.adapt` entry point, and its module unless None."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nSummary: Fake.\n"
    (info / "METADATA").write_text(metadata + f"Requires-Dist: {requires}\n")
    (info / "entry_points.txt").write_text(f"[kdst.adapt]\n{name} = {module}\n")
    if code is not None:
        (folder / f"{module}.py").write_text(code)


ALONE = '''
"""Hides every entry point but those of packages whose names begin with fake."""
import importlib.metadata as metadata

everything = metadata.entry_points
metadata.entry_points = lambda **kw: [e for e in everything(**kw) if e.dist.name.startswith("fake")]
'''


def hide_others(folder: Path) -> None:
    """Let Python processes with this folder on their path find plugins of fake packages only."""
    (folder / "sitecustomize.py").write_text(ALONE)


def faulty(folder: Path) -> None:
    """Install five faulty plugins."""
    ok = GOOD.format(hook="adapt", body="return object()")
    install(
        folder, "kdst-broken", name="broken", module="fake_broken", code="import no_such_module"
    )
    install(folder, "kdst-other-tea", name="tea", module="fake_tea", code=ok)
    install(
        folder, "kdst-new", name="new", module="fake_new", code=ok, requires="kdst-core>=99,<100"
    )
    misspelt = GOOD.format(hook="adpat", body="return object()")
    install(folder, "kdst-misspelt", name="misspelt", module="fake_misspelt", code=misspelt)
    nothing = GOOD.format(hook="adapt", body="return None")
    install(folder, "kdst-nothing", name="nothing", module="fake_nothing", code=nothing)


def kdst(
    *arguments: str, path: Path | None = None, cwd: Path | None = None, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command in a fresh process, with a folder of fake packages on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KDST_")}
    environment |= env
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "kdst_core", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=300,
        check=False,
    )
