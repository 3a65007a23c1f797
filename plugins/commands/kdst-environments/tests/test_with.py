"""`--with`: methods that need other versions of a library than what is installed, beside each other."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kdst_core.cli import with_first
from kdst_core.errors import KdstError
from kdst_environments import overlay

pytestmark = pytest.mark.skipif(not find_spec("pip"), reason="this environment has no pip")
if not find_spec("kdst_adapt"):
    pytest.skip("needs the bench kdst-adapt", allow_module_level=True)

METHOD = '''
"""Predicts as the model does, if a library has the right version."""
from attrs import frozen
from kdst_core import Description, hookimpl

@frozen
class Options:
    pass

@hookimpl
def describe():
    return Description(summary="Predicts.", options=Options, licence="MIT", random=False)

@hookimpl
def adapt(request, options, run):
    import kdst_shared_library

    if kdst_shared_library.VERSION != {version}:
        raise RuntimeError(f"it needs version {version}, this is {{kdst_shared_library.VERSION}}")
    return Predictor(request.model)


class Predictor:
    def __init__(self, model):
        self.model = model.eval()

    def predict(self, x):
        from kdst_core.contracts.adapt import Diagnostics

        logits = self.model(x).detach()
        self.diagnostics = Diagnostics(logits, logits, 0, 0)
        return logits

    def reset(self):
        pass

    def state_dict(self):
        return {{}}

    def load_state_dict(self, state):
        pass
'''


def project(folder: Path, name: str, files: dict[str, str], version: str, *lines: str) -> Path:
    """Write a project of one package."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    for file, text in files.items():
        (folder / module / file).write_text(text)
    head = f'[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.11"\n'
    backend = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    (folder / "pyproject.toml").write_text("\n".join([backend, head, *lines]) + "\n")
    return folder


def wheel(folder: Path, site: Path) -> Path:
    """Build a project into a wheel."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(site)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = site.glob(f"{folder.name.replace('-', '_')}-*.whl")
    return built


def method(folder: Path, name: str, version: int) -> Path:
    """Return the wheel of a method, with the version of a library that it needs inside."""
    files = {"__init__.py": METHOD.format(version=version).lstrip()}
    entry = f'[project.entry-points."kdst.adapt"]\n{name} = "kdst_{name}"'
    packages = (
        f'[tool.hatch.build.targets.wheel]\npackages = ["kdst_{name}", "kdst_shared_library"]'
    )
    needs = 'dependencies = ["kdst-core>=0.1,<0.2", "kdst-adapt>=0.1,<0.2", "attrs>=24.2"]'
    made = project(folder / f"kdst-{name}", f"kdst-{name}", files, "1.0", needs, entry, packages)
    (made / "kdst_shared_library").mkdir()
    (made / "kdst_shared_library/__init__.py").write_text(f"VERSION = {version}\n")
    return wheel(made, folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheels of two methods that need different versions of a library."""
    folder = tmp_path_factory.mktemp("with")
    method(folder, "older", 1)
    method(folder, "newer", 2)
    return folder


def kdst(place: Path, path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kdst_core", *words]
    env = {**os.environ, "KDST_CACHE": str(place / "cache")}
    return subprocess.run(command, cwd=path, env=env, capture_output=True, text=True, check=False)


SHORT = ("--types", "contrast", "--images", "100")


def test_methods_that_clash_are_compared(place: Path, tmp_path: Path) -> None:
    packages = [f"--with={place / name}" for name in sorted(p.name for p in place.glob("*.whl"))]
    words = ("compare", "older", "newer", "norm", *SHORT, *packages, "--out", "both")
    done = kdst(place, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "both/comparison.json").read_text())["runs"]
    assert sorted(runs.values()) == ["newer seed 0", "norm seed 0", "older seed 0"]
    assert not find_spec("kdst_shared_library")
    again = kdst(place, tmp_path, *words)
    assert again.returncode == 0
    assert len(list((tmp_path / "runs").glob("older-*"))) == 1


def test_a_run_takes_the_package_that_it_is_given(place: Path, tmp_path: Path) -> None:
    (newer,) = place.glob("kdst_newer-*.whl")
    done = kdst(place, tmp_path, "run", "newer", "--with", str(newer), *SHORT, "--out", "run")
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "run/env.json").read_text())["installed"]
    assert recorded["kdst-newer"]["version"] == "1.0"
    absent = kdst(place, tmp_path, "run", "newer", *SHORT)
    assert absent.returncode == 2


def test_what_cannot_be_installed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"no wheel")
    with pytest.raises(KdstError, match="cannot be installed"):
        overlay.environment(str(broken))
    left = [p for p in (tmp_path / "cache/environments").iterdir() if p.is_dir()]
    assert left == []


def test_an_environment_is_named_by_what_decides_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/m.py").write_text("x = 1\n")
    first = overlay.key(str(tmp_path / "a"))
    (tmp_path / "a/.hidden").write_text("1")
    assert overlay.key(str(tmp_path / "a")) == first
    (tmp_path / "a/m.py").write_text("x = 2\n")
    assert overlay.key(str(tmp_path / "a")) != first
    assert overlay.key("kdst-tea") != overlay.key("kdst-tent")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("run tea", "run tea"),
        ("run a --with p --lr 1", "with p -- run a --lr 1"),
        ("compare a b --with p --with=q --seeds 0", "with p q -- compare a b --seeds 0"),
        ("--with p run a", "--with p run a"),
        ("--debug run a --with p", "--debug with p -- run a"),
        ("with p -- run a --with q", "with p -- run a --with q"),
        ("with p --with q -- run a", "with q p -- run a"),
        ("other a -- --with", "other a -- --with"),
    ],
)
def test_packages_come_before_the_command(words: str, first: str) -> None:
    assert with_first(words.split()) == first.split()
