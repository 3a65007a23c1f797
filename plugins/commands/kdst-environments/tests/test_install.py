"""`kdst install`: what it may install, what it refuses, and that a refusal changes nothing."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdst_core.errors import KdstError
from kdst_environments import install, installing

pip = pytest.mark.skipif(not find_spec("pip"), reason="this environment has no pip")
CATALOGUE = {"tea": "kdst-tea", "eta": "kdst-eata", "eata": "kdst-eata", "view": "kdst-reconstruct"}


def wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """Write a wheel of one empty module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {line}\n" for line in needs)
    files = {
        f"{module}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(text)}\n")
    files[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    folder.mkdir(exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


class Environment:
    """A virtual environment without pip, and a folder of wheels beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels = folder, folder / "wheels"
        words = [sys.executable, "-m", "venv", "--without-pip", str(folder / "env")]
        subprocess.run(words, check=True)
        self.tool = installing.installer(str(folder / "env/bin/python"))
        (self.site,) = (folder / "env").glob("lib/python*/site-packages")

    def installed(self) -> list[Distribution]:
        return list(distributions(path=[str(self.site)]))

    def versions(self) -> dict[str, str]:
        return {d.metadata["Name"]: d.version for d in self.installed()}

    def install(self, *packages: str) -> dict[str, str]:
        command = self.tool.command(packages, self.wheels)
        plan = installing.check(self.tool, command, self.installed())
        installing.carry_out([*command, "--quiet"])
        return plan


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pip
def test_a_package_and_what_it_needs_are_planned_and_installed(environment: Environment) -> None:
    wheel(environment.wheels, "first", "1.0", "second>=2")
    wheel(environment.wheels, "second", "2.5")
    assert environment.install("first") == {"first": "1.0", "second": "2.5"}
    assert environment.versions() == {"first": "1.0", "second": "2.5"}


@pip
def test_what_would_break_a_package_that_is_there_is_refused(environment: Environment) -> None:
    wheel(environment.wheels, "shared", "1.0")
    wheel(environment.wheels, "old", "1.0", "shared<2")
    environment.install("old")
    before = environment.versions()
    wheel(environment.wheels, "shared", "2.0")
    wheel(environment.wheels, "new", "1.0", "shared>=2")
    with pytest.raises(KdstError, match=r"old needs shared<2, and this would bring shared 2\.0"):
        environment.install("new")
    assert environment.versions() == before


@pip
def test_what_is_nowhere_is_said_in_one_line(environment: Environment) -> None:
    environment.wheels.mkdir()
    with pytest.raises(KdstError, match=r"cannot be installed: .*nowhere") as raised:
        environment.install("nowhere")
    assert len(str(raised.value).splitlines()) == 2
    assert environment.versions() == {}


@pip
def test_the_command_shows_what_it_would_do_and_does_nothing_unasked(tmp_path: Path) -> None:
    built = wheel(tmp_path / "wheels", "kdst-nothing-of-the-kind", "1.0")
    before = {d.metadata["Name"] for d in distributions()}
    asked = CliRunner().invoke(install.command, ["--from", str(built)])
    assert isinstance(asked.exception, KdstError)
    assert "add --yes" in str(asked.exception)
    assert str(built) in asked.output
    assert "kdst-nothing-of-the-kind 1.0" in asked.output
    assert {d.metadata["Name"] for d in distributions()} == before


def test_names_become_packages_once() -> None:
    assert installing.packages_of(["eta", "eata", "KDST_tea"], CATALOGUE) == [
        "kdst-eata",
        "kdst-tea",
    ]


@pytest.mark.parametrize(
    "name", ["teaa", "torch", "kdst-tea==0.1", "git+https://x/y", "-r", "../x"]
)
def test_only_published_names_are_asked_of_an_index(name: str) -> None:
    with pytest.raises(KdstError, match="no published method or package"):
        installing.packages_of([name], CATALOGUE)


def test_a_place_without_a_package_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent", wheel(tmp_path, "a", "1").with_suffix(".txt")):
        with pytest.raises(KdstError, match="holds no package"):
            installing.local(place)
    (tmp_path / "pyproject.toml").touch()
    assert installing.local(tmp_path) == str(tmp_path)


def test_no_name_is_no_installation() -> None:
    refused = CliRunner().invoke(install.command, [])
    assert "nothing to install" in str(refused.exception)


class Said(Distribution):
    """A distribution that is only metadata."""

    def __init__(self, name: str, version: str, *needs: str) -> None:
        self.lines = "".join(f"Requires-Dist: {line}\n" for line in needs)
        self.head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        return self.head + self.lines if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("shared<2", True),
        ("shared>=1", False),
        ("shared<1", False),  # did not hold before either
        ("shared<2; extra == 'more'", False),
        ("shared<2; python_version < '3'", False),
        ("shared <<< 2", False),  # a fault of that package
    ],
)
def test_only_what_holds_now_can_break(line: str, broken: bool) -> None:
    installed = [Said("old", "1.0", line), Said("shared", "1.5")]
    assert bool(installing.clashes({"shared": "2.0"}, installed)) == broken


def test_a_package_that_is_replaced_keeps_nobody_back() -> None:
    installed = [Said("old", "1.0", "shared<2"), Said("shared", "1.5")]
    assert installing.clashes({"shared": "2.0", "old": "1.1"}, installed) == []
