"""Releases: one version everywhere, checksums, and what every distribution says of itself."""

import hashlib
import importlib.util
import shutil
import tomllib
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import kdst_core

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "release.py"
if not SCRIPT.is_file():
    pytest.skip("no checkout of the repository", allow_module_level=True)


@pytest.fixture(scope="module")
def release() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path, release: ModuleType) -> Path:
    """Return a copy of what a version stands in."""
    files = [*release.projects(ROOT), ROOT / "CHANGELOG.md", ROOT / "kdst_core" / "__init__.py"]
    for file in files:
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return tmp_path


def project(file: Path) -> dict:
    return tomllib.loads(file.read_text(encoding="utf-8"))["project"]


def requirements(file: Path) -> list[Requirement]:
    table = project(file)
    extras = table.get("optional-dependencies", {}).values()
    return [Requirement(line) for line in chain(table["dependencies"], *extras)]


def test_every_distribution_has_the_version_of_the_core(release: ModuleType) -> None:
    versions = {project(file)["version"] for file in release.projects(ROOT)}
    assert versions == {kdst_core.__version__}


def test_a_new_version_stands_everywhere_and_fits_every_range(
    release: ModuleType, checkout: Path
) -> None:
    release.bump(checkout, "0.7.3")
    files = release.projects(checkout)
    assert {project(f)["version"] for f in files} == {"0.7.3"}
    assert '__version__ = "0.7.3"' in (checkout / "kdst_core/__init__.py").read_text()
    own = [r for f in files for r in requirements(f) if r.name.partition("-")[0] == "kdst"]
    assert len(own) > len(files) - 2
    assert all(Version("0.7.3") in r.specifier for r in own)
    assert not any(Version("0.8.0") in r.specifier or Version("0.6.9") in r.specifier for r in own)


def test_other_requirements_stay_and_the_changelog_gets_one_heading(
    release: ModuleType, checkout: Path
) -> None:
    def others() -> list[str]:
        files = release.projects(checkout)
        return [
            str(r) for f in files for r in requirements(f) if r.name.partition("-")[0] != "kdst"
        ]

    before = others()
    release.bump(checkout, "1.2.0")
    assert release.bump(checkout, "1.2.0") == []
    assert others() == before
    assert (checkout / "CHANGELOG.md").read_text().count("## 1.2.0\n") == 1


@pytest.mark.parametrize(
    ("version", "range_"), [("0.2.1", ">=0.2,<0.3"), ("2.4.1", ">=2.4,<3"), ("1.0.0", ">=1.0,<2")]
)
def test_ranges_end_at_the_next_contract(release: ModuleType, version: str, range_: str) -> None:
    assert release.bounds(version) == range_


def test_what_is_no_version_changes_nothing(
    release: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    before = {f: f.read_bytes() for f in release.projects(checkout)}
    monkeypatch.chdir(checkout)
    assert release.main(["bump", "0.2"]) == 2
    assert "three numbers" in capsys.readouterr().err
    assert {f: f.read_bytes() for f in before} == before


def test_checksums_are_those_of_the_files(release: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "a-1.0.tar.gz").write_bytes(b"source")
    (tmp_path / "notes.txt").write_bytes(b"not of the release")
    lines = release.sums(tmp_path).read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(b'wheel').hexdigest()}  a-1.0-py3-none-any.whl",
        f"{hashlib.sha256(b'source').hexdigest()}  a-1.0.tar.gz",
    ]


@pytest.mark.plugins
def test_every_distribution_brings_its_licence_and_says_what_it_is(release: ModuleType) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    for file in release.projects(ROOT):
        table = project(file)
        assert table["license"] == "Apache-2.0", file
        assert table["license-files"] == ["LICENSE"], file
        assert (file.parent / "LICENSE").read_bytes() == licence, file
        assert (file.parent / table["readme"]).is_file(), file
        assert "Typing :: Typed" in table["classifiers"], file


def test_what_cannot_be_done_is_an_error_of_one_line(
    release: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        assert release.main(["sums", str(folder)]) == 2
        assert "holds nothing that was built" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_heading_is_a_line_of_its_own(release: ModuleType) -> None:
    log = "# Changes\n\n## 0.1.0\n\n### 1.0.0\n"
    assert "\n## 1.0.0\n\n## 0.1.0\n" in release.headed(log, "1.0.0")
    with pytest.raises(ValueError, match="no heading of a version"):
        release.headed("# Changes\n", "1.0.0")
