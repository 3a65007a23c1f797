"""`kdst install`: what it may install, what it refuses, and that a refusal changes nothing."""

import base64
import hashlib
import os
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


def test_a_package_whose_metadata_cannot_be_read_keeps_nobody_back(tmp_path: Path) -> None:
    for name, needs in (("faulty", b"\xff"), ("odd", b"shared<2; extra <= 3")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_bytes(b"Name: " + name.encode() + b"\nRequires-Dist: " + needs)
    os.mkfifo(tmp_path / "waits-1.0.egg-info")
    installed = [Said("shared", "1.5"), *distributions(path=[str(tmp_path)])]
    assert installing.clashes({"shared": "2.0"}, installed) == []


def test_uv_is_told_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "find_spec", lambda _: None)
    monkeypatch.setattr(installing.shutil, "which", lambda name: f"/bin/{name}")
    assert installing.installer().command(["kdst-tea"], None) == [
        "/bin/uv",
        "pip",
        "install",
        "--python",
        sys.executable,
        "kdst-tea",
    ]


@pip
@pytest.mark.parametrize("name", ["a [b]; c", "a #b@c", "100%25"])
def test_a_path_of_any_name_is_a_path(environment: Environment, tmp_path: Path, name: str) -> None:
    built = wheel(tmp_path / name, "first", "1.0")
    environment.wheels.mkdir()
    assert environment.install(installing.local(built)) == {"first": "1.0"}


def test_nothing_of_the_current_directory_is_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/__main__.py").write_text("print('from here')")
    monkeypatch.chdir(tmp_path)
    said = installing.asked([*installing.pip_of(sys.executable).words, "--version"])
    assert "from here" not in said.stdout


def test_what_an_installer_says_is_read_whatever_it_is() -> None:
    code = "import os, sys; os.write(2, bytes([255, 27]) + b'[2J'); sys.exit(1)"
    said = installing.asked([sys.executable, "-c", code])
    assert installing.reason(said.stderr) == "\ufffd\\x1b[2J"


def test_a_build_that_fails_is_told_by_its_own_error() -> None:
    said = (
        "  error: subprocess-exited-with-error\n  x Getting requirements failed\n"
        "      ValueError: no files\n      [end of output]\n  note: of a subprocess\n"
    )
    assert installing.reason(said) == "ValueError: no files"


def test_an_installer_without_an_answer_is_a_line(tmp_path: Path) -> None:
    silent = installing.Installer((sys.executable, "-c", ""), True)
    with pytest.raises(KdstError, match="does not say what it would do"):
        installing.planned(silent, silent.command(["first"], None))


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(KdstError, match="add --yes"):
        installing.ask()
