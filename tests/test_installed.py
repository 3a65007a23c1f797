"""A plugin as a wheel in a fresh environment: installed it is there, upgraded new, removed gone."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests import fakes
from tests.test_core_alone import MODULE

PLUGINS = Path(__file__).parents[1] / "plugins"

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "fake-invert"
version = "{version}"
dependencies = ["kdst-core>=0.1,<0.2"]

[project.entry-points."kdst.invert"]
{name} = "{module}"

[project.entry-points."kdst.benches"]
invert = "{module}:bench"

[tool.hatch.build.targets.wheel]
include = ["{module}.py"]
"""


class Environment:
    """A virtual environment over this one, with pip from outside."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.folder, self.python = folder, folder / "bin/python"
        (site,) = folder.glob("lib/python*/site-packages")
        here = [p for p in sys.path if p.endswith("site-packages")]
        lines = [f"import site; site.addsitedir({path!r})\n" for path in here]
        (site / "zz_tests.pth").write_text("".join(lines))
        fakes.hide_others(site, "kdst-show")

    def pip(self, *arguments: str) -> None:
        """Run pip on the environment."""
        words = [sys.executable, "-m", "pip", "-q", "--python", str(self.python), *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def kdst(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command in the environment."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("KDST_", "PYTHON"))}
        words = [str(self.python), "-m", "kdst_core", *arguments]
        return subprocess.run(
            words, capture_output=True, text=True, check=False, env=environment, cwd=self.folder
        )


def wheel(folder: Path, version: str, name: str, module: str, code: str) -> str:
    """Build a wheel and return its path."""
    source = folder / version
    source.mkdir()
    (source / "pyproject.toml").write_text(
        PROJECT.format(version=version, name=name, module=module)
    )
    (source / f"{module}.py").write_text(code)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*words, "-w", str(folder), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(next(folder.glob(f"*-{version}-*.whl")))


def test_a_wheel_beside_the_core_is_listed_run_upgraded_and_removed(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="wheels are built by hatchling: pip install hatchling")
    first = wheel(tmp_path, "1.0", "reverse", "fake_old", MODULE)
    newer = MODULE.replace("    times: int", "    turns: int").replace(
        "options.times", "options.turns"
    )
    second = wheel(tmp_path, "1.1", "backwards", "fake_new", newer)
    environment = Environment(tmp_path / "environment")

    environment.pip("install", "--no-deps", "--no-index", first)
    (row,) = json.loads(environment.kdst("plugins", "--json").stdout)
    assert (row["name"], row["version"], row["problems"]) == ("reverse", "1.0", [])
    assert "--times" in environment.kdst("info", "reverse").stdout
    done = environment.kdst("run", "reverse", "--times", "2", "--out", "r")
    assert done.returncode == 0, done.stderr

    environment.pip("install", "--no-deps", "--no-index", "--upgrade", second)
    (row,) = json.loads(environment.kdst("plugins", "--json").stdout)
    assert (row["name"], row["version"]) == ("backwards", "1.1")
    shown = environment.kdst("info", "backwards").stdout
    assert "--turns" in shown
    assert "--times" not in shown
    assert environment.kdst("run", "reverse").returncode == 2
    assert environment.kdst("run", "backwards", "--out", "s").returncode == 0

    environment.pip("uninstall", "-y", "fake-invert")
    assert json.loads(environment.kdst("plugins", "--json").stdout) == []
    gone = environment.kdst("run", "backwards")
    assert gone.returncode == 2
    assert "no method 'backwards' is installed" in gone.stderr


@pytest.mark.parametrize("name", ["adapt", "reconstruct", "edit", "tools", "invert"])
def test_a_capabilitys_requirements_are_all_its_packages(name: str) -> None:
    lines = (PLUGINS / name / "requirements.txt").read_text().splitlines()
    folders = {
        f"-e plugins/{name}/{p.parent.name}" for p in PLUGINS.glob(f"{name}/*/pyproject.toml")
    }
    commands = {
        f"-e plugins/commands/kdst-{n}"
        for n in ("authors", "batch", "claims", "environments", "show")
    }
    assert {line for line in lines if line.startswith("-e")} == {"-e .", *commands, *folders}
    assert "-c ../../constraints.txt" in lines
    assert f"-r {name}/requirements.txt" in (PLUGINS / "requirements.txt").read_text().splitlines()
