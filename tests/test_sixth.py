"""A capability beyond the core's: packages of its own, from wheels alone, and every command on it."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from kdst_core.plugins import capabilities

if not all(map(find_spec, ("hatchling", "kdst_batch", "kdst_authors"))):
    pytest.skip("needs hatchling, kdst-batch and kdst-authors", allow_module_level=True)

PROJECTS = Path(__file__).parent / "sixth"


def unpack(project: Path, site: Path) -> None:
    """Build a project's wheel and put what it holds where Python looks, as an installer does."""
    wheels = site.parent / "wheels"
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(words, cwd=project, check=True, capture_output=True)
    (wheel,) = wheels.glob(f"{project.name.replace('-', '_')}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the capability, its bench and two methods."""
    site = tmp_path_factory.mktemp("sixth") / "site"
    site.mkdir()
    for project in ("kdst-denoise", "kdst-median", "kdst-average"):
        unpack(PROJECTS / project, site)
    return site


def kdst(site: Path, path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kdst_core", *words]
    env = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=path, env=env, capture_output=True, text=True, check=False)


def test_its_methods_are_listed_and_run(site: Path, tmp_path: Path) -> None:
    listed = json.loads(kdst(site, tmp_path, "plugins", "--json").stdout)
    ours = {row["name"]: row for row in listed if row["capability"] == "denoise"}
    assert ours.keys() == {"median", "average"}
    assert not any(row["problems"] for row in ours.values())
    done = kdst(site, tmp_path, "run", "median", "--out", "run")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/result.json").read_text())["metrics"]
    assert metrics["mse"] < metrics["before.mse"] / 2
    assert "before.mse" in (tmp_path / "run/report.html").read_text()


def test_its_methods_are_compared_in_pairs(site: Path, tmp_path: Path) -> None:
    done = kdst(site, tmp_path, "compare", "median", "average", "--out", "both")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "both/table.csv").read_text()
    assert "median" in table
    assert "average" in table
    assert "average" in done.stdout


def test_a_method_of_it_is_begun_and_checked(site: Path, tmp_path: Path) -> None:
    begun = kdst(site, tmp_path, "new", "denoise", "mine")
    assert begun.returncode == 0, begun.stderr
    assert "A weighted mean of neighbours." in (tmp_path / "kdst-mine/README.md").read_text()
    own = tmp_path / "site"
    own.mkdir()
    for folder in site.iterdir():
        (own / folder.name).symlink_to(folder)
    unpack(tmp_path / "kdst-mine", own)
    done = kdst(own, tmp_path, "run", "mine", "--out", "run")
    assert done.returncode == 0, done.stderr
    checked = kdst(own, tmp_path, "check", "mine")
    assert checked.returncode == 0, checked.stdout
    assert "ok      a signal keeps its length" in checked.stdout


def test_a_hook_of_another_name_is_named(site: Path, tmp_path: Path) -> None:
    broken = tmp_path / "site"
    broken.mkdir()
    for folder in site.iterdir():
        if not folder.name.startswith("kdst_median"):
            (broken / folder.name).symlink_to(folder)
    info = broken / "kdst_median-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kdst-median\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[kdst.denoise]\nmedian = kdst_median\n")
    source = (PROJECTS / "kdst-median/kdst_median/__init__.py").read_text()
    (broken / "kdst_median.py").write_text(source.replace("def denoise(", "def denoize("))
    refused = kdst(broken, tmp_path, "run", "median")
    assert refused.returncode == 2
    assert "denoize" in refused.stderr
    assert "Did you mean 'denoise'?" in refused.stderr


def test_a_capability_without_a_hook_is_refused(site: Path, tmp_path: Path) -> None:
    for name in ("kdst_median", "kdst_median-0.1.0.dist-info"):
        (tmp_path / name).symlink_to(site / name)
    info = tmp_path / "bare-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kdst.capabilities]\ndenoise = bare\n")
    (tmp_path / "bare.py").write_text('"""Nothing."""\n')
    refused = kdst(tmp_path, tmp_path, "run", "median")
    assert refused.returncode == 2
    assert "specifies no hook of that name" in refused.stderr


def test_names_that_mean_something_else_add_no_capability() -> None:
    from importlib.metadata import EntryPoint

    names = ("adapt", "describe", "commands", "two words", "denoise", "9lives")
    entries = [EntryPoint(name, "module", capabilities.ADDED) for name in names]
    assert capabilities.added([*entries, EntryPoint("other", "module", "kdst.benches")]) == [
        "denoise"
    ]
